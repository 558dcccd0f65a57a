import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dubcli.networks.lip_sync import (
    LipSyncHyper,
    LipSyncNet,
    LocalAttention,
    distance_bias,
)

SMALL = LipSyncHyper(
    audio_width=8, lower_vertices=5, components=3, width=16, heads=2, layers=2, reach=3
)
FLOAT_TOLERANCE = 1e-5  # float32 sums in another order
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> LipSyncNet:
    torch.manual_seed(0)
    network = LipSyncNet(SMALL).eval()
    network.start_from_basis(torch.randn(3, 5, 3), torch.randn(5, 3))
    return network


def random_inputs(batch: int, frames: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(batch, 2 * frames, SMALL.audio_width, generator=generator)
    return audio, torch.randn(batch, SMALL.width, generator=generator)


def test_distance_bias_falls_with_distance_and_ends_at_the_reach() -> None:
    bias = distance_bias(6, 2, 0.5, CPU)
    for t in range(6):
        for s in range(6):
            expected = -0.5 * abs(t - s) if abs(t - s) <= 2 else -math.inf
            assert float(bias[t, s]) == expected


@torch.no_grad()
def test_local_attention_is_equation_3_with_a_bias_per_head() -> None:
    torch.manual_seed(1)
    attention = LocalAttention(SMALL)
    query, memory = torch.randn(2, 2, 9, SMALL.width)
    q = attention.query(query)
    k, v = attention.key_value(memory).split(SMALL.width, -1)
    width = SMALL.width // SMALL.heads
    expected = torch.zeros_like(query)
    for b in range(2):
        for h in range(SMALL.heads):
            part = slice(h * width, (h + 1) * width)
            for t in range(9):
                near = [s for s in range(9) if abs(t - s) <= SMALL.reach]
                logits = torch.stack(
                    [
                        q[b, t, part] @ k[b, s, part] / math.sqrt(width)
                        - 0.5 ** (h + 1) * abs(t - s)
                        for s in near
                    ]
                )
                expected[b, t, part] = torch.softmax(logits, 0) @ v[b, near, part]
    torch.testing.assert_close(
        attention(query, memory), attention.out(expected), rtol=0, atol=FLOAT_TOLERANCE
    )


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_audio_outside_the_receptive_field_changes_nothing_and_inside_it_does(layers: int) -> None:
    torch.manual_seed(layers)
    hyper = replace(SMALL, layers=layers)
    network = LipSyncNet(hyper).eval()
    field, middle = network.receptive_field(), 40
    audio, style = random_inputs(1, 80)
    before = network(audio, style).coefficients[0]
    changed = audio.clone()
    changed[:, 2 * middle : 2 * middle + 2] += 5 * torch.randn(2, hyper.audio_width)

    difference = (network(changed, style).coefficients[0] - before).abs().amax(-1)

    reached = (difference > 0).nonzero()[:, 0] - middle
    assert -field <= int(reached.min())
    assert int(reached.max()) <= field
    # The claim is not idle: change arrives from nearly that far.
    assert int(reached.min()) <= -(layers + 1) * hyper.reach
    assert int(reached.max()) >= (layers + 1) * hyper.reach
    assert (difference[middle - hyper.reach : middle + hyper.reach] > 0).all()


@torch.no_grad()
def test_output_does_not_depend_on_where_in_the_recording_it_is(network: LipSyncNet) -> None:
    audio, style = random_inputs(1, 90)
    whole = network(audio, style).coefficients
    field, cut = network.receptive_field(), 7
    later = network(audio[:, 2 * cut :], style).coefficients
    torch.testing.assert_close(
        later[:, field:], whole[:, cut + field :], rtol=0, atol=FLOAT_TOLERANCE
    )


@torch.no_grad()
def test_batch_gives_what_each_clip_gives_alone(network: LipSyncNet) -> None:
    audio, style = random_inputs(3, 20, seed=2)
    together = network(audio, style)
    assert together.coefficients.shape == (3, 20, 3)
    assert together.displacement.shape == (3, 20, 5, 3)
    for b in range(3):
        alone = network(audio[b : b + 1], style[b : b + 1])
        torch.testing.assert_close(
            alone.displacement[0], together.displacement[b], rtol=0, atol=FLOAT_TOLERANCE
        )


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_recordings_give_their_frames(network: LipSyncNet, frames: int) -> None:
    made = network(*random_inputs(1, frames))
    assert made.displacement.shape == (1, frames, 5, 3)
    assert made.displacement.isfinite().all()


def test_odd_feature_counts_are_refused_with_the_number(network: LipSyncNet) -> None:
    with pytest.raises(ValueError, match="7 audio features do not make whole frames"):
        network(torch.zeros(1, 7, SMALL.audio_width), torch.zeros(1, SMALL.width))


@torch.no_grad()
def test_decoder_starts_as_the_expression_basis() -> None:
    torch.manual_seed(3)
    basis, template = torch.randn(3, 5, 3), torch.randn(5, 3) * 4
    network = LipSyncNet(SMALL)
    network.start_from_basis(basis, template)
    coefficients = torch.randn(2, 7, 3)
    expected = torch.einsum("btk,klc->btlc", coefficients, basis)
    torch.testing.assert_close(network.decode(coefficients), expected, rtol=0, atol=FLOAT_TOLERANCE)
    torch.testing.assert_close(network.decode(torch.eye(3)), basis)
    assert float(network.template.abs().max()) == pytest.approx(1)
    torch.testing.assert_close(
        F.normalize(network.template, dim=0), F.normalize(template.flatten(), dim=0)
    )
    made = network.eval()(*random_inputs(1, 4))
    torch.testing.assert_close(made.displacement, network.decode(made.coefficients))


def test_basis_of_another_size_is_refused() -> None:
    with pytest.raises(RuntimeError):
        LipSyncNet(SMALL).start_from_basis(torch.zeros(4, 5, 3), torch.ones(5, 3))


@torch.no_grad()
def test_style_is_the_mean_and_deviation_of_the_encoded_motion(network: LipSyncNet) -> None:
    motion = torch.randn(2, 30, 5, 3, generator=torch.Generator().manual_seed(4))
    style = network.style(motion)
    assert style.shape == (2, SMALL.width)
    encoded = torch.stack(
        [
            torch.stack([network.vertex_encoder(frame.flatten()) for frame in clip])
            for clip in motion
        ]
    )
    mean = encoded.mean(1)
    deviation = ((encoded - mean[:, None]) ** 2).mean(1).sqrt()
    expected = network.style_encoder.mix(torch.cat([mean, deviation], 1))
    torch.testing.assert_close(style, expected, rtol=0, atol=FLOAT_TOLERANCE)


@torch.no_grad()
def test_style_does_not_depend_on_the_order_of_frames_but_on_their_size(
    network: LipSyncNet,
) -> None:
    motion = torch.randn(1, 30, 5, 3, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(
        network.style(motion.flip(1)), network.style(motion), rtol=0, atol=FLOAT_TOLERANCE
    )
    assert (network.style(2 * motion) - network.style(motion)).abs().max() > 0.01


@torch.no_grad()
def test_style_changes_the_motion(network: LipSyncNet) -> None:
    audio, style = random_inputs(1, 20)
    one, two = network(audio, style), network(audio, -style)
    assert (one.coefficients - two.coefficients).abs().max() > 0.01


def test_style_of_a_still_face_has_a_finite_gradient() -> None:
    torch.manual_seed(6)
    network = LipSyncNet(SMALL)
    network.style(torch.zeros(1, 10, 5, 3)).sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), name


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(7)
    network = LipSyncNet(SMALL)
    network.start_from_basis(torch.randn(3, 5, 3), torch.randn(5, 3))
    style = network.style(torch.randn(2, 10, 5, 3))
    network(random_inputs(2, 10)[0], style).displacement.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
