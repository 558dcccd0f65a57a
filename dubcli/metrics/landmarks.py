"""Landmark distances: how far lips and face are from where they belong.

Letters: V mesh vertices (468), P points measured, N points aligned.

The field's three: LMD is that of the lips where they are (PersonaTalk, section 4.2: "normalized
landmark distance around the lip"), F-LMD that of the whole face, M-LMD that of the lips once the
faces lie upon each other (Chen et al. 2019; StyleTalk). Papers differ in the unit; ours is a
percentage of the true face's height, so that it does not depend on the size of the picture.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dubcli.geometry.morphable import CHIN, FACE_OVAL, INNER_LIP_RING, OUTER_LIP_RING
from dubcli.metrics.mean import MeanOf
from dubcli.records import Float

Double = NDArray[np.float64]

LIPS = INNER_LIP_RING + OUTER_LIP_RING
FACE = tuple(range(468))
FOREHEAD = FACE_OVAL[0]
# By which faces are laid upon each other: those of MediaPipe's Procrustes landmarks that speech
# does not move (weight 0 in ``geometry.morphable.lower_face_weight``).
UPPER_FACE = (
    4, 6, 10, 33, 54, 67, 117, 119, 121, 127, 133, 143, 198,
    263, 284, 297, 346, 348, 350, 356, 362, 372, 420,
)  # fmt: skip


class LandmarkDistance:
    """The mean distance of landmarks in the picture plane, in % of the true face's height.

    100 / T sum_t mean_p |q_tp - p_tp| / h_t, with h_t the distance from the top of the forehead to
    the chin of the true face in three dimensions, which nodding does not shorten.

    Args:
        indices: The vertices measured: ``LIPS``, ``FACE``.
        align: Lay the made face upon the true one first, with the similarity (turn, size, shift in
            the plane) that fits the upper face best.

    Example:
        >>> import numpy as np
        >>> true = np.zeros((468, 3))
        >>> true[CHIN, 1] = 200
        >>> lmd = LandmarkDistance(LIPS)
        >>> lmd.update(true + [3, 4, 0], true)
        >>> lmd.compute()
        2.5
    """

    def __init__(self, indices: Sequence[int], align: bool = False) -> None:
        """Begin without a frame."""
        self._indices, self._align = list(indices), align
        self._distance = MeanOf()

    def update(self, made: Float, true: Float) -> None:
        """Take in the landmarks of a frame.

        Args:
            made: [V, 3] pixels.
            true: [V, 3] pixels.

        Raises:
            ValueError: If the shapes differ or the true face has no height.
        """
        if made.shape != true.shape:
            raise ValueError(f"made is {made.shape}, true is {true.shape}")
        height = float(np.linalg.norm(true[FOREHEAD] - true[CHIN]))
        if not height:
            raise ValueError("the true face has no height")
        here, there = made[:, :2].astype(np.float64), true[:, :2].astype(np.float64)
        if self._align:
            here = aligned(here, there, UPPER_FACE)
        apart = np.linalg.norm(here[self._indices] - there[self._indices], axis=1)
        self._distance.update(100 * float(apart.mean()) / height)

    def compute(self) -> float:
        """Return the mean over frames, %.

        Raises:
            ValueError: Before the first update.
        """
        return self._distance.compute()


def aligned(points: Double, target: Double, by: Sequence[int]) -> Double:
    """Return points moved by the similarity that lays some of them upon their targets.

    Least squares over turn, size and shift (Umeyama 1991). In the plane, with points as complex
    numbers about their means, the factor is sum(conj(p) q) / sum |p|^2.

    Args:
        points: [P, 2].
        target: [P, 2].
        by: The N points that are fitted, at least two apart from each other.

    Returns:
        [P, 2].

    Example:
        >>> import numpy as np
        >>> corners = np.array([[0.0, 0], [1, 0], [1, 1]])
        >>> turned = corners[:, ::-1] * [-2, 2] + 5
        >>> bool(np.allclose(aligned(turned, corners, (0, 1, 2)), corners))
        True
    """
    p, q = (values @ np.array([1, 1j]) for values in (points, target))
    chosen = list(by)
    p0, q0 = p[chosen].mean(), q[chosen].mean()
    fitted, wanted = p[chosen] - p0, q[chosen] - q0
    factor = (fitted.conj() * wanted).sum() / np.square(np.abs(fitted)).sum()
    moved = factor * (p - p0) + q0
    return np.stack([moved.real, moved.imag], axis=1)
