import re

import numpy as np
import pytest

from dubcli.records import AudioWindow
from dubcli.report.drawing import (
    HEIGHT,
    curve_path,
    envelope,
    opening_limits,
    peaks,
    waveform_path,
)

RATE_HZ = 16000


def test_peaks_do_not_depend_on_how_the_sound_is_cut_into_windows() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 1000).astype(np.float32)
    whole = peaks([AudioWindow(0, samples, RATE_HZ)], 1000, columns=7)
    parts = [
        AudioWindow(start, samples[start : start + 33], RATE_HZ) for start in range(0, 1000, 33)
    ]
    np.testing.assert_array_equal(peaks(parts, 1000, columns=7), whole)
    slow = [np.abs(samples[[n * 7 // 1000 == k for n in range(1000)]]).max() for k in range(7)]
    np.testing.assert_array_equal(whole, np.array(slow))


def test_sound_that_ends_before_the_picture_leaves_silence_and_a_longer_one_adds_no_column() -> (
    None
):
    loud = AudioWindow(0, np.ones(50, dtype=np.float32), RATE_HZ)
    assert peaks([loud], 100, columns=4).tolist() == [1, 1, 0, 0]
    assert peaks([loud], 40, columns=4).tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match=r"^0 samples in 4 columns"):
        peaks([loud], 0, columns=4)


def test_short_curve_is_drawn_frame_by_frame_and_broken_where_it_is_unknown() -> None:
    curve = np.float32([0, 1, np.nan, 0.5])
    assert curve_path(curve, 0.0, 1.0) == "M0.5 100.0L0.5 100.0L1.5 0.0M3.5 50.0L3.5 50.0"
    assert curve_path(np.float32([np.nan, np.nan]), 0.0, 1.0) == ""


def test_long_curve_has_few_points_and_loses_no_extreme() -> None:
    curve = np.random.default_rng(2).normal(size=20000).astype(np.float32)
    curve[12345], curve[777] = 9, -9
    curve[4000:5000] = np.nan
    points = list(envelope(curve, columns=100))
    assert len(points) <= 200
    known = [(x, y) for x, y in points if not np.isnan(y)]
    assert all(curve[int(x)] == np.float32(y) for x, y in known)
    assert (12345.5, 9.0) in known
    assert (777.5, -9.0) in known
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert not any(4001 < x < 4999 for x, _ in known)


def test_waveform_is_mirrored_and_fills_the_height_with_its_loudest() -> None:
    path = waveform_path(np.float32([0.25, 0.5]))
    assert path == "M0.5 25.0L1.5 0.0L1.5 100.0L0.5 75.0Z"
    assert waveform_path(np.zeros(3, dtype=np.float32)) == "M0 50.0H3"


def test_limits_hold_both_curves_and_zero() -> None:
    low, high = opening_limits(np.float32([0.3, np.nan]), np.float32([1.2, 0.5]))
    assert low < 0 < 1.2 < high
    assert opening_limits(np.float32([np.nan])) == (0.0, 1.0)
    heights = [
        float(y) for y in re.findall(r" ([\d.]+)", curve_path(np.float32([0, 1.2]), low, high))
    ]
    assert all(0 < y < HEIGHT for y in heights)
