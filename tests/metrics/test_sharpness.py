import math
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, sobel
from skimage.feature import canny

from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.metrics.sharpness import Cpbd, canny_edges, cpbd, edge_widths, vertical_edges
from dubcli.records import Bytes, Float

EXAMPLE = Path(__file__).parents[2] / "examples" / "media" / "franck.mp4"
SIGMA = math.sqrt(2)


@pytest.fixture(scope="module")
def frame() -> Bytes:
    with FrameReader(probe_video(EXAMPLE), 0, 1) as frames:
        return next(iter(frames)).rgb


def blurred(rgb: Bytes, sigma: float) -> Bytes:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma)) if sigma else rgb


def step(width: int, contrast: int = 200) -> Float:
    """Return a picture whose one edge rises over ``width`` pixels."""
    row = np.interp(np.arange(128), [90, 90 + width], [20, 20 + contrast])
    return np.tile(row, (64, 1)).astype(np.float32)


def as_rgb(grey: Float) -> Bytes:
    return np.repeat(np.rint(grey).astype(np.uint8)[:, :, None], 3, axis=2)


def widths_of(grey: Float) -> set[int]:
    return set(np.unique(edge_widths(grey)).tolist()) - {0}


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8])
def test_width_of_a_step_is_the_pixels_over_which_it_rises_or_falls(width: int) -> None:
    assert widths_of(step(width)) == {width}
    assert widths_of(step(width)[:, ::-1]) == {width}


@pytest.mark.parametrize(("contrast", "just_noticeable"), [(40, 5), (50, 5), (60, 3), (200, 3)])
def test_edges_look_sharp_up_to_the_just_noticeable_width(
    contrast: int, just_noticeable: int
) -> None:
    for width in range(1, 8):
        expected = 1.0 if width <= just_noticeable else 0.0
        assert cpbd(as_rgb(step(width, contrast))) == expected


def test_edges_along_the_row_and_slanted_ones_have_no_width() -> None:
    assert widths_of(step(2).T.copy()) == set()
    x, y = np.meshgrid(np.arange(128), np.arange(64))
    assert widths_of(np.clip((x - y) * 40.0, 0, 200).astype(np.float32)) == set()


def slow_width(row: Float, at: int) -> int:
    sign = 1 if row[at + 1] > row[at - 1] else -1
    left = right = at
    while left > 0 and sign * (row[left] - row[left - 1]) > 0:
        left -= 1
    while right < len(row) - 1 and sign * (row[right + 1] - row[right]) > 0:
        right += 1
    return right - left


def slow_cpbd(rgb: Bytes) -> float:
    """The paper's steps with its probabilities, block by block and pixel by pixel."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64)
    smooth = gaussian_filter(grey, SIGMA)
    high = np.percentile(np.hypot(sobel(smooth, 0), sobel(smooth, 1)), 70)
    structure = canny(grey, SIGMA, 0.4 * high, high)
    edges = vertical_edges(grey.astype(np.float32))
    found = []
    for top in range(0, grey.shape[0] - 63, 64):
        for left in range(0, grey.shape[1] - 63, 64):
            block = grey[top : top + 64, left : left + 64]
            if structure[top : top + 64, left : left + 64].sum() <= 0.002 * 64 * 64:
                continue
            just_noticeable = 5 if block.max() - block.min() <= 50 else 3
            for dy, dx in np.argwhere(edges[top : top + 64, left : left + 64]):
                y, x = top + dy, left + dx
                down = grey[min(y + 1, len(grey) - 1), x] - grey[max(y - 1, 0), x]
                across = (grey[y, x + 1] - grey[y, x - 1]) / 2
                down /= 2 if 0 < y < len(grey) - 1 else 1
                if abs(math.degrees(math.atan2(down, abs(across)))) < 22.5:
                    width = slow_width(grey[y], x)
                    found.append(1 - math.exp(-((width / just_noticeable) ** 3.6)))
    return sum(round(100 * p) <= 63 for p in found) / len(found)


@pytest.mark.parametrize("sigma", [0, 0.7])
def test_cpbd_is_the_papers_counted_edge_by_edge(frame: Bytes, sigma: float) -> None:
    rgb = blurred(frame, sigma)
    assert cpbd(rgb) == pytest.approx(slow_cpbd(rgb), abs=0.01)  # Canny's may differ by a block


def test_canny_finds_the_edges_of_scikit_image(frame: Bytes) -> None:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = gaussian_filter(grey.astype(np.float64), SIGMA)
    high = np.percentile(np.hypot(sobel(smooth, 0), sobel(smooth, 1)), 70)
    expected, got = canny(grey, SIGMA, 0.4 * high, high), canny_edges(grey)
    near = cv2.dilate(expected.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert near[got].mean() > 0.98  # the two thin plateaus differently
    assert got.sum() == pytest.approx(expected.sum(), rel=0.1)


def test_cpbd_of_a_real_frame_falls_as_it_is_blurred(frame: Bytes) -> None:
    values = [cpbd(blurred(frame, sigma)) for sigma in (0, 0.5, 0.8, 1.2, 4)]
    assert None not in values
    assert all(sharper > softer for sharper, softer in pairwise(values))
    assert values[0] > 0.25
    assert values[-1] < 0.02


def test_video_is_the_mean_of_the_frames_that_have_edges(frame: Bytes) -> None:
    video = Cpbd()
    for rgb in (np.zeros_like(frame), frame, blurred(frame, 1), frame[:63]):
        video.update(rgb)
    expected = (cpbd(frame) or 0) / 2 + (cpbd(blurred(frame, 1)) or 0) / 2
    assert video.compute() == pytest.approx(expected)


def test_video_without_an_edge_has_no_cpbd() -> None:
    video = Cpbd()
    video.update(np.full((128, 128, 3), 90, np.uint8))
    with pytest.raises(ValueError, match="nothing was measured yet"):
        video.compute()
