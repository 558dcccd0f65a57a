"""Trains and judges the sync experts.

Letters: B batch, T frames at 25 Hz, W feature width, E expression coefficients, L lower-face
vertices, D embedding width, K offsets, h, w size of a mouth picture, N negatives.

An expert that serves as a loss and the one that measures must not share their mistakes: the hash of
a speaker's name decides which of the two learns from that speaker, never both.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dubcli.metrics.sync import SyncScores, sync_scores
from dubcli.networks.sync_expert import SyncExpert
from dubcli.records import Bytes, Float
from dubcli.training.data import Clip, SpeakerDraw
from dubcli.training.geometry import FEATURES_A_FRAME, GeometryProblem, load_speech
from dubcli.training.mouths import MOUTH_MARGIN
from dubcli.training.speech import FRAME_RATE_HZ, SPEEDS, as_tensor

HALVES = ("losses", "measuring")
TRUSTED = frozenset({"confirmed", "set-confirmed"})  # of what ``clips.csv`` calls sync
AS_RECORDED = 2  # versions, plain and noisy, whose speed is that of the pictures
MIN_FRAMES = 20
WITHIN = 1  # frames that an offset may be wrong
WINDOW_STEP = 10  # frames between the windows that are judged
NEVER = -1e4  # a logit that no softmax picks; finite, so that rows of nothing else stay finite


@dataclass(frozen=True, slots=True)
class SyncTraining:
    """How an expert is trained."""

    batch: int = 16
    frames: int = 50  # of a window
    negatives: int = 48  # frames of other clips beside each frame's own
    reach: int = 12  # frames: offsets of the stretch's contrast
    stretch_weight: float = 1.0
    expression_weight: float = 0.3
    feature_noise: float = 0.15  # of the features' own deviation
    amount: tuple[float, float] = (0.7, 1.4)  # of the expression
    rest: float = 0.3  # deviation of a constant added to the expression
    set_share: dict[str, float] = field(
        default_factory=lambda: {"wild": 0.65, "grid": 0.1, "arabic": 0.25}
    )


@dataclass(frozen=True, slots=True, eq=False)
class PairedClip:
    """One version of a clip: sound and mouth, frame by frame, lag corrected."""

    features: Float  # [2T, W]
    beta: Float  # [T, E]
    pictures: Bytes  # [T, h, w] with ``MOUTH_MARGIN`` around them; [T, 0, 0] without pictures

    def __len__(self) -> int:
        """Return T."""
        return len(self.beta)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Windows of B clips; what lies beyond a short clip's end is not ``valid``."""

    features: Tensor  # [B, 2T, W]
    mouth: Tensor  # [B, T, L, 3] cm or [B, T, 1, h, w]
    beta: Tensor  # [B, T, E]
    valid: Tensor  # [B, T]
    clip: Tensor  # [B] which clip it is from: two windows of one clip are no negatives

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(
            self.features.to(device),
            self.mouth.to(device),
            self.beta.to(device),
            self.valid.to(device),
            self.clip.to(device),
        )


def half_of(speaker: str) -> str:
    """Return which experts learn from a speaker: those for "losses" or the one for "measuring".

    Example:
        >>> half_of("s000") in HALVES
        True
    """
    return HALVES[1 - hashlib.sha256(speaker.encode()).digest()[0] % 2]


def load_pairs(clip: Clip, speech: Path, mouths: Path | None) -> list[PairedClip]:
    """Return a clip's versions, plain first; none if it is not cached or too short.

    Frames whose mouth would come from before the video's start are left out, and so are versions
    with stretches of silence, under which the mouth moves on.

    Args:
        clip: The clip.
        speech: Folder of cached features.
        mouths: Folder of cached mouth pictures; None: vertices only.
    """
    file = speech / f"{clip.name}.npz"
    picture_file = None if mouths is None else mouths / f"{clip.name}.npz"
    if not file.exists() or (picture_file is not None and not picture_file.exists()):
        return []
    versions = load_speech(file, clip.speaker, clip.set).versions
    pictures = np.zeros((max(len(v.beta) for v in versions), 0, 0), dtype=np.uint8)
    if picture_file is not None:
        versions = versions[:AS_RECORDED]
        with np.load(picture_file) as stored:
            pictures = stored["pictures"]
    slowest = min(up / down for up, down in SPEEDS)
    first = math.ceil(max(0.0, -clip.sync_lag_s) / slowest * FRAME_RATE_HZ)
    made = []
    for version in versions:
        last = min(len(version.beta), len(pictures))
        if version.closed.any() or last - first < MIN_FRAMES:
            continue
        features = version.features[first * FEATURES_A_FRAME : last * FEATURES_A_FRAME]
        made.append(PairedClip(features, version.beta[first:last], pictures[first:last]))
    return made


class SyncProblem:
    """Batches and losses of an expert.

    Args:
        geometry: Turns expression into displacements.
        kind: "vertices" or "pixels".
        training: Weights and sizes.
    """

    def __init__(self, geometry: GeometryProblem, kind: str, training: SyncTraining) -> None:
        """Keep the settings."""
        self.geometry, self.kind, self.training = geometry, kind, training

    def mouth(self, pair: PairedClip) -> Tensor:
        """Return what the expert sees of a version as it is, [T, L, 3] cm or [T, 1, h, w]."""
        if self.kind == "vertices":
            return self.geometry.motion(pair.beta)
        inner = slice(MOUTH_MARGIN, -MOUTH_MARGIN)
        return torch.from_numpy(pair.pictures[:, None, inner, inner].astype(np.float32) / 255)

    def batch(
        self,
        clips: dict[str, dict[str, list[list[PairedClip]]]],
        generator: np.random.Generator,
    ) -> Batch:
        """Return B windows, speakers of a set equally often.

        Args:
            clips: Set -> speaker -> clips -> versions.
            generator: For every choice.
        """
        t = self.training
        speakers = SpeakerDraw(clips, t.set_share)
        rows: list[tuple[Tensor, Tensor, Tensor]] = []
        drawn: list[int] = []
        for _ in range(t.batch):
            of_speaker = speakers.draw(generator)
            versions = of_speaker[generator.integers(len(of_speaker))]
            pair = versions[generator.integers(len(versions))]
            rows.append(self._window(pair, generator))
            drawn.append(id(versions))
        lengths = torch.tensor([len(beta) for _, _, beta in rows])
        return Batch(
            torch.stack([_fill(x, t.frames * FEATURES_A_FRAME) for x, _, _ in rows]),
            torch.stack([_fill(x, t.frames) for _, x, _ in rows]),
            torch.stack([_fill(x, t.frames) for _, _, x in rows]),
            torch.arange(t.frames) < lengths[:, None],
            torch.tensor(drawn),
        )

    def _window(
        self, pair: PairedClip, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Cut a window and change it: features [2n, W], mouth [n, ...], expression [n, E]."""
        t = self.training
        count = min(len(pair), t.frames)
        start = int(generator.integers(len(pair) - count + 1))
        frames = slice(start, start + count)
        features = as_tensor(
            pair.features[start * FEATURES_A_FRAME : (start + count) * FEATURES_A_FRAME]
        )
        noise = torch.from_numpy(generator.normal(size=features.shape).astype(np.float32))
        features = features + t.feature_noise * features.std() * noise
        beta, mirrored = pair.beta[frames].astype(np.float32), generator.random() < 0.5
        if self.kind == "vertices":
            rest = t.rest * generator.normal(size=(1, beta.shape[1]))
            amount = generator.uniform(*t.amount)
            motion = self.geometry.motion((beta * amount + rest).astype(np.float32))
            if mirrored:
                motion = motion[:, self.geometry.mirror] * torch.tensor([-1.0, 1.0, 1.0])
            return features, motion, as_tensor(beta)
        pictures = torch.from_numpy(pair.pictures[frames, None].astype(np.float32) / 255)
        seen = changed(pictures.flip(-1) if mirrored else pictures, generator)
        return features, seen, as_tensor(beta)

    def loss(
        self, network: SyncExpert, batch: Batch, generator: np.random.Generator
    ) -> dict[str, Tensor]:
        """Return the named losses.

        Frame: each sound's own mouth against the other mouths of its window and against mouths of
        other clips, and the same with sound and mouth exchanged. Stretch: the true offset against
        the others, by mean cosine over the window, which is what the expert is used for.
        Expression: the mouth encoder tells the fitted expression, meant to keep it from learning
        the few speakers' faces by heart.
        """
        t = self.training
        sound = network.embed_sound(batch.features)
        mouth, told = network.embed_and_tell(batch.mouth)
        scale, stretch_scale = network.log_frame_scale.exp(), network.log_stretch_scale.exp()
        frame = frame_contrast(sound, mouth, batch, scale, t.negatives, generator)
        frame = frame + frame_contrast(mouth, sound, batch, scale, t.negatives, generator)
        error = (told - batch.beta).square().mean(-1)
        return {
            "frame": frame / 2,
            "stretch": t.stretch_weight
            * stretch_contrast(sound, mouth, batch.valid, stretch_scale, t.reach),
            "expression": t.expression_weight * error[batch.valid].mean(),
        }


def _fill(x: Tensor, length: int) -> Tensor:
    """Hold the last row to ``length`` rows."""
    return torch.cat([x, x[-1:].expand(length - len(x), *x.shape[1:])])


def changed(pictures: Tensor, generator: np.random.Generator) -> Tensor:
    """Move, turn, scale, blur and tone a window's pictures, and cut their margin.

    All pictures of a window are changed alike; only noise differs.

    Args:
        pictures: [T, 1, h + 2m, w + 2m], 0 to 1, m the margin.
        generator: For every choice.

    Returns:
        [T, 1, h, w].
    """
    count, _, height, width = pictures.shape
    inner = (height - 2 * MOUTH_MARGIN, width - 2 * MOUTH_MARGIN)
    angle, scale = generator.normal(0, 0.05), math.exp(generator.normal(0, 0.06))
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    y, x = inner[0] / height, inner[1] / width
    shift = generator.normal(0, 1.5, size=2) * 2 / np.array([width, height])
    matrix = torch.tensor(
        [
            [x * cosine, -y * sine * height / width, shift[0]],
            [x * sine * width / height, y * cosine, shift[1]],
        ],
        dtype=torch.float32,
    )
    grid = F.affine_grid(matrix[None], [1, 1, *inner], align_corners=False)
    # Pictures as channels: they share the grid.
    moved = F.grid_sample(
        pictures.transpose(0, 1), grid, padding_mode="border", align_corners=False
    ).transpose(0, 1)
    if generator.random() < 0.3:
        moved = F.avg_pool2d(moved, 3, stride=1, padding=1, count_include_pad=False)
    toned = moved.clamp(min=1e-3) ** math.exp(generator.normal(0, 0.25))
    noise = torch.from_numpy(generator.normal(size=(count, 1, *inner)).astype(np.float32))
    return toned + generator.uniform(0, 0.03) * noise


def frame_contrast(
    anchor: Tensor,
    other: Tensor,
    batch: Batch,
    scale: Tensor,
    negatives: int,
    generator: np.random.Generator,
) -> Tensor:
    """Return the cross-entropy of finding each frame's partner (InfoNCE, van den Oord et al. 2018).

    Neighbours one frame away are neither right nor wrong: lags are known to a frame.

    Args:
        anchor: Unit embeddings, [B, T, D].
        other: Unit embeddings of the other sense, [B, T, D].
        batch: Says which frames are valid and from which clip.
        scale: Of the cosines.
        negatives: Frames of other clips, N.
        generator: Draws them.
    """
    length, valid = anchor.shape[1], batch.valid
    apart = (torch.arange(length)[:, None] - torch.arange(length)[None]).abs()
    own = scale * anchor @ other.transpose(1, 2)  # [B, T, T]
    allowed = (apart != 1).to(own.device) & valid[:, None, :]
    own = own.masked_fill(~allowed, NEVER)
    places = valid.nonzero()
    drawn = places[torch.from_numpy(generator.integers(len(places), size=negatives))]
    foreign = other[drawn[:, 0], drawn[:, 1]]  # [N, D]
    same = batch.clip[:, None] == batch.clip[drawn[:, 0]][None]  # [B, N]
    far = (scale * anchor @ foreign.T).masked_fill(same[:, None].to(own.device), NEVER)
    logits = torch.cat([own, far], dim=-1)
    target = torch.arange(length, device=own.device).expand(len(anchor), -1)
    return F.cross_entropy(logits[valid], target[valid])


def stretch_contrast(
    sound: Tensor, mouth: Tensor, valid: Tensor, scale: Tensor, reach: int
) -> Tensor:
    """Return the cross-entropy of offset 0 among all offsets, by mean cosine over a window.

    Offsets for which a window holds fewer than ``MIN_FRAMES / 2`` pairs are no negatives.

    Args:
        sound: Unit embeddings, [B, T, D].
        mouth: Unit embeddings, [B, T, D].
        valid: [B, T].
        scale: Of the mean cosines.
        reach: Offsets -reach to reach, K = 2 reach + 1.
    """
    length = sound.shape[1]
    cosine = sound @ mouth.transpose(1, 2)
    logits = []
    for offset in range(-reach, reach + 1):
        a, b = max(0, -offset), min(length, length - offset)
        there = valid[:, a:b] & valid[:, a + offset : b + offset]
        total = (cosine.diagonal(offset, 1, 2) * there).sum(-1)
        pairs = there.sum(-1)
        mean = scale * total / pairs.clamp(min=1)
        never = (pairs < MIN_FRAMES / 2) | (abs(offset) == 1)
        logits.append(mean.masked_fill(never, NEVER))
    target = torch.full((len(sound),), reach, device=sound.device)
    return F.cross_entropy(torch.stack(logits, dim=1), target)


@torch.no_grad()
def embed_pair(network: SyncExpert, problem: SyncProblem, pair: PairedClip) -> tuple[Float, Float]:
    """Return the embeddings of sound and mouth, [T, D] each."""
    device = next(network.parameters()).device
    sound = network.embed_sound(as_tensor(pair.features)[None].to(device))
    mouth = network.embed_mouth(problem.mouth(pair)[None].to(device))
    return sound[0].cpu().numpy(), mouth[0].cpu().numpy()


def windows_of(sound: Float, mouth: Float, frames: int) -> list[SyncScores]:
    """Return the scores of windows of sound against the whole mouth, every ``WINDOW_STEP``."""
    made = []
    for start in range(0, len(sound) - frames + 1, WINDOW_STEP):
        alone = np.full_like(sound, np.nan)
        alone[start : start + frames] = sound[start : start + frames]
        made.append(sync_scores(alone, mouth))
    return made


def within(scores: Sequence[SyncScores]) -> float:
    """Return the share of scores whose offset is at most ``WITHIN`` frames."""
    return float(np.mean([abs(s.offset_frames) <= WITHIN for s in scores]))


def judge(
    network: SyncExpert, problem: SyncProblem, clips: Sequence[PairedClip]
) -> dict[str, float]:
    """Return figures on clips whose true offset is 0.

    ``clip``, ``two_s`` and ``one_s`` are shares of offsets that are right within a frame: over
    clips, and over windows of 2 s and 1 s, the mean of each clip's own share. Confidence and
    distance are medians over clips; those of ``other`` sound are with the next clip's.
    """
    embedded = [embed_pair(network, problem, clip) for clip in clips]
    whole = [sync_scores(sound, mouth) for sound, mouth in embedded]
    others = []
    for k, (_, mouth) in enumerate(embedded):
        sound = embedded[(k + 1) % len(embedded)][0]
        length = min(len(sound), len(mouth))
        others.append(sync_scores(sound[:length], mouth[:length]))
    figures = {"clip": within(whole)}
    for name, seconds in (("two_s", 2), ("one_s", 1)):
        frames = int(seconds * FRAME_RATE_HZ)
        shares = [within(made) for s, m in embedded if (made := windows_of(s, m, frames))]
        figures[name] = float(np.mean(shares)) if shares else float("nan")
    for name, scores in (("", whole), ("_other", others)):
        figures["confidence" + name] = float(np.median([s.confidence for s in scores]))
        figures["distance" + name] = float(np.median([s.distance for s in scores]))
    return figures
