"""Picture metrics over a mask.

Letters: H, W picture size.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.metrics.mean import MeanOf
from dubcli.records import Bytes

Double = NDArray[np.float64]

PEAK = 255.0
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5  # Wang et al. 2004: an 11x11 Gaussian window
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
    return decibels(squared_error(picture, truth, mask))


def squared_error(picture: Bytes, truth: Bytes, mask: Bytes | None = None) -> float:
    """Return the mean squared error over a mask, [H, W, 3] and [H, W]; grey levels squared."""
    if mask is not None:
        picture, truth = picture[mask > 0], truth[mask > 0]
    error = picture.astype(np.float64) - truth.astype(np.float64)
    return float(np.square(error).mean())


def decibels(error: float) -> float:
    """Return the PSNR of a mean squared error, in dB; infinite for 0."""
    return float("inf") if error == 0 else float(10 * np.log10(PEAK**2 / error))


def same_size(made: Bytes, true: Bytes, mask: Bytes | None = None) -> None:
    """Raise ValueError unless two pictures, [H, W, 3], and a mask, [H, W], have one size."""
    if made.shape != true.shape:
        raise ValueError(f"made is {made.shape}, true is {true.shape}")
    if mask is not None and mask.shape != made.shape[:2]:
        raise ValueError(f"mask is {mask.shape}, the picture is {made.shape[:2]}")


def ssim(picture: Bytes, truth: Bytes, mask: Bytes | None = None) -> float:
    """Return the structural similarity (Wang et al. 2004), mean over a mask and the channels.

    Args:
        picture: [H, W, 3].
        truth: [H, W, 3].
        mask: Pixels whose windows count, [H, W]; None: all.
    """
    if mask is None:
        return float(ssim_map(picture, truth).mean())
    rows, columns = np.nonzero(mask)
    top, left = max(rows.min() - SSIM_RADIUS, 0), max(columns.min() - SSIM_RADIUS, 0)
    box = np.s_[top : rows.max() + SSIM_RADIUS + 1, left : columns.max() + SSIM_RADIUS + 1]
    similarity = ssim_map(picture[box], truth[box])  # the windows of the mask reach no further
    return float(similarity[mask[box] > 0].mean())


def ssim_map(picture: Bytes, truth: Bytes) -> Double:
    """Return the similarity around each pixel and channel, [H, W, 3]."""

    def local(values: Double) -> Double:
        """Average over the Gaussian window."""
        size = (2 * SSIM_RADIUS + 1, 2 * SSIM_RADIUS + 1)
        mean = cv2.GaussianBlur(values, size, SSIM_SIGMA, borderType=cv2.BORDER_REFLECT)
        return np.asarray(mean, dtype=np.float64)

    x, y = picture.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = local(x), local(y)
    variance_x = local(x * x) - mean_x**2
    variance_y = local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return np.asarray(top / bottom)


class Psnr:
    """The PSNR of a video in dB: that of the mean squared error over all frames.

    10 log10(255^2 / mean over frames of (mean over the mask of the squared error))

    This is what ffmpeg's psnr filter calls the average. The mean of the frames' own decibels would
    be infinite as soon as one frame (a black one, say) came through unchanged; ours never exceeds
    it, because the logarithm is convex. A frame whose mask is empty does not count.

    Example:
        >>> import numpy as np
        >>> video, frame = Psnr(), np.zeros((4, 4, 3), np.uint8)
        >>> video.update(frame, frame)
        >>> video.compute()
        inf
        >>> video.update(frame, frame + np.uint8(255))
        >>> round(video.compute(), 2)
        3.01
    """

    def __init__(self) -> None:
        """Begin without a frame."""
        self._error = MeanOf()

    def update(self, made: Bytes, true: Bytes, mask: Bytes | None = None) -> None:
        """Take in a frame.

        Args:
            made: [H, W, 3].
            true: [H, W, 3].
            mask: Pixels that count, [H, W]; None: all.

        Raises:
            ValueError: If the sizes differ.
        """
        same_size(made, true, mask)
        if mask is None or mask.any():
            self._error.update(squared_error(made, true, mask))

    def compute(self) -> float:
        """Return dB; infinite if all pixels are equal.

        Raises:
            ValueError: Before the first frame that counts.
        """
        return decibels(self._error.compute())


class Ssim:
    """The SSIM of a video: the mean of its frames' SSIM over a mask.

    A frame whose mask is empty does not count.

    Example:
        >>> import numpy as np
        >>> video, frame = Ssim(), np.zeros((16, 16, 3), np.uint8)
        >>> video.update(frame, frame)
        >>> video.compute()
        1.0
    """

    def __init__(self) -> None:
        """Begin without a frame."""
        self._similarity = MeanOf()

    def update(self, made: Bytes, true: Bytes, mask: Bytes | None = None) -> None:
        """Take in a frame.

        Args:
            made: [H, W, 3].
            true: [H, W, 3].
            mask: Pixels whose windows count, [H, W]; None: all.

        Raises:
            ValueError: If the sizes differ.
        """
        same_size(made, true, mask)
        if mask is None or mask.any():
            self._similarity.update(ssim(made, true, mask))

    def compute(self) -> float:
        """Return the mean, 1 for equal videos.

        Raises:
            ValueError: Before the first frame that counts.
        """
        return self._similarity.compute()


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
