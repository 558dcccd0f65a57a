from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dubcli.config import LENGTH_MODES, DubOptions
from dubcli.errors import InputError
from dubcli.media.lengths import LengthPlan, plan_length, plan_output
from dubcli.records import Stamps

RATES = (Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(50))
FREE = [mode for mode in LENGTH_MODES if mode != "error"]

durations = st.builds(Fraction, st.integers(1, 200_000), st.sampled_from([8000, 44100, 48000]))


def frames_of(speech_s: Fraction, rate: Fraction) -> int:
    """Count frames until they last as long as the speech."""
    count = 0
    while count / rate < speech_s:
        count += 1
    return count


def walked(mode: str, n: int, m: int) -> list[int]:
    """Return the source frames of an output by walking through the video as a player would."""
    if mode == "bounce":
        at, way, walk = 0, 1, []
        while len(walk) < m:
            walk.append(at)
            if not 0 <= at + way < n:
                way = -way
            at += way if n > 1 else 0
        return walk
    if mode == "loop":
        walk = []
        while len(walk) < m:
            walk += range(n)
        return walk[:m]
    if mode == "cut":
        return [t for t in range(n) if t < m]
    if mode == "freeze":
        return [*range(n), *[n - 1] * (m - n)]
    middles = [Fraction(2 * k + 1, 2 * m) for k in range(m)]  # as shares of the whole
    return [next(t for t in range(n) if middle < Fraction(t + 1, n)) for middle in middles]


@pytest.mark.parametrize("mode", FREE)
@given(n=st.integers(1, 90), speech_s=durations, rate=st.sampled_from(RATES))
def test_indices_are_those_of_a_player(
    mode: str, n: int, speech_s: Fraction, rate: Fraction
) -> None:
    plan = plan_length(mode, n, speech_s, rate)
    m = frames_of(speech_s, rate)
    indices = list(plan.indices())
    assert indices == walked(mode, n, m)
    assert len(indices) == plan.frame_count


@pytest.mark.parametrize("mode", FREE)
@given(n=st.integers(1, 90), speech_s=durations, rate=st.sampled_from(RATES))
def test_sound_fills_the_picture_but_for_a_part_of_its_last_frame(
    mode: str, n: int, speech_s: Fraction, rate: Fraction
) -> None:
    plan = plan_length(mode, n, speech_s, rate)
    assert 0 <= plan.frame_count / rate - plan.sound_s < 1 / rate
    if mode == "cut":
        assert plan.sound_s == min(speech_s, max(speech_s if plan.frame_count < n else 0, n / rate))
    elif mode == "freeze":
        assert plan.sound_s >= speech_s
    else:
        assert plan.sound_s == speech_s


@pytest.mark.parametrize(
    ("mode", "longer", "equal", "shorter"),
    [
        ("bounce", (75, "3"), (50, "2"), (25, "1")),
        ("loop", (75, "3"), (50, "2"), (25, "1")),
        ("cut", (50, "2"), (50, "2"), (25, "1")),
        ("freeze", (75, "3"), (50, "2"), (50, "2")),
        ("remap", (75, "3"), (50, "2"), (25, "1")),
    ],
)
def test_the_table_of_the_readme(
    mode: str, longer: tuple[int, str], equal: tuple[int, str], shorter: tuple[int, str]
) -> None:
    for speech_s, (frames, sound_s) in ((3, longer), (2, equal), (1, shorter)):
        plan = plan_length(mode, 50, Fraction(speech_s), Fraction(25))
        assert (plan.frame_count, plan.sound_s) == (frames, Fraction(sound_s))


@pytest.mark.parametrize("mode", LENGTH_MODES)
def test_speech_that_ends_within_the_last_frame_changes_nothing(mode: str) -> None:
    speech_s = Fraction(49, 25) + Fraction(1, 48000)
    plan = plan_length(mode, 50, speech_s, Fraction(25))
    assert list(plan.indices()) == list(range(50))
    assert plan.sound_s == speech_s
    assert list(plan.warnings()) == []


def test_hours_are_planned_without_a_list() -> None:
    for mode in FREE:
        plan = plan_length(mode, 10**9, Fraction(10**8), Fraction(25))
        assert next(islice(plan.indices(), 5, None)) in {2, 5}  # remap: 2.5 times slower or not


def test_frames_more_than_one_apart_are_refused_by_error() -> None:
    for speech_s in (Fraction(51, 25), Fraction(49, 25)):
        plan = plan_length("error", 50, speech_s, Fraction(25))
        assert plan.frame_count == speech_s * 25
        assert max(plan.indices()) <= 49
    for speech_s in (Fraction(51, 25) + Fraction(1, 16000), Fraction(19, 10)):
        with pytest.raises(InputError, match="differ in length by more than one frame"):
            plan_length("error", 50, speech_s, Fraction(25))


def test_the_refusal_names_both_lengths() -> None:
    with pytest.raises(InputError) as caught:
        plan_length("error", 12, Fraction(3, 4), Fraction(24))
    assert str(caught.value) == (
        "the speech (0.75 s) and the video (0.50 s) differ in length by more than one frame, and "
        "--length is error; give speech of the video's length or another --length"
    )


@pytest.mark.parametrize(
    ("mode", "speech_s", "consequence"),
    [
        ("bounce", "3", "longer than the video (2.00 s): the video runs forward and backward"),
        ("loop", "3", "longer than the video (2.00 s): the video starts again from its first"),
        ("cut", "3", "longer than the video (2.00 s): the last 1.00 s of the speech are cut off"),
        ("freeze", "3", "longer than the video (2.00 s): the video's last frame stays"),
        ("remap", "3", "longer than the video (2.00 s): the video runs at 0.667 of its speed"),
        ("remap", "1", "shorter than the video (2.00 s): the video runs at 2.000 of its speed"),
        ("freeze", "1", "shorter than the video (2.00 s): silence follows the speech"),
        ("cut", "1", "shorter than the video (2.00 s): the output ends with the speech"),
        ("loop", "1", "shorter than the video (2.00 s): the output ends with the speech"),
    ],
)
def test_warnings_say_what_becomes_of_the_difference(
    mode: str, speech_s: str, consequence: str
) -> None:
    plan: LengthPlan = plan_length(mode, 50, Fraction(speech_s), Fraction(25))
    (warning,) = plan.warnings()
    assert warning.startswith(f"the speech ({float(speech_s):.2f} s) is 1.00 s {consequence}")


@pytest.mark.parametrize(
    ("mode", "count", "speech_s"), [("stretch", 3, 1), ("loop", 0, 1), ("loop", 3, 0)]
)
def test_what_cannot_be_planned_is_refused(mode: str, count: int, speech_s: int) -> None:
    with pytest.raises(ValueError, match="cannot plan"):
        plan_length(mode, count, Fraction(speech_s), Fraction(25))


def placed(speech_s: str, **options: str) -> LengthPlan:
    """Return the plan of ten seconds at 25 Hz with so much speech."""
    return plan_output(250, Fraction(speech_s), Fraction(25), DubOptions(**options))


def test_ranges_leave_the_video_as_long_as_it_is_and_begin_the_speech_at_the_first() -> None:
    plan = placed("2", ranges="6-7.5, 00:00:02:00-00:00:04:05", length="loop")
    assert list(plan.indices()) == list(range(250))
    assert (plan.sound_s, plan.speech_start_s) == (10, 2)
    within = plan.within
    assert within is not None
    assert [t for t in range(250) if within[t]] == [*range(50, 105), *range(150, 187)]
    assert not list(plan.warnings())


def test_speech_at_moves_the_speech_and_alone_asks_for_its_own_frames_and_the_fades() -> None:
    assert placed("2", ranges="4-6", speech_at="3.5").speech_start_s == Fraction(7, 2)
    alone = placed("2", speech_at="00:00:04:01")
    assert alone.speech_start_s == Fraction(101, 25)
    assert alone.asked == ((101 - 5, 151 + 5),)
    assert placed("2", speech_at="0").asked == ((0, 55),)
    assert placed("2", speech_at="9").asked == ((220, 250),)


def test_speech_that_outlasts_range_or_video_is_told() -> None:
    (over,) = placed("2", ranges="3-4").warnings()
    assert over.startswith("the speech goes on for 1.00 s after the last --range")
    (cut,) = placed("2", speech_at="9").warnings()
    assert cut == "the last 1.00 s of the speech are cut off: the video ends before it"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ranges": "10-11"}, "--range 10-11: the video ends at 00:00:10.000; give an earlier"),
        ({"ranges": "3-3.01"}, "--range 3-3.01: holds no frame; give an end that is later"),
        ({"ranges": "5-4"}, "--range 5-4: holds no frame"),
        ({"speech_at": "00:00:11:00"}, "--speech-at 00:00:11:00: the video ends at"),
    ],
)
def test_ranges_that_cannot_be_are_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        placed("1", **options)
    assert str(caught.value).startswith(sentence)


def test_without_ranges_the_length_is_what_it_was() -> None:
    assert placed("3") == plan_length("bounce", 250, Fraction(3), Fraction(25))


def varying(lengths_ms: list[int]) -> Stamps:
    edges = np.concatenate([[0], np.cumsum(lengths_ms)])
    return Stamps(edges[:-1], int(edges[-1]), Fraction(1, 1000))


def played(mode: str, lengths_ms: list[int], speech_ms: int) -> list[tuple[int, int]]:
    """Return source frame and start in milliseconds of each frame, as a player would go on."""
    n = len(lengths_ms)
    forward, shown, at = list(range(n)), list[tuple[int, int]](), 0
    cycle = forward + forward[-2:0:-1] if mode == "bounce" else forward
    k = 0
    while at < speech_ms:
        t = cycle[k % len(cycle)]
        shown.append((t, at))
        at, k = at + lengths_ms[t], k + 1
        if mode == "cut" and k == n:
            break
    return shown


@pytest.mark.parametrize("mode", ["bounce", "loop", "cut"])
@given(
    lengths_ms=st.lists(st.integers(1, 300), min_size=1, max_size=20),
    speech_ms=st.integers(1, 4000),
)
def test_each_frame_of_a_variable_rate_keeps_its_length_also_backward(
    mode: str, lengths_ms: list[int], speech_ms: int
) -> None:
    stamps = varying(lengths_ms)
    rate = Fraction(1000 * len(lengths_ms), sum(lengths_ms))
    plan = plan_length(mode, len(lengths_ms), Fraction(speech_ms, 1000), rate, stamps)
    made = plan.stamps()
    assert made is not None
    shown = list(zip(plan.indices(), made.ticks.tolist(), strict=True))
    assert shown == played(mode, lengths_ms, speech_ms)
    assert made.end == min(speech_ms, shown[-1][1] + lengths_ms[shown[-1][0]])
    assert plan.length_s == plan.sound_s == Fraction(made.end, 1000)


@pytest.mark.parametrize("speech_ms", [100, 299, 300, 301, 900])
def test_frozen_variable_rate_lasts_as_long_as_the_longer_of_the_two(speech_ms: int) -> None:
    stamps = varying([20, 80, 200])
    plan = plan_length("freeze", 3, Fraction(speech_ms, 1000), Fraction(10), stamps)
    made = plan.stamps()
    assert made is not None
    assert made.ticks[:3].tolist() == [0, 20, 100]
    assert np.diff(made.ticks[3:]).tolist() == [100] * max(0, len(made.ticks) - 4)
    assert set(list(plan.indices())[3:]) <= {2}
    assert made.end == max(300, speech_ms) == plan.sound_s * 1000


@given(
    lengths_ms=st.lists(st.integers(1, 300), min_size=1, max_size=20),
    speech_ms=st.integers(50, 4000),
)
def test_remapped_variable_rate_shows_each_frame_once_at_its_share_of_the_time(
    lengths_ms: list[int], speech_ms: int
) -> None:
    stamps, n = varying(lengths_ms), len(lengths_ms)
    plan = plan_length("remap", n, Fraction(speech_ms, 1000), Fraction(25), stamps)
    made = plan.stamps()
    assert made is not None
    assert list(plan.indices()) == list(range(n))
    assert (np.diff([*made.ticks, made.end]) > 0).all()
    share = np.array([*made.ticks, made.end]) * float(made.unit_s) * 1000 / speech_ms
    np.testing.assert_allclose(
        share, np.array([*stamps.ticks, stamps.end]) / stamps.end, atol=n * 1000 / 90000 / speech_ms
    )
    assert plan.length_s == pytest.approx(plan.sound_s, abs=1e-4)


def test_ranges_of_a_variable_rate_are_times() -> None:
    stamps = varying([40] * 25 + [20] * 50 + [40] * 25)  # 3 s; 60 ms steps would be the average

    def planned(**options: Any) -> LengthPlan:
        return plan_output(100, Fraction(1, 2), Fraction(100, 3), DubOptions(**options), stamps)

    plan = planned(ranges="1-2")
    assert (plan.asked, plan.speech_start_s, plan.sound_s) == (((25, 75),), 1, 3)
    assert list(plan.indices()) == list(range(100))
    made = plan.stamps()
    assert made is not None
    np.testing.assert_array_equal(made.ticks, stamps.ticks)
    assert made.end == stamps.end
    # 100 / 3 frames a second count as 33: frame 11 of second 1 is a third of a second later.
    assert planned(ranges="00:00:01:11-2").asked == ((25 + 16, 75),)
    # Fades of 0.2 s lie before 1.5 s and after the end of the speech at 2 s.
    assert planned(speech_at="1.5").asked == ((25 + 15, 75 + 5),)
    with pytest.raises(InputError, match=r"the video ends at 00:00:03\.000"):
        planned(ranges="3-4")


def test_frame_that_stands_still_for_long_is_told() -> None:
    plan = plan_length("cut", 3, Fraction(2), Fraction(3, 2), varying([100, 1500, 400]))
    assert next(iter(plan.warnings())) == (
        "the video's frame rate varies, and while a frame stays so does its mouth: for 1.50 s at "
        "00:00:00.100; convert the video to a constant rate first if that is too long"
    )
    short = plan_length("cut", 3, Fraction(3, 10), Fraction(10), varying([100, 60, 140]))
    assert list(short.warnings()) == []
