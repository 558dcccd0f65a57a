from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dubcli.config import LENGTH_MODES
from dubcli.media.bed import bed_passes, bed_tempo, placement
from dubcli.media.lengths import plan_length
from dubcli.records import AudioInfo, Stamps

FREE = [mode for mode in LENGTH_MODES if mode != "error"]


def sound(channels: int, layout: str) -> AudioInfo:
    return AudioInfo(Path("a.wav"), 48000, channels, 48000, "pcm_s16le", "s16", layout)


@pytest.mark.parametrize("mode", FREE)
@given(n=st.integers(1, 40), speech_s=st.builds(Fraction, st.integers(1, 9000), st.just(1000)))
def test_bed_begins_where_the_picture_does_and_is_in_time_when_it_runs_forward(
    mode: str, n: int, speech_s: Fraction
) -> None:
    plan = plan_length(mode, n, speech_s, Fraction(10))
    passes, indices = list(bed_passes(plan)), list(plan.indices())
    assert passes[0].start_s == 0
    assert passes[-1].stop_s == plan.sound_s
    for one, other in pairwise(passes):
        assert one.stop_s == other.start_s
    if mode == "remap":
        assert len(passes) == 1
        return
    for each in passes:
        frames = range(int(each.start_s * 10), min(len(indices), -int(-each.stop_s * 10 // 1)))
        shown = [indices[k] for k in frames]
        if not each.sounds:
            assert mode == "freeze"
            assert set(shown) == {n - 1}
        elif shown[0] == 0 or mode != "bounce":
            assert shown == list(range(len(shown)))
        else:
            assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((1, "mono"), "mono", [{0}]),
        ((1, "mono"), "stereo", [{0}, {0}]),
        ((1, "mono"), "5.1(side)", [set(), set(), {0}, set(), set(), set()]),
        ((2, "stereo"), "5.1", [{0}, {1}, set(), set(), set(), set()]),
        ((6, "5.1"), "5.1(side)", [{0}, {1}, {2}, {3}, {4}, {5}]),
        ((1, ""), "23 channels", [{0}] * 23),
        ((2, "2 channels"), "", [{0}, {1}, set(), set(), set(), set()]),
    ],
)
def test_channels_go_to_their_own_names(
    one: tuple[int, str], other: str, expected: list[set[int]]
) -> None:
    placed = placement(sound(*one), sound(len(expected), other))
    assert [set(row.nonzero()[0]) for row in placed] == expected
    assert set(placed.ravel()) <= {0, 1}


def test_channels_without_a_place_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"quad in 5\.1\(side\)"):
        placement(sound(4, "quad"), sound(6, "5.1(side)"))


@pytest.mark.parametrize(
    ("mode", "speech_s", "starts_ms"),
    [
        ("bounce", 2, [0, 600, 900, 1500, 1800]),  # backward without the first and the last frame
        ("loop", 2, [0, 600, 1200, 1800]),
        ("freeze", 2, [0, 600]),
        ("remap", 2, [0]),
    ],
)
def test_bed_under_a_variable_rate_follows_the_times_of_the_picture(
    mode: str, speech_s: int, starts_ms: list[int]
) -> None:
    stamps = Stamps(np.array([0, 100, 350, 400]), 600, Fraction(1, 1000))
    plan = plan_length(mode, 4, Fraction(speech_s), Fraction(20, 3), stamps)
    assert [each.start_s * 1000 for each in bed_passes(plan)] == starts_ms
    assert float(bed_tempo(plan)) == pytest.approx(0.3 if mode == "remap" else 1)
