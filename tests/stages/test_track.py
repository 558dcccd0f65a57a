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
from dubcli.records import Bytes, Frame, TrackedFace
from dubcli.stages.portraits import SIDE, TEMPLATE, Portraits, frontality, straight
from dubcli.stages.track import (
    CUT_JUMP,
    CUT_ZOOM,
    LOOK_EVERY,
    MESH_VERTICES,
    Follower,
    Tracker,
    match,
    track,
)

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


def test_all_faces_are_found_the_largest_first(tracker: Tracker, frame: Bytes) -> None:
    half = frame[::2, ::2]
    both = np.zeros((frame.shape[0], frame.shape[1] + half.shape[1], 3), np.uint8)
    both[:, half.shape[1] :] = frame
    both[: half.shape[0], : half.shape[1]] = half
    large, small = tracker.meshes_px(both)
    assert small[:, 0].max() < half.shape[1] < large[:, 0].min()


def test_tracking_yields_an_item_a_frame_and_counts_shots(tracker: Tracker, frame: Bytes) -> None:
    black = np.zeros_like(frame)
    frames = [Frame(t, rgb) for t, rgb in enumerate([frame, frame, black, frame[:, ::-1]], 5)]
    portraits = Portraits()

    found = list(track(frames, tracker, portraits))

    assert [each.index for each in found] == [5, 6, 7, 8]
    assert [len(each.faces) for each in found] == [1, 1, 0, 1]
    assert [face.track for each in found for face in each.faces] == [0, 0, 1]
    assert found[0].shot == found[1].shot == 0 < found[3].shot
    assert portraits.pictures().shape == (2, SIDE, SIDE, 3)
    assert portraits.frames().tolist() == [5, 8]
    assert list(track([], tracker, Portraits())) == []


def test_hands_are_looked_for_in_some_frames_and_where_a_face_is_new() -> None:
    asked: list[int] = []

    class Faces:
        def meshes_px(self, rgb: Bytes) -> list[np.ndarray]:
            whole = rgb.shape[:2] == (180, 320)  # none is small: pieces of the frame show nobody
            return [face_at(100), face_at(200)][: 1 + (rgb[0, 0, 0] >= 4)] if whole else []

    class Hands:
        def covered(self, rgb: Bytes, mesh: np.ndarray) -> bool:
            asked.append(int(rgb[0, 0, 0]))
            return asked[-1] < LOOK_EVERY

    class Nothing:
        def show(self, rgb: Bytes, face: TrackedFace) -> None:
            pass

    frames = [Frame(t, np.full((180, 320, 3), t, np.uint8)) for t in range(8)]
    found = list(track(frames, Faces(), Nothing(), Hands()))  # type: ignore[arg-type]
    assert LOOK_EVERY == 3
    assert asked == [0, 3, 4, 6, 6]
    assert [each.faces[0].covered for each in found] == [True] * 3 + [False] * 5
    unasked = track(frames, Faces(), Nothing())  # type: ignore[arg-type]
    assert not any(face.covered for each in unasked for face in each.faces)


def shots(pictures: list[Bytes], faces: list[list[np.ndarray]] | None = None) -> list[int]:
    follower, found = Follower(), []
    for picture, meshes in zip(pictures, faces or [[]] * len(pictures), strict=True):
        follower.follow(meshes, cut=follower.picture_changes(picture))
        found.append(follower.shot)
    return found


def seen(follower: Follower, picture: int, meshes: list[np.ndarray]) -> list[int]:
    return follower.follow(meshes, cut=follower.picture_changes(blocks(picture)))


def blocks(seed: int) -> Bytes:
    """Return a picture with large dark and bright parts, as rooms and people are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 8, 3), np.uint8)
    return coarse.repeat(36, 0).repeat(40, 1)


def test_the_same_and_a_slowly_moving_picture_are_no_cut() -> None:
    moved = [np.roll(blocks(0), 2 * step, axis=1) for step in range(6)]
    assert shots(moved, [[face_at(10 + 10 * step)] for step in range(6)]) == [0] * 6


def test_another_picture_is_a_cut_once() -> None:
    assert shots([blocks(k) for k in (0, 0, 1, 1, 0)]) == [0, 0, 1, 1, 2]


def test_a_change_of_light_is_no_cut() -> None:
    dim = (blocks(0) // 2).astype(np.uint8)
    assert shots([dim, dim + np.uint8(60), dim]) == [0, 0, 0]


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(50 * CUT_JUMP - 1, 0), (50 * CUT_JUMP + 1, 1), (-50 * CUT_JUMP - 1, 1)],
)
def test_a_face_that_moves_more_than_a_head_can_is_a_cut(shift: float, expected: int) -> None:
    assert shots([blocks(0)] * 2, [[face_at(100)], [face_at(100 + shift)]])[1] == expected


@pytest.mark.parametrize(("width", "expected"), [(60, 0), (64, 1), (42, 0), (38, 1)])
def test_a_face_that_grows_at_once_is_a_jump_cut(width: float, expected: int) -> None:
    larger = face_at(125 - width / 2, width)
    larger[:, 1] += 25 - width / 2  # about the same middle
    faces = [[face_at(100, 50)], [larger]]
    assert 50 * CUT_ZOOM == 62.5
    assert shots([blocks(0)] * 2, faces)[1] == expected


def test_a_face_is_remembered_through_a_gap_but_not_across_a_cut() -> None:
    follower = Follower()
    assert seen(follower, 0, [face_at(100)]) == [0]
    assert seen(follower, 0, []) == []
    assert seen(follower, 0, [face_at(105)]) == [0]
    assert seen(follower, 1, [face_at(105)]) == [1]
    assert follower.shot == 1


def test_two_faces_keep_their_tracks_when_their_order_changes_and_one_is_new() -> None:
    follower = Follower()
    assert seen(follower, 0, [face_at(10), face_at(200)]) == [0, 1]
    assert seen(follower, 0, [face_at(205), face_at(12)]) == [1, 0]
    assert seen(follower, 0, [face_at(120), face_at(14)]) == [2, 0]
    assert seen(follower, 0, [face_at(207), face_at(14), face_at(121)]) == [1, 0, 2]
    assert follower.shot == 0


def test_of_two_faces_near_a_known_one_the_nearer_has_its_track() -> None:
    assert match({7: face_at(100)}, [face_at(110), face_at(102)]) == {1: 7}
    assert match({7: face_at(100), 8: face_at(103)}, [face_at(103)]) == {0: 8}


def test_portrait_lies_straight_whatever_the_turn_and_size(tracker: Tracker, frame: Bytes) -> None:
    plain = tracker.landmarks_px(frame)
    assert plain is not None
    small = np.rot90(frame, 1)[::2, ::2]
    x, y = plain[:, 0], plain[:, 1]
    turned = np.stack([y, frame.shape[1] - x, plain[:, 2]], 1).astype(np.float32) / 2
    difference = np.abs(straight(frame, plain).astype(float) - straight(small, turned))
    assert np.median(difference) < 6  # grey levels: another sampling of the same face
    again = tracker.landmarks_px(np.pad(straight(frame, plain), ((60, 60), (60, 60), (0, 0))))
    assert again is not None
    eyes = again[[33, 133], :2].mean(0) - 60
    np.testing.assert_allclose(eyes, TEMPLATE[0], atol=5)


def test_frontality_falls_as_the_nose_nears_a_cheek() -> None:
    mesh = np.zeros((MESH_VERTICES, 3), np.float32)
    mesh[[NOSE_TIP, 234, 454], 0] = [50, 0, 100]
    assert frontality(mesh) == 1
    mesh[NOSE_TIP, 0] = 25
    assert frontality(mesh) == pytest.approx(1 / 3)
    mesh[NOSE_TIP, 0] = -1
    assert frontality(mesh) == 0
