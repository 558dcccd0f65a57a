from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dubcli.report.records import (
    DOUBTFUL,
    DUBBED,
    NO_FACE,
    PARTIAL,
    PASSED,
    REASONS,
    TURNED,
    TURNED_AWAY,
    Curves,
    QcReport,
    Range,
    cuts,
    foremost,
    numbers_of,
    ranges,
    states,
)

RATE = Fraction(25)


def curves_of(made: list[float], real: list[float], **changes: object) -> Curves:
    frames = len(made)
    values = Curves(
        source=np.arange(frames),
        shot=np.zeros(frames, dtype=np.int64),
        dubbed=np.ones(frames, dtype=np.bool_),
        reason=np.zeros(frames, dtype=np.int64),
        amount=np.ones(frames, dtype=np.float32),
        turn_rad=np.zeros(frames, dtype=np.float32),
        opening_cm=np.array(made, dtype=np.float32),
        source_opening_cm=np.array(real, dtype=np.float32),
    )
    return replace(values, **changes)  # type: ignore[arg-type]


def test_frames_of_the_known_dub_have_their_states(build: Callable[..., QcReport]) -> None:
    curves = build().curves
    state = states(curves)
    assert ranges(state, PASSED) == (Range(10, 15, NO_FACE), Range(30, 33, TURNED_AWAY))
    assert ranges(state, DOUBTFUL) == (
        Range(15, 18, PARTIAL),
        Range(33, 36, PARTIAL),
        Range(50, 55, TURNED),
    )
    assert cuts(curves) == (20, 40, 79)  # the last where the source runs back over its cut
    assert set(REASONS) == {DUBBED} | PASSED | DOUBTFUL


def test_of_several_faces_each_frame_has_the_one_that_shows_most() -> None:
    one = curves_of([1, 1, 1, 1], [5] * 4, amount=np.float32([1, 0.4, 0, 0.3]))
    passed = np.array([True, True, True, False])
    two = curves_of([2, 2, 2, 2], [6] * 4, amount=np.float32([1, 0.6, 1, 0.9]), dubbed=passed)
    both = foremost([one, two])
    assert both.opening_cm.tolist() == [1, 2, 2, 1]
    assert both.source_opening_cm.tolist() == [5, 6, 6, 5]
    assert (both.dubbed.dtype, both.amount.dtype) == (np.bool_, np.float32)
    assert foremost([one]) is one


@given(st.lists(st.integers(0, 4), max_size=40))
def test_ranges_cover_exactly_the_wanted_frames(state: list[int]) -> None:
    found = ranges(np.array(state, dtype=np.int64), PASSED)
    covered = [t for each in found for t in range(each.start, each.stop)]
    assert covered == [t for t, value in enumerate(state) if value in PASSED]
    assert all(set(state[each.start : each.stop]) == {each.state} for each in found)
    for one, other in pairwise(found):
        assert one.stop < other.start or one.state != other.state


def test_numbers_are_those_counted_by_hand() -> None:
    # The real mouth's range is 0 to 1 cm, so closed is at or below 0.15.
    real = [0.0, 1.0] * 50
    made = [0.1, 0.5, 0.1, 0.2] * 25
    rows = {row.metric: row for row in numbers_of(curves_of(made, real), RATE)}
    assert rows["Frames dubbed"].value == 100
    assert rows["Frames of low confidence"].value == 0
    assert rows["Mean effect"].value == 100
    assert rows["Opening, mean"].value == pytest.approx(0.225)
    assert rows["Opening, mean"].real == pytest.approx(0.5)
    deviation = rows["Opening, deviation"]
    assert deviation.value == pytest.approx(np.std(made))
    assert deviation.note == f"{np.std(made) / 0.5:.2f} times the real one"
    closures = rows["Closures"]  # 50 of each in 4 s
    assert (closures.value, closures.real) == (pytest.approx(750), pytest.approx(750))
    change = rows["Opening, change from frame to frame"]
    assert change.value == pytest.approx((0.4 * 50 + 0.1 * 49) / 99)
    assert change.real == pytest.approx(1)


def test_numbers_leave_out_frames_that_were_not_dubbed_and_changes_across_cuts() -> None:
    dubbed = np.array([True, True, False, True, True, True])
    nan = float("nan")
    curves = curves_of(
        [0.1, 0.2, nan, 0.9, 0.8, 0.1],
        [0.0, 1.0, nan, 0.0, 1.0, 0.0],
        dubbed=dubbed,
        amount=np.float32([1, 0.5, 0, 0.5, 1, 1]),
        shot=np.array([0, 0, 0, 0, 0, 1]),
    )
    rows = {row.metric: row for row in numbers_of(curves, RATE)}
    assert rows["Frames dubbed"].value == pytest.approx(100 * 5 / 6)
    assert rows["Frames of low confidence"].value == pytest.approx(100 * 2 / 6)
    assert rows["Mean effect"].value == pytest.approx(80)
    assert rows["Opening, mean"].value == pytest.approx(0.42)
    assert rows["Opening, change from frame to frame"].value == pytest.approx(0.1)


def test_dub_of_a_single_frame_has_no_openings_to_compare() -> None:
    rows = numbers_of(curves_of([0.5], [0.5]), RATE)
    assert [row.metric for row in rows] == [
        "Frames dubbed",
        "Frames of low confidence",
        "Mean effect",
    ]
