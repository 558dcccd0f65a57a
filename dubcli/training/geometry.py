"""Trains and judges the geometry network.

Letters: B batch, T frames at 25 Hz, L lower-face vertices, E expression coefficients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from dubcli.geometry.morphable import (
    INNER_LIP_RING,
    OUTER_LIP_RING,
    MorphableModel,
    displacement,
    lip_aperture,
    lower_face_indices,
)
from dubcli.metrics.lip_sync import closure_recall, correlation, deviation_ratio
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.networks.sync_expert import SyncExpert
from dubcli.records import Float
from dubcli.training.data import SpeakerDraw
from dubcli.training.recipe import Between
from dubcli.training.speech import SpokenClip, as_tensor, mirror_permutation, speech_of_arrays

FEATURES_A_FRAME = 2
CLOSED_CM, CLOSED_EDGE_CM = 0.10, 0.03  # above a window's lowest opening; how soft that limit is
MOVES_CM = 0.25  # range of a window's opening from which it has closures


@dataclass(frozen=True, slots=True)
class GeometryTraining:
    """How the geometry network is trained; the table [training] of its recipe."""

    batch: Annotated[int, Between(1)] = 16
    frames: Annotated[int, Between(3)] = 60  # of a training window
    lip_weight: float = 4.0  # of the lips beside the rest of the lower face
    velocity: float = 2.0
    agreement: float = 0.15  # concordance of the opening curves, cm
    closure: float = 0.1  # openness where the true mouth is closed, cm
    sync: float = 0.0  # by how much a sync expert finds it less in time than the true mouth
    feature_noise: float = 0.1  # of the features' own deviation
    other_style_share: Annotated[float, Between(0, 1)] = 0.5  # style of another clip of the speaker
    mirrored_share: Annotated[float, Between(0, 1)] = 0.5
    set_share: dict[str, float] = field(
        default_factory=lambda: {"wild": 0.7, "grid": 0.15, "arabic": 0.15}
    )

    def __post_init__(self) -> None:
        """Refuse shares of which none is above 0.

        Raises:
            ValueError: If nothing could be drawn.
        """
        if not sum(self.set_share.values()) > 0:
            raise ValueError("set_share gives no set a share above 0")


@dataclass(frozen=True, slots=True, eq=False)
class StoredSpeech:
    """A clip's versions, and who speaks."""

    name: str
    speaker: str
    set: str
    versions: tuple[SpokenClip, ...]


def load_speech(file: Path, speaker: str, of_set: str) -> StoredSpeech:
    """Return a cached clip."""
    with np.load(file) as stored:
        return StoredSpeech(file.stem, speaker, of_set, speech_of_arrays(stored))


class GeometryProblem:
    """Losses and figures of the geometry network.

    Args:
        model: The basis.
        training: Weights and sizes.
    """

    def __init__(self, model: MorphableModel, training: GeometryTraining) -> None:
        """Restrict the basis to the lower face."""
        self.training = training
        self.lower = lower_face_indices(model.mean)
        self.mean = model.mean
        self.basis = model.expression[:, self.lower]
        weight = torch.ones(len(self.lower))
        lips = np.isin(self.lower, INNER_LIP_RING + OUTER_LIP_RING)
        weight[torch.from_numpy(lips)] = training.lip_weight
        self.weight = weight / weight.mean()
        permutation = mirror_permutation(model.mean.numpy())
        place = {int(v): k for k, v in enumerate(self.lower)}
        # At the set's upper edge a vertex's mirror image may be missing: it then stands for itself.
        self.mirror = torch.tensor(
            [place.get(int(permutation[v]), place[int(v)]) for v in self.lower]
        )

    def motion(self, beta: Float) -> Tensor:
        """Return the lower face's displacement, [T, E] -> [T, L, 3] cm."""
        return displacement(self.basis, as_tensor(beta))

    def opening(self, motion: Tensor) -> Tensor:
        """Return the lip aperture of displaced neutral faces, [..., L, 3] -> [...] cm."""
        mesh = self.mean.to(motion.device).expand(*motion.shape[:-2], -1, -1).clone()
        mesh[..., torch.from_numpy(self.lower), :] += motion
        return lip_aperture(mesh)

    def loss(self, made: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Return the named losses, [B, T, L, 3] cm each.

        Vertices: weighted L1. Velocity: L1 of differences in time. Agreement: one minus the
        concordance of the opening curves (Lin 1989), which L1 alone leaves low: it is 1 only if the
        curves rise together, by the same amount. Closure: how far the mouth stays open where the
        true one closes, which is brief and which the others therefore miss.
        """
        t = self.training
        weight = self.weight.to(made.device)
        error = (made - true).abs().mean(-1) * weight
        velocity = (made.diff(dim=1) - true.diff(dim=1)).abs().mean(-1) * weight
        opening, wanted = self.opening(made), self.opening(true)
        return {
            "vertex": error.mean(),
            "velocity": t.velocity * velocity.mean(),
            "agreement": t.agreement * (1 - concordance(opening, wanted)).mean(),
            "unclosed": t.closure * unclosed(opening, wanted),
        }

    def batch(
        self, speech: dict[str, dict[str, list[StoredSpeech]]], generator: np.random.Generator
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return features [B, 2T, W], motions [B, T, L, 3] and the style motions of B clips."""
        t = self.training
        speakers = SpeakerDraw(speech, t.set_share)
        features: list[Tensor] = []
        motions: list[Tensor] = []
        styles: list[Tensor] = []
        while len(features) < t.batch:
            clips = speakers.draw(generator)
            clip = clips[generator.integers(len(clips))]
            version = clip.versions[generator.integers(len(clip.versions))]
            made = self._window(version, generator)
            if made is None:
                continue
            audio, motion = made
            other = (
                clips[generator.integers(len(clips))]
                if generator.random() < t.other_style_share
                else clip
            )
            style = self.motion(other.versions[0].beta)
            if generator.random() < t.mirrored_share:
                flip = torch.tensor([-1.0, 1.0, 1.0])
                motion, style = motion[:, self.mirror] * flip, style[:, self.mirror] * flip
            noise = torch.from_numpy(generator.normal(size=audio.shape).astype(np.float32))
            features.append(audio + t.feature_noise * audio.std() * noise)
            motions.append(motion)
            styles.append(style)
        return torch.stack(features), torch.stack(motions), styles

    def _window(
        self, version: SpokenClip, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor] | None:
        """Cut a window; the end of clips that are a little too short is held."""
        wanted, have = self.training.frames, len(version.beta)
        if have < wanted // 3:
            return None
        motion = self.motion(version.beta) * (1 - as_tensor(version.closed))[:, None, None]
        audio = as_tensor(version.features)
        if have < wanted:
            extra = wanted - have
            held_audio = audio[-1:].expand(extra * FEATURES_A_FRAME, -1)
            held_motion = motion[-1:].expand(extra, -1, -1)
            return torch.cat([audio, held_audio]), torch.cat([motion, held_motion])
        start = int(generator.integers(have - wanted + 1))
        a = start * FEATURES_A_FRAME
        return (
            audio[a : a + wanted * FEATURES_A_FRAME],
            motion[start : start + wanted],
        )


def concordance(made: Tensor, true: Tensor) -> Tensor:
    """Return Lin's concordance correlation over the last axis, [B, T] -> [B].

    2 cov(x, y) / (var x + var y + (mean x - mean y)^2)
    """
    made_mean, true_mean = made.mean(-1, keepdim=True), true.mean(-1, keepdim=True)
    covariance = ((made - made_mean) * (true - true_mean)).mean(-1)
    spread = made.var(-1, correction=0) + true.var(-1, correction=0)
    shift = (made_mean - true_mean).squeeze(-1).square()
    return 2 * covariance / (spread + shift + 1e-4)


def unsynced(expert: SyncExpert, features: Tensor, made: Tensor, true: Tensor) -> Tensor:
    """Return how much less a sync expert finds generated mouths in time than the true ones.

    The mean over windows of max(0, c_true - c_made), c being the window's mean cosine between the
    embeddings of sound and mouth (SyncNet's score, arXiv:2008.10010, as a loss). Better than the
    true mouth is not asked for: an expert can be pleased by what no mouth does.

    Args:
        expert: Of kind "vertices", frozen.
        features: Speech features, [B, 2T, W].
        made: Generated displacements, [B, T, L, 3] cm.
        true: The true ones.
    """
    sound = expert.embed_sound(features)
    scores = [(sound * expert.embed_mouth(mouth)).sum(-1).mean(-1) for mouth in (true, made)]
    return (scores[0].detach() - scores[1]).clamp_min(0).mean()


def unclosed(made: Tensor, true: Tensor) -> Tensor:
    """Return how much wider than the true mouth the made one is where the true one closes, cm.

    Closed means within about ``CLOSED_CM`` of a window's lowest opening; windows in which the mouth
    hardly moves have no closures.

    Args:
        made: Openings, [B, T] cm.
        true: Openings, [B, T] cm.

    Returns:
        The mean over closed frames, a scalar.
    """
    lowest = true.amin(-1, keepdim=True)
    moves = true.amax(-1, keepdim=True) - lowest > MOVES_CM
    closed = torch.sigmoid((lowest + CLOSED_CM - true) / CLOSED_EDGE_CM) * moves
    return ((made - true).clamp_min(0) * closed).sum() / closed.sum().clamp_min(1)


def styles_of(network: LipSyncNet, motions: Sequence[Tensor]) -> Tensor:
    """Return the style of motions of different lengths, [B, D]."""
    return torch.cat([network.style(motion[None]) for motion in motions])


@dataclass(frozen=True, slots=True, eq=False)
class MadeAndTrue:
    """A clip's lower face, generated and fitted."""

    made: Tensor  # [T, L, 3] cm
    true: Tensor  # [T, L, 3] cm


@torch.no_grad()
def made_and_true(network: LipSyncNet, problem: GeometryProblem, clip: StoredSpeech) -> MadeAndTrue:
    """Return what the network makes of a clip's plain sound in its own style."""
    true = problem.motion(clip.versions[0].beta)
    return MadeAndTrue(_generated(network, clip.versions[0], true), true)


def _generated(network: LipSyncNet, sound: SpokenClip, own: Tensor) -> Tensor:
    """Return the motion made of a sound in the style of somebody's own, [T, L, 3]."""
    device = next(network.parameters()).device
    features = as_tensor(sound.features)[None].to(device)
    made: Tensor = network(features, network.style(own[None].to(device))).displacement[0].cpu()
    return made


@torch.no_grad()
def judge(
    network: LipSyncNet, problem: GeometryProblem, clips: Sequence[StoredSpeech]
) -> dict[str, float]:
    """Return figures on the plain versions of clips: medians over clips.

    ``swapped`` is the correlation with the next clip's sound, which should be near 0.
    """
    rows = []
    for k, clip in enumerate(clips):
        plain, other = clip.versions[0], clips[(k + 1) % len(clips)].versions[0]
        true = problem.motion(plain.beta)
        made, swapped = (_generated(network, sound, true) for sound in (plain, other))
        length = min(len(other.beta), len(plain.beta))
        true_opening = problem.opening(true).numpy()
        opening = problem.opening(made).numpy()
        rows.append(
            (
                correlation(opening, true_opening),
                deviation_ratio(opening, true_opening),
                closure_recall(opening, true_opening),
                closure_recall(true_opening, opening),
                correlation(problem.opening(swapped[:length]).numpy(), true_opening[:length]),
                float(((made - true).abs().mean(-1) * problem.weight).mean()),
            )
        )
    names = ("correlation", "deviation", "closure", "precision", "swapped", "error_cm")
    return dict(zip(names, np.nanmedian(np.array(rows), axis=0).tolist(), strict=True))
