"""StyleSim's encoder: how a mouth moves, as a unit vector (structure after DiffPoseTalk).

Letters: B batch, T frames at 25 Hz, L lower-face vertices, K principal components, D width,
S embedding size.

DiffPoseTalk (Sun et al. 2024) encodes a window of motion with a transformer, takes the mean over
time, and trains with a contrastive loss: two windows of one speaker attract, windows of others
repel. Here the windows are expression-only vertices {0, beta_t, 0} of the lower face, as
PersonaTalk's StyleSim has them. Three things differ:

1. The window's mean is taken away first. It tells who somebody is (the resting mouth, and what the
   fit mistakes for expression) better than any motion does, and every dub would inherit it.
2. There is no place encoding: a style does not start anywhere. A convolution and the differences
   in time tell the layers which way time runs.
3. Beside the tokens' mean, the output sees their deviation over time and the deviations and
   correlations of the motion itself. On an hour of clips a transformer does not find these alone.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMOOTHING = (0.25, 0.5, 0.25)
STRIDE = 2  # frames a token: what is left after smoothing needs no more
SPEED_GAIN = 4.0  # brings differences from frame to frame to the size of the motion itself
FLOOR = 0.05  # standard deviations; below it a component counts as still
LOG_GAIN = 2.0  # brings the logarithms of deviations to a deviation of about 1 over speakers


@dataclass(frozen=True, slots=True)
class StyleSimHyper:
    """Sizes of the network; they travel in the checkpoint."""

    lower_vertices: int = 233  # L
    components: int = 8  # K: 99.6 % of the motion's variance
    width: int = 32  # D
    heads: int = 4
    layers: int = 1
    embedding: int = 64  # S
    dropout: float = 0.2


class StyleSimEncoder(nn.Module):
    """A transformer over time, statistics over time, a unit vector."""

    def __init__(self, hyper: StyleSimHyper | None = None) -> None:
        """Build the layers."""
        super().__init__()
        self.hyper = hyper = hyper or StyleSimHyper()
        count = hyper.components
        self.register_buffer("directions", torch.zeros(hyper.lower_vertices * 3, count))
        self.directions: Tensor
        self.stem = nn.Conv1d(2 * count, hyper.width, 5, STRIDE, 2)
        layer = nn.TransformerEncoderLayer(
            hyper.width,
            hyper.heads,
            2 * hyper.width,
            hyper.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, hyper.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(hyper.width)
        self.dropout = nn.Dropout(hyper.dropout)
        statistics = 2 * count + count * (count - 1) // 2
        self.out = nn.Linear(2 * hyper.width + statistics, hyper.embedding)

    def start_from_components(self, directions: Tensor) -> None:
        """Fix the linear map from vertices to components.

        Args:
            directions: Principal directions of training motion, each divided by its standard
                deviation, [3 L, K] per cm.
        """
        self.directions.copy_(directions)

    def forward(self, motion: Tensor) -> Tensor:
        """Return the style of windows.

        Args:
            motion: Expression-only displacements {0, beta_t, 0}, [B, T, L, 3] cm at 25 Hz.

        Returns:
            [B, S], unit length.
        """
        return self.embed(motion.flatten(2) @ self.directions)

    def embed(self, motion: Tensor) -> Tensor:
        """Return the style of windows given in components, [B, T, K] -> [B, S], unit length."""
        x = smooth(motion)
        x = x - x.mean(1, keepdim=True)
        speed = F.pad(x.diff(dim=1), (0, 0, 1, 0)) * SPEED_GAIN
        tokens = F.gelu(self.stem(torch.cat([x, speed], -1).transpose(1, 2))).transpose(1, 2)
        tokens = self.norm(self.layers(tokens))
        pooled = torch.cat([tokens.mean(1), tokens.std(1), motion_statistics(x)], -1)
        return F.normalize(self.out(self.dropout(pooled)), dim=-1)


def smooth(motion: Tensor) -> Tensor:
    """Return motion without what no mouth does: [1, 2, 1] / 4 over time, [B, T, K].

    Halves 6 Hz at 25 Hz. What is faster is the tracker's noise, which differs between cameras and
    frame rates and would give a clip's two halves away.
    """
    kernel = motion.new_tensor(SMOOTHING).expand(motion.shape[-1], 1, -1)
    padded = F.pad(motion.transpose(1, 2), (1, 1), mode="replicate")
    return F.conv1d(padded, kernel, groups=motion.shape[-1]).transpose(1, 2)


def motion_statistics(x: Tensor) -> Tensor:
    """Return how far, how fast and how jointly the components of motions without mean move.

    Args:
        x: [B, T, K], 0 on average over time.

    Returns:
        [B, 2 K + K (K - 1) / 2]: logarithms of the deviations of motion and speed, correlations.
    """
    deviation = x.square().mean(1).sqrt()
    speed = x.diff(dim=1).square().mean(1).sqrt() * SPEED_GAIN
    standard = x / (deviation[:, None] + 2 * FLOOR)
    correlation = standard.transpose(1, 2) @ standard / x.shape[1]
    above = torch.triu_indices(x.shape[-1], x.shape[-1], 1)
    logs = torch.cat([deviation, speed], -1).add(FLOOR).log() * LOG_GAIN
    return torch.cat([logs, correlation[:, above[0], above[1]]], -1)
