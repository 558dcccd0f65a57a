"""The converted encoder computes what the original names say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from dubcli.checkpoints import load_arrays, read_manifest
from dubcli.training.convert_whisper import NAME, convert, rename

WIDTH, HEADS, HIDDEN, MELS, POSITIONS, BLOCKS = 8, 2, 16, 4, 6, 2


@pytest.fixture
def source() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)

    def array(*shape: int) -> NDArray[Any]:
        return rng.normal(size=shape).astype(np.float16)

    arrays = {
        "conv1.weight": array(WIDTH, MELS, 3),
        "conv1.bias": array(WIDTH),
        "conv2.weight": array(WIDTH, WIDTH, 3),
        "conv2.bias": array(WIDTH),
        "position_encodings.encodings": array(POSITIONS, WIDTH),
        "layer_norm.gamma": array(WIDTH),
        "layer_norm.beta": array(WIDTH),
        "num_heads": np.int16(HEADS),
    }
    for n in range(BLOCKS):
        attention, ffn = f"layer_{n}.self_attention", f"layer_{n}.ffn"
        bias = array(3 * WIDTH)
        bias[WIDTH : 2 * WIDTH] = 0
        arrays |= {
            f"{attention}.linear_0.weight": array(3 * WIDTH, WIDTH),
            f"{attention}.linear_0.bias": bias,
            f"{attention}.linear_1.weight": array(WIDTH, WIDTH),
            f"{attention}.linear_1.bias": array(WIDTH),
            f"{attention}.layer_norm.gamma": array(WIDTH),
            f"{attention}.layer_norm.beta": array(WIDTH),
            f"{ffn}.linear_0.weight": array(HIDDEN, WIDTH),
            f"{ffn}.linear_0.bias": array(HIDDEN),
            f"{ffn}.linear_1.weight": array(WIDTH, HIDDEN),
            f"{ffn}.linear_1.bias": array(WIDTH),
            f"{ffn}.layer_norm.gamma": array(WIDTH),
            f"{ffn}.layer_norm.beta": array(WIDTH),
        }
    return arrays


def reference(arrays: dict[str, NDArray[Any]], hidden: NDArray[Any]) -> NDArray[Any]:
    """Run the blocks by the original names: pre-norm attention and ffn, hidden [T, WIDTH]."""
    from scipy.special import erf

    def norm(x: NDArray[Any], prefix: str) -> NDArray[Any]:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * value[f"{prefix}.gamma"] + value[f"{prefix}.beta"]

    def linear(x: NDArray[Any], prefix: str) -> NDArray[Any]:
        return x @ value[f"{prefix}.weight"].T + value[f"{prefix}.bias"]

    value = {key: np.asarray(array, np.float64) for key, array in arrays.items()}
    for n in range(BLOCKS):
        attention, ffn = f"layer_{n}.self_attention", f"layer_{n}.ffn"
        stacked = linear(norm(hidden, f"{attention}.layer_norm"), f"{attention}.linear_0")
        queries, keys, values = (
            part.reshape(len(hidden), HEADS, -1).transpose(1, 0, 2)
            for part in np.split(stacked, 3, axis=-1)
        )
        scores = queries @ keys.transpose(0, 2, 1) / np.sqrt(WIDTH // HEADS)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = weights / weights.sum(-1, keepdims=True) @ values
        mixed = mixed.transpose(1, 0, 2).reshape(len(hidden), WIDTH)
        hidden = hidden + linear(mixed, f"{attention}.linear_1")
        inner = linear(norm(hidden, f"{ffn}.layer_norm"), f"{ffn}.linear_0")
        hidden = hidden + linear(inner * 0.5 * (1 + erf(inner / np.sqrt(2))), f"{ffn}.linear_1")
    return hidden


def test_converted_blocks_compute_what_the_original_names_say(
    source: dict[str, NDArray[Any]],
) -> None:
    encoder = WhisperEncoder(
        WhisperConfig(
            d_model=WIDTH,
            encoder_layers=BLOCKS,
            encoder_attention_heads=HEADS,
            encoder_ffn_dim=HIDDEN,
            num_mel_bins=MELS,
            max_source_positions=POSITIONS,
        )
    ).eval()
    state = {key: torch.from_numpy(array).float() for key, array in rename(source).items()}
    encoder.load_state_dict(state, strict=True)
    encoder.layer_norm = torch.nn.Identity()
    mel = torch.randn(1, MELS, 2 * POSITIONS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        gelu = torch.nn.functional.gelu
        embedded = gelu(encoder.conv2(gelu(encoder.conv1(mel))))[0].T
        embedded = embedded + encoder.embed_positions.weight
        found = encoder(mel).last_hidden_state[0]
    expected = reference(source, embedded.double().numpy())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)  # float32 against 64


def test_key_bias_that_is_not_zero_is_refused(source: dict[str, NDArray[Any]]) -> None:
    source["layer_1.self_attention.linear_0.bias"][WIDTH] = 1
    with pytest.raises(ValueError, match=r"^layer_1\.self_attention\.linear_0: the key bias"):
        rename(source)


def test_missing_array_is_named(source: dict[str, NDArray[Any]]) -> None:
    del source["layer_1.ffn.linear_0.bias"]
    with pytest.raises(ValueError, match=r"^missing or left over: layer_1\.ffn\.linear_0\.bias$"):
        rename(source)


def test_converting_writes_the_checkpoint_and_its_manifest_entry(
    source: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    np.savez(tmp_path / "source.npz", **source)
    file = convert(tmp_path / "source.npz", tmp_path)
    entry = read_manifest(tmp_path)[NAME]
    assert (tmp_path / entry.file, entry.network, entry.licence) == (file, "WhisperEncoder", "MIT")
    assert load_arrays(tmp_path, NAME)["layers.0.fc1.weight"].dtype == np.float16
