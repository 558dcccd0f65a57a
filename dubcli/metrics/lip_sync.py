"""How well lips follow sound, from geometry.

Letters: T frames.
"""

import numpy as np

from dubcli.records import Facts, Float

STILL = 1e-6  # cm; below this deviation a mouth does not move and correlation means nothing


def correlation(generated: Float, true: Float) -> float:
    """Return the Pearson correlation of two opening curves, [T] and [T]; nan if one stands still.

    Example:
        >>> import numpy as np
        >>> round(correlation(np.array([0.0, 1, 2]), np.array([1.0, 3, 5])), 3)
        1.0
    """
    if generated.std() < STILL or true.std() < STILL:
        return float("nan")
    return float(np.corrcoef(generated, true)[0, 1])


def deviation_ratio(generated: Float, true: Float) -> float:
    """Return how far the generated mouth moves beside the true one: a ratio of deviations."""
    return float(generated.std() / max(float(true.std()), STILL))


def closure_recall(generated: Float, true: Float, *, share: float = 0.15, reach: int = 1) -> float:
    """Return the share of the true closures at which the generated mouth is closed too.

    A frame is closed if its opening is within ``share`` of the way from the curve's 2nd to its 98th
    percentile; a closure counts as met if the generated mouth closes within ``reach`` frames.

    Args:
        generated: Openings, [T] cm.
        true: Openings, [T] cm.
        share: Of each curve's own range.
        reach: Frames.
    """

    def closed(curve: Float) -> Facts:
        """Return where a curve is near its lowest."""
        low, high = np.percentile(curve, [2, 98])
        return np.asarray(curve <= low + share * (high - low))

    wanted = closed(true)
    near = np.convolve(closed(generated), np.ones(2 * reach + 1)) > 0
    return float(near[reach : reach + len(wanted)][wanted].mean())
