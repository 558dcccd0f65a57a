import math

import numpy as np
import pytest

from dubcli.metrics.sync import LEAST_SHARE, sync_scores
from dubcli.records import Float


def unit_rows(frames: int, width: int, seed: int) -> Float:
    rows = np.random.default_rng(seed).normal(size=(frames, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def slow_curve(sound: Float, mouth: Float, reach: int) -> list[float]:
    """Return the mean distance at each offset, pair by pair."""
    known = sum(not (math.isnan(s[0]) or math.isnan(m[0])) for s, m in zip(sound, mouth))  # noqa: B905
    curve = []
    for offset in range(-reach, reach + 1):
        distances = []
        for t in range(len(sound)):
            if 0 <= t + offset < len(mouth):
                squares = [(float(a) - float(b)) ** 2 for a, b in zip(sound[t], mouth[t + offset])]  # noqa: B905
                distances.append(math.sqrt(sum(squares)))
        pairs = [d for d in distances if not math.isnan(d)]
        enough = pairs and len(pairs) >= LEAST_SHARE * known
        curve.append(sum(pairs) / len(pairs) if enough else math.nan)
    return curve


@pytest.mark.parametrize("frames", [1, 7, 40])
def test_scores_are_those_of_a_count_pair_by_pair(frames: int) -> None:
    sound, mouth = unit_rows(frames, 5, 1), unit_rows(frames, 5, 2)
    if frames > 7:
        mouth[10:14], sound[30:32] = np.nan, np.nan
    scores = sync_scores(sound, mouth, reach=6)
    expected = slow_curve(sound, mouth, 6)
    np.testing.assert_allclose(scores.curve, expected, rtol=1e-5)
    known = sorted(d for d in expected if not math.isnan(d))
    middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
    assert scores.distance == pytest.approx(known[0], rel=1e-5)
    assert scores.confidence == pytest.approx(middle - known[0], abs=1e-5)
    assert scores.offset_frames == expected.index(known[0]) - 6


@pytest.mark.parametrize("late", [-7, -1, 0, 5, 15])
def test_offset_is_positive_where_the_mouth_comes_late(late: int) -> None:
    said = unit_rows(120, 16, 3)
    start = 20
    sound, mouth = said[start : start + 80], said[start - late : start - late + 80]
    scores = sync_scores(sound, mouth)
    assert scores.offset_frames == late
    assert scores.distance == pytest.approx(0, abs=1e-6)
    assert scores.curve.shape == (31,)


def test_offsets_beyond_half_the_length_are_not_judged() -> None:
    said = unit_rows(20, 8, 4)
    curve = sync_scores(said, said).curve
    assert np.isnan(curve[[0, 4, 26, 30]]).all()
    assert not np.isnan(curve[5:26]).any()


def test_frames_without_a_face_do_not_count() -> None:
    said = unit_rows(60, 8, 5)
    mouth = said.copy()
    mouth[20:40] = unit_rows(20, 8, 6)  # another mouth
    hidden = mouth.copy()
    hidden[20:40] = np.nan
    assert sync_scores(said, mouth).distance > 0.3
    assert sync_scores(said, hidden).distance == pytest.approx(0, abs=1e-6)


def test_unrelated_embeddings_have_little_confidence() -> None:
    related = unit_rows(200, 16, 7)
    unrelated = sync_scores(related, unit_rows(200, 16, 8))
    assert unrelated.confidence < 0.1 < 1 < sync_scores(related, related).confidence


@pytest.mark.parametrize(
    ("sound", "mouth", "reach", "message"),
    [
        (np.zeros((3, 2)), np.zeros((4, 2)), 1, r"\(3, 2\) and mouth \(4, 2\)"),
        (np.zeros(3), np.zeros(3), 1, r"\[T, D\]"),
        (np.zeros((3, 2)), np.zeros((3, 2)), -1, "reach is -1"),
        (np.zeros((0, 2)), np.zeros((0, 2)), 1, "no frame"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), 1, "no frame"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    sound: Float, mouth: Float, reach: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sync_scores(sound, mouth, reach)
