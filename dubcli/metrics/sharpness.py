"""CPBD: how sharp a picture looks, without a reference.

Letters: H, W picture size; B block size (64).

Narvekar and Karam 2011, "A No-Reference Image Blur Metric Based on the Cumulative Probability of
Blur Detection (CPBD)". An edge of width w in a block whose just noticeable blur is w_JNB is seen as
blurred with probability P = 1 - exp(-(w / w_JNB)^beta), beta = 3.6. CPBD is the share of edges with
P <= P_JNB = 63 %, that of w = w_JNB. P grows with w, so this is the share with w <= w_JNB,
and beta falls out.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.metrics.mean import MeanOf
from dubcli.records import Bytes, Facts, Float, Integers

BLOCK = 64  # pixels
EDGE_SHARE = 0.002  # of a block's pixels; a block with more edge pixels is an edge block
LOW_CONTRAST = 50  # grey levels between the darkest and the brightest pixel of a block
JNB_LOW, JNB_HIGH = 5, 3  # pixels: just noticeable width at contrast up to LOW_CONTRAST, and above
# The detectors as in the MATLAB program of the metric's authors, whose thresholds follow the
# picture: blurring does not merely remove edges.
CANNY_SIGMA = 2**0.5
CANNY_QUANTILE, CANNY_LOW = 0.7, 0.4  # of the gradient magnitudes; of the upper threshold
SOBEL_CUTOFF = 4.0  # times the mean squared gradient
FIXED_POINT = 16  # cv2.Canny takes gradients as int16; a gradient is at most 1020


class Cpbd:
    """CPBD of a video: the mean over its frames of the share of edges that look sharp.

    Frames without an edge (a black picture, or one smaller than a block) do not count.

    Example:
        >>> import numpy as np
        >>> frame = np.zeros((64, 64, 3), np.uint8)
        >>> frame[:, 32:] = 200
        >>> cpbd = Cpbd()
        >>> cpbd.update(frame)
        >>> cpbd.compute()
        1.0
    """

    def __init__(self) -> None:
        """Begin without a frame."""
        self._sharpness = MeanOf()

    def update(self, rgb: Bytes) -> None:
        """Take in a frame, [H, W, 3]."""
        value = cpbd(rgb)
        if value is not None:
            self._sharpness.update(value)

    def compute(self) -> float:
        """Return the mean, 0 to 1, higher being sharper.

        Raises:
            ValueError: Before the first frame that has edges.
        """
        return self._sharpness.compute()


def cpbd(rgb: Bytes) -> float | None:
    """Return the share of a picture's edges that look sharp, 0 to 1; None if it has no edge.

    Args:
        rgb: [H, W, 3]. Rows and columns beyond the last whole block do not count.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)
    height, width = (size // BLOCK * BLOCK for size in grey.shape)
    if not height or not width:
        return None
    widths = edge_widths(grey)[:height, :width]
    blocks = _blocks(grey[:height, :width])
    contrast = blocks.max(axis=(1, 3)) - blocks.min(axis=(1, 3))
    just_noticeable = np.where(contrast <= LOW_CONTRAST, JNB_LOW, JNB_HIGH)
    busy = _blocks(canny_edges(grey)[:height, :width]).mean(axis=(1, 3)) > EDGE_SHARE
    measured = (_blocks(widths) > 0) & busy[:, None, :, None]
    if not measured.any():
        return None
    sharp = _blocks(widths) <= just_noticeable[:, None, :, None]
    return float(sharp[measured].mean())


def canny_edges(grey: Float) -> Facts:
    """Return Canny's edges, [H, W], which say where the picture has structure.

    The upper threshold is the 70th percentile of the gradient, the lower one 0.4 of that.

    Args:
        grey: [H, W], 0 to 255.
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), CANNY_SIGMA)
    across, down = (
        cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, borderType=cv2.BORDER_REPLICATE) for dx in (1, 0)
    )
    high = float(np.quantile(np.hypot(across, down), CANNY_QUANTILE)) * FIXED_POINT
    dx, dy = (np.rint(gradient * FIXED_POINT).astype(np.int16) for gradient in (across, down))
    found = cv2.Canny(dx, dy, CANNY_LOW * high, max(high, 1.0), L2gradient=True)
    return np.asarray(found > 0)


def vertical_edges(grey: Float) -> Facts:
    """Return Sobel's thinned vertical edges, [H, W], at which widths are measured.

    A pixel is one if its horizontal gradient is above twice the root mean square, and is not below
    that of its two neighbours in the row.

    Args:
        grey: [H, W], 0 to 255.
    """
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    energy = np.square(across, dtype=np.float64)
    edges = energy > SOBEL_CUTOFF * energy.mean()
    edges[:, 1:] &= energy[:, 1:] >= energy[:, :-1]
    edges[:, :-1] &= energy[:, :-1] > energy[:, 1:]  # of two equal neighbours only one
    edges[:, [0, -1]] = False
    return np.asarray(edges)


def edge_widths(grey: Float) -> Integers:
    """Return the width of each vertical edge in pixels, [H, W]; 0 where there is none.

    The distance along the row between the local extrema that enclose the edge (Marziliano et al.
    2002): how far brightness rises, or falls, without a break. Only edges whose gradient lies
    within 22.5 degrees of the row are measured, for a slanted one is wider along the row.

    Args:
        grey: [H, W], 0 to 255.
    """
    down, across = np.gradient(grey.astype(np.float64))
    upright = np.abs(down) < np.tan(np.pi / 8) * np.abs(across)
    steps = np.diff(grey.astype(np.float64), axis=1)
    width: Integers = np.where(across > 0, _run_through(steps > 0), _run_through(steps < 0))
    return np.where(vertical_edges(grey) & upright, width, 0)


def _run_through(steps: Facts) -> Integers:
    """Return for each pixel of a row how many true steps run through it without a break.

    Args:
        steps: [H, W - 1]; step i leads from pixel i to pixel i + 1.

    Returns:
        [H, W].
    """
    column = np.arange(steps.shape[1] + 1)
    broken = np.pad(~steps, ((0, 0), (1, 1)), constant_values=True)  # the picture's sides end a run
    start = np.maximum.accumulate(np.where(broken[:, :-1], column, 0), axis=1)
    last = np.where(broken[:, 1:], column, len(column))
    end = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(end - start, dtype=np.int64)


def _blocks(values: NDArray[Any]) -> NDArray[Any]:
    """Return [H, W] as [H / B, B, W / B, B]."""
    height, width = values.shape
    return values.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
