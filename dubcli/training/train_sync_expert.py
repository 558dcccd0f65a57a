"""``dubcli train sync-expert``: from speech features and mouths to a checkpoint."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.config import TRAINING_DEFAULTS, TrainingOptions
from dubcli.errors import InputError
from dubcli.geometry.mouth import MOUTH_HEIGHT, MOUTH_WIDTH
from dubcli.loading import SYNC_PIXELS, WHISPER, device_for, load_audio_encoder, load_basis
from dubcli.networks.sync_expert import KINDS, SyncExpert, SyncHyper
from dubcli.training.data import Clip, read_clips
from dubcli.training.geometry import GeometryProblem, GeometryTraining
from dubcli.training.loop import LoopOptions, Observer
from dubcli.training.mouths import cut_mouths
from dubcli.training.prepare import encode_clips, speech_folder, track_clips
from dubcli.training.run import refuse_empty, settle, train
from dubcli.training.sync_expert import (
    HALVES,
    TRUSTED,
    PairedClip,
    SyncProblem,
    SyncTraining,
    half_of,
    judge,
    load_pairs,
)

JUDGED_SET = "wild"
SYNC_EXPERT = "sync-expert"  # the recipe of every expert


@dataclass(frozen=True, slots=True)
class SyncRecipe:
    """What decides a training of an expert."""

    # Given by --kind, by the speech encoder, by the basis and by geometry/mouth.py.
    derived: ClassVar[frozenset[str]] = frozenset(
        f"network.{name}"
        for name in (
            "kind",
            "audio_width",
            "audio_encoder",
            "lower_vertices",
            "expression",
            "picture",
        )
    )

    training: SyncTraining = field(default_factory=SyncTraining)
    network: SyncHyper = field(default_factory=SyncHyper)
    loop: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            minutes=35.0, weight_decay=0.05, mean_decay=0.995, judge_minutes=4.0
        )
    )


def train_sync_expert(
    data: Path,
    cache: Path,
    models: Path,
    options: TrainingOptions = TRAINING_DEFAULTS,
    *,
    kind: str = "pixels",
    name: str = SYNC_PIXELS,
    half: str = "losses",
    observer: Observer | None = None,
) -> Path:
    """Train a sync expert on one half of the speakers; the best by validation is kept.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks, features and mouth pictures.
        models: Folder of checkpoints: basis and speech encoder are read, the result recorded.
        options: See ``TrainingOptions``.
        kind: What it sees of the mouth: "vertices" or "pixels".
        name: Of the checkpoint.
        half: Whose speakers teach it: "losses" or "measuring" (``training.sync_expert.half_of``).
        observer: Told where the run is.

    Returns:
        The checkpoint.

    Raises:
        InputError: If there is no such kind or half, the recipe cannot be used, or no clip.
    """
    for option, value, known in (("kind", kind, KINDS), ("half", half, HALVES)):
        if value not in known:
            raise InputError(f"--{option} {value}: give one of: {', '.join(known)}")
    settings = settle(SYNC_EXPERT, SyncRecipe(), options)
    model, place = load_basis(models), device_for(options.device)
    encoder = load_audio_encoder(WHISPER, models)
    wanted = [c for c in read_clips(data) if _wanted(c, half)]
    track_clips(wanted, cache, models)
    encode_clips(wanted, cache, speech_folder(cache, WHISPER), model, encoder)
    if kind == "pixels":
        cut_mouths(wanted, cache, model)
    training, judged = _load(wanted, cache, kind)
    refuse_empty(training, judged, data)
    faces = GeometryProblem(model, GeometryTraining())
    problem = SyncProblem(faces, kind, settings.training)
    torch.manual_seed(settings.loop.seed)
    hyper = replace(
        settings.network,
        kind=kind,
        audio_width=encoder.width,
        lower_vertices=len(faces.lower),
        expression=len(model.expression),
        picture=(MOUTH_HEIGHT, MOUTH_WIDTH),
    )
    network = SyncExpert(hyper).to(place)

    def loss(generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the losses of a random batch."""
        return problem.loss(network, problem.batch(training, generator).to(place), generator)

    def score(_: nn.Module) -> tuple[float, dict[str, float]]:
        """Score ``network``, which holds the mean weights: right offsets, and how surely.

        A few clips of lags known to a frame tell good experts hardly apart; how much surer they are
        of the true sound than of another does.
        """
        figures = judge(network, problem, judged)
        right = float(np.nanmean([figures[n] for n in ("clip", "two_s", "one_s")]))
        return right + figures["confidence"] - figures["confidence_other"], figures

    return train(
        network,
        name,
        cache,
        models,
        settings.loop,
        loss,
        score,
        resume=options.resume,
        recipe=settings,
        observer=observer,
    )


def _wanted(clip: Clip, half: str) -> bool:
    """Return whether a clip judges an expert, or teaches those of a half."""
    taught = clip.split == "train" and half_of(clip.speaker) == half
    judges = clip.split == "val" and clip.set == JUDGED_SET
    return clip.kind == "speech" and clip.sync in TRUSTED and (taught or judges)


def _load(
    clips: list[Clip], cache: Path, kind: str
) -> tuple[dict[str, dict[str, list[list[PairedClip]]]], list[PairedClip]]:
    """Return set -> speaker -> clips -> versions to learn from, and the clips to be judged on."""
    mouths = cache / "mouths" if kind == "pixels" else None
    training: dict[str, dict[str, list[list[PairedClip]]]] = {}
    judged = []
    for clip in clips:
        versions = load_pairs(clip, speech_folder(cache, WHISPER), mouths)
        if versions and clip.split == "train":
            training.setdefault(clip.set, {}).setdefault(clip.speaker, []).append(versions)
        elif versions:
            judged.append(versions[0])
    return training, judged
