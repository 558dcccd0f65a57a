import numpy as np
import pytest
from scipy.linalg import sqrtm

from dubcli.metrics.frechet import FrechetDistance

TOLERANCE = 1e-6  # relative; scipy's root of a product is not symmetric


def direct(made: np.ndarray, true: np.ndarray) -> float:
    apart = made.mean(0) - true.mean(0)
    one, other = np.cov(made, rowvar=False), np.cov(true, rowvar=False)
    root = sqrtm(one @ other)
    return float(apart @ apart + np.trace(one + other - 2 * root.real))


def measured(made: np.ndarray, true: np.ndarray) -> float:
    distance = FrechetDistance(made.shape[1])
    for pair in zip(made, true, strict=True):
        distance.update(*pair)
    return distance.compute()


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_running_sums_give_the_direct_formula_on_stored_features(offset: float) -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(12, 12))
    made = offset + rng.normal(size=(200, 12)) @ mixing
    true = offset + 0.5 + 1.5 * rng.normal(size=(200, 12))
    assert measured(made, true) == pytest.approx(direct(made, true), rel=TOLERANCE)


def test_gaussians_along_the_axes_have_the_distance_of_their_deviations() -> None:
    spread = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])  # covariance 2/3 on each axis
    got = measured(spread * [3, 5] + [1, 2], spread)
    assert got == pytest.approx(1 + 4 + 2 / 3 * (2**2 + 4**2))


def test_features_beside_themselves_have_distance_zero_also_if_fewer_than_their_width() -> None:
    features = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float32)
    assert measured(features, features) == pytest.approx(0, abs=1e-5)
    assert measured(features[:2], features[:2]) == pytest.approx(0, abs=1e-5)


def test_fewer_vectors_than_features_give_the_root_through_singular_values() -> None:
    rng = np.random.default_rng(2)
    made, true = rng.normal(size=(2, 6, 30))
    a, b = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (made, true))
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()  # tr (A'A B'B)^(1/2) = |A B'|_*
    apart = np.square(made.mean(0) - true.mean(0)).sum()
    expected = apart + np.square(a).sum() + np.square(b).sum() - 2 * shared
    assert measured(made, true) == pytest.approx(expected, rel=TOLERANCE)


def test_equal_vectors_have_no_spread_and_the_distance_of_their_means() -> None:
    made, true = np.full((3, 4), 2.5), np.full((3, 4), 1.5)
    assert measured(made, true) == 4
    assert measured(made, made) == 0


def test_one_vector_is_not_enough_and_widths_must_agree() -> None:
    distance = FrechetDistance(3)
    distance.update(np.ones(3, np.float32), np.ones(3, np.float32))
    with pytest.raises(ValueError, match="1 measured, a Frechet distance needs 2"):
        distance.compute()
    with pytest.raises(ValueError, match=r"the vector is \(4,\), the distance \(3,\) wide"):
        distance.update(np.ones(3, np.float32), np.ones(4, np.float32))
