"""``dubcli train geometry``: from speech features and fits, or a pack of them, to a checkpoint."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.config import TRAINING_DEFAULTS, TrainingOptions
from dubcli.errors import InputError
from dubcli.geometry.morphable import MorphableModel
from dubcli.loading import (
    GEOMETRY,
    SYNC_VERTICES,
    device_for,
    geometry_for,
    load_basis,
    load_sync_expert,
)
from dubcli.networks.lip_sync import LipSyncHyper, LipSyncNet
from dubcli.networks.sync_expert import SyncExpert
from dubcli.records import Bytes
from dubcli.training import geometry
from dubcli.training.data import Clip, Prepared, by_speaker, read_clips
from dubcli.training.geometry import GeometryProblem, GeometryTraining, StoredSpeech
from dubcli.training.loop import LoopOptions, Observer
from dubcli.training.mouth_sheet import mouth_sheet
from dubcli.training.pack import clips_of, is_pack, open_pack
from dubcli.training.recipe import Between
from dubcli.training.run import refuse_empty, settle, train
from dubcli.training.speech import speech_of_arrays

SHEET_CLIPS = 6  # whose mouths go onto the sheet
LACKING = 0.5  # weight of the deviation that the score counts against the correlation


@dataclass(frozen=True, slots=True)
class GeometryData:
    """Which clips the network is judged on; it learns from the sets of ``training.set_share``."""

    judged_sets: tuple[str, ...] = ("wild",)  # of ``clips.csv``
    versions: Annotated[int, Between(1, 5)] = 5  # of a clip: plain, noisy, silenced, slow, fast


@dataclass(frozen=True, slots=True)
class GeometryRecipe:
    """What decides a training of the geometry network."""

    # Given by the speech encoder and by the basis.
    derived: ClassVar[frozenset[str]] = frozenset({"network.audio_width", "network.lower_vertices"})

    data: GeometryData = field(default_factory=GeometryData)
    training: GeometryTraining = field(default_factory=GeometryTraining)
    network: LipSyncHyper = field(default_factory=LipSyncHyper)
    loop: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            minutes=30.0,
            steps=450,  # more overfits
            weight_decay=0.05,
            mean_decay=0.99,
            judge_minutes=1.0,
            judge_steps=50,
        )
    )


class GeometryRun:
    """Losses, figures and pictures of one training.

    Args:
        network: Trained.
        clips: The prepared clips of both splits.
        problem: Losses.
        expert: Judges whether mouth and sound are in time; None: nobody does.
    """

    def __init__(
        self,
        network: LipSyncNet,
        clips: list[Prepared[StoredSpeech]],
        problem: GeometryProblem,
        expert: SyncExpert | None = None,
    ) -> None:
        """Split the clips."""
        self.network, self.problem, self.expert = network, problem, expert
        taught = [c for c in clips if c.clip.split == "train"]
        self.training = {
            of: by_speaker(c for c in taught if c.clip.set == of)
            for of in dict.fromkeys(c.clip.set for c in taught)
        }
        self.judged = [c.content for c in clips if c.clip.split == "val"]

    def loss(self, generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the losses of a random batch."""
        place = next(self.network.parameters()).device
        audio, motion, styles = self.problem.batch(self.training, generator)
        style = geometry.styles_of(self.network, [one.to(place) for one in styles])
        audio, motion = audio.to(place), motion.to(place)
        made = self.network(audio, style).displacement
        losses = self.problem.loss(made, motion)
        if self.expert is not None:
            unsynced = geometry.unsynced(self.expert, audio, made, motion)
            losses["unsynced"] = self.problem.training.sync * unsynced
        return losses

    def judge(self, _: nn.Module) -> tuple[float, dict[str, float]]:
        """Score the network, which holds the mean weights: correlation, less lacking deviation."""
        figures = geometry.judge(self.network, self.problem, self.judged)
        return figures["correlation"] - LACKING * abs(1 - figures["deviation"]), figures

    def sheet(self) -> Bytes:
        """Return the true and the generated mouths of a few validation clips."""
        chosen = self.judged[:: max(1, len(self.judged) // SHEET_CLIPS)][:SHEET_CLIPS]
        pairs = [geometry.made_and_true(self.network, self.problem, clip) for clip in chosen]
        return mouth_sheet(pairs, self.problem)


def new_lip_sync(
    recipe: GeometryRecipe,
    clips: Sequence[Prepared[StoredSpeech]],
    problem: GeometryProblem,
    kind: type[LipSyncNet] = LipSyncNet,
) -> LipSyncNet:
    """Return the network that a training starts from; its vertex decoder is the basis.

    Args:
        recipe: What decides the training.
        clips: Whose features it is to hear.
        problem: Of the basis.
        kind: Of network.
    """
    widths = {clip.content.versions[0].features.shape[1] for clip in clips}
    hyper = replace(
        recipe.network,
        audio_width=max(widths, default=recipe.network.audio_width),
        lower_vertices=len(problem.lower),
    )
    torch.manual_seed(recipe.loop.seed)
    network = kind(hyper)
    network.start_from_basis(problem.basis, problem.mean[problem.lower])
    return network


def wanted(clip: Clip, recipe: GeometryRecipe) -> bool:
    """Return whether a clip teaches or judges the network."""
    taught = clip.split == "train" and clip.set in recipe.training.set_share
    judged = clip.split == "val" and clip.set in recipe.data.judged_sets
    return clip.kind == "speech" and (taught or judged)


def spoken_clips(
    source: Path, cache: Path, models: Path, model: MorphableModel, recipe: GeometryRecipe
) -> Iterator[Prepared[StoredSpeech]]:
    """Yield the wanted clips of a pack, or of a folder, prepared where they are not in the cache.

    Raises:
        InputError: If the pack is damaged or for something else, or the folder has no clips.csv.
    """
    count = recipe.data.versions
    for one in _all_versions(source, cache, models, model, recipe):
        yield Prepared(one.clip, replace(one.content, versions=one.content.versions[:count]))


def _all_versions(
    source: Path, cache: Path, models: Path, model: MorphableModel, recipe: GeometryRecipe
) -> Iterator[Prepared[StoredSpeech]]:
    """Yield the wanted clips, each with all versions there are."""
    encoder = recipe.network.audio_encoder
    if is_pack(source):
        pack = open_pack(source, GEOMETRY, models)
        made_with = pack.facts.get("audio_encoder", "")
        if made_with != encoder:
            raise InputError(
                f"{source}: holds features of {made_with}, not of {encoder}; "
                f"give --audio-encoder {made_with}, or pack again"
            )
        for packed in clips_of(pack):
            clip = packed.clip
            if wanted(clip, recipe):
                versions = speech_of_arrays(packed.content)
                speech = StoredSpeech(clip.name, clip.speaker, clip.set, versions)
                yield Prepared(clip, speech)
        return
    # Opens videos and tracks faces: what a machine that trains from a pack does not have.
    from dubcli.training.prepare import prepare_speech

    clips = [c for c in read_clips(source) if wanted(c, recipe)]
    yield from prepare_speech(clips, cache, models, model, encoder)


def train_geometry(
    source: Path,
    cache: Path,
    models: Path,
    options: TrainingOptions = TRAINING_DEFAULTS,
    *,
    audio_encoder: str | None = None,
    observer: Observer | None = None,
) -> Path:
    """Train the network from speech to lip motion; the best by validation is kept.

    Args:
        source: Folder with ``clips.csv``, or a pack.
        cache: Folder for runs, and for landmarks and features where the source is no pack.
        models: Folder of checkpoints: the basis is read, the result recorded.
        options: See ``TrainingOptions``.
        audio_encoder: Whose features: ours, a local HuBERT folder, or a name on the model hub;
            None: the recipe's.
        observer: Told where the run is.

    Returns:
        The checkpoint.

    Raises:
        InputError: If recipe, source, device, encoder or an earlier state cannot be used.
    """
    settings = settle(GEOMETRY, GeometryRecipe(), options)
    settings = with_encoder(settings, audio_encoder)
    model, place = load_basis(models), device_for(options.device)
    clips = list(spoken_clips(source, cache, models, model, settings))
    problem = GeometryProblem(model, settings.training)
    network = new_lip_sync(settings, clips, problem).to(place)
    expert = _expert(settings, models)
    run = GeometryRun(network, clips, problem, expert and expert.to(place))
    refuse_empty(run.training, run.judged, source)
    return train(
        network,
        geometry_for(settings.network.audio_encoder),
        cache,
        models,
        settings.loop,
        run.loss,
        run.judge,
        resume=options.resume,
        recipe=settings,
        sheet=run.sheet,
        observer=observer,
    )


def _expert(recipe: GeometryRecipe, models: Path) -> SyncExpert | None:
    """Return the sync expert that may serve as a loss, if the recipe wants one."""
    if recipe.training.sync == 0:
        return None
    expert = load_sync_expert(models, SYNC_VERTICES)
    heard = recipe.network.audio_encoder
    if expert.hyper.audio_encoder != heard:
        raise InputError(
            f"{models}: {SYNC_VERTICES} hears {expert.hyper.audio_encoder}, the network is to hear "
            f"{heard}; give [training] sync = 0, or train an expert on those features"
        )
    return expert


def with_encoder(recipe: GeometryRecipe, audio_encoder: str | None) -> GeometryRecipe:
    """Return the recipe with another speech encoder, if one is given."""
    if audio_encoder is None:
        return recipe
    return replace(recipe, network=replace(recipe.network, audio_encoder=audio_encoder))
