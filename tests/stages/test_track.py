from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dubcli.geometry.morphable import (
    CHIN,
    INNER_LIP_LOWER,
    INNER_LIP_UPPER,
    NOSE_TIP,
)
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.records import Bytes, Frame
from dubcli.stages.track import MESH_VERTICES, CutDetector, Tracker, track

FILM = Path(__file__).parents[2] / "examples" / "media" / "franck.mp4"
MOVED_PX = 12.0  # what the tracker may be off by on a shifted picture of a 300 px face


@pytest.fixture(scope="module")
def tracker(task_file: Path) -> Iterator[Tracker]:
    with Tracker(task_file) as tracker:
        yield tracker


@pytest.fixture(scope="module")
def frame() -> Bytes:
    with FrameReader(probe_video(FILM), 0, 1) as reader:
        return next(iter(reader)).rgb


def noise(seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (180, 321, 3), dtype=np.uint8)


def face_at(x: float, width: float = 50) -> np.ndarray:
    mesh = np.random.default_rng(1).uniform(0, 1, (MESH_VERTICES, 3)).astype(np.float32)
    mesh[:, 0] = (mesh[:, 0] - mesh[:, 0].min()) / np.ptp(mesh[:, 0])
    return mesh * np.float32(width) + np.array([x, 60, 0], np.float32)


def test_a_face_is_found_with_its_parts_in_their_order(tracker: Tracker, frame: Bytes) -> None:
    found = tracker.landmarks_px(frame)

    assert found is not None
    assert found.shape == (MESH_VERTICES, 3)
    assert found.dtype == np.float32
    height, width = frame.shape[:2]
    assert (found[:, 0] > 0).all()
    assert (found[:, 0] < width).all()
    assert (found[:, 1] > 0).all()
    assert (found[:, 1] < height).all()
    assert found[10, 1] < found[NOSE_TIP, 1] < found[INNER_LIP_UPPER[5], 1]  # brow, nose, lip
    assert found[INNER_LIP_UPPER[5], 1] <= found[INNER_LIP_LOWER[5], 1] + 1 < found[CHIN, 1]
    assert found[INNER_LIP_UPPER[0], 0] < found[INNER_LIP_UPPER[-1], 0]
    assert found[NOSE_TIP, 2] < found[[127, 356], 2].min()  # the nose is nearer than the temples


def test_landmarks_are_pixels_of_the_frame_whatever_its_shape(
    tracker: Tracker, frame: Bytes
) -> None:
    plain = tracker.landmarks_px(frame)
    moved = tracker.landmarks_px(np.pad(frame, ((31, 0), (57, 0), (0, 0)), mode="edge"))
    assert plain is not None
    assert moved is not None
    shift = (moved - plain)[:, :2].mean(0)
    np.testing.assert_allclose(shift, [57, 31], atol=MOVED_PX)


def test_of_two_faces_the_larger_one_is_tracked(tracker: Tracker, frame: Bytes) -> None:
    plain = tracker.landmarks_px(frame)
    assert plain is not None
    half = frame[::2, ::2]
    both = np.zeros((frame.shape[0], frame.shape[1] + half.shape[1], 3), np.uint8)
    both[:, half.shape[1] :] = frame
    both[: half.shape[0], : half.shape[1]] = half
    found = tracker.landmarks_px(both)
    assert found is not None
    assert abs(float(found[:, 0].mean() - plain[:, 0].mean()) - half.shape[1]) < MOVED_PX


@pytest.mark.parametrize("picture", [noise(), np.zeros((64, 64, 3), np.uint8)])
def test_noise_and_black_hold_no_face(tracker: Tracker, picture: Bytes) -> None:
    assert tracker.landmarks_px(picture) is None


def test_tracking_yields_an_item_a_frame_and_counts_shots(tracker: Tracker, frame: Bytes) -> None:
    height, width = frame.shape[:2]
    black = np.zeros_like(frame)
    frames = [Frame(t, rgb) for t, rgb in enumerate([frame, frame, black, frame[:, ::-1]], 5)]

    found = list(track(frames, tracker))

    assert [None if f is None else f.index for f in found] == [5, 6, None, 8]
    shots = [None if f is None else f.shot for f in found]
    assert shots[:3] == [0, 0, None]
    assert shots[3] is not None
    assert shots[3] > 0
    assert list(track([], tracker)) == []
    assert found[0] is not None
    assert found[0].landmarks_px.max() < max(height, width)


def test_the_first_frame_is_no_cut() -> None:
    assert not CutDetector().is_cut(noise(), face_at(10))


def test_the_same_and_a_slowly_moving_picture_are_no_cut() -> None:
    detector = CutDetector()
    picture = noise()
    for step in range(6):
        moved = np.roll(picture, 2 * step, axis=1)
        assert not detector.is_cut(moved, face_at(10 + 10 * step))


def test_another_picture_is_a_cut_once() -> None:
    detector = CutDetector()
    dark, bright = np.full((90, 160, 3), 40, np.uint8), np.full((90, 160, 3), 90, np.uint8)
    cuts = [detector.is_cut(rgb, None) for rgb in (dark, dark, bright, bright, dark)]
    assert cuts == [False, False, True, False, True]


def test_a_small_change_of_light_is_no_cut() -> None:
    detector = CutDetector()
    assert not detector.is_cut(np.full((90, 160, 3), 100, np.uint8), None)
    assert not detector.is_cut(np.full((90, 160, 3), 130, np.uint8), None)


@pytest.mark.parametrize(("shift", "expected"), [(29, False), (31, True), (-31, True)])
def test_a_face_that_moves_more_than_a_head_can_is_a_cut(shift: float, expected: bool) -> None:
    picture, detector = noise(), CutDetector()  # 0.6 of a width of 50 is 30
    detector.is_cut(picture, face_at(100))
    assert detector.is_cut(picture, face_at(100 + shift)) is expected


def test_a_face_is_remembered_through_a_gap_but_not_across_a_cut() -> None:
    picture, detector = noise(), CutDetector()
    detector.is_cut(picture, face_at(100))
    assert not detector.is_cut(picture, None)
    assert detector.is_cut(picture, face_at(200))
    dark, bright = np.zeros((90, 160, 3), np.uint8), np.full((90, 160, 3), 200, np.uint8)
    other = CutDetector()
    other.is_cut(dark, face_at(10))
    assert other.is_cut(bright, None)
    assert not other.is_cut(bright, face_at(200))
