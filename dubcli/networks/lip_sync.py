"""Speech and style to lip-synced geometry: the paper's first stage.

Letters: B batch, T frames at 25 Hz, A audio features at 50 Hz (A = 2 T), L lower-face vertices,
D feature width, K expression components.

Where the paper's words need an interpretation (METHOD, "where the paper is silent"):

1. With the style S alone as the query, Eq. 3 gives one vector for the whole clip. The query of
   frame t is S itself, and time enters as a bias toward near frames: each frame attends around
   itself. The result is added to the audio feature of the frame (residual), so that it keeps its
   own sound.
2. The cross-attention onto the single token vtx^tmp returns that token's value for every t; with
   the residual it adds the template. Kept for fidelity.

All attention is local: position is a distance bias, never an absolute place, so that windows of a
long recording agree where they overlap.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AUDIO_RATE_HZ = 50.0
FRAME_RATE_HZ = 25.0


@dataclass(frozen=True, slots=True)
class LipSyncHyper:
    """Sizes of the network; they travel in the checkpoint."""

    audio_width: int = 384
    audio_encoder: str = "whisper-tiny-en-enc3"  # whose features it was trained on
    lower_vertices: int = 230  # L
    components: int = 32  # K: rank of the vertex decoder
    width: int = 128  # D
    heads: int = 4
    layers: int = 3
    reach: int = 12  # frames on either side that attention may see: half a second
    dropout: float = 0.35

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit each other.

        Raises:
            ValueError: Naming them.
        """
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout is {self.dropout}: give a number from 0 to 1")


@dataclass(frozen=True, slots=True, eq=False)
class LipSyncOutput:
    """Generated geometry."""

    coefficients: Tensor  # [B, T, K] of the vertex decoder's components
    displacement: Tensor  # [B, T, L, 3] cm from the neutral mean face


def distance_bias(length: int, reach: int, slope: float, device: torch.device) -> Tensor:
    """Return -slope |t - s|, and -inf beyond ``reach``, [T, T]."""
    step = torch.arange(length, device=device)
    distance = (step[:, None] - step[None, :]).abs().float()
    return torch.where(distance <= reach, -slope * distance, torch.tensor(-math.inf))


class LocalAttention(nn.Module):
    """Multi-head attention of Eq. 3 with a distance bias whose slope differs by head.

    Attention(Q, K, V) = softmax(Q K^T / sqrt(D)) V          (paper, Eq. 3)
    """

    def __init__(self, hyper: LipSyncHyper) -> None:
        """Build the projections."""
        super().__init__()
        self.heads, self.reach = hyper.heads, hyper.reach
        self.query = nn.Linear(hyper.width, hyper.width)
        self.key_value = nn.Linear(hyper.width, 2 * hyper.width)
        self.out = nn.Linear(hyper.width, hyper.width)

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        """Return [B, T, D] from query [B, T, D] and memory [B, T, D]."""
        batch, length, width = query.shape
        shape = (batch, -1, self.heads, width // self.heads)
        q = self.query(query).view(shape).transpose(1, 2)
        k, v = (x.reshape(shape).transpose(1, 2) for x in self.key_value(memory).chunk(2, -1))
        slopes = [2.0 ** -(h + 1) for h in range(self.heads)]
        bias = torch.stack([distance_bias(length, self.reach, s, query.device) for s in slopes])
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        attended: Tensor = self.out(found.transpose(1, 2).reshape(batch, length, width))
        return attended


class Layer(nn.Module):
    """Self-attention and a feed-forward part, each beside an identity."""

    def __init__(self, hyper: LipSyncHyper) -> None:
        """Build the parts."""
        super().__init__()
        width = hyper.width
        self.attention = LocalAttention(hyper)
        self.before_attention = nn.LayerNorm(width)
        self.before_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.SiLU(),
            nn.Dropout(hyper.dropout),
            nn.Linear(2 * width, width),
        )
        self.dropout = nn.Dropout(hyper.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, D]."""
        normed = self.before_attention(x)
        x = x + self.dropout(self.attention(normed, normed))
        fed: Tensor = x + self.dropout(self.feed(self.before_feed(x)))
        return fed


class StyleEncoder(nn.Module):
    """Mean and deviation over time of the encoded expression meshes, then a linear layer."""

    def __init__(self, hyper: LipSyncHyper, vertex_encoder: nn.Linear) -> None:
        """Share E_vtx with the template."""
        super().__init__()
        self.vertex_encoder = vertex_encoder
        self.mix = nn.Sequential(
            nn.LayerNorm(2 * hyper.width), nn.Linear(2 * hyper.width, hyper.width)
        )

    def forward(self, motion: Tensor) -> Tensor:
        """Return the style embedding S.

        Args:
            motion: Expression-only displacements {0, beta_t, 0}, [B, T', L, 3] cm.

        Returns:
            [B, D].
        """
        encoded = self.vertex_encoder(motion.flatten(2))
        both = torch.cat([encoded.mean(1), encoded.std(1, correction=0)], -1)
        style: Tensor = self.mix(both)
        return style


class StyleAwareAudioEncoder(nn.Module):
    """Brings speech features to the frame rate and injects the style (Eq. 3)."""

    def __init__(self, hyper: LipSyncHyper) -> None:
        """Build the parts."""
        super().__init__()
        width = hyper.width
        self.norm = nn.LayerNorm(hyper.audio_width)
        self.reduce = nn.Linear(hyper.audio_width, width)
        self.to_frame_rate = nn.Conv1d(width, width, 6, 2, 2)
        self.mix = nn.Conv1d(width, width, 3, 1, 1)
        self.dropout = nn.Dropout(hyper.dropout)
        self.style_attention = LocalAttention(hyper)

    def forward(self, audio: Tensor, style: Tensor) -> Tensor:
        """Return stylised audio features, [B, 2T, W] and [B, D] -> [B, T, D]."""
        x = self.dropout(self.reduce(self.norm(audio))).transpose(1, 2)
        x = F.silu(self.to_frame_rate(x))
        x = (x + F.silu(self.mix(x))).transpose(1, 2)
        query = style[:, None].expand_as(x)
        stylised: Tensor = x + self.style_attention(query, x) + style[:, None]
        return stylised


class LipSyncNet(nn.Module):
    """E_aud, E_vtx, style injection, cross-attention to the template, self-attention, D_vtx."""

    def __init__(self, hyper: LipSyncHyper | None = None) -> None:
        """Build the layers."""
        super().__init__()
        self.hyper = hyper = hyper or LipSyncHyper()
        self.vertex_encoder = nn.Linear(hyper.lower_vertices * 3, hyper.width)
        self.style_encoder = StyleEncoder(hyper, self.vertex_encoder)
        self.audio_encoder = StyleAwareAudioEncoder(hyper)
        self.template_value = nn.Linear(hyper.width, hyper.width)
        self.layers = nn.ModuleList([Layer(hyper) for _ in range(hyper.layers)])
        self.norm = nn.LayerNorm(hyper.width)
        self.to_components = nn.Linear(hyper.width, hyper.components)
        self.components = nn.Parameter(
            torch.randn(hyper.components, hyper.lower_vertices * 3) * 0.02
        )
        self.register_buffer("template", torch.zeros(hyper.lower_vertices * 3))
        self.template: Tensor

    def start_from_basis(self, expression: Tensor, template: Tensor) -> None:
        """Let the vertex decoder start as the expression basis.

        Args:
            expression: Basis restricted to the lower face, [K, L, 3] cm.
            template: The neutral mean face's lower vertices {mean alpha, 0, 0}, [L, 3] cm.
        """
        with torch.no_grad():
            self.components.copy_(expression.reshape(self.components.shape))
            self.template.copy_(template.reshape(-1) / template.abs().max())

    def style(self, motion: Tensor) -> Tensor:
        """Return S of a motion, [B, T', L, 3] cm -> [B, D]."""
        embedding: Tensor = self.style_encoder(motion)
        return embedding

    def forward(self, audio: Tensor, style: Tensor) -> LipSyncOutput:
        """Return lip-synced geometry.

        Args:
            audio: Speech features, [B, 2T, W].
            style: S, [B, D].

        Returns:
            Displacements [B, T, L, 3] cm.

        Raises:
            ValueError: If the number of audio features is odd.
        """
        if audio.shape[1] % 2:
            raise ValueError(f"{audio.shape[1]} audio features do not make whole frames")
        x = self.audio_encoder(audio, style)
        # One key: softmax over it is 1, so the attended value is the template's for every frame.
        x = x + self.template_value(self.vertex_encoder(self.template))
        for layer in self.layers:
            x = layer(x)
        coefficients = self.to_components(self.norm(x))
        return LipSyncOutput(coefficients, self.decode(coefficients))

    def decode(self, coefficients: Tensor) -> Tensor:
        """Return D_vtx's last layer, [..., K] -> displacements [..., L, 3] cm.

        Numbers travel as coefficients: an hour of them is 11 MB, of vertices 250 MB.
        """
        flat = coefficients @ self.components
        return flat.reshape(*coefficients.shape[:-1], self.hyper.lower_vertices, 3)

    def receptive_field(self) -> int:
        """Return how many frames on either side can change a frame's output."""
        return (self.hyper.layers + 1) * self.hyper.reach + 3
