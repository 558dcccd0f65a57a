"""MobileNetV2 without its classifier: a picture to 1280 features.

Letters: B batch, C channels, H, W picture size, D features (1280).

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", Table 2, width 1.0.
Modules are named so that the usual ImageNet weights fit.
"""

import torch
from torch import Tensor, nn

WIDTH = 1280  # D
SIDE = 224  # pixels a side of the pictures it was trained on
STEM = 32
# Table 2: expansion, output channels, repeats, stride of the first.
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
MEAN = (0.485, 0.456, 0.406)  # of ImageNet's channels
DEVIATION = (0.229, 0.224, 0.225)


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow without a nonlinearity (Figure 4d)."""

    def __init__(self, before: int, after: int, expansion: int, stride: int) -> None:
        """Build a block from ``before`` to ``after`` channels."""
        super().__init__()
        wide = before * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_layer(before, wide, 1)]
        layers += [
            _layer(wide, wide, 3, stride=stride, groups=wide),
            nn.Conv2d(wide, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, before, H, W] as [B, after, H / stride, W / stride]."""
        made: Tensor = self.conv(x)
        return x + made if self.shortcut else made


class MobileNetV2(nn.Module):
    """The features that MobileNetV2's classifier sees."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        """Build it untrained."""
        super().__init__()
        layers: list[nn.Module] = [_layer(3, STEM, 3, stride=2)]
        before = STEM
        for expansion, after, repeats, stride in BLOCKS:
            for repeat in range(repeats):
                layers.append(InvertedResidual(before, after, expansion, 1 if repeat else stride))
                before = after
        self.features = nn.Sequential(*layers, _layer(before, WIDTH, 1))
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, rgb: Tensor) -> Tensor:
        """Return the mean over the picture of the last layer.

        Args:
            rgb: [B, 3, H, W], 0 to 1; trained at 224 x 224.

        Returns:
            [B, D], 0 to 6.
        """
        found: Tensor = self.features((rgb - self.mean) / self.deviation)
        return found.mean((2, 3))


def _layer(
    before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return a convolution with batch normalisation and ReLU6."""
    convolution = nn.Conv2d(
        before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU6())
