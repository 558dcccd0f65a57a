from itertools import pairwise

import numpy as np
import pytest

from dubcli.networks.windows import cross_fade, cut_windows, join_windows, plan_windows

WINDOW, OVERLAP = 10, 4
JOIN_TOLERANCE = 1e-6  # float32 rounding of weight + (1 - weight)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 15, 16, 17, 100, 103])
def test_plan_covers_every_sample_with_the_stated_overlap(count: int) -> None:
    windows = plan_windows(count, WINDOW, OVERLAP)

    assert [w.last for w in windows] == [False] * (len(windows) - 1) + [True] * bool(windows)
    assert sum(w.stop - w.start for w in windows) == count + OVERLAP * max(len(windows) - 1, 0)
    for left, right in pairwise(windows):
        assert left.stop - left.start == WINDOW
        assert left.stop - right.start == OVERLAP
        assert right.stop > left.stop


@pytest.mark.parametrize("count", [0, 1, 10, 11, 15, 16, 17, 103])
@pytest.mark.parametrize("chunk", [1, 3, 10, 1000])
def test_stream_is_cut_as_planned_however_it_arrives(count: int, chunk: int) -> None:
    signal = np.arange(count, dtype=np.float32)
    chunks = [signal[k : k + chunk] for k in range(0, count, chunk)]

    cut = list(cut_windows(iter(chunks), WINDOW, OVERLAP))

    assert [window for window, _ in cut] == plan_windows(count, WINDOW, OVERLAP)
    for window, samples in cut:
        np.testing.assert_array_equal(samples, signal[window.start : window.stop])


@pytest.mark.parametrize("fade", [0, 1, 2, 3, 4])
def test_joined_windows_of_agreeing_features_are_the_features(fade: int) -> None:
    features = np.random.default_rng(0).normal(size=(103, 2)).astype(np.float32)
    pieces = [(w, features[w.start : w.stop]) for w in plan_windows(103, WINDOW, OVERLAP)]

    joined = np.concatenate(list(join_windows(pieces, OVERLAP, fade)))

    np.testing.assert_allclose(joined, features, atol=JOIN_TOLERANCE)


def test_join_takes_both_ends_of_the_overlap_from_one_window_only() -> None:
    pieces = [
        (w, np.full((w.stop - w.start, 1), k, np.float32))
        for k, w in enumerate(plan_windows(16, WINDOW, OVERLAP))
    ]

    joined = np.concatenate(list(join_windows(pieces, OVERLAP, fade=2)))[:, 0]

    expected = [0] * 6 + [0, 1 / 3, 2 / 3, 1] + [1] * 6
    np.testing.assert_allclose(joined, expected, atol=JOIN_TOLERANCE)


def test_cross_fade_leaves_its_arguments_alone() -> None:
    earlier, later = np.zeros((4, 2), np.float32), np.ones((4, 2), np.float32)
    joined = cross_fade(earlier, later, 4)
    assert joined.dtype == np.float32
    assert not earlier.any()
    assert later.all()


def test_impossible_lengths_are_refused_with_their_numbers() -> None:
    with pytest.raises(ValueError, match=r"overlap of 6 samples .* it is 10"):
        plan_windows(5, 10, 6)
    with pytest.raises(ValueError, match="sample count is -1"):
        plan_windows(-1, 10, 4)
    with pytest.raises(ValueError, match="fade of 5 frames does not fit an overlap of 4"):
        cross_fade(np.zeros((4, 1), np.float32), np.zeros((4, 1), np.float32), 5)
    with pytest.raises(ValueError, match=r"\[4, 1\] features do not join \[3, 1\] ones"):
        cross_fade(np.zeros((4, 1), np.float32), np.zeros((3, 1), np.float32), 1)
    with pytest.raises(ValueError, match=r"shape \[2, 3\]: it must be \[n\]"):
        list(cut_windows([np.zeros((2, 3), np.float32)], 10, 4))
