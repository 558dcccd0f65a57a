from dataclasses import replace

import numpy as np
import pytest
import torch

from dubcli.geometry.crop import CROP_SIZE, crop_for_head
from dubcli.geometry.morphable import (
    INNER_LIP_RING,
    MorphableModel,
    lower_face_weight,
    vertices,
)
from dubcli.geometry.pncc import PnccRenderer
from dubcli.geometry.window import COLUMNS, HEIGHT, ROWS, WIDTH, WindowDrawer, outline_px
from dubcli.records import Analysis, Crop

MESH_TOLERANCE = 1e-5  # cm, float32
PIXEL_TOLERANCE = 2e-3  # pixels, float32 through two transforms


@pytest.fixture(scope="module")
def draw(small_model: MorphableModel) -> WindowDrawer:
    return WindowDrawer(small_model)


@pytest.fixture(scope="module")
def analysis(known_clip) -> Analysis:
    frames = len(known_clip.beta)
    return Analysis(
        alpha=known_clip.alpha.expand(frames, -1).numpy(),
        beta=known_clip.beta.numpy(),
        rotation=known_clip.rotation.numpy(),
        translation_px=known_clip.translation_px.numpy(),
        scale_px=known_clip.scale_px.numpy(),
        shot=np.zeros(frames, np.int64),
        valid=np.ones(frames, np.bool_),
        lip_aperture=np.zeros(frames, np.float32),
    )


def crop_of(analysis: Analysis, t: int) -> Crop:
    return crop_for_head(
        analysis.rotation[t], analysis.translation_px[t], float(analysis.scale_px[t])
    )


def test_source_mesh_in_its_crop_is_the_landmarks_in_their_crop(
    draw: WindowDrawer, analysis: Analysis, known_clip
) -> None:
    for t in (0, 37):
        crop = crop_of(analysis, t)
        points = draw.in_crop(draw.source_mesh(analysis, t), analysis, t, crop)
        landmarks = known_clip.landmarks_px[t, :, :2].numpy()
        expected = landmarks @ crop.matrix[:, :2].T + crop.matrix[:, 2]
        np.testing.assert_allclose(points[:, :2], expected, atol=PIXEL_TOLERANCE)


def test_own_displacement_is_the_expression_on_the_mean_face(
    draw: WindowDrawer, analysis: Analysis, small_model: MorphableModel
) -> None:
    beta = analysis.beta[:3]
    mesh = vertices(small_model, torch.zeros(3, 3), torch.from_numpy(beta)) - small_model.mean
    got = draw.own_displacement(beta)
    np.testing.assert_allclose(got, mesh[:, draw.lower].numpy(), atol=MESH_TOLERANCE)


def test_target_with_the_sources_own_mouth_is_the_source(
    draw: WindowDrawer, analysis: Analysis
) -> None:
    mesh, beta = draw.source_mesh(analysis, 5), analysis.beta[5]
    target = draw.target_mesh(mesh, beta, draw.own_displacement(beta), 1.0)
    np.testing.assert_allclose(target, mesh, atol=MESH_TOLERANCE)


def test_target_has_the_generated_mouth_below_and_the_sources_face_above(
    draw: WindowDrawer, analysis: Analysis, small_model: MorphableModel
) -> None:
    mesh, beta = draw.source_mesh(analysis, 5), analysis.beta[5]
    generated = draw.own_displacement(beta) + np.array([0, -0.5, 0.1], np.float32)
    for amount in (0.0, 0.4, 1.0):
        moved = draw.target_mesh(mesh, beta, generated, amount) - mesh
        weight = lower_face_weight(small_model.mean).numpy()[:, None]
        expected = amount * weight * np.array([0, -0.5, 0.1])
        np.testing.assert_allclose(moved, expected, atol=MESH_TOLERANCE)


def test_window_is_that_part_of_the_crops_pncc(
    draw: WindowDrawer, analysis: Analysis, small_model: MorphableModel
) -> None:
    points = draw.in_crop(draw.source_mesh(analysis, 9), analysis, 9, crop_of(analysis, 9))
    renderer = PnccRenderer(small_model.mean.numpy(), small_model.triangles)
    whole = renderer.render(points, CROP_SIZE, CROP_SIZE)
    window = draw.pncc(points)
    assert window.shape == (HEIGHT, WIDTH, 3)
    different = np.abs(window - whole[ROWS, COLUMNS]).max(-1) > 1e-3
    assert different.mean() < 1e-3  # pixels whose centre an edge passes through


def test_masks_lie_in_each_other_and_the_window_holds_what_is_rendered(
    draw: WindowDrawer, analysis: Analysis
) -> None:
    mean = draw.model.mean.numpy()
    for t in (0, 20, 40):
        points = draw.in_crop(mean, analysis, t, crop_of(analysis, t))
        lips, face, wide = (m(points) for m in (draw.lip_mask, draw.face_mask, draw.reference_mask))
        assert (face[lips > 0] == 1).all()
        assert (wide[face > 0] == 1).all()
        x, y = np.round(points[list(INNER_LIP_RING), :2]).astype(int).T
        assert (lips[y, x] == 1).all()
        assert face[ROWS, COLUMNS].sum() > 0.98 * face.sum()  # a turned head's far cheek is cut


def test_window_holds_the_whole_mask_of_a_head_that_looks_forward(
    draw: WindowDrawer, analysis: Analysis
) -> None:
    forward = replace(analysis, rotation=np.zeros_like(analysis.rotation))
    points = draw.in_crop(draw.model.mean.numpy(), forward, 0, crop_of(forward, 0))
    mask = draw.face_mask(points)
    assert mask.any()
    assert mask[ROWS, COLUMNS].sum() == mask.sum()
    assert HEIGHT % 4 == WIDTH % 4 == 0  # whole tokens


def test_mouth_distance_is_the_inner_lips_root_mean_square_in_centimetres(
    draw: WindowDrawer,
) -> None:
    shape = np.zeros((len(draw.lower), 3), np.float32)
    others = np.repeat(shape[None], 3, axis=0)
    others[1] += np.array([0, 0.3, 0.4], np.float32)  # everything moved by half a centimetre
    on_ring = np.isin(draw.lower, INNER_LIP_RING)
    others[2, ~on_ring] = 9.0  # chin and cheeks do not count
    one = np.flatnonzero(on_ring)[0]
    others[2, one, 1] = 0.2
    expected = [0.0, 0.5, 0.2 / np.sqrt(len(INNER_LIP_RING))]
    np.testing.assert_allclose(draw.mouth_distance(shape, others), expected, atol=1e-6)


def test_mask_grows_only_where_the_chin_rises_and_only_so_far() -> None:
    here = np.zeros((468, 3), np.float32)
    here[13], here[152] = (120, 150, 0), (130, 210, 0)  # a head that leans a little
    down = (here[152] - here[13]) / np.linalg.norm(here[152] - here[13])
    for way_px, grown in ((0, 0), (1, 0), (4, 2), (8.4, 4), (12, 6), (40, 6), (-15, 0)):
        there = here.copy()
        there[152] -= way_px * down
        assert outline_px(here, there) == grown
    aside = here.copy()
    aside[152] += 20 * np.array([down[1], -down[0], 0])
    assert outline_px(here, aside) == 0
