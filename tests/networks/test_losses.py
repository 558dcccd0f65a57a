import numpy as np
import pytest
import torch

from dubcli.networks.losses import SCALES, multiscale_l1

GRADIENT = 2.0
LOSS_TOLERANCE = 1e-5  # relative, float32 sums


def oracle(output: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    loss = 0.0
    for scale in range(SCALES):
        channels, height, width = output.shape
        area = weight.sum() * 3 + 1
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    w = weight[0, y, x]
                    loss += w * abs(output[c, y, x] - target[c, y, x]) / area
                    for dy, dx in ((1, 0), (0, 1)):
                        if y >= dy and x >= dx:
                            made = output[c, y, x] - output[c, y - dy, x - dx]
                            real = target[c, y, x] - target[c, y - dy, x - dx]
                            loss += GRADIENT * w * abs(made - real) / area
        if scale < SCALES - 1:
            blocks = (channels, height // 2, 2, width // 2, 2)
            output, target = (p.reshape(blocks).mean(axis=(2, 4)) for p in (output, target))
            weight = weight.reshape(1, height // 2, 2, width // 2, 2).max(axis=(2, 4))
    return loss


def pictures(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0, 3, (1, 12, 16)) * (rng.uniform(size=(1, 12, 16)) < 0.5)
    return rng.uniform(size=(3, 12, 16)), rng.uniform(size=(3, 12, 16)), weight


@pytest.mark.parametrize("seed", range(3))
def test_loss_is_the_sum_written_out_in_loops(seed: int) -> None:
    arrays = pictures(seed)
    got = multiscale_l1(*(torch.from_numpy(a).float() for a in arrays), GRADIENT)
    assert got.shape == ()
    assert float(got) == pytest.approx(oracle(*arrays), rel=LOSS_TOLERANCE)


def test_equal_pictures_cost_nothing_and_so_does_an_empty_mask() -> None:
    output, target, weight = (torch.from_numpy(a).float() for a in pictures())
    assert float(multiscale_l1(output, output, weight, GRADIENT)) == 0
    assert float(multiscale_l1(output, target, weight * 0, GRADIENT)) == 0


def test_a_constant_offset_costs_itself_at_every_scale_and_no_gradient() -> None:
    target = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    loss = multiscale_l1(target + 0.1, target, torch.ones(1, 64, 64), GRADIENT)
    assert float(loss) == pytest.approx(0.1 * SCALES, rel=2e-3)  # area counts one pixel extra


def test_what_is_outside_the_mask_does_not_count() -> None:
    output, target, weight = (torch.from_numpy(a).float() for a in pictures())
    weight[:, :, 8:] = 0
    changed = output.clone()
    changed[:, :, 9:] += 5
    first = multiscale_l1(output, target, weight, GRADIENT)
    assert float(multiscale_l1(changed, target, weight, GRADIENT)) == pytest.approx(float(first))
