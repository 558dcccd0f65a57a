"""Teaching a compact HuBERT to hear what a larger encoder hears.

Letters: B batch, N samples, F frames of 20 ms, D the student's width, W the teacher's, U units.

Three things are learned at once: the teacher's features, from sound that the teacher hears clean
and the student with noise (L1 and cosine: DistilHuBERT, arXiv:2110.01900, eq. 1); HuBERT's own
task, to name the unit of masked frames from what is around them (arXiv:2106.07447, eq. 1), the
units being clusters of the teacher's features; and, where sound is labelled, the viseme.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from dubcli.networks.audio_encoder import HOP, SAMPLE_RATE_HZ, AudioEncoder, WhisperEncoder
from dubcli.networks.compact_hubert import CompactHubert
from dubcli.records import Facts, Float
from dubcli.training.recipe import Between
from dubcli.training.sounds import (
    UNLABELLED,
    VISEMES,
    Hearing,
    Sound,
    Stretch,
    as_waveform,
    draw_stretch,
)

COSINE_SLOPE = 4.0  # of the logistic function on the cosine
CLUSTERED = 20_000  # frames from which units are found
LABEL_SMOOTHING = 0.1
JUDGED_S = 8  # of each sound


@dataclass(frozen=True, slots=True)
class HubertTraining:
    """What is learned from a batch; the table [training] of a recipe."""

    batch: Annotated[int, Between(1)] = 8
    seconds: Annotated[float, Between(0.5, 10)] = 3.0  # of each piece
    labelled_share: float = 0.3  # odds of labelled sound; every other group has 1
    units: Annotated[int, Between(2, 1000)] = 200  # clusters of the teacher's features
    masked: Annotated[float, Between(0, 1)] = 0.25  # share of the pieces with masked frames
    mask_starts: Annotated[float, Between(0, 1)] = 0.065  # share of their frames
    mask_frames: Annotated[int, Between(1)] = 10  # masked from each start on: 200 ms
    distance: float = 1.0  # weights of the losses
    cosine: float = 1.0
    unit: float = 0.1
    viseme: float = 0.0  # little labelled sound is learned by heart
    stem_steps: Annotated[int, Between(0)] = 500  # at the beginning: only what the blocks see


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Sound as teacher and student hear it, and what is said."""

    clean: Tensor  # [B, N]
    heard: Tensor  # [B, N]
    visemes: Tensor  # [B, F] classes, -1: unlabelled
    mask: Tensor  # [B, F] bool: frames that the student does not hear

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        tensors = (self.clean, self.heard, self.visemes, self.mask)
        return Batch(*(tensor.to(device) for tensor in tensors))


def draw_batch(
    groups: Mapping[str, Sequence[Sound]],
    training: HubertTraining,
    hearing: Hearing,
    generator: np.random.Generator,
) -> Batch:
    """Return a random batch.

    Args:
        groups: Group -> sounds.
        training: Sizes and shares.
        hearing: What is done to the sound.
        generator: Of all choices.
    """
    length = int(training.seconds * SAMPLE_RATE_HZ) // HOP * HOP
    shares = {"labelled": training.labelled_share}
    pieces: list[Stretch] = []
    masks: list[Facts] = []
    for _ in range(training.batch):
        pieces.append(draw_stretch(groups, shares, length, hearing, generator))
        hidden = generator.random() < training.masked
        masks.append(
            span_mask(length // HOP, training.mask_starts, training.mask_frames, generator)
            if hidden
            else np.zeros(length // HOP, np.bool_)
        )
    return Batch(
        torch.from_numpy(np.stack([piece.clean for piece in pieces])),
        torch.from_numpy(np.stack([piece.heard for piece in pieces])),
        torch.from_numpy(np.stack([piece.visemes for piece in pieces]).astype(np.int64)),
        torch.from_numpy(np.stack(masks)),
    )


def span_mask(frames: int, share: float, span: int, generator: np.random.Generator) -> Facts:
    """Return which frames are masked: spans that may overlap, from random starts, [F]."""
    begins = generator.random(frames) < share
    mask = np.zeros(frames, np.bool_)
    for start in np.flatnonzero(begins):
        mask[start : start + span] = True
    return mask


class Distillation(nn.Module):
    """The student, and the heads by which it is taught; they are not part of the checkpoint.

    Args:
        student: The encoder to train.
        mean: Of the teacher's features, [W].
        deviation: Of the teacher's features, [W].
        centres: Of the units, among the features after mean and deviation, [U, W].
    """

    def __init__(
        self, student: CompactHubert, mean: Tensor, deviation: Tensor, centres: Tensor
    ) -> None:
        """Build heads with random weights."""
        super().__init__()
        self.student = student
        # The filters stay as they begin, as Whisper's mel bank does: no gradient through 400 taps.
        student.filters.requires_grad_(False)
        self.features = nn.Linear(student.width, len(mean))
        self.units = nn.Linear(student.width, len(centres))
        self.visemes = nn.Linear(student.width, VISEMES)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # saved with the weights
        self.steps: Tensor
        self.mean: Tensor
        self.deviation: Tensor
        self.centres: Tensor

    def wanted(self, teacher: AudioEncoder, clean: Tensor) -> Tensor:
        """Return the teacher's features of clean sound, of mean 0 and deviation 1, [B, F, W]."""
        with torch.no_grad():
            features: Tensor = teacher(clean)
        return (features - self.mean) / self.deviation

    def losses(
        self, teacher: AudioEncoder, batch: Batch, weights: HubertTraining
    ) -> dict[str, Tensor]:
        """Return the weighted losses of a batch by name; each call counts as a step."""
        self.steps += 1
        begins = self.steps <= weights.stem_steps
        if begins and isinstance(teacher, WhisperEncoder) and self.student.fits(teacher):
            return {"stem": stem_loss(self.student, teacher, batch)}
        wanted = self.wanted(teacher, batch.clean)
        hidden = self.student(batch.heard, batch.mask)
        open_ = ~batch.mask
        made = self.features(hidden)[open_]
        distance, cosine = distillation_losses(made, wanted[open_])
        losses = {"distance": weights.distance * distance, "cosine": weights.cosine * cosine}
        if batch.mask.any():
            unit = nearest(wanted[batch.mask], self.centres)
            losses["unit"] = weights.unit * F.cross_entropy(self.units(hidden[batch.mask]), unit)
        labelled = batch.visemes != UNLABELLED
        if labelled.any() and weights.viseme:
            losses["viseme"] = weights.viseme * F.cross_entropy(
                self.visemes(hidden[labelled]),
                batch.visemes[labelled],
                label_smoothing=LABEL_SMOOTHING,
            )
        return losses


def stem_loss(student: CompactHubert, teacher: WhisperEncoder, batch: Batch) -> Tensor:
    """Return how far off what the student's blocks see is from what the teacher's do, relative."""
    with torch.no_grad():
        wanted = teacher.stem(batch.clean)
    made = student.stem(batch.heard)
    return (made - wanted).abs().mean() / wanted.abs().mean()


def distillation_losses(made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean |made - wanted| and mean -log sigmoid(4 cos(made, wanted)), of [..., W] each."""
    cosine = F.cosine_similarity(made, wanted, dim=-1)
    return (made - wanted).abs().mean(), -F.logsigmoid(COSINE_SLOPE * cosine).mean()


def nearest(features: Tensor, centres: Tensor) -> Tensor:
    """Return the nearest centre of each feature, [M, W] and [U, W] -> [M]."""
    return torch.cdist(features, centres).argmin(dim=-1)


def teachers_statistics(
    teacher: AudioEncoder, pieces: Tensor, units: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean [W] and deviation [W] of the teacher's features, and units among them [U, W].

    Args:
        teacher: The encoder.
        pieces: Clean sound, [B, N].
        units: How many clusters (k-means).
        seed: Of their first places.
    """
    with torch.no_grad():
        features = torch.cat([teacher(piece[None])[0] for piece in pieces])
    mean, deviation = features.mean(0), features.std(0)
    scaled: Float = ((features - mean) / deviation)[:CLUSTERED].numpy()
    # Not minit="++": its first places take scipy minutes, and the frames are many to a unit.
    centres, _ = kmeans2(scaled, units, minit="points", seed=np.random.default_rng(seed))
    return mean, deviation, torch.from_numpy(centres.astype(np.float32))


def judge(
    distillation: Distillation, teacher: AudioEncoder, sounds: Sequence[Sound]
) -> dict[str, float]:
    """Return how near the student comes to the teacher on speech that it never heard.

    Args:
        distillation: With the weights to judge.
        teacher: The encoder.
        sounds: Their first 8 seconds are judged, without noise.

    Returns:
        ``likeness``: cosine with the teacher's features, mean over frames and sounds.
    """
    device = distillation.mean.device
    cosines: list[float] = []
    for sound in sounds:
        count = min(len(sound.samples), JUDGED_S * SAMPLE_RATE_HZ) // HOP * HOP
        waveform = as_waveform(sound.samples[:count])
        clean = torch.from_numpy(waveform)[None].to(device)
        with torch.no_grad():
            made = distillation.features(distillation.student(clean))
            wanted = distillation.wanted(teacher, clean)
        cosines.append(float(F.cosine_similarity(made, wanted, dim=-1).mean()))
    return {"likeness": float(np.mean(cosines))}
