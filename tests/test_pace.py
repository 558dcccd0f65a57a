from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dubcli.pace import Pace
from dubcli.records import Stamps

RATES = [Fraction(25), Fraction(30000, 1001), Fraction(44, 3)]
steps = st.lists(st.integers(1, 400), min_size=1, max_size=40)
rates = st.sampled_from(RATES)


def varying(lengths: list[int], rate: Fraction) -> Pace:
    edges = np.concatenate([[0], np.cumsum(lengths)])
    return Pace(rate, Stamps(edges[:-1], int(edges[-1]), Fraction(1, 600)))


@given(lengths=steps, rate=rates, more=st.integers(0, 20))
def test_frame_of_a_time_is_the_last_one_that_has_begun(
    lengths: list[int], rate: Fraction, more: int
) -> None:
    pace = varying(lengths, rate)
    count = len(lengths) + more
    begins = [pace.begins_s(k) for k in range(count + 1)]
    assert begins[0] == 0
    for k in range(count):
        between = (begins[k] + begins[k + 1]) / 2
        assert pace.frame_at(begins[k]) == pace.frame_at(between) == k
        assert pace.frames_before(begins[k]) == k
        assert pace.frames_before(between) == k + 1
    np.testing.assert_allclose(
        pace.times_s(count + 1), np.array(begins, float), atol=1 / 1200 + 1e-9
    )
    np.testing.assert_allclose(
        pace.times_s(len(lengths)), [float(t) for t in begins[: len(lengths)]], rtol=1e-12
    )


@given(count=st.integers(1, 40), rate=rates, ms=st.integers(0, 9000))
def test_even_timestamps_are_a_constant_rate(count: int, rate: Fraction, ms: int) -> None:
    even, constant = Pace(rate, Stamps(np.arange(count), count, 1 / rate)), Pace(rate)
    time_s = Fraction(ms, 1000)
    assert even.frame_at(time_s) == constant.frame_at(time_s)
    assert even.frames_before(time_s) == constant.frames_before(time_s)
    assert even.begins_s(ms) == constant.begins_s(ms)
    np.testing.assert_allclose(even.times_s(60), constant.times_s(60))
    np.testing.assert_allclose(even.rates_hz(60), float(rate), rtol=1e-5)
    assert constant.rates_hz(60) == pytest.approx(float(rate))


def test_rate_of_a_frame_is_one_over_its_length() -> None:
    np.testing.assert_allclose(varying([60, 24, 300], RATES[0]).rates_hz(4), [10, 25, 2, 25])
