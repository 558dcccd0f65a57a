"""``dubcli train``: from a folder of clips to a checkpoint in the models folder."""

import dataclasses
import logging
import shutil
from collections.abc import Callable, Container
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dubcli.checkpoints import (
    entry_for,
    record,
    save_arrays,
    save_network,
    verified_file,
)
from dubcli.errors import InputError
from dubcli.loading import WHISPER, device_for, load_audio_encoder, load_basis
from dubcli.networks.lip_sync import LipSyncHyper, LipSyncNet
from dubcli.networks.renderer import DualAttentionRenderer, channels_last
from dubcli.records import Bytes
from dubcli.training import geometry, renderer
from dubcli.training.basis import learn_basis
from dubcli.training.crops import CroppedClip, load_crops, wanted_for_rendering
from dubcli.training.data import Clip, by_speaker, read_clips
from dubcli.training.loop import Loop, LoopOptions
from dubcli.training.perceptual import VggFeatures
from dubcli.training.prepare import crop_clips, encode_clips, speech_folder, track_clips
from dubcli.training.renderer_data import SampleMaker

log = logging.getLogger(__name__)

LICENCE = "MIT"
BASIS_LICENCE = "MIT AND Apache-2.0"  # triangles and alignment weights are MediaPipe's
TRAINED_ON = "talking-face clips from public research and demonstration pages (see the card)"
MIN_FACE_PX = 135.0  # smaller faces blur the renderer
MIN_FRAMES = 12  # of a clip that teaches the renderer
SHEET_STEP = 4  # every so many validation pictures go onto the sheet


def train_basis(data: Path, cache: Path, models: Path) -> Path:
    """Learn identity and expression bases from the clips' tracked faces.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks.
        models: Folder of checkpoints, where the result is recorded.

    Returns:
        The checkpoint.
    """
    clips = [c for c in read_clips(data) if c.split == "train" and c.set == "wild"]
    track_clips(clips, cache, models)
    made = learn_basis(clips, cache, verified_file(models, "face-landmarker"))
    arrays = {
        "mean": made.mean.numpy(),
        "identity": made.identity.numpy(),
        "expression": made.expression.numpy(),
        "triangles": made.triangles.astype(np.int32),
        "alignment_weight": made.alignment_weight.numpy(),
    }
    file = save_arrays(models, "basis", arrays, metadata={"network": "MorphableModel"})
    _record(models, "basis", file, "MorphableModel", BASIS_LICENCE)
    return file


def train_geometry(
    data: Path,
    cache: Path,
    models: Path,
    *,
    minutes: float,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    audio_encoder: str = WHISPER,
) -> Path:
    """Train the network from speech to lip motion; the best by validation is kept.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks and features.
        models: Folder of checkpoints: the basis is read, the result recorded.
        minutes: Budget of the training itself.
        seed: Of every random choice.
        resume: Go on from the last saved state of this cache folder.
        device: Where the network is trained: "auto", "cpu", "cuda" or "mps".
        audio_encoder: Whose features: ours, a local HuBERT folder, or a name on the model hub.

    Returns:
        The checkpoint.
    """
    model, place = load_basis(models), device_for(device)
    clips = [c for c in read_clips(data) if c.kind == "speech"]
    track_clips(clips, cache, models)
    encoder = load_audio_encoder(audio_encoder, models)
    folder = speech_folder(cache, audio_encoder)
    encode_clips(clips, cache, folder, model, encoder)
    stored = {
        c.name: geometry.load_speech(folder / f"{c.name}.npz", c.speaker, c.set)
        for c in clips
        if (folder / f"{c.name}.npz").exists()
    }
    training: dict[str, dict[str, list[geometry.StoredSpeech]]] = {}
    for speaker, of_speaker in by_speaker(_split(clips, stored, "train")).items():
        for clip in of_speaker:
            training.setdefault(clip.set, {}).setdefault(speaker, []).append(stored[clip.name])
    judged = [stored[c.name] for c in _split(clips, stored, "val") if c.set == "wild"]
    refuse_empty(training, judged, data)
    problem = geometry.GeometryProblem(model, geometry.GeometryTraining())
    torch.manual_seed(seed)
    hyper = LipSyncHyper(
        audio_width=encoder.width,
        audio_encoder=audio_encoder,
        lower_vertices=len(problem.lower),
    )
    network = LipSyncNet(hyper)
    network.start_from_basis(problem.basis, model.mean[problem.lower])
    network.to(place)

    def loss(generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the losses of a random batch."""
        audio, motion, styles = problem.batch(training, generator)
        style = geometry.styles_of(network, [one.to(place) for one in styles])
        return problem.loss(network(audio.to(place), style).displacement, motion.to(place))

    def judge(_: nn.Module) -> tuple[float, dict[str, float]]:
        """Score ``network``, which holds the mean weights: correlation, less lacking deviation."""
        figures = geometry.judge(network, problem, judged)
        return figures["correlation"] - abs(1 - figures["deviation"]) / 2, figures

    options = LoopOptions(
        minutes=minutes, seed=seed, weight_decay=0.05, mean_decay=0.995, judge_minutes=1.0
    )
    return train(network, "geometry", cache, models, options, loss, judge, resume=resume)


def train_renderer(
    data: Path,
    cache: Path,
    models: Path,
    *,
    minutes: float,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    vgg: Path | None = None,
) -> Path:
    """Train the network from geometry and references to pictures; the best by validation is kept.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks and crops.
        models: Folder of checkpoints: the basis is read, the result recorded.
        minutes: Budget of the training itself.
        seed: Of every random choice.
        resume: Go on from the last saved state of this cache folder.
        device: Where the network is trained: "auto", "cpu", "cuda" or "mps".
        vgg: Weights of the perceptual loss (``training.perceptual``); None: trained without it.

    Returns:
        The checkpoint.
    """
    model, place = load_basis(models), device_for(device)
    clips = [
        c for c in read_clips(data) if c.set == "wild" and wanted_for_rendering(c, MIN_FACE_PX)
    ]
    track_clips(clips, cache, models)
    crop_clips(clips, cache, model)
    stored = {c.name: s for c in clips if (s := load_crops(cache / "crops", c.name)) is not None}
    training: dict[str, list[CroppedClip]] = {}
    for clip in _split(clips, stored, "train"):
        if len(stored[clip.name]) >= MIN_FRAMES:
            training.setdefault(clip.speaker, []).append(stored[clip.name])
    judged = [stored[c.name] for c in _split(clips, stored, "val")]
    refuse_empty(training, judged, data)
    maker, settings = SampleMaker(model), renderer.RendererTraining()
    torch.manual_seed(seed)
    network = DualAttentionRenderer()
    channels_last(network)
    network.to(place)
    perceptual = None if vgg is None else VggFeatures(vgg).to(place)
    folder = cache / "runs" / "renderer"

    def loss(generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the losses of a random sample."""
        sample = next(renderer.training_samples(training, maker, settings, generator)).to(place)
        rendered = renderer.render_sample(network, sample)
        return renderer.sample_losses(rendered, sample, settings, perceptual)

    def judge(_: nn.Module) -> tuple[float, dict[str, float]]:
        """Score ``network``, which holds the mean weights: lower-face PSNR; also leave a sheet."""
        figures, pictures = renderer.judge(network, judged, maker, frames_a_clip=2)
        _write_sheet(folder / "sheet.png", pictures[::SHEET_STEP])
        return figures.psnr, dataclasses.asdict(figures)

    options = LoopOptions(minutes=minutes, seed=seed)
    return train(network, "renderer", cache, models, options, loss, judge, resume=resume)


def _split(clips: list[Clip], stored: Container[str], split: str) -> list[Clip]:
    """Return the clips of a split that could be prepared."""
    return [c for c in clips if c.split == split and c.name in stored]


def refuse_empty(training: object, judged: object, data: Path) -> None:
    """Refuse a folder from which nothing can be learned or judged."""
    if not training or not judged:
        raise InputError(
            f"{data}: no usable clips in the split {'val' if training else 'train'}; "
            "see dubcli/training/data.py for what a clip needs"
        )


def train(
    network: nn.Module,
    name: str,
    cache: Path,
    models: Path,
    options: LoopOptions,
    loss: Callable[[np.random.Generator], dict[str, Tensor]],
    judge: Callable[[nn.Module], tuple[float, dict[str, float]]],
    *,
    resume: bool,
) -> Path:
    """Run the loop and record its best weights."""
    folder = cache / "runs" / name
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    Loop(network, folder, options, loss=loss, judge=judge).run()
    network.load_state_dict(load_file(folder / "best.safetensors"))
    return export(network, name, models, {"seed": str(options.seed)})


def export(network: nn.Module, name: str, models: Path, metadata: dict[str, str]) -> Path:
    """Write a trained network to the models folder, in half precision, and record it."""
    file = save_network(models, name, network, extra_metadata=metadata, dtype=torch.float16)
    _record(models, name, file, type(network).__name__)
    return file


def _record(models: Path, name: str, file: Path, network: str, licence: str = LICENCE) -> None:
    """Put a file into the manifest."""
    entry = entry_for(models, name, file, network=network, licence=licence, trained_on=TRAINED_ON)
    record(models, entry)


def _write_sheet(path: Path, pictures: list[tuple[Bytes, Bytes, Bytes]]) -> None:
    """Write truth, copy and rendered side by side, a row a picture."""
    rows = [np.concatenate(row, axis=1) for row in pictures]
    cv2.imwrite(str(path), np.concatenate(rows)[:, :, ::-1])
