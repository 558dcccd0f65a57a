"""Trains StyleSim's encoder: windows of one speaker attract, windows of different speakers repel.

Letters: B speakers a batch, T frames at 25 Hz, N frames of a clip at 25 Hz, E expression
coefficients, K components, L lower-face vertices, S embedding size.

Most speakers have a single clip, so most pairs are windows of its two halves: same camera, same
light, same tracker noise. What that gives away is hidden: the mean is taken out and fast noise
smoothed by the network, and each window is drawn with a speed, an amount, a frame rate and a noise
of its own.

A transformer learns three hundred people by heart. So no batch shows the same people: both windows
of a pair go through one random linear map of the face's motion, which makes them two windows of
somebody who moves differently. On held-out speakers the AUC rose from 0.75 to 0.89.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dubcli.geometry.morphable import MorphableModel, lower_face_indices
from dubcli.metrics.style import roc_auc, style_similarity
from dubcli.networks.style_encoder import StyleSimEncoder
from dubcli.records import Float
from dubcli.stages.style import WINDOW, encode_style
from dubcli.training.speech import mirror_permutation
from dubcli.training.style_data import MIN_FRAMES, StyleClip

Clips = Mapping[str, Sequence[StyleClip]]


@dataclass(frozen=True, slots=True)
class StyleTraining:
    """How the style encoder is trained."""

    speakers: int = 48  # B
    frames: tuple[int, int] = (MIN_FRAMES, WINDOW)  # shortest and longest window
    temperature: float = 0.2
    speed: float = 0.1  # windows are up to so much faster or slower
    gain: float = 0.05  # deviation of the factor on the motion
    noise: float = 0.05  # deviation, of each component's own
    slow_share: float = 0.3  # of the windows are seen at a lower frame rate
    slowest: float = 2.0  # times fewer frames
    amounts: float = 0.3  # deviation of the logarithms by which an imagined person's motion differs
    mixing: float = 0.2  # deviation of the share that a component takes from each other one


def principal_directions(model: MorphableModel, clips: Sequence[StyleClip], count: int) -> Tensor:
    """Return the strongest directions of the lower face's motion, [3 L, K] per cm.

    Projected onto them, training motion has a deviation of 1 in each.

    Args:
        model: The basis.
        clips: Whose motion counts, each about its own mean.
        count: K.
    """
    basis = lower_basis(model)
    beta = torch.from_numpy(np.concatenate([p - p.mean(axis=0) for c in clips for p in c.parts]))
    variance, direction = torch.linalg.eigh(basis.t() @ (beta.t() @ beta / len(beta)) @ basis)
    strongest = torch.arange(len(variance) - 1, len(variance) - 1 - count, -1)
    directions: Tensor = direction[:, strongest] / variance[strongest].sqrt()
    return directions


def lower_basis(model: MorphableModel) -> Tensor:
    """Return the expression basis of the lower face, [E, 3 L] cm."""
    return model.expression[:, lower_face_indices(model.mean)].flatten(1)


def mirrored_basis(model: MorphableModel) -> Tensor:
    """Return the lower face's expression basis, left and right exchanged, [E, 3 L] cm."""
    flip = torch.tensor([-1.0, 1.0, 1.0])
    permutation = mirror_permutation(model.mean.numpy())
    mirrored = model.expression[:, torch.from_numpy(permutation)] * flip
    return mirrored[:, lower_face_indices(model.mean)].flatten(1)


def at(motion: Float, place: NDArray[np.float64]) -> Float:
    """Return rows between rows, linear, [N, K] at places [T] from 0 to N - 1 -> [T, K]."""
    low = np.clip(place.astype(np.int64), 0, max(len(motion) - 2, 0))
    high = np.minimum(low + 1, len(motion) - 1)
    share = (place - low)[:, None]
    between: Float = ((1 - share) * motion[low] + share * motion[high]).astype(np.float32)
    return between


class StyleProblem:
    """Batches and loss of the style encoder.

    Args:
        model: The basis.
        directions: See ``principal_directions``.
        training: Sizes and augmentation.
    """

    def __init__(self, model: MorphableModel, directions: Tensor, training: StyleTraining) -> None:
        """Fold basis and directions: a window of expression becomes components in one product."""
        self.training = training
        self._maps = [
            (basis @ directions).numpy() for basis in (lower_basis(model), mirrored_basis(model))
        ]

    def batch(self, clips: Clips, generator: np.random.Generator) -> Tensor:
        """Return two windows of each of B speakers, [2 B, T, K]: B first ones, then B second ones.

        The two come from different clips or different halves of one clip. They are mirrored alike
        and go through the same random map.

        Args:
            clips: Speaker -> clips.
            generator: Of every random choice.
        """
        t = self.training
        frames = int(generator.integers(t.frames[0], t.frames[1] + 1))
        while True:
            parts = {
                name: [p for c in of for p in c.halves if len(p) >= frames]
                for name, of in clips.items()
            }
            usable = [name for name, of in parts.items() if len(of) > 1]
            if len(usable) >= t.speakers or frames <= t.frames[0]:
                break
            frames = max(frames - 5, t.frames[0])
        views: tuple[list[Float], list[Float]] = ([], [])
        for k in generator.permutation(len(usable))[: t.speakers]:
            of = parts[usable[k]]
            onto = self._maps[int(generator.integers(2))] @ self._somebody(generator)
            for view, part in zip(views, generator.permutation(len(of))[:2], strict=True):
                view.append(self._window(of[part] @ onto, frames, generator))
        return torch.from_numpy(np.stack(views[0] + views[1]))

    def _somebody(self, generator: np.random.Generator) -> Float:
        """Return the map from people's motion to imagined people's, [K, K]."""
        t, count = self.training, self._maps[0].shape[1]
        amounts = np.exp(t.amounts * generator.normal(size=(count, 1)))
        mixing = np.eye(count) + t.mixing * generator.normal(size=(count, count))
        return (amounts * mixing).astype(np.float32)

    def _window(self, motion: Float, frames: int, generator: np.random.Generator) -> Float:
        """Cut and change a window, [N, K] -> [T, K]."""
        t = self.training
        speed = 1 + generator.uniform(-t.speed, t.speed)
        last = min((frames - 1) * speed, len(motion) - 1.0)
        place = generator.uniform(0, len(motion) - 1 - last) + np.linspace(0, last, frames)
        if generator.random() < t.slow_share:
            step = generator.uniform(1, t.slowest)
            seen = at(motion, np.arange(place[0], place[-1] + 1e-6, step))
            window = at(seen, np.minimum((place - place[0]) / step, len(seen) - 1))
        else:
            window = at(motion, place)
        gain = 1 + t.gain * generator.normal()
        noise = t.noise * 2 * generator.random() * generator.normal(size=window.shape)
        return (gain * window + noise).astype(np.float32)

    def loss(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Return NT-Xent (Chen et al. 2020) of [2 B, S]: each window must find its partner."""
        return {"contrast": contrastive_loss(embeddings, self.training.temperature)}


def contrastive_loss(embeddings: Tensor, temperature: float) -> Tensor:
    """Return NT-Xent: the mean over windows of -log softmax of the partner's similarity.

    l_ij = -log(exp(z_i . z_j / t) / sum_{k != i} exp(z_i . z_k / t))

    Args:
        embeddings: Unit vectors, [2 B, S]; row k and row k + B are partners.
        temperature: t.
    """
    count = len(embeddings) // 2
    similarity = embeddings @ embeddings.t() / temperature
    similarity = similarity.masked_fill(
        torch.eye(2 * count, dtype=torch.bool, device=embeddings.device), -torch.inf
    )
    partner = torch.arange(2 * count, device=embeddings.device).roll(count)
    return F.cross_entropy(similarity, partner)


def judge(
    network: StyleSimEncoder, model: MorphableModel, clips: Sequence[StyleClip]
) -> dict[str, float]:
    """Return how well a clip's halves find each other among other people's: AUC and means.

    Args:
        network: The encoder, in eval mode.
        model: The basis.
        clips: Of each speaker the longest one counts.
    """
    pairs = sorted((c for c in clips if len(c.halves) > 1), key=lambda c: len(c.halves[0]))
    longest = {c.speaker: c.halves for c in pairs}
    styles = [[encode_style(network, model, [half]) for half in of] for of in longest.values()]
    same = np.array([style_similarity(*pair) for pair in styles])
    other = np.array(
        [
            style_similarity(a[0], b[1])
            for i, a in enumerate(styles)
            for j, b in enumerate(styles)
            if i != j
        ]
    )
    return {"auc": roc_auc(same, other), "same": float(same.mean()), "other": float(other.mean())}
