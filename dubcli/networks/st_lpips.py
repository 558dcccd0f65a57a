"""ST-LPIPS: a perceptual distance that a shift of a few pixels hardly changes.

Letters: B batch, C channels, H, W picture size.

Ghildyal and Liu 2022, "Shift-tolerant Perceptual Similarity Metric", on Zhang et al. 2018 (LPIPS):
an AlexNet whose first convolution has stride 1 and whose strides are all blur-pools (Zhang 2019,
"Making Convolutional Networks Shift-Invariant Again"); its weights are the paper's. Numbers are
not those of LPIPS: name it ST-LPIPS.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 192, 384, 256, 256)  # channels of the five layers that are compared
BINOMIAL = (1.0, 2.0, 1.0)  # the 3-tap kernel of Pascal's triangle
SHIFT = (-0.030, -0.088, -0.188)  # LPIPS' normalisation of pictures in [-1, 1]
SCALE = (0.458, 0.448, 0.450)
TINY = 1e-10


class BlurPool(nn.Module):
    """Halve a map without aliasing: a binomial blur and every second value of it.

    Padding is by reflection, two pixels a side, so that the borders are kept ("pad more").
    """

    kernel: Tensor

    def __init__(self) -> None:
        """Make the kernel, the outer product of [1, 2, 1] / 4 with itself."""
        super().__init__()
        taps = torch.tensor(BINOMIAL) / sum(BINOMIAL)
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, H, W] as [B, C, (H + 3) // 2, (W + 3) // 2]."""
        C = x.shape[1]
        margin = len(BINOMIAL) - 1
        padded = F.pad(x, (margin,) * 4, mode="reflect")
        return F.conv2d(padded, self.kernel.expand(C, 1, -1, -1), stride=2, groups=C)


class StLpips(nn.Module):
    """The distance of two pictures: how far their features are apart, weighted by channel.

    sum over layers of mean over pixels of w . (f(x) / |f(x)| - f(y) / |f(y)|)^2     (LPIPS, Eq. 1)
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        """Build it untrained."""
        super().__init__()
        sizes = ((11, 2), (5, 2), (3, 1), (3, 1), (3, 1))  # kernel and padding, as AlexNet's
        inputs = (3, *WIDTHS[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, padding=padding)
            for before, after, (kernel, padding) in zip(inputs, WIDTHS, sizes, strict=True)
        )
        self.weights = nn.ParameterList(torch.zeros(width) for width in WIDTHS)
        self.blur_pool = BlurPool()
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    def features(self, rgb: Tensor) -> list[Tensor]:
        """Return what the five layers see.

        Args:
            rgb: [B, 3, H, W], 0 to 1; at least 32 pixels a side.

        Returns:
            Five maps, [B, C, h, w].
        """
        first, *rest = self.convolutions
        x = F.relu(self.blur_pool(first((2 * rgb - 1 - self.shift) / self.scale)))
        found = [x]
        for layer, convolution in enumerate(rest):
            if layer < 2:  # AlexNet pools before its second and third convolution
                x = self.blur_pool(F.max_pool2d(x, 3, stride=1))
            x = F.relu(convolution(x))
            found.append(x)
        return found

    def forward(self, made: Tensor, true: Tensor) -> Tensor:
        """Return the distances, [B], 0 for equal pictures.

        Args:
            made: [B, 3, H, W], 0 to 1.
            true: [B, 3, H, W], 0 to 1.
        """
        pairs = zip(self.features(made), self.features(true), self.weights, strict=True)
        layers = [
            torch.einsum("bchw,c->bhw", (_unit(x) - _unit(y)).square(), weight).mean((1, 2))
            for x, y, weight in pairs
        ]
        return torch.stack(layers).sum(0)


def _unit(x: Tensor) -> Tensor:
    """Return features divided by their length over the channels, [B, C, H, W]."""
    unit: Tensor = x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + TINY)
    return unit
