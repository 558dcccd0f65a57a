"""``dubcli train renderer``: from cropped clips, or a pack of them, to a checkpoint."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.config import TRAINING_DEFAULTS, TrainingOptions
from dubcli.geometry.morphable import MorphableModel
from dubcli.loading import RENDERER, device_for, load_basis
from dubcli.networks.renderer import DualAttentionRenderer, RendererHyper, channels_last
from dubcli.records import Bytes
from dubcli.stages.samples import SampleMaker, render_sample
from dubcli.training import renderer
from dubcli.training.crops import CroppedClip, crops_of_arrays
from dubcli.training.data import Clip, Prepared, by_speaker, read_clips
from dubcli.training.lip_tracker import LipTracker, LipTrackerTraining, train_lip_tracker
from dubcli.training.loop import LoopOptions, Observer
from dubcli.training.pack import clips_of, is_pack, open_pack
from dubcli.training.perceptual import VggFeatures
from dubcli.training.recipe import Between
from dubcli.training.renderer_data import RendererSampling
from dubcli.training.run import refuse_empty, settle, train

SHEET_STEP = 4  # every so many validation pictures go onto the sheet


@dataclass(frozen=True, slots=True)
class RendererData:
    """Which clips the renderer learns from and is judged on; the table [data] of its recipe."""

    sets: tuple[str, ...] = ("wild",)  # of ``clips.csv``
    min_face_px: float = 135.0  # of training clips; smaller faces blur the renderer
    min_frames: Annotated[int, Between(6)] = 12  # of a training clip
    judged_frames: Annotated[int, Between(1)] = 2  # of a validation clip at each judgement


@dataclass(frozen=True, slots=True)
class RendererRecipe:
    """What decides a training of the renderer."""

    # The window is part of geometry/window.py, not of a recipe; the refiner is `train mouth`'s.
    derived: ClassVar[frozenset[str]] = frozenset(
        {"network.height", "network.width", "network.refiner_channels"}
    )

    data: RendererData = field(default_factory=RendererData)
    sampling: RendererSampling = field(default_factory=RendererSampling)
    training: renderer.RendererTraining = field(default_factory=renderer.RendererTraining)
    lip_tracker: LipTrackerTraining = field(default_factory=LipTrackerTraining)
    network: RendererHyper = field(default_factory=RendererHyper)
    loop: LoopOptions = field(default_factory=lambda: LoopOptions(minutes=90.0))


class RendererRun:
    """Losses, figures and pictures of one training.

    Args:
        network: Trained.
        clips: The prepared clips of both splits.
        model: The basis.
        recipe: What decides the training.
        vgg: The perceptual loss; None: trained without it.
        seen: What the network is given of a sample, in training and when it is judged.
    """

    def __init__(
        self,
        network: DualAttentionRenderer,
        clips: list[Prepared[CroppedClip]],
        model: MorphableModel,
        recipe: RendererRecipe,
        vgg: VggFeatures | None,
        *,
        seen: renderer.Seen = renderer.unchanged,
    ) -> None:
        """Split the clips."""
        self.network, self.recipe, self.vgg, self.seen = network, recipe, vgg, seen
        self.maker = SampleMaker(model)
        least = recipe.data.min_frames
        self.training = by_speaker(
            c for c in clips if c.clip.split == "train" and len(c.content) >= least
        )
        self.judged = [c.content for c in clips if c.clip.split == "val"]
        self.lips: LipTracker | None = None  # the landmarks' loss, where there is one
        self._pictures: list[tuple[Bytes, Bytes, Bytes]] = []

    def loss(self, generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the losses of a random sample."""
        place = next(self.network.parameters()).device
        sampling, training = self.recipe.sampling, self.recipe.training
        samples = renderer.training_samples(self.training, self.maker, sampling, generator)
        sample = next(samples).to(place)
        rendered = render_sample(self.network, self.seen(sample))
        return renderer.sample_losses(rendered, sample, training, self.vgg, self.lips)

    def judge(self, _: nn.Module) -> tuple[float, dict[str, float]]:
        """Score the network, which holds the mean weights: PSNR of the lower face."""
        figures, self._pictures = renderer.judge(
            self.network,
            self.judged,
            self.maker,
            frames_a_clip=self.recipe.data.judged_frames,
            seen=self.seen,
        )
        return figures.psnr, asdict(figures)

    def sheet(self) -> Bytes:
        """Return truth, copy and rendered side by side, a row a picture of the last judgement."""
        rows = [np.concatenate(row, axis=1) for row in self._pictures[::SHEET_STEP]]
        return np.concatenate(rows)


def new_renderer(recipe: RendererRecipe) -> DualAttentionRenderer:
    """Return the network that a training starts from."""
    torch.manual_seed(recipe.loop.seed)
    network = DualAttentionRenderer(recipe.network)
    channels_last(network)
    return network


def wanted(clip: Clip, data: RendererData) -> bool:
    """Return whether a clip judges the renderer, or is sharp enough to teach it."""
    sharp = clip.split == "val" or clip.face_px >= data.min_face_px
    return clip.set in data.sets and sharp


def cropped_clips(
    source: Path, cache: Path, models: Path, model: MorphableModel, data: RendererData
) -> Iterator[Prepared[CroppedClip]]:
    """Yield the wanted clips of a pack, or of a folder, prepared where they are not in the cache.

    Raises:
        InputError: If the pack is damaged or for something else, or the folder has no clips.csv.
    """
    if is_pack(source):
        for packed in clips_of(open_pack(source, RENDERER, models)):
            if wanted(packed.clip, data):
                yield Prepared(packed.clip, crops_of_arrays(packed.content))
        return
    # Opens videos and tracks faces: what a machine that trains from a pack does not have.
    from dubcli.training.prepare import prepare_crops

    clips = [c for c in read_clips(source) if wanted(c, data)]
    yield from prepare_crops(clips, cache, models, model)


def train_renderer(
    source: Path,
    cache: Path,
    models: Path,
    options: TrainingOptions = TRAINING_DEFAULTS,
    *,
    vgg: Path | None = None,
    observer: Observer | None = None,
) -> Path:
    """Train the network from geometry and references to pictures; the best by validation is kept.

    Args:
        source: Folder with ``clips.csv``, or a pack.
        cache: Folder for runs, and for landmarks and crops where the source is no pack.
        models: Folder of checkpoints: the basis is read, the result recorded.
        options: See ``TrainingOptions``.
        vgg: Weights of the perceptual loss (``training.perceptual``); None: trained without it.
        observer: Told where the run is.

    Returns:
        The checkpoint.

    Raises:
        InputError: If recipe, source, device or an earlier state cannot be used.
    """
    settings = settle(RENDERER, RendererRecipe(), options)
    model, place = load_basis(models), device_for(options.device)
    clips = list(cropped_clips(source, cache, models, model, settings.data))
    network = new_renderer(settings).to(place)
    features = None if vgg is None else VggFeatures(vgg).to(place)
    run = RendererRun(network, clips, model, settings, features)
    refuse_empty(run.training, run.judged, source)
    if settings.training.landmark_weight > 0:
        run.lips = train_lip_tracker(
            run.training,
            run.judged,
            model,
            cache,
            settings.lip_tracker,
            seed=settings.loop.seed,
            device=place,
            resume=options.resume,
            observer=observer,
        )
    return train(
        network,
        RENDERER,
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
