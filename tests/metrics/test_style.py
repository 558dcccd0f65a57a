import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dubcli.metrics.style import roc_auc, style_similarity

SCORES = st.lists(st.integers(0, 6).map(lambda n: n / 4), min_size=1, max_size=12)  # with ties


def counted_auc(same: list[float], other: list[float]) -> float:
    """Return the share of pairs that are in the right order, one by one."""
    points = [1.0 if a > b else 0.5 if a == b else 0.0 for a in same for b in other]
    return sum(points) / len(points)


@given(SCORES, SCORES)
def test_area_is_the_share_of_pairs_in_the_right_order(
    same: list[float], other: list[float]
) -> None:
    assert roc_auc(np.array(same), np.array(other)) == pytest.approx(counted_auc(same, other))


def test_area_of_nothing_is_unknown() -> None:
    assert math.isnan(roc_auc(np.zeros(0), np.ones(2)))
    assert math.isnan(roc_auc(np.ones(2), np.zeros(0)))


@pytest.mark.parametrize(
    ("degrees", "expected"), [(0, 1.0), (60, 0.5), (90, 0.0), (120, 0.0), (180, 0.0)]
)
def test_similarity_is_the_cosine_and_never_below_zero(degrees: float, expected: float) -> None:
    angle = math.radians(degrees)
    a = np.array([3.0, 0.0], dtype=np.float32)
    b = np.array([math.cos(angle), math.sin(angle)], dtype=np.float32) * 0.2
    assert style_similarity(a, b) == pytest.approx(expected, abs=1e-6)
    assert style_similarity(b, a) == style_similarity(a, b)


def test_vectors_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        style_similarity(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="no direction"):
        style_similarity(np.ones(2), np.zeros(2))
