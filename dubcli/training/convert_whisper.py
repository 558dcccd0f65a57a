"""Whisper's encoder from CTranslate2's names to those of transformers' ``WhisperEncoder``.

Letters: D width (384), L blocks kept (3).

The source is an .npz of OpenAI's Whisper tiny.en (MIT) in CTranslate2 naming, cut after block 3.
Query, key and value are stacked in ``linear_0``; Whisper's key projection has no bias and
CTranslate2 fills that third with zeros, so it is checked and dropped. ``layer_norm`` closes the
whole encoder of four blocks. It is kept, so that ``WhisperEncoder`` loads strictly, but it was
never trained on the output of block 3: **our features are the output of block 3 before it**. In a
``WhisperEncoder`` of three layers both ``last_hidden_state`` and ``hidden_states[3]`` come after
that norm (tried with transformers 5.23), so put ``torch.nn.Identity()`` in its place.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dubcli.checkpoints import entry_for, record, save_arrays

NAME = "whisper-tiny-en-enc3"
OUTER = {
    "conv1.weight": "conv1.weight",
    "conv1.bias": "conv1.bias",
    "conv2.weight": "conv2.weight",
    "conv2.bias": "conv2.bias",
    "position_encodings.encodings": "embed_positions.weight",
    "layer_norm.gamma": "layer_norm.weight",
    "layer_norm.beta": "layer_norm.bias",
}
INNER = {
    "self_attention.layer_norm.gamma": "self_attn_layer_norm.weight",
    "self_attention.layer_norm.beta": "self_attn_layer_norm.bias",
    "self_attention.linear_1.weight": "self_attn.out_proj.weight",
    "self_attention.linear_1.bias": "self_attn.out_proj.bias",
    "ffn.layer_norm.gamma": "final_layer_norm.weight",
    "ffn.layer_norm.beta": "final_layer_norm.bias",
    "ffn.linear_0.weight": "fc1.weight",
    "ffn.linear_0.bias": "fc1.bias",
    "ffn.linear_1.weight": "fc2.weight",
    "ffn.linear_1.bias": "fc2.bias",
}


def rename(source: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays under the names of transformers' ``WhisperEncoder``.

    Args:
        source: Arrays by CTranslate2 name: ``layer_N.self_attention.linear_0.weight`` [3 D, D]
            and so on; ``num_heads`` is ignored.

    Returns:
        A state dict of ``WhisperEncoder``, in the source's precision.

    Raises:
        ValueError: If a key bias is not zero, or an array is missing or left over.
    """
    blocks = len({key.split(".")[0] for key in source if re.match(r"layer_\d+\.", key)})
    names = dict(OUTER)
    names |= {
        f"layer_{n}.{old}": f"layers.{n}.{new}" for n in range(blocks) for old, new in INNER.items()
    }
    stacked = {f"layer_{n}.self_attention.linear_0" for n in range(blocks)}
    expected = set(names) | {f"{key}.{part}" for key in stacked for part in ("weight", "bias")}
    if set(source) - {"num_heads"} != expected:
        odd = sorted((set(source) - {"num_heads"}) ^ expected)
        raise ValueError(f"missing or left over: {', '.join(odd)}")
    target = {new: source[old] for old, new in names.items()}
    for n in range(blocks):
        prefix = f"layer_{n}.self_attention.linear_0"
        weights = np.split(source[f"{prefix}.weight"], 3)
        biases = np.split(source[f"{prefix}.bias"], 3)
        if biases[1].any():
            raise ValueError(f"{prefix}: the key bias is not zero")
        for letter, weight, bias in zip("qkv", weights, biases, strict=True):
            target[f"layers.{n}.self_attn.{letter}_proj.weight"] = weight
            if letter != "k":
                target[f"layers.{n}.self_attn.{letter}_proj.bias"] = bias
    return target


def convert(source: Path, root: Path) -> Path:
    """Convert an .npz, put it in the manifest and return the safetensors file.

    Args:
        source: The .npz in CTranslate2 naming.
        root: The models folder.

    Returns:
        The checkpoint written.

    Raises:
        ValueError: If the arrays are not those of a Whisper encoder.
    """
    with np.load(source, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    renamed = rename(arrays)
    metadata = {
        "network": "WhisperEncoder",
        "heads": str(int(arrays["num_heads"])),
        "features": "output of the last block, before layer_norm",
    }
    file = save_arrays(root, NAME, renamed, metadata=metadata)
    entry = entry_for(
        root,
        NAME,
        file,
        network="WhisperEncoder",
        licence="MIT",
        trained_on="transcribed English speech from the internet (OpenAI, 2022)",
    )
    record(root, entry)
    return file
