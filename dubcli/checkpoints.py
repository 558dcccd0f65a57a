"""The one place that loads and saves weights: manifest -> verified file -> network in eval mode.

A checkpoint is a safetensors file named after its own SHA-256. ``models/manifest.toml`` says which
file belongs to which name; nothing is read before its size and hash agree with the manifest.
Network classes are looked up by name and imported only when they are built, and torch only when
it is needed, so that listing and verifying checkpoints stays quick.
"""

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dubcli.errors import CheckpointError
from dubcli.manifest import (
    MANIFEST,
    REMEDY,
    TABLE_END,
    TABLE_START,
    ManifestEntry,
    entry_for,
    manifest_table,
    manifest_text,
    models_root,
    read_manifest,
    record,
    sha256_of,
    verified_file,
    write_whole,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

Network = TypeVar("Network", bound="nn.Module")

__all__ = [
    "MANIFEST",
    "REGISTRY",
    "REMEDY",
    "TABLE_END",
    "TABLE_START",
    "ManifestEntry",
    "entry_for",
    "load_arrays",
    "load_as",
    "load_network",
    "manifest_table",
    "manifest_text",
    "models_root",
    "read_header",
    "read_manifest",
    "record",
    "save_arrays",
    "save_network",
    "sha256_of",
    "verified_file",
]

# name in the header -> (network, hyper-parameters), imported when asked for
REGISTRY = {
    "LipSyncNet": ("dubcli.networks.lip_sync:LipSyncNet", "dubcli.networks.lip_sync:LipSyncHyper"),
    "DualAttentionRenderer": (
        "dubcli.networks.renderer:DualAttentionRenderer",
        "dubcli.networks.renderer:RendererHyper",
    ),
    "CompactHubert": (
        "dubcli.networks.compact_hubert:CompactHubert",
        "dubcli.networks.compact_hubert:CompactHubertHyper",
    ),
    "SyncExpert": (
        "dubcli.networks.sync_expert:SyncExpert",
        "dubcli.networks.sync_expert:SyncHyper",
    ),
    "StyleSimEncoder": (
        "dubcli.networks.style_encoder:StyleSimEncoder",
        "dubcli.networks.style_encoder:StyleSimHyper",
    ),
}


def load_network(root: Path, name: str) -> "nn.Module":
    """Return the network of checkpoint ``name``: verified, on the CPU, in eval mode, frozen.

    Args:
        root: The models folder.
        name: A name in the manifest.

    Returns:
        The network, built from the hyper-parameters in the file's header.

    Raises:
        CheckpointError: If the file is missing or altered, its header cannot be used, or its
            tensors do not fit the network.
    """
    from safetensors.torch import load_file

    path = verified_file(root, name)
    network = _build(path, read_header(path))
    try:
        network.load_state_dict(load_file(path), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: does not fit its network: {reason}") from error
    return network.eval().requires_grad_(False)


def load_as(root: Path, name: str, kind: "type[Network]") -> "Network":
    """Return checkpoint ``name`` as a network of a known class.

    Args:
        root: The models folder.
        name: A name in the manifest.
        kind: The class it must have.

    Raises:
        CheckpointError: As ``load_network``, and if the checkpoint holds another network.
    """
    network = load_network(root, name)
    if not isinstance(network, kind):
        raise CheckpointError(
            f"{root / name}: holds a {type(network).__name__}, not a {kind.__name__}; "
            "restore the manifest"
        )
    return network


def load_arrays(root: Path, name: str) -> dict[str, NDArray[Any]]:
    """Return the tensors of checkpoint ``name`` as arrays, in the precision they are stored in.

    Args:
        root: The models folder.
        name: A name in the manifest.

    Returns:
        Tensor name -> array.

    Raises:
        CheckpointError: If the file is missing, altered or not safetensors.
    """
    path = verified_file(root, name)
    try:
        with safe_open(path, framework="numpy") as stream:
            return {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError) as error:  # TypeError: a type numpy does not have
        raise CheckpointError(f"{path}: not readable as safetensors ({error}); {REMEDY}") from error


def read_header(path: Path) -> dict[str, str]:
    """Return the metadata in the header of a safetensors file.

    Args:
        path: The file.

    Returns:
        Metadata, key -> text; empty where the file has none.

    Raises:
        CheckpointError: If the header is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as stream:
            return dict(stream.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f"{path}: header is damaged ({error}); {REMEDY}") from error


def save_network(
    folder: Path,
    name: str,
    network: "nn.Module",
    *,
    extra_metadata: Mapping[str, str] | None = None,
    dtype: "torch.dtype | None" = None,
) -> Path:
    """Write a network's weights and return the file's path.

    Args:
        folder: The models folder; the file goes to ``<folder>/<name>/<name>-<sha8>.safetensors``.
        name: The checkpoint's name.
        network: A network whose class is in REGISTRY and whose ``hyper`` is a dataclass.
        extra_metadata: More of the header: seed, command, commit.
        dtype: Store floating-point tensors as this; None: as they are.

    Returns:
        The file written.

    Raises:
        ValueError: If the network has no ``hyper`` dataclass or is not in REGISTRY.
    """
    hyper = getattr(network, "hyper", None)
    if not is_dataclass(hyper) or isinstance(hyper, type):
        raise ValueError(f"{type(network).__name__}.hyper is not a dataclass instance")
    if type(network).__name__ not in REGISTRY:
        raise ValueError(f"{type(network).__name__} is not in checkpoints.REGISTRY")
    metadata = {
        **(extra_metadata or {}),
        "network": type(network).__name__,
        "hyperparameters": json.dumps(asdict(hyper), sort_keys=True),
    }
    tensors = {}
    for key, tensor in network.state_dict().items():
        stored = tensor.detach().cpu()
        if dtype is not None and stored.is_floating_point():
            stored = stored.to(dtype)
        tensors[key] = stored.contiguous().numpy()
    return save_arrays(folder, name, tensors, metadata=metadata)


def save_arrays(
    folder: Path, name: str, arrays: Mapping[str, NDArray[Any]], *, metadata: Mapping[str, str]
) -> Path:
    """Write arrays as a safetensors file named after its hash and return its path.

    The same arrays and metadata always give the same bytes.

    Args:
        folder: The models folder; the file goes to ``<folder>/<name>/<name>-<sha8>.safetensors``.
        name: The checkpoint's name.
        arrays: Tensor name -> array.
        metadata: Text for the header.

    Returns:
        The file written.
    """
    from safetensors.numpy import save

    payload = save({key: np.ascontiguousarray(value) for key, value in arrays.items()})
    payload = _with_metadata(payload, metadata)
    target = folder / name / f"{name}-{hashlib.sha256(payload).hexdigest()[:8]}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, payload)
    return target


def _build(path: Path, header: Mapping[str, str]) -> "nn.Module":
    """Return the untrained network that a checkpoint's header describes."""
    kind = header.get("network", "")
    if kind not in REGISTRY:
        raise CheckpointError(
            f"{path}: header names network {kind or 'nothing'}, known are "
            f"{', '.join(sorted(REGISTRY))}; update dubcli or train it again"
        )
    network_class, hyper_class = (_import(target) for target in REGISTRY[kind])
    try:
        values = json.loads(header.get("hyperparameters", ""))
        settings = {key: _as_tuple(value) for key, value in values.items()}
        network: nn.Module = network_class(hyper_class(**settings))
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: hyperparameters in the header do not fit {kind} ({error}); "
            "update dubcli or train it again"
        ) from error
    return network


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _as_tuple(value: object) -> object:
    """Return JSON's lists as the tuples they were in a frozen dataclass."""
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _with_metadata(payload: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file with this metadata; safetensors writes it in random order."""
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    header["__metadata__"] = dict(metadata)
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start on a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + payload[8 + length :]
