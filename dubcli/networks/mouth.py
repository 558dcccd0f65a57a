"""A small network that sharpens the mouth after the renderer, and the critic that teaches it.

Letters: B batch, H, W the rendered window, h, w the mouth's box (72 x 96), C latent channels, K
mouths.

The renderer's decoder is cheap because it works on the whole lower face; what people look at is the
mouth. A U-Net of three levels works there alone. Attention averages what its references show, and
teeth that are averaged are a grey band. So the network also sees the mouths that are most like the
wanted one, carried to where the teeth are (``geometry.teeth``), and chooses for each pixel among
them and the rendered picture, before it corrects the choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

BOX_ROWS, BOX_COLUMNS = 72, 96  # pixels around the lips' middle
MOUTHS = 3  # K, mouths of reference frames to choose from
CARRIED = 8  # channels of one: picture and inside, moved with the head, and again with the chin
GRID = 4  # the box lies on the grid of the renderer's tokens, so that it never slides under them
EDGE = 9  # pixels over which the correction fades in from the lip mask's edge


@dataclass(frozen=True, slots=True)
class Box:
    """Where the mouth is in the window."""

    top: int
    left: int

    def cut(self, picture: Tensor, stride: int = 1) -> Tensor:
        """Return the box of [..., H / stride, W / stride] as [..., h / stride, w / stride]."""
        rows = slice(self.top // stride, (self.top + BOX_ROWS) // stride)
        columns = slice(self.left // stride, (self.left + BOX_COLUMNS) // stride)
        return picture[..., rows, columns]


def mouth_box(lip_mask: Tensor) -> Box:
    """Return the box around a lip mask, [H, W], moved inside the window."""
    rows, columns = lip_mask.nonzero(as_tuple=True)
    height, width = lip_mask.shape
    if not len(rows):
        return Box(
            (height - BOX_ROWS) // 2 // GRID * GRID, (width - BOX_COLUMNS) // 2 // GRID * GRID
        )
    corner = []
    for places, size, limit in ((rows, BOX_ROWS, height), (columns, BOX_COLUMNS, width)):
        middle = float(places.min() + places.max()) / 2
        start = round((middle - size / 2) / GRID) * GRID
        corner.append(min(max(start, 0), (limit - size) // GRID * GRID))
    return Box(*corner)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3x3 convolutions."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 1, 1),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1),
        nn.SiLU(),
    )


PLAIN = 3 + 3 + 3 + 1  # channels: rendered picture, warp, target PNCC, lip mask
CHOICES = 1 + 2 * MOUTHS  # for each pixel: the rendered picture, each mouth moved in two ways
PREFERRED = 0.75  # by how much the rendered picture is preferred before any training
SHARP = 4.0  # scale of the choice: a mixture of mouths that differ is as soft as what it replaces


class MouthRefiner(nn.Module):
    """U-Net from the rendered mouth, its geometry and carried mouths to a choice and correction."""

    def __init__(self, latent_channels: int, width: int) -> None:
        """Start with three quarters of the rendered picture everywhere: the last layer is zero.

        Args:
            latent_channels: C, of the latent at a quarter of the size.
            width: Channels at full size; twice and four times as many below.
        """
        super().__init__()
        self.at_full = _double(PLAIN + MOUTHS * CARRIED, width)
        self.at_half = _double(width, 2 * width)
        self.at_quarter = _double(2 * width + latent_channels, 4 * width)
        self.at_bottom = _double(4 * width, 4 * width)
        self.up_half = nn.Conv2d(4 * width, 8 * width, 3, 1, 1)
        self.join_half = _double(4 * width, 2 * width)
        self.up_full = nn.Conv2d(2 * width, 4 * width, 3, 1, 1)
        self.join_full = _double(2 * width, width)
        self.out = nn.Conv2d(width, 3 + CHOICES, 3, 1, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        self.out.bias.data[3] = PREFERRED  # type: ignore[union-attr]

    def forward(self, pixels: Tensor, latent: Tensor) -> Tensor:
        """Return what is to be added to the rendered picture, [B, 3, h, w]; see ``choose``."""
        return self.choose(pixels, latent)[0]

    def choose(self, pixels: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is to be added to the rendered picture, and how much of each mouth shows.

        Args:
            pixels: Rendered picture, warp, target PNCC and lip mask of the box, then K mouths from
                ``teeth.carry``, [B, 10 + 8 K, h, w].
            latent: What attention found there, [B, C, h/4, w/4].

        Returns:
            [B, 3, h, w], and shares of K mouths moved with the head and with the chin, in the order
            of ``pixels``, [B, 2 K, h, w].
        """
        full = self.at_full(pixels * 2 - 1)
        half = self.at_half(F.avg_pool2d(full, 2))
        quarter = self.at_quarter(torch.cat([F.avg_pool2d(half, 2), latent], 1))
        quarter = quarter + self.at_bottom(quarter)
        half = self.join_half(torch.cat([half, F.pixel_shuffle(self.up_half(quarter), 2)], 1))
        full = self.join_full(torch.cat([full, F.pixel_shuffle(self.up_full(half), 2)], 1))
        correction, logits = self.out(full).split((3, CHOICES), 1)
        share = (SHARP * logits.float()).softmax(1)[:, 1:]
        carried = pixels[:, PLAIN:].view(len(pixels), 2 * MOUTHS, -1, *pixels.shape[2:])[:, :, :3]
        chosen = (share[:, :, None] * (carried - pixels[:, None, :3])).sum(1)
        return chosen + without_weave(correction), share


def without_weave(picture: Tensor) -> Tensor:
    """Return a picture without what changes from pixel to pixel and back, [B, C, h, w].

    A critic that sees half the size teaches a pattern of that period, which is no detail of a
    mouth. The binomial kernel 1 2 1 takes exactly that away, and little of what is coarser.
    """
    taps = picture.new_tensor((0.25, 0.5, 0.25))
    kernel = torch.outer(taps, taps).expand(picture.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(picture, (1,) * 4, "replicate"), kernel, groups=picture.shape[1])


def soft_edge(lip_mask: Tensor) -> Tensor:
    """Return a mask's inside, fading to 0 at its edge, [..., H, W] -> the same."""
    flat = lip_mask.reshape(-1, 1, *lip_mask.shape[-2:])
    blurred = F.avg_pool2d(flat, EDGE, 1, EDGE // 2, count_include_pad=False)
    return ((blurred - 0.5) * 2).clamp(0, 1).reshape(lip_mask.shape)


class MouthCritic(nn.Module):
    """Tells real mouths from rendered ones, place by place, given the geometry.

    It sees the features of a network that was trained on much else and stays as it is (Sauer et al.
    2021, "Projected GANs Converge Faster"): on pixels alone it learned nothing in a short training.
    Spectral normalisation (Miyato et al. 2018) keeps it from winning too early.
    """

    def __init__(self, sizes: Sequence[int], width: int = 64) -> None:
        """Build three convolutions for each map of features.

        Args:
            sizes: Channels of the maps.
            width: Channels of the convolutions.
        """
        super().__init__()
        self.scorers = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(size + 3 + 1, width, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, width, 3, 1, 1)),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, 1, 1),  # free to scale: real and made differ by little
            )
            for size in sizes
        )

    def forward(self, features: Sequence[Tensor], pncc: Tensor, lip_mask: Tensor) -> list[Tensor]:
        """Return how real each place looks.

        Args:
            features: Maps of the box, [B, C, h', w'] each, of about unit size.
            pncc: [B, 3, h, w].
            lip_mask: [B, 1, h, w].

        Returns:
            A map of scores for each of features, [B, 1, h', w'].
        """
        geometry = torch.cat([pncc, lip_mask], 1)
        return [
            scorer(torch.cat([seen, F.interpolate(geometry, seen.shape[-2:], mode="area")], 1))
            for scorer, seen in zip(self.scorers, features, strict=True)
        ]
