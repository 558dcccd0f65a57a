import math

import numpy as np
import pytest
from scipy.stats import pearsonr

from dubcli.metrics.lip_sync import closure_recall, correlation, deviation_ratio


def curves(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = np.abs(np.sin(np.arange(120) / 3)) + 0.1 * rng.uniform(size=120)
    return (0.6 * true + 0.2 * rng.uniform(size=120)).astype(np.float32), true.astype(np.float32)


def test_correlation_is_scipys() -> None:
    generated, true = curves()
    expected = pearsonr(generated.astype(np.float64), true.astype(np.float64)).statistic
    assert correlation(generated, true) == pytest.approx(expected, abs=1e-6)
    assert correlation(1 - generated, true) == pytest.approx(-expected, abs=1e-6)


def test_correlation_with_a_still_mouth_means_nothing() -> None:
    _, true = curves()
    still = np.full_like(true, 0.3)
    assert math.isnan(correlation(still, true))
    assert math.isnan(correlation(true, still))


def test_deviation_ratio_says_how_much_further_the_mouth_moves() -> None:
    _, true = curves()
    assert deviation_ratio(true * 0.5 + 3, true) == pytest.approx(0.5, rel=1e-4)
    assert deviation_ratio(true * 0, true) == 0
    assert math.isfinite(deviation_ratio(true, true * 0))


def slow_recall(generated: np.ndarray, true: np.ndarray, share: float, reach: int) -> float:
    def closed(curve: np.ndarray) -> list[bool]:
        low, high = np.percentile(curve, 2), np.percentile(curve, 98)
        return [bool(value <= low + share * (high - low)) for value in curve]

    met = wanted = 0
    made, real = closed(generated), closed(true)
    for t in range(len(true)):
        if real[t]:
            wanted += 1
            met += any(made[max(0, t - reach) : t + reach + 1])
    return met / wanted


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reach", [0, 1, 3])
def test_closure_recall_is_the_share_counted_frame_by_frame(seed: int, reach: int) -> None:
    generated, true = curves(seed)
    generated = np.roll(generated, 2)
    expected = slow_recall(generated, true, 0.15, reach)
    got = closure_recall(generated, true, share=0.15, reach=reach)
    assert got == pytest.approx(expected)
    assert closure_recall(true, true) == 1


def test_closures_of_one_frame_off_are_met_and_of_two_are_not() -> None:
    true = np.ones(40, np.float32)
    true[10] = true[25] = 0
    near, far = np.roll(true, 1), np.roll(true, 2)
    assert closure_recall(near, true) == 1
    assert closure_recall(far, true) == 0


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_closure_recall_of_very_short_curves_is_a_share(frames: int) -> None:
    curve = np.linspace(0, 1, frames).astype(np.float32)
    assert closure_recall(curve, curve) == 1
    assert closure_recall(curve[::-1].copy(), curve, reach=0) == (1 if frames == 1 else 0)
