import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from dubcli.networks.st_lpips import WIDTHS, BlurPool, StLpips

CLOSE = 1e-5  # float32


def seeded(seed: int = 0) -> StLpips:
    torch.manual_seed(seed)
    network = StLpips().eval().requires_grad_(False)
    for weight in network.weights:
        weight.uniform_(0, 1)
    return network


def pictures(side: int = 64, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made, true = torch.rand(2, 3, 3, side, side, generator=generator)
    return made, true


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 12), (3, 5)])
def test_blur_pool_is_every_second_value_of_a_mirrored_binomial_blur(
    height: int, width: int
) -> None:
    x = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    for picture, pooled in zip(x, BlurPool()(x), strict=True):
        for channel, found in zip(picture.numpy(), pooled.numpy(), strict=True):
            padded = np.pad(channel, 2, mode="reflect")
            expected = correlate(padded, kernel)[1:-1, 1:-1][::2, ::2]
            np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_distance_is_the_weighted_difference_of_unit_features() -> None:
    network, (made, true) = seeded(), pictures()
    expected = np.zeros(len(made))
    for layer in range(len(WIDTHS)):
        x, y = (network.features(picture)[layer].double().numpy() for picture in (made, true))
        weight = network.weights[layer].double().numpy()
        for b in range(len(made)):
            for place in np.ndindex(x.shape[2:]):
                u, v = (side[(b, slice(None), *place)] for side in (x, y))
                apart = u / (np.linalg.norm(u) + 1e-10) - v / (np.linalg.norm(v) + 1e-10)
                expected[b] += weight @ apart**2 / np.prod(x.shape[2:])
    np.testing.assert_allclose(network(made, true).numpy(), expected, rtol=1e-4)


def test_distance_is_zero_for_equal_pictures_and_does_not_mind_the_order() -> None:
    network, (made, true) = seeded(), pictures()
    assert network(made, made).tolist() == [0, 0, 0]
    np.testing.assert_allclose(network(made, true), network(true, made), rtol=CLOSE)


def test_features_have_the_papers_widths_and_sizes() -> None:
    shapes = [tuple(x.shape[1:]) for x in seeded().features(pictures(64)[0])]
    assert [shape[0] for shape in shapes] == list(WIDTHS)
    # 64 -> 58 (11 x 11, padding 2) -> 30 -> 28 -> 15 -> 15; 13 -> 8 for the last three
    assert [shape[1:] for shape in shapes] == [(30, 30), (15, 15), (8, 8), (8, 8), (8, 8)]
