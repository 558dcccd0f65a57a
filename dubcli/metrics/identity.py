"""Whether a face is still the same person's.

Letters: D width of an embedding.
"""

import numpy as np

from dubcli.metrics.mean import MeanOf
from dubcli.records import Float


def cosine_similarity(one: Float, other: Float) -> float:
    """Return the cosine of the angle between two vectors, [D] and [D]; -1 to 1.

    Raises:
        ValueError: If widths differ or a vector is 0.

    Example:
        >>> import numpy as np
        >>> cosine_similarity(np.array([1.0, 0]), np.array([3.0, 4]))
        0.6
    """
    if one.shape != other.shape:
        raise ValueError(f"one is {one.shape}, the other {other.shape}")
    a, b = one.astype(np.float64), other.astype(np.float64)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not length:
        raise ValueError("a vector of length 0 has no direction")
    return float(np.clip(a @ b / length, -1, 1))


class Csim:
    """CSIM: the mean cosine of face embeddings, made beside true (PersonaTalk, section 4.2).

    Its value depends on the network that embeds, so it must be named beside it.

    Example:
        >>> import numpy as np
        >>> csim = Csim()
        >>> csim.update(np.array([1.0, 2]), np.array([2.0, 4]))
        >>> round(csim.compute(), 6)
        1.0
    """

    def __init__(self) -> None:
        """Begin without a face."""
        self._similarity = MeanOf()

    def update(self, made: Float, true: Float) -> None:
        """Take in two embeddings, [D] each.

        Raises:
            ValueError: If widths differ or a vector is 0.
        """
        self._similarity.update(cosine_similarity(made, true))

    def compute(self) -> float:
        """Return the mean, -1 to 1.

        Raises:
            ValueError: Before the first update.
        """
        return self._similarity.compute()
