"""Faces that are small in their frame are found in pieces of it, and followed."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.records import Bytes, Float
from dubcli.stages.search import (
    BESIDE,
    EAGER,
    LEAST_PX,
    OVERLAP,
    PATIENT,
    SCALES,
    FaceFinder,
    around,
    squares,
)
from dubcli.stages.track import Tracker

ROOT = Path(__file__).parents[2]
H, W = 720, 1280


def face_at(left: float, top: float, width: float = 50) -> Float:
    """Return a square mesh."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    return corners * width + np.array([left, top, 0], np.float32)


class Detector:
    """Sees marked faces that are at least a share of the picture's longer side wide."""

    def __init__(self, share: float = 0.13) -> None:
        self.share, self.asked = share, 0

    def __call__(self, rgb: Bytes) -> list[Float]:
        self.asked += 1
        found = []
        for number in np.unique(rgb[..., 0])[1:]:
            rows, columns = np.nonzero(rgb[..., 0] == number)
            width = np.ptp(columns) + 1
            whole = width == int(number) and np.ptp(rows) + 1 == width
            if whole and width >= self.share * max(rgb.shape[:2]):
                found.append(face_at(columns.min(), rows.min(), width))
        return found


def frame(*faces: tuple[int, int, int]) -> Bytes:
    """Return a frame with square faces: left, top, width; a face's grey level is its width."""
    rgb = np.zeros((H, W, 3), np.uint8)
    for left, top, width in faces:
        rgb[top : top + width, left : left + width] = width
    return rgb


@pytest.mark.parametrize("size", [(720, 1280), (1280, 720), (480, 480), (101, 333)])
def test_squares_lie_in_the_frame_and_hold_every_face_that_a_third_of_them_holds(
    size: tuple[int, int],
) -> None:
    height, width = size
    found = list(squares(height, width))
    for left, top, side in found:
        assert 0 <= left <= width - side
        assert 0 <= top <= height - side
    rng = np.random.default_rng(0)
    for scale in SCALES:
        side = round(scale * min(size))
        face = int(side * OVERLAP) - 1
        for left, top in rng.integers(0, (width - face, height - face), (50, 2)):
            assert any(
                s == side
                and x <= left
                and y <= top
                and left + face <= x + s
                and top + face <= y + s
                for x, y, s in found
            )


def test_a_large_face_costs_one_look_and_now_and_then_a_search_beside_it() -> None:
    detect = Detector()
    finder = FaceFinder(detect)
    looks = []
    for index in range(BESIDE + 12):
        before = detect.asked
        (mesh,) = finder.find(frame((300, 200, 200)), cut=index == 5)
        assert mesh[:, :2].min(0).tolist() == [300, 200]
        looks.append(detect.asked - before)
    search = 1 + len(list(squares(H, W)))
    assert [index for index, count in enumerate(looks) if count == search] == [0, 5, BESIDE + 5]
    assert set(looks) == {1, search}


def test_a_small_face_beside_a_large_one_is_found_and_then_followed() -> None:
    finder = FaceFinder(Detector())
    for index in range(BESIDE + 6):
        beside = [(1100, 300 + index, 60)] if index >= 7 else []  # comes in later
        found = finder.find(frame((300, 200, 200), *beside), cut=False)
        places = [mesh[:, :2].min(0).tolist() for mesh in found]
        late = [[1100, 300 + index]] if index >= BESIDE else []
        assert places == [[300, 200], *late]


def test_a_small_face_is_found_in_a_square_and_then_around_its_place() -> None:
    detect = Detector()
    finder = FaceFinder(detect)
    (mesh,) = finder.find(frame((901, 433, 60)), cut=False)
    assert mesh[:, :2].min(0).tolist() == [901, 433]
    assert detect.asked == 1 + len(list(squares(H, W))) + 1  # in squares, then closely
    for step in range(1, 6):
        before = detect.asked
        (mesh,) = finder.find(frame((901 - 15 * step, 433, 60)), cut=False)
        assert mesh[:, 0].min() == 901 - 15 * step
        assert detect.asked == before + 2  # the whole frame, and around the last place


@pytest.mark.parametrize(("left", "found"), [(520, 1), (620, 2)])
def test_a_small_face_in_the_hair_of_a_large_one_is_none(left: int, found: int) -> None:
    finder = FaceFinder(Detector())
    assert len(finder.find(frame((300, 200, 200), (left, 250, 60)), cut=False)) == found
    finder = FaceFinder(Detector())  # a face of more than half the size is none of the hair
    assert len(finder.find(frame((300, 200, 160), (480, 250, 90)), cut=False)) == 2


def test_all_small_faces_of_a_frame_are_found_once_and_the_largest_comes_first() -> None:
    finder = FaceFinder(Detector())
    wanted = [[640, 300], [100, 500], [1100, 90]]
    for _ in range(2):
        found = finder.find(frame((640, 300, 90), (100, 500, 70), (1100, 90, 55)), cut=False)
        assert [mesh[:, :2].min(0).tolist() for mesh in found] == wanted


def test_no_more_than_four_faces_are_followed_and_those_are_the_largest() -> None:
    finder = FaceFinder(Detector())
    faces = [(100 + 200 * k, 300, 60 + 2 * k) for k in range(6)]
    for _ in range(2):
        found = finder.find(frame(*faces), cut=False)
        assert [np.ptp(mesh[:, 0]) for mesh in found] == [70, 68, 66, 64]


def test_faces_too_narrow_to_be_of_use_are_no_faces() -> None:
    finder = FaceFinder(Detector(share=0.01))
    assert finder.find(frame((300, 300, LEAST_PX - 1)), cut=False)  # the whole frame shows it
    finder = FaceFinder(Detector(share=0.02))
    assert finder.find(frame((300, 300, LEAST_PX - 1)), cut=False) == []
    assert len(finder.find(frame((300, 300, LEAST_PX)), cut=False)) == 1


def test_frames_without_a_face_are_searched_at_the_start_of_a_shot_and_then_now_and_then() -> None:
    detect = Detector()
    finder = FaceFinder(detect)
    searched = []
    for index in range(3 * PATIENT):
        before = detect.asked
        assert finder.find(frame(), cut=index == PATIENT + 5) == []
        if detect.asked > before + 1:
            searched.append(index)
    cut = PATIENT + 5
    at_once = [*range(EAGER), *range(cut, cut + EAGER)]
    assert searched == sorted([*at_once, PATIENT, cut + PATIENT])


def test_a_face_is_not_looked_for_at_its_old_place_across_a_cut() -> None:
    detect = Detector()
    finder = FaceFinder(detect)
    finder.find(frame((300, 200, 200)), cut=False)
    before = detect.asked
    finder.find(frame((700, 200, 200)), cut=True)
    assert detect.asked == before + 1 + len(list(squares(H, W)))


def test_the_place_of_a_face_may_reach_beyond_the_frame() -> None:
    assert around(face_at(0, 10, 40)) == (-60, -50, 160)
    finder = FaceFinder(Detector())
    for left in (8, 0, 0):
        (mesh,) = finder.find(frame((left, 660, 60)), cut=False)
        assert mesh[:, :2].min(0).tolist() == [left, 660]


def test_a_real_face_of_a_twentieth_of_the_frame_is_found_where_it_is() -> None:
    info = probe_video(ROOT / "examples/media/franck.mp4")
    with FrameReader(info, 0, 1) as reader:
        rgb = next(iter(reader)).rgb
    with Tracker(ROOT / "models/face-landmarker/face_landmarker.task") as tracker:
        large = tracker.landmarks_px(rgb)
        assert large is not None
        scale = 60 / float(np.ptp(large[:, 0]))
        small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        wide = np.full((H, W, 3), 90, np.uint8)
        wide[300 : 300 + small.shape[0], 700 : 700 + small.shape[1]] = small
        assert tracker.landmarks_px(wide) is None
        (mesh,) = FaceFinder(tracker.meshes_px).find(wide, cut=False)
    apart = mesh[:, :2] - (large[:, :2] * scale + (700, 300))
    assert float(np.linalg.norm(apart, axis=1).mean()) < 2
