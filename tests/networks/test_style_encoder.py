import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.networks.style_encoder import (
    FLOOR,
    LOG_GAIN,
    SPEED_GAIN,
    StyleSimEncoder,
    StyleSimHyper,
    motion_statistics,
    smooth,
)

HYPER = StyleSimHyper(lower_vertices=5, components=4)


@pytest.fixture
def network() -> StyleSimEncoder:
    torch.manual_seed(1)
    made = StyleSimEncoder(HYPER)
    made.start_from_components(torch.randn(15, 4))
    return made.eval()


@pytest.fixture
def motion() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(3, 40, 5, 3).cumsum(1) * 0.1


@torch.no_grad()
@pytest.mark.parametrize("frames", [25, 38, 75])
def test_style_is_a_unit_vector_whatever_the_length(network: StyleSimEncoder, frames: int) -> None:
    style = network(torch.randn(2, frames, 5, 3))
    assert style.shape == (2, HYPER.embedding)
    torch.testing.assert_close(style.norm(dim=-1), torch.ones(2))


@torch.no_grad()
def test_resting_mouth_does_not_count(network: StyleSimEncoder, motion: Tensor) -> None:
    torch.testing.assert_close(
        network(motion + torch.randn(5, 3)), network(motion), atol=1e-4, rtol=0
    )


@torch.no_grad()
def test_amount_direction_and_speed_of_the_motion_count(
    network: StyleSimEncoder, motion: Tensor
) -> None:
    own = network(motion)
    for changed in (motion * 0.5, motion.flip(-1), motion[:, ::2]):
        assert (network(changed) * own).sum(-1).max() < 0.999


@torch.no_grad()
def test_vertices_and_their_components_have_the_same_style(
    network: StyleSimEncoder, motion: Tensor
) -> None:
    components = motion.reshape(3, 40, 15) @ network.directions
    torch.testing.assert_close(network(motion), network.embed(components))


def test_smoothing_is_a_weighted_mean_of_three_frames() -> None:
    signal = np.random.default_rng(0).normal(size=20).astype(np.float32)
    held = np.concatenate([signal[:1], signal, signal[-1:]])
    smoothed = smooth(torch.from_numpy(signal)[None, :, None])
    np.testing.assert_allclose(
        smoothed[0, :, 0], np.convolve(held, [0.25, 0.5, 0.25], "valid"), atol=1e-6
    )


def test_statistics_are_deviations_and_correlations() -> None:
    x = np.random.default_rng(0).normal(size=(400, 3)) * 20  # so large that the floors vanish
    x[:, 2] += x[:, 0]
    x -= x.mean(axis=0)
    found = motion_statistics(torch.from_numpy(x)[None])[0].numpy()
    speed = np.sqrt(np.square(np.diff(x, axis=0)).mean(axis=0)) * SPEED_GAIN
    expected = np.log(np.concatenate([x.std(axis=0), speed]) + FLOOR) * LOG_GAIN
    np.testing.assert_allclose(found[:6], expected, rtol=1e-6)
    correlation = np.corrcoef(x.T)
    np.testing.assert_allclose(
        found[6:], [correlation[0, 1], correlation[0, 2], correlation[1, 2]], atol=0.02
    )


def test_network_is_small() -> None:
    assert sum(p.numel() for p in StyleSimEncoder().parameters()) < 1_000_000
