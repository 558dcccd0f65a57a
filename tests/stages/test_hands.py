from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.records import Bytes, Float
from dubcli.stages import hands
from dubcli.stages.hands import AROUND, LEAST_LENGTH, HandFinder, hides
from dubcli.stages.track import Tracker
from dubcli.training.canonical import CanonicalFace

ROOT = Path(__file__).parents[2]
FILM = ROOT / "examples" / "media" / "franck.mp4"
MODEL = ROOT / "models" / "hand-landmarker" / "hand_landmarker.task"
WIDTH_PX = 200.0  # of the face
MIDDLE = np.array([300.0, 250.0], np.float32)


@pytest.fixture
def mesh(canonical_face: CanonicalFace) -> Float:
    """Return a face that looks at the camera, ``WIDTH_PX`` wide, its middle at ``MIDDLE``."""
    points = np.array(canonical_face.vertices, np.float32)[:468] * np.float32([1, -1, -1])
    points *= np.float32(WIDTH_PX) / np.ptp(points[:, 0])
    points[:, :2] += MIDDLE - (points[:, :2].min(0) + points[:, :2].max(0)) / 2
    return points


def hand(wrist: tuple[float, float], tips: tuple[float, float], width_px: float = 80) -> Float:
    """Return 21 points of a hand between two places."""
    a, b = np.array(wrist, np.float32), np.array(tips, np.float32)
    along = (b - a) / np.linalg.norm(b - a)
    across = np.array([-along[1], along[0]]) * np.float32(width_px)
    fingers = [a + (b - a) * f + across * side for f in (0.4, 0.6, 0.8, 1) for side in
               (-0.5, -0.25, 0, 0.25, 0.5)]  # fmt: skip
    return np.array([a, *fingers], np.float32)


def test_hand_that_comes_from_below_and_lies_before_the_mouth_hides_it(mesh: Float) -> None:
    chin, nose = mesh[152, :2], mesh[2, :2]
    assert hides(hand((chin[0] + 60, chin[1] + 120), (nose[0], nose[1])), mesh)
    assert hides(hand((chin[0] - 230, chin[1]), (nose[0] + 40, nose[1] + 30)), mesh)


def test_what_is_too_short_or_lies_wholly_on_the_face_is_no_hand(mesh: Float) -> None:
    chin, nose = mesh[152, :2], mesh[2, :2]
    direction = (chin - nose) / np.linalg.norm(chin - nose)
    for length, expected in ((LEAST_LENGTH - 0.05, False), (LEAST_LENGTH + 0.05, True)):
        wrist = nose + direction * length * WIDTH_PX
        assert hides(hand(tuple(wrist), tuple(nose), width_px=30), mesh) == expected
    brow = mesh[10, :2]
    assert not hides(hand((brow[0], brow[1] + 10), (chin[0], chin[1] - 5)), mesh)


def test_hand_beside_the_face_or_before_its_brow_hides_nothing(mesh: Float) -> None:
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    assert not hides(hand((high[0] + 90, high[1]), (high[0] + 60, low[1])), mesh)
    assert not hides(hand((low[0] - 150, low[1]), (MIDDLE[0], low[1] + 20)), mesh)


def test_network_sees_the_surroundings_of_the_face_and_its_hands_are_put_back(
    mesh: Float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures: list[Bytes] = []
    chin, nose = mesh[152, :2], mesh[2, :2]
    wanted = hand((chin[0] + 60, chin[1] + 120), (nose[0], nose[1]))
    side = AROUND * WIDTH_PX
    frame = np.zeros((500, 600, 3), np.uint8)  # of which each pixel says where it is
    frame[:, :, 0], frame[:, :, 1] = np.arange(600) // 3, np.arange(500)[:, None] // 3

    def found(_: Any, picture: Bytes) -> list[Float]:
        pictures.append(picture)
        return [(wanted - MIDDLE + side / 2) / side]

    with HandFinder(MODEL) as finder:
        monkeypatch.setattr(hands, "_points", found)
        assert finder.covered(frame, mesh)
    assert pictures[0].shape == (side, side, 3)
    seen = pictures[0][round(side / 2), round(side / 2)]
    np.testing.assert_allclose(seen[:2] * 3.0, MIDDLE, atol=4)


def test_free_face_is_not_covered_even_where_it_reaches_out_of_the_frame(task_file: Path) -> None:
    with FrameReader(probe_video(FILM), 0, 1) as reader:
        rgb = next(iter(reader)).rgb
    with Tracker(task_file) as tracker, HandFinder(MODEL) as finder:
        mesh = tracker.landmarks_px(rgb)
        assert mesh is not None
        assert not finder.covered(rgb, mesh)
        assert not finder.covered(rgb, mesh - np.float32([mesh[:, 0].mean(), 0, 0]))
