from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from dubcli.config import FACE_CM, FADE_S
from dubcli.records import COVERED, NO_FACE, OUTSIDE, TOO_SMALL, TURNED_AWAY, Analysis
from dubcli.stages.coverage import WIDTH_FULL_PX, WIDTH_NONE_PX, YAW_FULL, YAW_NONE, cover
from dubcli.stages.track import LOOK_EVERY

RATE_HZ = 25.0  # at which the effect fades over FADE_S * 25 = 5 frames
FLOAT_TOLERANCE = 1e-5  # float32 sums of ramps


def made_analysis(
    valid: Sequence[int],
    shot: Sequence[int],
    turn: Sequence[float],
    width_px: Sequence[float] | float = 150.0,
) -> Analysis:
    count = len(valid)
    rotation = np.zeros((count, 3), np.float32)
    rotation[:, 1] = turn  # about the vertical axis
    zero = np.zeros(count, np.float32)
    return Analysis(
        alpha=np.zeros((count, 3), np.float32),
        beta=np.zeros((count, 4), np.float32),
        rotation=rotation,
        translation_px=np.zeros((count, 2), np.float32),
        scale_px=np.full(count, width_px, np.float32) / np.float32(FACE_CM),
        shot=np.array(shot, np.int64),
        valid=np.array(valid, np.bool_),
        lip_aperture=zero,
    )


def amounts(valid: str, shot: str = "", turn: Sequence[float] | float = 0.0) -> list[float]:
    """Return the effect for a face where ``valid`` has an x, rounded."""
    shots = [int(mark) for mark in shot] or [0] * len(valid)
    turns = np.broadcast_to(np.asarray(turn, np.float32), len(valid))
    analysis = made_analysis([mark == "x" for mark in valid], shots, turns.tolist())
    got = cover(analysis, RATE_HZ).amount
    assert got.dtype == np.float32
    assert got.shape == (len(valid),)
    return [round(float(level), 3) for level in got]


def test_effect_is_full_throughout_a_face_that_looks_forward() -> None:
    assert amounts("xxxxxx") == [1.0] * 6
    assert amounts("x") == [1.0]
    assert amounts("") == []


def test_effect_ramps_on_both_sides_of_a_gap_over_the_fade() -> None:
    assert FADE_S * RATE_HZ == 5
    ramp = [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    assert amounts("xxxxxx..xxxxxx") == [*ramp[::-1], 0, 0, *ramp]
    assert amounts(".xxxxxx") == [0, *ramp]
    assert amounts("..") == [0, 0]


def test_effect_stays_full_beside_a_cut_even_if_the_other_shot_has_no_face() -> None:
    assert amounts("xxxx....xxxx", "000011112222") == [1.0] * 4 + [0] * 4 + [1.0] * 4
    assert amounts("xxx.xx", "000111") == [1, 1, 1, 0, 0.2, 0.4]


@pytest.mark.parametrize("sign", [-1, 1])
def test_effect_falls_from_full_to_none_as_the_head_turns_away(sign: int) -> None:
    middle = (YAW_FULL + YAW_NONE) / 2
    for turn, level in (
        (YAW_FULL - 0.01, 1.0),
        (middle, 0.5),
        (YAW_NONE + 0.01, 0.0),
        (3.0, 0.0),
    ):
        assert amounts("xx", turn=sign * turn) == pytest.approx([level] * 2, abs=2e-3)


@pytest.mark.parametrize(
    ("width_px", "level"),
    [
        (WIDTH_FULL_PX + 1, 1.0),
        ((WIDTH_FULL_PX + WIDTH_NONE_PX) / 2, 0.5),
        (WIDTH_NONE_PX - 1, 0.0),
    ],
)
def test_effect_falls_from_full_to_none_as_the_face_gets_small(
    width_px: float, level: float
) -> None:
    got = cover(made_analysis([1, 1], [0, 0], [0, 0], width_px), RATE_HZ)
    assert got.amount == pytest.approx([level] * 2, abs=FLOAT_TOLERANCE)
    assert got.reason.tolist() == [0 if level else TOO_SMALL] * 2


def test_effect_fades_before_and_after_a_face_that_is_too_small() -> None:
    width_px = [150.0] * 4 + [WIDTH_NONE_PX - 5] + [150.0] * 4
    got = cover(made_analysis([1] * 9, [0] * 9, [0] * 9, width_px), RATE_HZ)
    assert got.amount == pytest.approx([0.8, 0.6, 0.4, 0.2, 0, 0.2, 0.4, 0.6, 0.8], abs=1e-5)
    assert got.able == pytest.approx(got.amount)  # nor are references taken from there


def test_frames_under_a_hand_are_left_unless_they_are_to_be_dubbed() -> None:
    covered = np.arange(7) == 3
    analysis = replace(made_analysis([1] * 7, [0] * 7, [0] * 7), covered=covered)
    left, dubbed = (cover(analysis, RATE_HZ, leave_covered=leave) for leave in (True, False))
    assert LOOK_EVERY == 3  # so a hand that is seen may have been there for two frames
    assert left.amount == pytest.approx([0.2, 0, 0, 0, 0.2, 0.4, 0.6], abs=FLOAT_TOLERANCE)
    assert left.able == pytest.approx(left.amount)  # nor are references taken from there
    assert left.reason.tolist() == [0, COVERED, COVERED, COVERED, 0, 0, 0]
    cut = cover(replace(analysis, shot=np.arange(7) // 2), RATE_HZ)
    assert cut.amount == pytest.approx([1, 1, 0, 0, 1, 1, 1])
    assert (dubbed.amount.tolist(), dubbed.reason.tolist()) == ([1] * 7, [0] * 7)


def test_effect_ramps_where_a_head_turns_away_in_one_frame() -> None:
    assert amounts("xxxx", turn=[0, 0, 0, 1.5]) == [0.6, 0.4, 0.2, 0]


def test_effect_at_a_very_low_rate_does_not_fade() -> None:
    analysis = made_analysis([1, 0, 1], [0, 0, 0], [0, 0, 0])
    assert cover(analysis, 2.0).amount.tolist() == [1, 0, 1]


def test_effect_at_a_variable_rate_ramps_over_the_same_time() -> None:
    lengths_s = np.array([40, 20, 20, 40, 60, 40, 100, 40]) / 1000
    analysis = made_analysis([1] * 4 + [0] + [1] * 3, [0] * 8, [0.0] * 8)
    got = cover(analysis, (1 / lengths_s).astype(np.float32)).amount
    begins_s = np.cumsum(lengths_s) - lengths_s
    away_s = np.abs(begins_s - begins_s[4])
    np.testing.assert_allclose(got, np.minimum(away_s / float(FADE_S), 1), atol=1e-6)


def test_effect_is_the_lowest_ramp_of_all_frames_of_the_shot() -> None:
    rng = np.random.default_rng(0)
    count, step = 120, 1 / 5
    valid = rng.random(count) < 0.9
    shot = np.cumsum(rng.random(count) < 0.05)
    turn = rng.uniform(-1.3, 1.3, count) * (rng.random(count) < 0.2)
    got = cover(made_analysis(valid.tolist(), shot.tolist(), turn.tolist()), RATE_HZ).amount
    allowed = np.clip((YAW_NONE - np.abs(turn)) / (YAW_NONE - YAW_FULL), 0, 1) * valid
    for t in range(count):
        same = np.flatnonzero(shot == shot[t])
        expected = min(1.0, float((allowed[same] + step * np.abs(same - t)).min()))
        assert got[t] == pytest.approx(expected, abs=FLOAT_TOLERANCE)


def test_effect_is_none_outside_what_was_asked_for_and_ramps_inside_it() -> None:
    analysis = made_analysis([1] * 12, [0] * 12, [0.0] * 12)
    within = np.zeros(12, np.bool_)
    within[3:12] = True
    got = cover(analysis, RATE_HZ, within)
    np.testing.assert_allclose(got.amount, [0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1], atol=1e-6)
    assert got.reason.tolist() == [OUTSIDE] * 3 + [0] * 9
    assert got.able.tolist() == [1] * 12  # references may still come from there


def test_range_that_begins_at_a_cut_begins_with_the_full_effect() -> None:
    analysis = made_analysis([1] * 6, [0, 0, 0, 1, 1, 1], [0.0] * 6)
    assert cover(analysis, RATE_HZ, np.array([0, 0, 0, 1, 1, 1], np.bool_)).amount.tolist() == [
        0,
        0,
        0,
        1,
        1,
        1,
    ]


def test_frames_that_pass_through_say_why() -> None:
    analysis = made_analysis([1, 0, 1, 0, 1], [0, 1, 2, 3, 4], [0, 0, 1.4, 0, 1.4])
    within = np.array([1, 1, 1, 0, 0], np.bool_)
    assert cover(analysis, RATE_HZ, within).reason.tolist() == [
        0,
        NO_FACE,
        TURNED_AWAY,
        OUTSIDE,
        OUTSIDE,
    ]
