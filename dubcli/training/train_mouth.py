"""``dubcli train mouth``: a refiner for the renderer in the models folder, taught by a critic."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from dubcli.checkpoints import load_as
from dubcli.config import TRAINING_DEFAULTS, TrainingOptions
from dubcli.extras import PictureDistance, load_st_lpips
from dubcli.geometry.morphable import MorphableModel
from dubcli.loading import RENDERER, load_basis
from dubcli.networks.renderer import DualAttentionRenderer, channels_last
from dubcli.records import Bytes
from dubcli.stages.samples import SampleMaker
from dubcli.training import mouth
from dubcli.training.crops import CroppedClip
from dubcli.training.data import Prepared, by_speaker
from dubcli.training.loop import LoopOptions, Observer
from dubcli.training.perceptual import VggFeatures
from dubcli.training.renderer_data import RendererSampling
from dubcli.training.run import descend, export, refuse_empty, settle
from dubcli.training.train_renderer import RendererData, cropped_clips

MOUTH = "mouth"  # the recipe and the run
OF_A_CLIP = 3  # judged mouths; the last one, wide open, goes onto the sheet
ENLARGED = 3  # times, on the sheet


@dataclass(frozen=True, slots=True)
class MouthRecipe:
    """What decides a training of the refiner."""

    derived: ClassVar[frozenset[str]] = frozenset({"data.judged_frames"})  # three mouths a clip

    data: RendererData = field(default_factory=RendererData)
    sampling: RendererSampling = field(
        default_factory=lambda: RendererSampling(lip_references=12)  # nearer to the bank of a dub
    )
    training: mouth.MouthTraining = field(default_factory=mouth.MouthTraining)
    loop: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            minutes=90.0, rate=4e-4, judge_minutes=8.0, mean_decay=0.998
        )
    )


def with_refiner(renderer: DualAttentionRenderer, channels: int) -> DualAttentionRenderer:
    """Return the same renderer with an untrained refiner, which changes nothing.

    Args:
        renderer: Left as it is; a refiner that it has is dropped.
        channels: Of the refiner at full size.
    """
    made = DualAttentionRenderer(replace(renderer.hyper, refiner_channels=channels))
    known = {k: v for k, v in renderer.state_dict().items() if not k.startswith("refiner.")}
    made.load_state_dict(known, strict=False)
    return made.eval()


class MouthRun:
    """Losses, figures and pictures of one training.

    Args:
        renderer: With an untrained refiner; the rest of it is frozen here.
        clips: The prepared clips of both splits.
        model: The basis.
        recipe: What decides the training.
        vgg: The perceptual loss.
        st_lpips: What judges.
    """

    def __init__(
        self,
        renderer: DualAttentionRenderer,
        clips: list[Prepared[CroppedClip]],
        model: MorphableModel,
        recipe: MouthRecipe,
        vgg: VggFeatures,
        st_lpips: PictureDistance,
    ) -> None:
        """Split the clips.

        Raises:
            ValueError: If the renderer has no refiner.
        """
        if renderer.refiner is None:
            raise ValueError("this renderer has no refiner: see with_refiner")
        renderer.requires_grad_(False)
        self.both = mouth.RefinerAndCritic(renderer.refiner.requires_grad_(True))
        self.recipe, self.vgg, self.st_lpips, maker = recipe, vgg, st_lpips, SampleMaker(model)
        least = recipe.data.min_frames
        self.training = by_speaker(
            c for c in clips if c.clip.split == "train" and len(c.content) >= least
        )
        judged = [c.content for c in clips if c.clip.split == "val"]
        self.judged = mouth.validation_mouths(renderer, judged, maker)
        self._pool = mouth.MouthPool(
            lambda generator: mouth.draw_mouth(
                renderer, self.training, maker, recipe.sampling, generator
            ),
            recipe.loop.seed,
            recipe.training,
        )
        self._pictures: list[tuple[Bytes, Bytes, Bytes]] = []

    def loss(self, generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the losses of a batch."""
        batch = self._pool.batch(int(self.both.steps), generator)
        losses = mouth.losses(self.both, batch, self.recipe.training, self.vgg)
        self.both.steps += 1
        return losses

    def judge(self, _: nn.Module) -> tuple[float, dict[str, float]]:
        """Score the mean weights: how alike the mouths look."""
        figures, self._pictures = mouth.judge(
            self.both.refiner, self.judged, self.vgg, self.st_lpips
        )
        return -figures.st_lpips, asdict(figures)

    def sheet(self) -> Bytes:
        """Return truth, before and after of each clip's wide open mouth, two clips to a row."""
        rows = [np.concatenate(row, axis=1) for row in self._pictures[OF_A_CLIP - 1 :: OF_A_CLIP]]
        rows += [np.zeros_like(rows[0])] * (len(rows) % 2)
        pairs = [np.concatenate(rows[k : k + 2], axis=1) for k in range(0, len(rows), 2)]
        size = {"fx": ENLARGED, "fy": ENLARGED, "interpolation": cv2.INTER_CUBIC}
        return cv2.resize(np.concatenate(pairs), None, **size).astype(np.uint8)  # type: ignore[call-overload, no-any-return]


def train_mouth(
    source: Path,
    cache: Path,
    models: Path,
    options: TrainingOptions = TRAINING_DEFAULTS,
    *,
    vgg: Path,
    observer: Observer | None = None,
) -> Path:
    """Train a refiner for the renderer in the models folder; the best by validation is kept.

    Args:
        source: Folder with ``clips.csv``, or a renderer's pack.
        cache: Folder for runs, and for landmarks and crops where the source is no pack.
        models: Folder of checkpoints: the renderer is read, and recorded again with its refiner.
        options: See ``TrainingOptions``.
        vgg: Weights of the perceptual loss (``training.perceptual``).
        observer: Told where the run is.

    Returns:
        The checkpoint.

    Raises:
        InputError: If recipe, source, VGG's file or an earlier state cannot be used.
    """
    settings = settle(MOUTH, MouthRecipe(), options)
    model, features = load_basis(models), VggFeatures(vgg)
    clips = list(cropped_clips(source, cache, models, model, settings.data))
    torch.manual_seed(settings.loop.seed)
    plain = load_as(models, RENDERER, DualAttentionRenderer)
    renderer = with_refiner(plain, settings.training.channels)
    channels_last(renderer)
    run = MouthRun(renderer, clips, model, settings, features, load_st_lpips(models))
    refuse_empty(run.training, run.judged, source)
    metadata = descend(
        run.both,
        MOUTH,
        cache,
        settings.loop,
        run.loss,
        run.judge,
        resume=options.resume,
        recipe=settings,
        sheet=run.sheet,
        observer=observer,
    )
    return export(renderer, RENDERER, models, metadata)
