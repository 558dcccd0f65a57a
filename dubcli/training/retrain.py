"""What each part of the method is worth to networks that are trained without it.

The paper's Table 4: each network is trained from nothing, once whole and once without each part,
everything else and the seed equal, and judged with the same part missing. ``training.ablate`` says
what a part is and what a row holds.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dubcli.config import TRAINING_DEFAULTS, TrainingOptions
from dubcli.geometry.morphable import MorphableModel
from dubcli.loading import GEOMETRY, RENDERER, device_for, load_basis, load_style_encoder
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.stages.samples import SampleMaker
from dubcli.training.ablate import (
    PARTS,
    Ablation,
    GeneratedRow,
    RenderedRow,
    generated_row,
    judged_clips,
    rendered_row,
)
from dubcli.training.crops import CroppedClip
from dubcli.training.geometry import GeometryProblem, StoredSpeech
from dubcli.training.loop import Observer
from dubcli.training.run import HasLoop, descend, refuse_empty, settle
from dubcli.training.train_geometry import (
    GeometryRecipe,
    GeometryRun,
    new_lip_sync,
    spoken_clips,
)
from dubcli.training.train_renderer import (
    RendererRecipe,
    RendererRun,
    cropped_clips,
    new_renderer,
)

log = logging.getLogger(__name__)

RUNS = "ablate"  # the runs are in ``cache/runs/ablate``


class StylelessLipSync(LipSyncNet):
    """A geometry network whose style is nothing, in training and in use."""

    def style(self, motion: Tensor) -> Tensor:
        """Return S = 0, [B, T', L, 3] cm -> [B, D]: nothing of the motion comes through."""
        return motion.new_zeros(len(motion), self.hyper.width)


KINDS: tuple[tuple[str, type[LipSyncNet]], ...] = (
    ("nothing", LipSyncNet),
    ("style", StylelessLipSync),
)


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all the trainings share."""

    data: Path
    cache: Path
    models: Path
    model: MorphableModel
    options: TrainingOptions
    observer: Observer | None


def retrain(
    data: Path,
    cache: Path,
    models: Path,
    steps: int,
    options: TrainingOptions = TRAINING_DEFAULTS,
    *,
    geometry_steps: int | None = None,
    observer: Observer | None = None,
) -> Ablation:
    """Train the networks whole and without each part, and measure them on ``val`` wild.

    The shipped recipes hold, but for their budgets. The renderer is trained without the perceptual
    loss and measured after its last step, the geometry network where ``val`` judged it best. The
    models folder is only read. Each training has its run in ``cache/runs/ablate``.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for runs, landmarks, crops and features.
        models: Folder of checkpoints: of the basis and of the encoders.
        steps: Of each training of the renderer.
        options: ``seed``, ``device``, and ``resume``: go on with runs that were killed, and leave
            out those that are finished.
        geometry_steps: Of each training of the geometry network; None: its recipe's budget.
        observer: Told where each run is.

    Returns:
        A row a training.

    Raises:
        InputError: If data, device or an earlier state cannot be used.
    """
    bench = _Bench(data, cache, models, load_basis(models), options, observer)
    drawn = settle(RENDERER, RendererRecipe(), options)
    drawn = replace(drawn, loop=replace(drawn.loop, steps=steps, judge_steps=steps))
    heard = settle(GEOMETRY, GeometryRecipe(), options)
    if geometry_steps is not None:
        heard = replace(heard, loop=replace(heard.loop, steps=geometry_steps))
    cropped, spoken = judged_clips(data, cache, models, bench.model, heard.network.audio_encoder)
    return Ablation(
        tuple(_rendered_rows(bench, drawn, cropped)), tuple(_generated_rows(bench, heard, spoken))
    )


def _rendered_rows(
    bench: _Bench, recipe: RendererRecipe, judged: list[CroppedClip]
) -> Iterator[RenderedRow]:
    """Train the renderer without each part and yield its row."""
    clips = list(cropped_clips(bench.data, bench.cache, bench.models, bench.model, recipe.data))
    for part in PARTS:
        of_part = replace(recipe, sampling=part.sampling(recipe.sampling))
        network = new_renderer(of_part).to(device_for(bench.options.device))
        run = RendererRun(network, clips, bench.model, of_part, None, seen=part.seen)
        refuse_empty(run.training, run.judged, bench.data)
        _descend(bench, run, of_part, RENDERER, part.name)
        yield rendered_row(network.eval(), judged, SampleMaker(bench.model), part)


def _generated_rows(
    bench: _Bench, recipe: GeometryRecipe, judged: list[StoredSpeech]
) -> Iterator[GeneratedRow]:
    """Train the geometry network with and without style and yield its row."""
    clips = list(spoken_clips(bench.data, bench.cache, bench.models, bench.model, recipe))
    problem = GeometryProblem(bench.model, recipe.training)
    styles = load_style_encoder(bench.models).network
    for without, kind in KINDS:
        network = new_lip_sync(recipe, clips, problem, kind).to(device_for(bench.options.device))
        run = GeometryRun(network, clips, problem)
        refuse_empty(run.training, run.judged, bench.data)
        _descend(bench, run, recipe, GEOMETRY, without)
        network.eval().cpu()
        with torch.no_grad():
            own = [network.style(problem.motion(c.versions[0].beta)[None])[0] for c in judged]
        yield generated_row(network, judged, problem, styles, without, own)


def _descend(
    bench: _Bench, run: RendererRun | GeometryRun, recipe: HasLoop, name: str, without: str
) -> None:
    """Train the network of a run; it then holds its best weights."""
    log.info("%s, without %s", name, without)
    descend(
        run.network,
        f"{RUNS}/{name}-without-{without.lower().replace(' ', '-')}",
        bench.cache,
        recipe.loop,
        run.loss,
        run.judge,
        resume=bench.options.resume,
        recipe=recipe,
        sheet=run.sheet,
        observer=bench.observer,
    )
