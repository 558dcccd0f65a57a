"""Mouths carried from one frame to another."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from dubcli.geometry.camera import project
from dubcli.geometry.crop import crop_for_head, transform
from dubcli.geometry.morphable import INNER_LIP_RING, MorphableModel, vertices
from dubcli.geometry.teeth import (
    CHIN_VERTICES,
    TEETH_DEPTH_CM,
    MouthPicture,
    TeethPlace,
    carry,
    head_motion,
    jaw_motion,
    most_alike,
)
from dubcli.geometry.window import COLUMNS, HEIGHT, ROWS, WIDTH, WindowDrawer
from dubcli.networks.mouth import CARRIED
from dubcli.records import Analysis, Float

FRONT = np.array([[112.0, 84.0], [124.8, 84.0], [112.0, 71.2]], np.float32)  # 12.8 pixels a cm
CHIN = np.array([112.0, 140.0], np.float32)


def moved(points: Float, motion: Float) -> Float:
    return points @ motion[:, :2].T + motion[:, 2]


def place(turn: float = 0.0, shift: tuple[float, float] = (0, 0), chin: float = 0.0) -> TeethPlace:
    """Return the place of teeth seen from the front, the picture turned, shifted, the jaw open."""
    cosine, sine = np.cos(turn), np.sin(turn)
    linear = np.array([[cosine, -sine], [sine, cosine]], np.float32)
    down = np.array([0, chin], np.float32)
    return TeethPlace(FRONT @ linear.T + np.float32(shift), (CHIN + down) @ linear.T + shift)


def test_head_motion_takes_the_plane_of_the_teeth_to_its_place() -> None:
    start, end = place(), place(0.3, (5, -7))
    assert moved(start.plane_px, head_motion(start, end)) == pytest.approx(end.plane_px, abs=1e-3)


def test_jaw_motion_takes_the_chin_to_its_place_and_turns_as_the_head_does() -> None:
    start, end = place(chin=3), place(0.3, (5, -7), chin=11)
    motion = jaw_motion(start, end)
    assert moved(start.chin_px[None], motion)[0] == pytest.approx(end.chin_px, abs=1e-3)
    assert motion[:, :2] == pytest.approx(head_motion(start, end)[:, :2])


def test_a_head_seen_from_the_side_shifts_alone() -> None:
    flat = TeethPlace(FRONT * np.float32([0, 1]) + np.float32([112, 0]), CHIN)
    motion = head_motion(flat, place(shift=(4, 2)))
    assert motion[:, :2] == pytest.approx(np.eye(2))
    assert np.isfinite(motion).all()


def test_a_mouth_carried_to_its_own_place_is_its_picture() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    carried = carry(MouthPicture(rgba, place()), place())
    assert carried.shape == (CARRIED, HEIGHT, WIDTH)
    for half in (carried[:4], carried[4:]):
        assert half.transpose(1, 2, 0) == pytest.approx(rgba / 255, abs=1e-6)


def test_carried_mouth_lies_where_the_teeth_are() -> None:
    """A disc at the teeth, another at the chin: each is found where its own motion takes it."""
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    start, end = place(), place(-0.1, (9, 4), chin=12)
    for centre, channel in ((FRONT[0], 0), (CHIN, 1)):
        at = np.round((centre - 0.5) * 16).astype(int).tolist()
        colour = [0.0, 0.0, 0.0, 0.0]
        colour[channel] = 255.0
        layer = cv2.circle(np.zeros_like(rgba), at, 64, colour, -1, cv2.LINE_AA, shift=4)
        rgba = np.maximum(rgba, layer)
    carried = carry(MouthPicture(rgba, start), end)

    def centre_of(channel: int) -> Float:
        """Return the middle of a layer's brightness in pixels."""
        weight = carried[channel] / carried[channel].sum()
        rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        return np.array([(weight * columns).sum(), (weight * rows).sum()])

    assert centre_of(0) == pytest.approx(end.plane_px[0], abs=0.1)  # moved with the head
    assert centre_of(5) == pytest.approx(end.chin_px, abs=0.1)  # moved with the chin
    assert np.abs(centre_of(1) - end.chin_px).max() > 5  # the head alone leaves the chin behind


def test_most_alike_are_the_nearest_and_repeat_where_there_are_too_few() -> None:
    assert most_alike(np.array([0.3, 0.1, 0.2, 0.9]), 3) == [1, 2, 0]
    assert most_alike(np.array([0.4]), 3) == [0, 0, 0]


def posed(turn: float) -> Analysis:
    zero = np.zeros((1, 3), np.float32)
    return Analysis(
        alpha=zero,
        beta=np.zeros((1, 4), np.float32),
        rotation=np.array([[0.1, turn, 0.2]], np.float32),
        translation_px=np.array([[320, 240]], np.float32),
        scale_px=np.array([15], np.float32),
        shot=np.zeros(1, np.int64),
        valid=np.ones(1, np.bool_),
        lip_aperture=zero[:, 0],
    )


def test_teeth_lie_behind_the_lips_in_the_pose_of_the_head(small_model: MorphableModel) -> None:
    """A point of their plane that was not used to build the map lands where the camera has it."""
    draw, found = WindowDrawer(small_model), []
    size = small_model.identity.shape[0], small_model.expression.shape[0]
    for turn in (-0.3, 0.4):
        one = posed(turn)
        one = replace(one, alpha=np.zeros((1, size[0]), np.float32))
        one = replace(one, beta=np.zeros((1, size[1]), np.float32))
        crop = crop_for_head(one.rotation[0], one.translation_px[0], float(one.scale_px[0]))
        mesh = vertices(small_model, torch.zeros(size[0]), torch.zeros(size[1]))
        point = mesh[list(INNER_LIP_RING)].mean(0) + torch.tensor([-1.7, 0.6, -TEETH_DEPTH_CM])
        parts = torch.from_numpy(one.rotation[0]), torch.from_numpy(one.translation_px[0])
        seen, whole = (
            transform(crop, project(p, *parts, torch.tensor(15.0)).numpy())
            for p in (point[None], mesh)
        )
        corner = np.array([COLUMNS.start, ROWS.start])
        teeth = draw.teeth(one, 0, crop, whole)
        chin = whole[list(CHIN_VERTICES), :2].mean(axis=0) - corner
        assert teeth.chin_px == pytest.approx(chin, abs=1e-3)
        found.append((teeth, seen[:, :2] - corner))
    (start, before), (end, after) = found
    assert moved(before, head_motion(start, end)) == pytest.approx(after, abs=1e-2)
