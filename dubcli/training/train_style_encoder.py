"""``dubcli train style-encoder``: from how people move their mouths to StyleSim's encoder."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.config import TRAINING_DEFAULTS, TrainingOptions
from dubcli.errors import InputError
from dubcli.geometry.morphable import lower_face_indices
from dubcli.loading import STYLE_ENCODER, device_for, load_basis
from dubcli.networks.style_encoder import StyleSimEncoder, StyleSimHyper
from dubcli.training.data import read_clips
from dubcli.training.loop import LoopOptions, Observer
from dubcli.training.prepare import track_clips
from dubcli.training.run import settle, train
from dubcli.training.style_data import by_person, fit_styles, held_out
from dubcli.training.style_encoder import (
    StyleProblem,
    StyleTraining,
    judge,
    principal_directions,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StyleRecipe:
    """What decides a training of the style encoder."""

    derived: ClassVar[frozenset[str]] = frozenset({"network.lower_vertices"})  # by the basis

    training: StyleTraining = field(default_factory=StyleTraining)
    network: StyleSimHyper = field(default_factory=StyleSimHyper)
    loop: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            minutes=15.0, weight_decay=0.05, mean_decay=0.99, judge_minutes=2.0
        )
    )


def train_style_encoder(
    data: Path,
    cache: Path,
    models: Path,
    options: TrainingOptions = TRAINING_DEFAULTS,
    *,
    observer: Observer | None = None,
) -> Path:
    """Train StyleSim's encoder; the best on held-out speakers of the split train is kept.

    Args:
        data: Folder with ``clips.csv``; clips without speech serve too.
        cache: Folder for landmarks and expression.
        models: Folder of checkpoints: the basis is read, the result recorded.
        options: See ``TrainingOptions``.
        observer: Told where the run is.

    Returns:
        The checkpoint.

    Raises:
        InputError: If the recipe cannot be used, or too few people can be told apart.
    """
    settings = settle(STYLE_ENCODER, StyleRecipe(), options)
    model, place = load_basis(models), device_for(options.device)
    clips = [c for c in read_clips(data) if c.split == "train"]
    track_clips(clips, cache, models)
    styles = fit_styles(clips, cache, model)
    judged = [s for s in styles if s.set == "wild" and held_out(s.speaker)]
    kept_back = {s.speaker for s in judged}
    training = by_person([s for s in styles if s.speaker not in kept_back])
    if len(training) < 2 or sum(len(s.halves) > 1 for s in judged) < 2:
        raise InputError(
            f"{data}: {len(training)} speakers to train on and {len(kept_back)} to choose the "
            "weights by; give more speakers with clips of 2 seconds and more"
        )
    torch.manual_seed(settings.loop.seed)
    lower = len(lower_face_indices(model.mean))
    network = StyleSimEncoder(replace(settings.network, lower_vertices=lower))
    wild = [s for of in training.values() for s in of if s.set == "wild"]
    directions = principal_directions(model, wild, network.hyper.components)
    network.start_from_components(directions)
    network.to(place)
    problem = StyleProblem(model, directions, settings.training)
    log.info("%d speakers to train on, %d held out", len(training), len(kept_back))

    def loss(generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the loss of a random batch."""
        return problem.loss(network.embed(problem.batch(training, generator).to(place)))

    def score(_: nn.Module) -> tuple[float, dict[str, float]]:
        """Score ``network``, which holds the mean weights."""
        figures = judge(network, model, judged)
        return figures["auc"], figures

    return train(
        network,
        STYLE_ENCODER,
        cache,
        models,
        settings.loop,
        loss,
        score,
        resume=options.resume,
        recipe=settings,
        observer=observer,
    )
