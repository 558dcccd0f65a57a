"""StyleSim: how alike two people's ways of moving the mouth are (PersonaTalk, section 4.2).

Letters: D embedding size, N and M numbers of pairs.
"""

import numpy as np

from dubcli.records import Float


def style_similarity(a: Float, b: Float) -> float:
    """Return StyleSim of two style embeddings: their cosine, with the negative ones cut to 0.

    The cosine as the paper has it, in the range that it is reported in. Vectors that point apart
    are no less alike than vectors at right angles: the encoder is trained to push strangers
    anywhere but together.

    Args:
        a: Embedding, [D], any length but 0.
        b: Embedding, [D], any length but 0.

    Returns:
        0 to 1; 1 for the same direction.

    Raises:
        ValueError: If the sizes differ or a vector is 0.

    Example:
        >>> round(style_similarity(np.array([1.0, 0.0]), np.array([1.0, 1.0])), 3)
        0.707
    """
    if a.shape != b.shape:
        raise ValueError(f"embeddings have shapes {a.shape} and {b.shape}")
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths == 0:
        raise ValueError("an embedding is 0 and has no direction")
    return float(np.clip(np.dot(a, b) / lengths, 0, 1))


def roc_auc(same: Float, other: Float) -> float:
    """Return the share of (same, other) pairs in which same is the larger; ties count half.

    The area under the ROC curve, by ranks (Mann and Whitney 1947): N log N, not N M.

    Args:
        same: Scores that should be high, [N].
        other: Scores that should be low, [M].

    Returns:
        0 to 1; 0.5 for scores that tell nothing; nan if either is empty.

    Example:
        >>> roc_auc(np.array([0.9, 0.4]), np.array([0.1, 0.4]))
        0.875
    """
    if not len(same) or not len(other):
        return float("nan")
    ordered = np.sort(other)
    below = np.searchsorted(ordered, same, side="left")
    up_to = np.searchsorted(ordered, same, side="right")
    return float((below + up_to).mean() / 2 / len(other))
