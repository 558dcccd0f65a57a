import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dubcli.metrics.image import detail_ratio, psnr, ssim, ssim_map
from dubcli.records import Bytes

EXACT = 1e-9  # double precision on both sides
MAP_TOLERANCE = 1e-9


def two_pictures(seed: int = 0) -> tuple[Bytes, Bytes]:
    rng = np.random.default_rng(seed)
    truth = np.cumsum(rng.integers(-9, 10, (37, 41, 3)), axis=1) + 128
    noise = rng.normal(scale=12, size=truth.shape)
    clipped = (np.clip(truth + n, 0, 255).astype(np.uint8) for n in (noise, 0 * noise))
    picture, truth = clipped
    return picture, truth


def test_psnr_is_that_of_scikit_image() -> None:
    picture, truth = two_pictures()
    expected = peak_signal_noise_ratio(truth, picture, data_range=255)
    assert psnr(picture, truth) == pytest.approx(expected, rel=EXACT)


def test_psnr_over_a_mask_is_that_of_the_masked_pixels() -> None:
    picture, truth = two_pictures()
    mask = np.random.default_rng(1).integers(0, 2, truth.shape[:2]).astype(np.uint8)
    total = count = 0
    for y, x in np.argwhere(mask):
        for c in range(3):
            total += (int(picture[y, x, c]) - int(truth[y, x, c])) ** 2
            count += 1
    expected = 10 * math.log10(255**2 / (total / count))
    assert psnr(picture, truth, mask) == pytest.approx(expected, rel=EXACT)


def test_psnr_of_equal_pictures_is_infinite() -> None:
    picture, _ = two_pictures()
    assert psnr(picture, picture) == math.inf


def test_ssim_map_is_that_of_scikit_image_with_a_gaussian_window() -> None:
    picture, truth = two_pictures()
    _, expected = structural_similarity(
        truth,
        picture,
        data_range=255,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    np.testing.assert_allclose(ssim_map(picture, truth), expected, atol=MAP_TOLERANCE)


def test_ssim_is_the_mean_of_the_map_over_the_mask() -> None:
    picture, truth = two_pictures()
    mask = np.zeros(truth.shape[:2], np.uint8)
    mask[5:20, 7:30] = 1
    similarity = ssim_map(picture, truth)
    assert ssim(picture, truth) == pytest.approx(similarity.mean(), rel=EXACT)
    assert ssim(picture, truth, mask) == pytest.approx(similarity[5:20, 7:30].mean(), rel=EXACT)
    assert ssim(truth, truth) == pytest.approx(1)


def test_channels_do_not_mix() -> None:
    picture, truth = two_pictures()
    swapped = ssim_map(picture[:, :, ::-1], truth[:, :, ::-1])
    np.testing.assert_allclose(swapped[:, :, ::-1], ssim_map(picture, truth), atol=MAP_TOLERANCE)


def test_detail_ratio_is_one_for_the_same_picture_and_falls_under_blur() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[5:30, 5:30] = 1
    ratios = [
        detail_ratio(gaussian_filter(picture, (s, s, 0)), picture, mask) for s in (0, 0.6, 1.5)
    ]
    assert ratios[0] == 1
    assert ratios[0] > ratios[1] > ratios[2] > 0


def test_detail_ratio_of_half_the_contrast_is_a_half() -> None:
    steps = np.zeros((10, 10, 3), np.uint8)
    steps[:, ::2] = 100
    assert detail_ratio(steps // 2, steps, np.ones((10, 10), np.uint8)) == pytest.approx(0.5)
