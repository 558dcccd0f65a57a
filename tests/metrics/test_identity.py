import numpy as np
import pytest
from scipy.spatial.distance import cosine

from dubcli.metrics.identity import Csim, cosine_similarity


def test_cosine_is_scipys() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 128)).astype(np.float32)
    assert cosine_similarity(one, other) == pytest.approx(1 - cosine(one, other), abs=1e-6)
    assert cosine_similarity(one, 3 * one) == pytest.approx(1)
    assert cosine_similarity(one, -one) == pytest.approx(-1)


def test_csim_is_the_mean_over_faces() -> None:
    csim, axis = Csim(), np.eye(3, dtype=np.float32)
    csim.update(axis[0], axis[0])
    csim.update(axis[0], axis[1])
    assert csim.compute() == 0.5


def test_nothing_and_nonsense_are_errors() -> None:
    with pytest.raises(ValueError, match="nothing was measured yet"):
        Csim().compute()
    with pytest.raises(ValueError, match="has no direction"):
        Csim().update(np.zeros(3, np.float32), np.ones(3, np.float32))
    with pytest.raises(ValueError, match="one is"):
        Csim().update(np.ones(2, np.float32), np.ones(3, np.float32))
