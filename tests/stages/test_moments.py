"""Which moments are worth looking at."""

import numpy as np
import pytest

from dubcli.stages.moments import Moments, choose_moments


def curve(frames: int = 200) -> np.ndarray:
    """Return a mouth that opens every 10 frames, ever wider."""
    t = np.arange(frames)
    return ((1 + t / frames) * np.sin(np.pi * t / 10) ** 2).astype(np.float32)


def test_open_ones_are_peaks_and_closed_ones_closures_spread_in_time() -> None:
    opening, everywhere = curve(), np.ones(200, np.bool_)
    found = choose_moments(opening, everywhere, everywhere, 8)
    assert len(found.open) == len(found.closed) == 4
    for frame in found.open:
        assert opening[frame] == opening[max(0, frame - 4) : frame + 5].max()
    assert max(opening[list(found.closed)]) < 1e-6
    assert 195 in found.open
    for frames in (found.open, found.closed):
        assert min(np.diff(frames)) >= 200 // 8


def test_frames_that_pass_through_are_not_taken() -> None:
    usable = np.zeros(200, np.bool_)
    usable[40:60] = True
    found = choose_moments(curve(), np.ones(200, np.bool_), usable, 8)
    frames = {*found.open, *found.closed}
    assert len(frames) == 8
    assert frames <= set(range(40, 60))


def test_spreading_does_not_call_a_half_closed_mouth_open() -> None:
    opening, everywhere = np.linspace(0, 1, 40, dtype=np.float32), np.ones(40, np.bool_)
    found = choose_moments(opening, everywhere, everywhere, 4)
    assert opening[list(found.open)].min() >= 0.75
    assert opening[list(found.closed)].max() <= 0.25


def test_closures_in_speech_come_before_those_of_silence() -> None:
    opening, speaking = curve(), np.ones(200, np.bool_)
    opening[100:] = -0.1
    speaking[100:] = False
    everywhere = np.ones(200, np.bool_)
    assert max(choose_moments(opening, speaking, everywhere, 6).closed) < 100
    in_silence = choose_moments(opening, speaking & False, everywhere, 6).closed
    assert min(in_silence) >= 100


@pytest.mark.parametrize(("frames", "count"), [(0, 4), (1, 4), (3, 8), (5, 5), (5, 1)])
def test_there_are_as_many_as_there_can_be_and_none_twice(frames: int, count: int) -> None:
    everywhere = np.ones(frames, np.bool_)
    found = choose_moments(curve(200)[:frames], everywhere, everywhere, count)
    taken = [*found.open, *found.closed]
    assert len(set(taken)) == len(taken)
    assert len(found.open) == min(frames, (count + 1) // 2)
    assert len(found.closed) == min(frames - len(found.open), count // 2)


def test_of_equal_mouths_any_will_do_but_not_side_by_side() -> None:
    flat, everywhere = np.zeros(40, np.float32), np.ones(40, np.bool_)
    assert choose_moments(flat, everywhere, everywhere, 4) == Moments((0, 5), (1, 6))
