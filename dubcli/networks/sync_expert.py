"""The sync expert: do this sound and this mouth belong together, and at which offset?

Letters: B batch, T frames at 25 Hz, A = 2 T sound features at 50 Hz, W their width, L lower-face
vertices, D embedding width, C channels, h, w size of a mouth picture.

The idea is SyncNet's (Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016):
two encoders, one for a fifth of a second of sound, one for the mouth in it, whose embeddings are
near each other where the two belong together. Here both run over time as convolutions, and the
sound comes as speech features. Both see a short stretch only: an expert that sees seconds can tell
the offset of a recording without looking at any one sound.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dubcli.networks.renderer import channels_last

KINDS = ("vertices", "pixels")
VERTEX_UNIT_CM = 0.3  # about how far lower-face vertices are displaced while a person speaks
EPSILON = 1e-3  # of a picture's deviation; pictures are 0 to 1
START_SCALE = 10.0  # of cosines before a softmax


@dataclass(frozen=True, slots=True)
class SyncHyper:
    """Sizes of the network; they travel in the checkpoint."""

    kind: str = "vertices"  # what the mouth is given as: "vertices" or "pixels"
    audio_width: int = 384  # W
    audio_encoder: str = "whisper-tiny-en-enc3"  # whose features it was trained on
    lower_vertices: int = 233  # L
    expression: int = 32  # coefficients that the mouth encoder also tells, for training
    picture: tuple[int, int] = (48, 64)  # h, w
    stack: int = 3  # neighbouring pictures that are one input
    width: int = 128
    embedding: int = 64  # D
    dropout: float = 0.2

    def __post_init__(self) -> None:
        """Refuse an unknown kind.

        Raises:
            ValueError: Naming the kinds there are.
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind}, known are {', '.join(KINDS)}")


class Beside(nn.Module):
    """A convolution over time beside an identity: x + conv(silu(norm(x)))."""

    def __init__(self, width: int, dropout: float) -> None:
        """Build the layers."""
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.dropout = nn.Dropout(dropout)
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, T]."""
        added: Tensor = self.conv(self.dropout(F.silu(frame_norm(self.norm, x))))
        return x + added


def frame_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Apply a norm to each frame by itself, [B, C, T]: no frame may see the whole clip."""
    batch, channels, length = x.shape
    apart: Tensor = norm(x.transpose(1, 2).reshape(batch * length, channels))
    return apart.reshape(batch, length, channels).transpose(1, 2)


class SoundEncoder(nn.Module):
    """Speech features to embeddings; a frame sees 0.28 s of features."""

    def __init__(self, hyper: SyncHyper) -> None:
        """Build the layers."""
        super().__init__()
        width = hyper.width
        self.norm = nn.LayerNorm(hyper.audio_width)
        self.reduce = nn.Linear(hyper.audio_width, width)
        self.dropout = nn.Dropout(hyper.dropout)
        self.to_frame_rate = nn.Conv1d(width, width, 6, 2, 2)
        self.blocks = nn.Sequential(*(Beside(width, hyper.dropout) for _ in range(2)))
        self.out = nn.Conv1d(width, hyper.embedding, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return [B, T, D] from [B, 2T, W]."""
        x = self.dropout(self.reduce(self.norm(features))).transpose(1, 2)
        embedded: Tensor = self.out(F.silu(self.blocks(self.to_frame_rate(x))))
        return embedded.transpose(1, 2)


class VertexTrunk(nn.Module):
    """Lower-face displacements to channels, [B, T, L, 3] cm -> [B, C, T]; 5 frames wide."""

    def __init__(self, hyper: SyncHyper) -> None:
        """Build the layers."""
        super().__init__()
        self.reduce = nn.Linear(hyper.lower_vertices * 3, hyper.width)
        self.conv = nn.Conv1d(hyper.width, hyper.width, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, T]."""
        seen: Tensor = self.conv(self.reduce(x.flatten(2) / VERTEX_UNIT_CM).transpose(1, 2))
        return seen


class PixelTrunk(nn.Module):
    """Mouth pictures to channels, [B, T, 1, h, w] in 0 to 1 -> [B, C, T]; ``stack`` frames wide."""

    def __init__(self, hyper: SyncHyper) -> None:
        """Build the layers."""
        super().__init__()
        self.stack = hyper.stack
        sizes = (hyper.stack, 16, 32, 64, 96)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 5 if k == 0 else 3, 2, 2 if k == 0 else 1)
            for k, (a, b) in enumerate(itertools.pairwise(sizes))
        )
        channels_last(self.convs)
        self.norms = nn.ModuleList(nn.GroupNorm(4, b) for b in sizes[1:])
        height, width = (side // 2 ** len(self.convs) for side in hyper.picture)
        self.dropout = nn.Dropout(hyper.dropout)
        self.reduce = nn.Linear(sizes[-1] * height * width, hyper.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, T]; each picture's brightness and contrast are taken out first."""
        deviation, mean = torch.std_mean(x, dim=(2, 3, 4), correction=0, keepdim=True)
        x = ((x - mean) / (deviation + EPSILON))[:, :, 0]
        reach, length = self.stack // 2, x.shape[1]
        held = torch.cat([x[:, :1]] * reach + [x] + [x[:, -1:]] * reach, dim=1)
        stacked = torch.stack([held[:, k : k + length] for k in range(self.stack)], dim=2)
        y = stacked.flatten(0, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = F.silu(norm(conv(y)))
        reduced: Tensor = self.reduce(self.dropout(y.flatten(1)))
        return reduced.reshape(*x.shape[:2], -1).transpose(1, 2)


class SyncExpert(nn.Module):
    """Embeds sound and mouth; where they belong together their embeddings are near each other."""

    def __init__(self, hyper: SyncHyper | None = None) -> None:
        """Build the layers."""
        super().__init__()
        self.hyper = hyper = hyper or SyncHyper()
        self.sound = SoundEncoder(hyper)
        self.trunk = VertexTrunk(hyper) if hyper.kind == "vertices" else PixelTrunk(hyper)
        blocks = 1 if hyper.kind == "vertices" else 2
        self.blocks = nn.Sequential(*(Beside(hyper.width, hyper.dropout) for _ in range(blocks)))
        self.out = nn.Conv1d(hyper.width, hyper.embedding, 1)
        self.to_expression = nn.Conv1d(hyper.width, hyper.expression, 1)
        # What cosines are multiplied by before the softmax of the contrast: of single frames, and
        # of means over a stretch, which lie nearer together.
        start = torch.tensor(START_SCALE).log()
        self.log_frame_scale = nn.Parameter(start.clone())
        self.log_stretch_scale = nn.Parameter(start.clone())

    def reach(self) -> int:
        """Return how many frames on either side can change a frame's embeddings."""
        of_mouth = len(self.blocks) + (
            2 if self.hyper.kind == "vertices" else self.hyper.stack // 2
        )
        return max(of_mouth, len(self.sound.blocks) + 1)

    def embed_sound(self, features: Tensor) -> Tensor:
        """Return unit embeddings of sound, [B, 2T, W] -> [B, T, D].

        Raises:
            ValueError: If the number of features is odd.
        """
        if features.shape[1] % 2:
            raise ValueError(f"{features.shape[1]} audio features do not make whole frames")
        return F.normalize(self.sound(features), dim=-1)

    def embed_mouth(self, x: Tensor) -> Tensor:
        """Return unit embeddings of a mouth.

        Args:
            x: By ``hyper.kind``: displacements of the lower face, [B, T, L, 3] cm, or grey mouth
                pictures, [B, T, 1, h, w], 0 to 1 (``geometry.mouth``).

        Returns:
            [B, T, D].
        """
        return self.embed_and_tell(x)[0]

    def embed_and_tell(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit embeddings [B, T, D] and the expression seen, [B, T, E] (for training)."""
        seen = self.trunk(x)
        embedded = self.out(F.silu(self.blocks(seen))).transpose(1, 2)
        return F.normalize(embedded, dim=-1), self.to_expression(seen).transpose(1, 2)
