import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dubcli.metrics.image import Psnr, Ssim, detail_ratio, psnr, ssim, ssim_map
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


def test_ssim_over_a_mask_at_the_corner_is_that_of_the_whole_map() -> None:
    picture, truth = two_pictures()
    for corner in (np.s_[:3, :4], np.s_[-2:, -1:], np.s_[10:11, 20:21]):
        mask = np.zeros(truth.shape[:2], np.uint8)
        mask[corner] = 1
        expected = ssim_map(picture, truth)[corner].mean()
        assert ssim(picture, truth, mask) == pytest.approx(expected, abs=MAP_TOLERANCE)


def test_psnr_of_a_video_is_that_of_its_frames_side_by_side() -> None:
    pairs = [two_pictures(seed) for seed in range(3)]
    video = Psnr()
    for picture, truth in pairs:
        video.update(picture, truth)
    pictures, truths = (np.concatenate(side) for side in zip(*pairs, strict=True))
    expected = peak_signal_noise_ratio(truths, pictures, data_range=255)
    assert video.compute() == pytest.approx(expected, rel=EXACT)


def test_one_unchanged_frame_does_not_make_the_psnr_of_a_video_infinite() -> None:
    picture, truth = two_pictures()
    video = Psnr()
    video.update(truth, truth)
    assert video.compute() == math.inf
    video.update(picture, truth)
    assert video.compute() == pytest.approx(psnr(picture, truth) + 10 * math.log10(2), rel=EXACT)


def test_ssim_of_a_video_is_the_mean_of_its_frames() -> None:
    pairs = [two_pictures(seed) for seed in range(2)]
    mask = np.zeros(pairs[0][0].shape[:2], np.uint8)
    mask[4:20, 6:30] = 255
    video = Ssim()
    for picture, truth in pairs:
        video.update(picture, truth, mask)
    expected = np.mean([ssim_map(*pair)[4:20, 6:30].mean() for pair in pairs])
    assert video.compute() == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("kind", [Psnr, Ssim])
def test_frames_with_an_empty_mask_do_not_count(kind: type[Psnr] | type[Ssim]) -> None:
    picture, truth = two_pictures()
    empty, full = (np.full(truth.shape[:2], value, np.uint8) for value in (0, 1))
    once, twice = kind(), kind()
    once.update(picture, truth, empty)
    with pytest.raises(ValueError, match="nothing was measured yet"):
        once.compute()
    for video in (once, twice):
        video.update(picture, truth, full)
    twice.update(truth, truth, empty)
    assert once.compute() == twice.compute()


@pytest.mark.parametrize("kind", [Psnr, Ssim])
def test_pictures_of_other_sizes_are_refused(kind: type[Psnr] | type[Ssim]) -> None:
    picture, truth = two_pictures()
    with pytest.raises(ValueError, match=r"made is \(36, 41, 3\), true is \(37, 41, 3\)"):
        kind().update(picture[1:], truth)
    with pytest.raises(ValueError, match="mask is"):
        kind().update(picture, truth, np.ones((2, 2), np.uint8))


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
