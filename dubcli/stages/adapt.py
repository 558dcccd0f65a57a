"""Fine-tunes the renderer on the clip that it is about to render: its own frames, as fitted.

Letters: T frames of the video, K frames that are kept, S crop size (256), V vertices (468).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from dubcli.geometry.crop import cut_out
from dubcli.geometry.morphable import MorphableModel
from dubcli.networks.precision import mixed
from dubcli.networks.renderer import DualAttentionRenderer
from dubcli.records import Analysis, Bytes, Facts, Float, Frame, Integers
from dubcli.stages.render import crop_of
from dubcli.stages.samples import Sample, SampleMaker, picture_losses, points_in_crop, render_sample
from dubcli.stages.select import spread

MOST_FRAMES = 120  # that are kept, 24 MB
LEAST_FRAMES = 12  # of a person, below which nothing is learned from them
SEED = 0
RATE = 3e-4  # learning rate at its highest (AdamW)
WARM_UP = 10  # steps until it is reached; from there on it falls
FINAL_RATE = 0.05  # share of it at the end
BETAS = (0.9, 0.99)  # of AdamW's two moments
GRADIENT_NORM = 1.0  # gradients longer than this are shortened to it
PARTS = ("decoder", "texture_encoder")  # that learn; what finds correspondences stays
FACES, LIPS = 3, 5  # references of a sample
BANK = 25  # frames among which the lip references are those with the most alike mouth
GAP, LIP_GAP = 2, 10  # frames of the video that face and lip references keep from their target
SELF_SHARE = 0.35  # of samples whose target is among its own face references
LIP_WEIGHT, GRADIENT_WEIGHT, WARP_WEIGHT = 3.0, 2.0, 0.3  # as in training


@dataclass(frozen=True, slots=True, eq=False)
class OwnFrames:
    """Frames of a clip, cropped; ``CroppedFrames`` for samples."""

    analysis: Analysis  # of these frames alone, K rows
    person: Integers  # [K] who is seen
    index: Integers  # [K] in the video, ascending
    pictures: tuple[Bytes, ...]  # K crops, [S, S, 3]

    def __len__(self) -> int:
        """Return K."""
        return len(self.pictures)

    def crop(self, t: int) -> Bytes:
        """Return the crop of the frame kept as number t, [S, S, 3]."""
        return self.pictures[t]

    def points(self, model: MorphableModel, t: int, beta: Float | None = None) -> Float:
        """Return its mesh in the crop, [V, 3] pixels; with another expression if given."""
        return points_in_crop(model, self.analysis, t, crop_of(self.analysis, t), beta)


def frames_to_learn(usable: Facts, person: Integers, most: int = MOST_FRAMES) -> Integers:
    """Return frames to learn from, evenly spread over those that may serve.

    Args:
        usable: Frames that may serve, [T].
        person: Who is seen in each, [T].
        most: How many frames are returned at most.

    Returns:
        Frame indices, ascending; none of a person with less than ``LEAST_FRAMES``.

    Example:
        >>> frames_to_learn(np.arange(40) % 2 == 0, np.zeros(40, int), most=4).tolist()
        []
        >>> frames_to_learn(np.arange(300) % 2 == 0, np.zeros(300, int), most=12).tolist()
        [0, 28, 54, 82, 108, 136, 162, 190, 216, 244, 270, 298]
    """
    able = np.flatnonzero(usable)
    chosen = able[spread(0, len(able) - 1, most)] if len(able) > most else able
    seen = [np.count_nonzero(person[chosen] == who) for who in person[chosen]]
    enough: Integers = chosen[np.array(seen, np.int64) >= LEAST_FRAMES]
    return enough


def gather(
    frames: Iterable[Frame], wanted: Integers, analysis: Analysis, person: Integers
) -> OwnFrames:
    """Return the crops of some frames of a video; nothing else of it is kept.

    Args:
        frames: The video's; those not wanted pass by.
        wanted: Indices, ascending, [K].
        analysis: Of the video.
        person: Who is seen in each frame, [T].
    """
    chosen = {int(t) for t in wanted}
    found = {
        frame.index: cut_out(frame.rgb, crop_of(analysis, frame.index))
        for frame in frames
        if frame.index in chosen
    }
    index = np.array(sorted(found), np.int64)
    columns = {each.name: getattr(analysis, each.name) for each in fields(analysis)}
    picked: dict[str, Any] = {
        name: None if of is None else of[index] for name, of in columns.items()
    }
    rows = Analysis(**picked)
    return OwnFrames(rows, person[index], index, tuple(found[int(t)] for t in index))


def draw_references(
    frames: OwnFrames, index: int, generator: np.random.Generator
) -> tuple[Integers, Integers]:
    """Return face and lip references for a target among the frames.

    Both are of the same person. Face references are of the target's shot where it has others, as in
    a dub; in a share of the samples the target is one of them, as in a dub too. Lip references are,
    of some frames drawn, those whose mouth is most like the target's, which count most in a dub.
    Frames next to the target are no lip references where there are others: a network that may see
    its target's mouth learns to copy it.

    Args:
        frames: At least ``LEAST_FRAMES`` of each person.
        index: The target, counted among them.
        generator: Draws.

    Returns:
        ``FACES`` and ``LIPS`` numbers among the frames.
    """
    own = frames.person == frames.person[index]
    away = np.abs(frames.index - frames.index[index])
    others, far = own & (away >= GAP), own & (away >= LIP_GAP)
    in_shot = others & (frames.analysis.shot == frames.analysis.shot[index])
    faces = np.flatnonzero(in_shot if in_shot.any() else others)
    face = generator.choice(faces, FACES, replace=len(faces) < FACES)
    if generator.random() < SELF_SHARE:
        face[generator.integers(FACES)] = index
    lips = np.flatnonzero(far if far.sum() >= LIPS else others)
    bank = generator.choice(lips, min(BANK, len(lips)), replace=False)
    beta = frames.analysis.beta
    unlike = np.linalg.norm(beta[bank] - beta[index], axis=1)
    return face, bank[np.argsort(unlike, kind="stable")[:LIPS]]


def samples(
    frames: OwnFrames, model: MorphableModel, generator: np.random.Generator
) -> Iterator[Sample]:
    """Yield samples for ever: a target, masks widened by another frame's mouth, and references."""
    maker = SampleMaker(model)
    while True:
        index, other = generator.integers(len(frames), size=2)
        face, lip = draw_references(frames, int(index), generator)
        yield maker.make(frames, int(index), int(other), face, lip)


def adapt(
    network: DualAttentionRenderer,
    frames: OwnFrames,
    model: MorphableModel,
    steps: int,
    *,
    bfloat16: bool = False,
    seed: int = SEED,
) -> Iterator[float]:
    """Fine-tune a renderer in place; it ends in eval mode and frozen, as it came.

    Only ``PARTS`` learn: what a few frames say of finding correspondences is not to be trusted.
    The refiner stays as it is: what it adds matches no pixel, and L1 would take it away again.

    Args:
        network: A copy, on its device.
        frames: To learn from, from ``gather``.
        model: The basis.
        steps: Of AdamW, one sample each.
        bfloat16: Whether to compute in it, and not in float32.
        seed: Of every random choice: the same frames, steps and device give the same weights.

    Yields:
        The loss of each step.
    """
    device = next(network.parameters()).device
    refiner, network.refiner = network.refiner, None
    network.train()
    learning = [p for part in PARTS for p in network.get_submodule(part).parameters()]
    for parameter in learning:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(learning, lr=RATE, betas=BETAS, weight_decay=0.0)
    drawn = samples(frames, model, np.random.default_rng(seed))
    for step, sample in zip(range(steps), drawn, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = RATE * rate_share(step, steps)
        with mixed(device, bfloat16=bfloat16):
            losses = picture_losses(
                render_sample(network, here := sample.to(device)),
                here,
                lip_weight=LIP_WEIGHT,
                gradient_weight=GRADIENT_WEIGHT,
                warp_weight=WARP_WEIGHT,
            )
        loss = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learning, GRADIENT_NORM)
        optimiser.step()
        yield float(loss.detach())
    network.refiner = refiner
    network.eval().requires_grad_(False)


def rate_share(step: int, steps: int) -> float:
    """Return the learning rate of a step as a share of the highest: up quickly, then down.

    Example:
        >>> [round(rate_share(step, 100), 3) for step in (0, 4, 10, 99)]
        [0.1, 0.481, 0.905, 0.059]
    """
    return min(1.0, (step + 1) / WARM_UP) * (1 - (1 - FINAL_RATE) * step / steps)
