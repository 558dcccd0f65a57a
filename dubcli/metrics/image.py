"""Picture metrics over a mask.

Letters: H, W picture size.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dubcli.records import Bytes

Double = NDArray[np.float64]

PEAK = 255.0
SSIM_SIGMA = 1.5  # Wang et al. 2004: an 11x11 Gaussian window
SSIM_K1, SSIM_K2 = 0.01, 0.03


def psnr(picture: Bytes, truth: Bytes, mask: Bytes | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB over a mask; infinite for equal pictures.

    10 log10(255^2 / mean squared error)

    Args:
        picture: [H, W, 3].
        truth: [H, W, 3].
        mask: Pixels that count, [H, W]; None: all.

    Example:
        >>> import numpy as np
        >>> a = np.zeros((4, 4, 3), np.uint8)
        >>> round(psnr(a, a + np.uint8(255)), 3)
        0.0
    """
    error = (picture.astype(np.float64) - truth.astype(np.float64)) ** 2
    mean = error.mean() if mask is None else error[mask > 0].mean()
    return float("inf") if mean == 0 else float(10 * np.log10(PEAK**2 / mean))


def ssim(picture: Bytes, truth: Bytes, mask: Bytes | None = None) -> float:
    """Return the structural similarity (Wang et al. 2004), mean over a mask and the channels.

    Args:
        picture: [H, W, 3].
        truth: [H, W, 3].
        mask: Pixels whose windows count, [H, W]; None: all.
    """
    similarity = ssim_map(picture, truth)
    return float(similarity.mean() if mask is None else similarity[mask > 0].mean())


def ssim_map(picture: Bytes, truth: Bytes) -> Double:
    """Return the similarity around each pixel and channel, [H, W, 3]."""

    def local(values: Double) -> Double:
        """Average over the Gaussian window."""
        mean: Double = gaussian_filter(values, (SSIM_SIGMA, SSIM_SIGMA, 0), truncate=3.5)
        return mean

    x, y = picture.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = local(x), local(y)
    variance_x = local(x * x) - mean_x**2
    variance_y = local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return np.asarray(top / bottom)


def detail_ratio(picture: Bytes, truth: Bytes, mask: Bytes) -> float:
    """Return the mean gradient over a mask beside the true one: 1 is as sharp, less is softer.

    A picture may reach a high PSNR by being soft; this shows it.

    Args:
        picture: [H, W, 3].
        truth: [H, W, 3].
        mask: Pixels that count, [H, W]; not in the last row or column.
    """

    def gradient(rgb: Bytes) -> float:
        """Return the mean of |right - here| + |below - here| of the grey picture."""
        grey = rgb.astype(np.float64).mean(axis=-1)
        change = np.abs(np.diff(grey, axis=1))[:-1] + np.abs(np.diff(grey, axis=0))[:, :-1]
        return float(change[mask[:-1, :-1] > 0].mean())

    return gradient(picture) / max(gradient(truth), 1e-6)
