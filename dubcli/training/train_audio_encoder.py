"""``dubcli train audio-encoder``: from any speech to a compact HuBERT."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.config import TRAINING_DEFAULTS, TrainingOptions
from dubcli.loading import HUBERT, WHISPER, device_for, load_audio_encoder
from dubcli.networks.audio_encoder import SAMPLE_RATE_HZ, WhisperEncoder
from dubcli.networks.compact_hubert import CompactHubert, CompactHubertHyper
from dubcli.training.audio_encoder import (
    Distillation,
    HubertTraining,
    draw_batch,
    judge,
    teachers_statistics,
)
from dubcli.training.data import read_clips
from dubcli.training.loop import LoopOptions, Observer
from dubcli.training.run import descend, export, refuse_empty, settle
from dubcli.training.sounds import (
    Hearing,
    Sound,
    by_group,
    clip_sounds,
    folder_sounds,
    labelled_sounds,
)

log = logging.getLogger(__name__)

AUDIO_ENCODER = "audio-encoder"
JUDGED_SET = "wild"
STATISTICS_BATCHES = 25  # from which the teacher's mean, deviation and units are taken


@dataclass(frozen=True, slots=True)
class HubertRecipe:
    """What decides a training of the speech encoder."""

    training: HubertTraining = field(default_factory=HubertTraining)
    hearing: Hearing = field(default_factory=Hearing)
    network: CompactHubertHyper = field(default_factory=CompactHubertHyper)
    loop: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            minutes=75.0,
            rate=5e-4,
            warm_up=200,
            betas=(0.9, 0.98),
            mean_decay=0.995,
            judge_minutes=5.0,
        )
    )


def train_audio_encoder(
    data: Path,
    cache: Path,
    models: Path,
    options: TrainingOptions = TRAINING_DEFAULTS,
    *,
    sounds: Sequence[Path] = (),
    labelled: Path | None = None,
    observer: Observer | None = None,
) -> Path:
    """Distil a compact HuBERT from the Whisper encoder; the best by validation is kept.

    Args:
        data: Folder with ``clips.csv``: the sound of its speech clips; ``val`` judges.
        cache: Folder for decoded sound.
        models: Folder of checkpoints: the teacher is read, the result recorded.
        options: See ``TrainingOptions``.
        sounds: Folders of further speech.
        labelled: A viseme probe (``training.sounds.labelled_sounds``); None: no visemes are taught.
        observer: Told where the run is.

    Returns:
        The checkpoint.

    Raises:
        InputError: If the recipe cannot be used, or a folder holds no sound.
    """
    settings = settle(AUDIO_ENCODER, HubertRecipe(), options)
    place, training = device_for(options.device), settings.training
    clips = [clip for clip in read_clips(data) if clip.kind == "speech"]
    heard = clip_sounds([clip for clip in clips if clip.split == "train"], cache)
    for folder in sounds:
        heard += folder_sounds(folder, cache)
    if labelled is not None:
        heard += labelled_sounds(labelled, cache)
    judged = clip_sounds([c for c in clips if c.split == "val" and c.set == JUDGED_SET], cache)
    refuse_empty(heard, judged, data)
    groups = by_group(heard)
    _say(groups)
    teacher = load_audio_encoder(WHISPER, models).to(place)
    torch.manual_seed(settings.loop.seed)
    student = CompactHubert(settings.network)
    if isinstance(teacher, WhisperEncoder) and student.fits(teacher):
        student.start_from(teacher)
    else:
        log.warning("the student starts from nothing: the teacher's blocks have other sizes")
    generator = np.random.default_rng(settings.loop.seed)
    batches = [
        draw_batch(groups, training, settings.hearing, generator).clean
        for _ in range(STATISTICS_BATCHES)
    ]
    statistics = teachers_statistics(
        teacher, torch.cat(batches).to(place), training.units, settings.loop.seed
    )
    network = Distillation(student, *statistics).to(place)

    def loss(generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the losses of a random batch."""
        batch = draw_batch(groups, training, settings.hearing, generator).to(place)
        return network.losses(teacher, batch, training)

    def score(_: nn.Module) -> tuple[float, dict[str, float]]:
        """Score ``network``, which holds the mean weights."""
        figures = judge(network, teacher, judged)
        return figures["likeness"], figures

    metadata = descend(
        network,
        HUBERT,
        cache,
        settings.loop,
        loss,
        score,
        resume=options.resume,
        recipe=settings,
        observer=observer,
    )
    return export(student, HUBERT, models, metadata)


def _say(groups: dict[str, list[Sound]]) -> None:
    """Log how much of what there is to learn from."""
    for name, sounds in sorted(groups.items()):
        minutes = sum(len(sound.samples) for sound in sounds) / SAMPLE_RATE_HZ / 60
        log.info("%s: %d sounds, %.1f minutes", name, len(sounds), minutes)
