"""Losses, pure.

Letters: B batch, T frames, H, W picture size, V vertices.
"""

import torch.nn.functional as F
from torch import Tensor

SCALES = 3


def multiscale_l1(output: Tensor, target: Tensor, weight: Tensor, gradient: float) -> Tensor:
    """Return L1 on pixels and on gradients at three scales.

    Args:
        output: [3, H, W].
        target: [3, H, W].
        weight: Importance of each pixel, [1, H, W].
        gradient: Weight of the gradients' part beside the pixels' part.

    Returns:
        A scalar: the weighted mean over pixels and channels, summed over scales.
    """
    loss = output.new_zeros(())
    for _ in range(SCALES):
        area = weight.sum() * 3 + 1
        loss = loss + ((output - target).abs() * weight).sum() / area
        for dim in (1, 2):
            difference = (output.diff(dim=dim) - target.diff(dim=dim)).abs()
            share = weight.narrow(dim, 1, weight.shape[dim] - 1)
            loss = loss + gradient * (difference * share).sum() / area
        output, target = F.avg_pool2d(output, 2), F.avg_pool2d(target, 2)
        weight = F.max_pool2d(weight, 2)
    return loss
