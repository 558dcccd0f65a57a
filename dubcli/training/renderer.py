"""Trains and judges the renderer.

Letters: N references, H, W the rendered window.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dubcli.metrics.image import psnr, ssim
from dubcli.networks.renderer import DualAttentionRenderer, Rendered
from dubcli.records import Bytes
from dubcli.stages.samples import Sample, SampleMaker, expose, picture_losses, render_sample
from dubcli.training.crops import CroppedClip
from dubcli.training.lip_tracker import LipTracker, landmark_loss
from dubcli.training.perceptual import VggFeatures, mouth_of, perceptual_loss
from dubcli.training.renderer_data import (
    RendererSampling,
    distant_references,
    draw_training_indices,
)

Whole = TypeVar("Whole")
Seen = Callable[[Sample], Sample]  # what the network is given of a sample; losses see all of it


def unchanged(whole: Whole) -> Whole:
    """Return what is given: nothing is left out."""
    return whole


@dataclass(frozen=True, slots=True)
class RendererTraining:
    """What the renderer descends; the table [training] of its recipe."""

    lip_weight: float = 3.0  # of the lips beside the rest of the mask
    gradient_weight: float = 2.0  # of the pictures' gradients beside their pixels
    warp_weight: float = 0.3  # of the loss on the plain warp
    perceptual_weight: float = 0.2  # of the perceptual loss on the mouth, where weights are given
    landmark_weight: float = 0.0  # of a pixel by which the lips are elsewhere; 0: no tracker


@dataclass(frozen=True, slots=True)
class RendererFigures:
    """Means over clips."""

    psnr: float
    ssim: float
    lip_psnr: float
    copy_psnr: float
    copy_ssim: float
    copy_lip_psnr: float


def sample_losses(
    rendered: Rendered,
    sample: Sample,
    training: RendererTraining,
    vgg: VggFeatures | None = None,
    lips: LipTracker | None = None,
) -> dict[str, Tensor]:
    """Return the named losses of one rendered sample.

    The perceptual one only with ``vgg``, the landmarks' only with ``lips``.
    """
    losses = picture_losses(
        rendered,
        sample,
        lip_weight=training.lip_weight,
        gradient_weight=training.gradient_weight,
        warp_weight=training.warp_weight,
    )
    if vgg is None and lips is None:
        return losses
    made = mouth_of(rendered.image, sample.lip_mask)
    true = mouth_of(sample.picture, sample.lip_mask)
    if vgg is not None:
        losses["perceptual"] = training.perceptual_weight * perceptual_loss(vgg, made, true)
    if lips is not None:
        losses["landmarks"] = training.landmark_weight * landmark_loss(lips, made, true)
    return losses


def training_samples(
    clips: dict[str, list[CroppedClip]],
    maker: SampleMaker,
    sampling: RendererSampling,
    generator: np.random.Generator,
) -> Iterator[Sample]:
    """Yield samples for ever; speakers are drawn with equal odds."""
    speakers = sorted(clips)
    while True:
        of_speaker = clips[speakers[generator.integers(len(speakers))]]
        clip = of_speaker[generator.integers(len(of_speaker))]
        index, other, face, lip = draw_training_indices(clip, generator, sampling)
        mirrored = generator.random() < sampling.mirrored_share
        sample = maker.make(clip, index, other, face, lip, mirrored=mirrored)
        yield expose(sample, 1 + sampling.brightness * float(generator.uniform(-1, 1)))


def to_bytes(picture: Tensor) -> Bytes:
    """Return a picture for the metrics, [3, H, W] in [0, 1] -> [H, W, 3] uint8."""
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def judge(
    network: DualAttentionRenderer,
    clips: Sequence[CroppedClip],
    maker: SampleMaker,
    *,
    frames_a_clip: int = 4,
    seen: Seen = unchanged,
) -> tuple[RendererFigures, list[tuple[Bytes, Bytes, Bytes]]]:
    """Return figures on clips, references kept ``FAR_S`` away, and pictures to look at.

    Args:
        network: The renderer.
        clips: Of the split ``val``.
        maker: Makes samples.
        frames_a_clip: Evenly spaced targets.
        seen: What the network is given of a sample.

    Returns:
        Means over clips of the lower face's PSNR and SSIM and the lips' PSNR, beside copying the
        nearest reference; and for each target (truth, copy, rendered), window-sized.
    """
    rows, pictures = [], []
    device = next(network.parameters()).device
    for clip in clips:
        of_clip = []
        for index in np.linspace(0, len(clip) - 1, frames_a_clip + 2).astype(int)[1:-1]:
            face, lip = distant_references(clip, int(index))
            sample = maker.make(clip, int(index), int(index), face, lip)
            rendered = to_bytes(render_sample(network, seen(sample.to(device))).image)
            truth = to_bytes(sample.picture)
            mask = sample.face_mask.byte().numpy()
            lips = sample.lip_mask.byte().numpy()
            copy = truth.copy()
            copy[mask > 0] = to_bytes(sample.face.frames[0])[mask > 0]
            of_clip.append(
                [
                    measure(picture, truth, where)
                    for picture in (rendered, copy)
                    for measure, where in ((psnr, mask), (ssim, mask), (psnr, lips))
                ]
            )
            pictures.append((truth, copy, rendered))
        rows.append(np.mean(of_clip, axis=0))
    p, s, lp, cp, cs, clp = np.mean(rows, axis=0)
    return RendererFigures(p, s, lp, cp, cs, clp), pictures
