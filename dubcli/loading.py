"""Everything that is loaded once: options in, verified networks on their device out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dubcli.checkpoints import (
    ManifestEntry,
    load_arrays,
    load_as,
    models_root,
    read_manifest,
    verified_file,
)
from dubcli.config import DEFAULTS, DubOptions
from dubcli.errors import InputError
from dubcli.geometry.morphable import MorphableModel
from dubcli.networks.audio_encoder import (
    AudioEncoder,
    AudioEncoderError,
    HubertEncoder,
    WhisperEncoder,
)
from dubcli.networks.compact_hubert import CompactHubert
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.networks.precision import has_fast_bfloat16
from dubcli.networks.renderer import DualAttentionRenderer, channels_last
from dubcli.networks.style_encoder import StyleSimEncoder
from dubcli.networks.sync_expert import SyncExpert

WHISPER = "whisper-tiny-en-enc3"
HUBERT = "hubert-compact"
TRACKER, BASIS, GEOMETRY, RENDERER = "face-landmarker", "basis", "geometry", "renderer"
STYLE_ENCODER = "style-encoder"
SYNC_VERTICES, SYNC_PIXELS = "sync-vertices", "sync-pixels"  # may serve as losses
SYNC_MEASURE = "sync-measure"  # measures, and is never a loss


@dataclass(frozen=True, slots=True, eq=False)
class FaceModels:
    """What finds a face and turns it into numbers: all that ``analyze`` needs."""

    tracker: Path
    morphable: MorphableModel


@dataclass(frozen=True, slots=True, eq=False)
class Models(FaceModels):
    """Everything that is loaded once and used for any number of dubs."""

    audio_encoder: AudioEncoder
    lip_sync: LipSyncNet
    renderer: DualAttentionRenderer
    device: torch.device
    bfloat16: bool = False  # whether the renderer computes in it
    checkpoints: tuple[ManifestEntry, ...] = ()  # what the others were loaded from


@dataclass(frozen=True, slots=True, eq=False)
class StyleEncoder:
    """The encoder of StyleSim, and what turns expression into its input."""

    network: StyleSimEncoder
    morphable: MorphableModel
    name: str
    sha256: str  # of its file


def device_for(name: str) -> torch.device:
    """Return the device that a name stands for; "auto" takes the best there is.

    "cuda" is the first GPU, "cuda:1" the second.

    Raises:
        InputError: If torch cannot use it.
    """
    found = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if found[d]))
    kind, _, index = name.partition(":")
    if kind == "cuda" and index.isdecimal() and int(index) < torch.cuda.device_count():
        return torch.device(name)
    if not found.get(name, False):
        usable = ", ".join(d for d, there in found.items() if there)
        raise InputError(f"--device {name}: not available here; use auto or one of: {usable}")
    return torch.device(name)


def worker_devices(name: str) -> tuple[str, ...]:
    """Return the devices that worker processes share: every GPU, or the one device there is.

    Args:
        name: What the user chose.

    Raises:
        InputError: If torch cannot use it.
    """
    device = device_for(name)
    if device.type == "cuda" and device.index is None:
        return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    return (str(device),)


def load_models(options: DubOptions = DEFAULTS) -> Models:
    """Return verified models, ready to use.

    Args:
        options: ``models``, ``device``, ``precision``, ``audio_encoder``, ``threads`` are read.

    Raises:
        CheckpointError: If a file is missing, altered or does not fit.
        InputError: If the device or the speech encoder cannot be had.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    root, device = models_root(options.models), device_for(options.device)
    entries = read_manifest(root)
    lip_sync = _lip_sync(options, root, entries)
    renderer = load_as(root, RENDERER, DualAttentionRenderer)
    channels_last(renderer)
    return Models(
        verified_file(root, TRACKER),
        load_basis(root),
        load_audio_encoder(options.audio_encoder, root).to(device),
        lip_sync.to(device),
        renderer.to(device),
        device,
        _bfloat16(options.precision, device),
        tuple(entries[name] for name in _used(options) if name in entries),
    )


def geometry_for(audio_encoder: str) -> str:
    """Return the name under which the geometry network that hears a speech encoder is kept.

    Args:
        audio_encoder: As ``DubOptions.audio_encoder``.

    Example:
        >>> geometry_for(WHISPER), geometry_for("facebook/hubert-base-ls960")
        ('geometry', 'geometry-hubert-base-ls960')
    """
    if audio_encoder == WHISPER:
        return GEOMETRY
    return f"{GEOMETRY}-{re.sub(r'[^A-Za-z0-9_-]+', '-', Path(audio_encoder).name)}"


def _lip_sync(options: DubOptions, root: Path, entries: Mapping[str, ManifestEntry]) -> LipSyncNet:
    """Return the geometry network that hears the speech encoder which is asked for."""
    wanted = options.audio_encoder
    name = geometry_for(wanted)
    if name != GEOMETRY and name not in entries:
        raise InputError(
            f"--audio-encoder {wanted}: no geometry network in {root} was trained on it; train one "
            "with: dubcli train geometry --audio-encoder"
        )
    lip_sync = load_as(root, name, LipSyncNet)
    if lip_sync.hyper.audio_encoder != wanted:
        raise InputError(
            f"--audio-encoder {wanted}: {name} in {root} was trained on "
            f"{lip_sync.hyper.audio_encoder}; train one on the other features with: "
            "dubcli train geometry --audio-encoder"
        )
    return lip_sync


def _bfloat16(precision: str, device: torch.device) -> bool:
    """Return whether the renderer computes in bfloat16.

    "auto" takes it on CPUs alone: on a GPU nobody has compared the pictures yet.
    """
    if precision == "auto":
        return device.type == "cpu" and has_fast_bfloat16(device)
    return precision == "bfloat16"


def _used(options: DubOptions) -> tuple[str, ...]:
    """Return the names of the checkpoints that a dub needs."""
    geometry = geometry_for(options.audio_encoder)
    return (TRACKER, BASIS, options.audio_encoder, geometry, RENDERER)


def verified_checkpoints(options: DubOptions = DEFAULTS) -> dict[str, str]:
    """Return name and SHA-256 of what ``load_models`` will load, each file checked.

    A speech encoder that is not in the manifest is left out.

    Args:
        options: ``models`` and ``audio_encoder`` are read.

    Raises:
        CheckpointError: If a file is missing or altered.
    """
    root = models_root(options.models)
    entries = read_manifest(root)
    names = [name for name in _used(options) if name in entries or name != options.audio_encoder]
    for name in names:
        verified_file(root, name)
    return {name: entries[name].sha256 for name in names}


def load_face_models(options: DubOptions = DEFAULTS) -> FaceModels:
    """Return what ``analyze`` needs, verified.

    Args:
        options: ``models`` and ``threads`` are read.

    Raises:
        CheckpointError: If a file is missing or altered.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    root = models_root(options.models)
    return FaceModels(verified_file(root, TRACKER), load_basis(root))


def load_style_encoder(root: Path) -> StyleEncoder:
    """Return the encoder of StyleSim, on the CPU, and which file it is.

    Raises:
        CheckpointError: If a file is missing, altered or does not fit.
    """
    network = load_as(root, STYLE_ENCODER, StyleSimEncoder)
    sha256 = read_manifest(root)[STYLE_ENCODER].sha256
    return StyleEncoder(network, load_basis(root), STYLE_ENCODER, sha256)


def load_basis(root: Path) -> MorphableModel:
    """Return the 3DMM of a models folder.

    Raises:
        CheckpointError: If its file is missing or altered.
    """
    arrays = load_arrays(root, BASIS)
    return MorphableModel(
        mean=torch.from_numpy(arrays["mean"]).float(),
        identity=torch.from_numpy(arrays["identity"]).float(),
        expression=torch.from_numpy(arrays["expression"]).float(),
        triangles=arrays["triangles"].astype(np.int64),
        alignment_weight=torch.from_numpy(arrays["alignment_weight"]).float(),
    )


def load_sync_expert(root: Path, name: str = SYNC_MEASURE) -> SyncExpert:
    """Return a sync expert of a models folder: the one that measures, unless told otherwise.

    Raises:
        CheckpointError: If its file is missing, altered or holds another network.
    """
    return load_as(root, name, SyncExpert)


def load_audio_encoder(name: str, root: Path) -> AudioEncoder:
    """Return a speech encoder by name: ours, a local folder, or a name on the model hub."""
    if name == WHISPER:
        encoder: AudioEncoder = WhisperEncoder()
        weights = load_arrays(root, WHISPER)
        encoder.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
        return encoder.eval().requires_grad_(False)
    if name == HUBERT:
        return load_as(root, HUBERT, CompactHubert)
    try:
        return HubertEncoder.from_pretrained(name).eval().requires_grad_(False)
    except AudioEncoderError as error:
        raise InputError(f"--audio-encoder {name}: {error}") from error
