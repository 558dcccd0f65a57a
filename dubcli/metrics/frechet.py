"""The Frechet distance between two sets of features, from running sums.

Letters: D features, N vectors seen.
"""

import numpy as np
from numpy.typing import NDArray

from dubcli.records import Float

Double = NDArray[np.float64]

FEWEST = 2  # a covariance needs two


class FrechetDistance:
    """The Frechet distance between made and true features as if both were Gaussian.

    |mean_m - mean_t|^2 + tr(C_m + C_t - 2 (C_m C_t)^(1/2))      (Dowson and Landau 1982)

    On Inception features this is the FID of Heusel et al. 2017; name it after the features it has.

    Memory is two D x D sums however many vectors come. The trace of the root is taken from the
    symmetric A' C_t A with C_m = A A', which has the same eigenvalues, and few where N < D leaves
    the covariances singular. Few vectors bias the distance upward: compare only numbers from
    equally many.

    Args:
        width: D.

    Example:
        >>> import numpy as np
        >>> distance = FrechetDistance(1)
        >>> for value in (-1.0, 1.0):
        ...     distance.update(np.array([value + 3]), np.array([value]))
        >>> distance.compute()
        9.0
    """

    def __init__(self, width: int) -> None:
        """Begin without a vector."""
        self._made, self._true = _Moments(width), _Moments(width)

    def update(self, made: Float, true: Float) -> None:
        """Take in the features of a made and of a true picture, [D] each.

        Raises:
            ValueError: If a width is not D.
        """
        self._made.update(made)
        self._true.update(true)

    def compute(self) -> float:
        """Return the distance, 0 or more, in squared units of the features.

        Raises:
            ValueError: Before the second update.
        """
        made, true = self._made.covariance(), self._true.covariance()
        apart = float(np.square(self._made.mean() - self._true.mean()).sum())
        factor = _factor(made)
        values = np.linalg.eigvalsh(factor.T @ true @ factor)
        shared = float(np.sqrt(np.clip(values, 0, None)).sum())
        return max(apart + float(np.trace(made) + np.trace(true)) - 2 * shared, 0.0)


class _Moments:
    """Mean and covariance from sums about the first vector, which keeps digits."""

    def __init__(self, width: int) -> None:
        """Begin without a vector."""
        self._origin = np.zeros(width)
        self._sum = np.zeros(width)
        self._products = np.zeros((width, width))
        self._count = 0

    def update(self, vector: Float) -> None:
        """Take in [D]."""
        if vector.shape != self._sum.shape:
            raise ValueError(f"the vector is {vector.shape}, the distance {self._sum.shape} wide")
        if not self._count:
            self._origin = vector.astype(np.float64)
        offset = vector.astype(np.float64) - self._origin
        self._sum += offset
        self._products += np.outer(offset, offset)
        self._count += 1

    def mean(self) -> Double:
        """Return [D]."""
        mean: Double = self._origin + self._sum / self._count
        return mean

    def covariance(self) -> Double:
        """Return [D, D], unbiased."""
        if self._count < FEWEST:
            raise ValueError(f"{self._count} measured, a Frechet distance needs {FEWEST}")
        centred = self._products - np.outer(self._sum, self._sum) / self._count
        covariance: Double = centred / (self._count - 1)
        return covariance


def _factor(covariance: Double) -> Double:
    """Return A with A A' = C, [D, K], K being the rank of C."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    factor: Double = vectors[:, kept] * np.sqrt(values[kept])
    return factor
