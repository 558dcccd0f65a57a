import statistics

import pytest

from dubcli.metrics.mean import MeanOf


def test_mean_is_that_of_all_numbers() -> None:
    mean, values = MeanOf(), [0.25, -3.0, 8.5, 1e3]
    for value in values:
        mean.update(value)
    assert mean.compute() == pytest.approx(statistics.fmean(values))


def test_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured yet"):
        MeanOf().compute()
