"""Trains the mouth's refiner against a critic, on top of a finished renderer.

Letters: B batch, h, w the mouth's box.

The renderer stays as it is: what it makes of a sample is computed once and kept, so that a step
costs the small networks alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dubcli.extras import PictureDistance
from dubcli.geometry.crop import hull_mask
from dubcli.geometry.morphable import INNER_LIP_RING
from dubcli.geometry.window import COLUMNS, ROWS
from dubcli.metrics.image import detail_ratio, psnr
from dubcli.networks.mouth import MouthCritic, mouth_box, soft_edge
from dubcli.networks.renderer import DualAttentionRenderer, refiner_inputs
from dubcli.records import Bytes
from dubcli.stages.samples import Sample, SampleMaker, render_sample
from dubcli.training.crops import CroppedClip
from dubcli.training.perceptual import (
    CHANNELS,
    EMPTY,
    VggFeatures,
    feature_distance,
    perceptual_loss,
)
from dubcli.training.recipe import Between
from dubcli.training.renderer import to_bytes, training_samples
from dubcli.training.renderer_data import RendererSampling, distant_references

CRITICISED = 1  # the first block of features that the critic sees, 36 x 48 places


@dataclass(frozen=True, slots=True)
class MouthTraining:
    """How the refiner is trained."""

    batch: Annotated[int, Between(1)] = 4  # mouths a step
    channels: Annotated[int, Between(1)] = 24  # of the refiner at full size
    pixel_weight: Annotated[float, Between(0)] = 4.0
    perceptual_weight: Annotated[float, Between(0)] = 1.0
    critic_weight: Annotated[float, Between(0)] = 0.05
    critic_after: Annotated[int, Between(0)] = 300  # steps without the critic at the start
    fresh: Annotated[float, Between(0)] = 1.0  # mouths a step by which the pool of kept ones grows
    first: Annotated[int, Between(1)] = 32  # mouths in the pool at the start


@dataclass(frozen=True, slots=True, eq=False)
class Mouth:
    """What the frozen renderer made of one sample, the mouth's box alone, in half precision."""

    pixels: Tensor  # [10 + 8 K, h, w] what the refiner sees
    latent: Tensor  # [C, h/4, w/4]
    edge: Tensor  # [1, h, w] where its correction counts
    truth: Tensor  # [3, h, w]


@dataclass(frozen=True, slots=True)
class MouthFigures:
    """Means over targets."""

    lip_psnr: float  # dB
    inner_psnr: float  # dB, inside the lips, where they are apart
    inner_detail: float  # gradients inside the lips beside the true ones: below 1 is too soft
    perceptual: float  # distance of features on the mouth's box
    st_lpips: float  # the same by a measure that is no loss; it chooses the weights


class RefinerAndCritic(nn.Module):
    """Both networks, so that one loop trains and saves them together."""

    def __init__(self, refiner: nn.Module) -> None:
        """Take the refiner; the critic is made here and thrown away after training."""
        super().__init__()
        self.refiner = refiner
        self.critic = MouthCritic(CHANNELS[CRITICISED:])
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # saved with the weights
        self.steps: Tensor


def mouth_of_sample(renderer: DualAttentionRenderer, sample: Sample) -> Mouth:
    """Return a sample as the refiner sees it."""
    plain = renderer.refiner
    renderer.refiner = None
    with torch.no_grad():
        rendered = render_sample(renderer, sample)
    renderer.refiner = plain
    lips = sample.lip_mask * sample.face_mask
    pixels, latent = refiner_inputs(rendered, sample.pncc, lips, sample.mouths)
    box = mouth_box(lips)
    parts = (pixels, latent, box.cut(soft_edge(lips))[None], box.cut(sample.picture))
    return Mouth(*(part.half() for part in parts))


class MouthPool:
    """Samples that are made when first asked for; the k-th is the same in every run.

    Args:
        make: Draws and renders a sample with a generator.
        seed: Of the run.
        training: Its size.
    """

    def __init__(
        self, make: Callable[[np.random.Generator], Mouth], seed: int, training: MouthTraining
    ) -> None:
        """Start empty."""
        self._make, self._seed, self._training = make, seed, training
        self._kept: dict[int, Mouth] = {}

    def batch(self, step: int, generator: np.random.Generator) -> list[Mouth]:
        """Return the batch of a step."""
        limit = int(self._training.first + step * self._training.fresh)
        return [self._sample(int(k)) for k in generator.integers(limit, size=self._training.batch)]

    def _sample(self, k: int) -> Mouth:
        """Return sample k."""
        if k not in self._kept:
            self._kept[k] = self._make(np.random.default_rng([self._seed, 1, k]))
        return self._kept[k]


def draw_mouth(
    renderer: DualAttentionRenderer,
    speakers: dict[str, list[CroppedClip]],
    maker: SampleMaker,
    sampling: RendererSampling,
    generator: np.random.Generator,
) -> Mouth:
    """Return a random training mouth."""
    sample = next(training_samples(speakers, maker, sampling, generator))
    return mouth_of_sample(renderer, sample)


def refined(refiner: nn.Module, pixels: Tensor, latent: Tensor, edge: Tensor) -> Tensor:
    """Return the corrected mouths, [B, 3, h, w]."""
    correction: Tensor = refiner(pixels, latent)
    return pixels[:, :3] + correction * edge


def amid_truth(made: Tensor, truth: Tensor, edge: Tensor) -> Tensor:
    """Return made mouths amid the true skin, [B, 3, h, w], as a dub shows them.

    There skin has its own detail again; what the renderer lacks of it is no fault of the mouth.
    """
    return truth + (made - truth) * edge


def at_lips(scores: Tensor, edge: Tensor) -> Tensor:
    """Return the mean of scores where the refiner has a say, [B, 1, h', w'] and [B, 1, h, w]."""
    weight = F.interpolate(edge, scores.shape[-2:], mode="area")
    return (scores * weight).sum() / weight.sum().clamp_min(EMPTY)


def losses(
    both: RefinerAndCritic,
    batch: Sequence[Mouth],
    training: MouthTraining,
    vgg: VggFeatures,
) -> dict[str, Tensor]:
    """Return the named losses of a batch: of the refiner, and of the critic on its own.

    Hinge losses (Lim and Ye 2017; Miyato et al. 2018). The refiner sees the critic with its weights
    detached, so that one descent serves both.
    """
    pixels, latent, edge, truth = (
        torch.stack([getattr(mouth, name).float() for mouth in batch])  # autocast stacks no halves
        for name in ("pixels", "latent", "edge", "truth")
    )
    made = refined(both.refiner, pixels, latent, edge)
    with torch.no_grad():
        wanted = vgg(truth)
    seen = vgg(amid_truth(made, truth, edge))
    named = {
        "pixels": training.pixel_weight * ((made - truth).abs() * edge).sum() / edge.sum() / 3,
        "features": training.perceptual_weight * feature_distance(seen, wanted),
    }
    if both.steps < training.critic_after:
        return named
    pncc, lips = pixels[:, 6:9], pixels[:, 9:10]
    unit = [w.abs().mean().clamp_min(EMPTY) for w in wanted[CRITICISED:]]
    fake, real = (
        [f / size for f, size in zip(of[CRITICISED:], unit, strict=True)] for of in (seen, wanted)
    )
    frozen = {name: p.detach() for name, p in both.critic.named_parameters()}
    looks = functional_call(both.critic, frozen, (fake, pncc, lips))
    named["adversarial"] = -training.critic_weight * _mean([at_lips(s, edge) for s in looks])
    kept = both.critic([f.detach() for f in fake], pncc, lips)
    named["critic"] = _mean(
        [at_lips(F.relu(1 - s), edge) for s in both.critic(real, pncc, lips)]
    ) + _mean([at_lips(F.relu(1 + s), edge) for s in kept])
    return named


def _mean(parts: list[Tensor]) -> Tensor:
    """Return the mean of scalars."""
    return torch.stack(parts).mean()


INNER_PIXELS = 60  # fewer pixels inside the lips are no opening to judge


@dataclass(frozen=True, slots=True, eq=False)
class JudgedMouth:
    """A validation mouth."""

    mouth: Mouth
    lips: Bytes  # [h, w]
    inner: Bytes  # [h, w] inside the inner lips


def validation_mouths(
    renderer: DualAttentionRenderer, clips: Sequence[CroppedClip], maker: SampleMaker
) -> list[JudgedMouth]:
    """Return three mouths a clip, references kept away: at a third, two thirds, and wide open."""
    made = []
    for clip in clips:
        order = np.argsort(clip.aperture, kind="stable")
        wide = int(order[int(len(order) * 0.95) - 1])
        for index in (len(clip) // 3, 2 * len(clip) // 3, wide):
            face, lip = distant_references(clip, index)
            sample = maker.make(clip, index, index, face, lip)
            ring = clip.points(maker.model, index)[list(INNER_LIP_RING)]
            inner = torch.from_numpy(hull_mask(ring, 0)[ROWS, COLUMNS])
            lips = sample.lip_mask * sample.face_mask
            box = mouth_box(lips)
            made.append(
                JudgedMouth(
                    mouth_of_sample(renderer, sample),
                    box.cut(lips).byte().numpy(),
                    box.cut(inner).numpy(),
                )
            )
    return made


@torch.no_grad()
def judge(
    refiner: nn.Module | None,
    judged: Sequence[JudgedMouth],
    vgg: VggFeatures,
    st_lpips: PictureDistance,
) -> tuple[MouthFigures, list[tuple[Bytes, Bytes, Bytes]]]:
    """Return figures and (truth, before, after) of each mouth; None judges the plain renderer."""
    rows, pictures = [], []
    for one in judged:
        parts = (one.mouth.pixels, one.mouth.latent, one.mouth.edge, one.mouth.truth)
        pixels, latent, edge, truth = (part[None].float() for part in parts)
        before = pixels[:, :3]
        made = before if refiner is None else refined(refiner, pixels, latent, edge)
        picture, true = to_bytes(made[0]), to_bytes(truth[0])
        opened = one.inner.sum() >= INNER_PIXELS
        rows.append(
            (
                psnr(picture, true, one.lips),
                psnr(picture, true, one.inner) if opened else np.nan,
                detail_ratio(picture, true, one.inner) if opened else np.nan,
                float(perceptual_loss(vgg, made, truth)),
                st_lpips(picture, true),
            )
        )
        pictures.append((true, to_bytes(before[0]), picture))
    return MouthFigures(*np.nanmean(rows, axis=0).tolist()), pictures
