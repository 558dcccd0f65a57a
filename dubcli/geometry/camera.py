"""The page on axes, pixel centres and projection.

Letters: B batch (any leading shape), V vertices.

* Head space: cm, x to the viewer's right, y up, z towards the viewer (MediaPipe's canonical face).
* Image space: pixels, x right, y down, z away from the viewer. A point (x, y) lies in the pixel
  whose column is floor(x) and row is floor(y): pixel centres are at halves.
* The camera is a scaled orthographic one, which is what the tracker's own z supports:
  image = scale R (head * (1, -1, -1)) + (translation, 0).
* R is given as an axis-angle vector (radians) and acts on column vectors, in image axes.
"""

import torch
from torch import Tensor

HEAD_TO_IMAGE = (1.0, -1.0, -1.0)
SMALL_ANGLE = 1e-8  # squared radians below which a rotation is the identity to float32


def rotation_matrix(rotation: Tensor) -> Tensor:
    """Return R = exp([rotation]_x), Rodrigues' formula, [..., 3] radians -> [..., 3, 3].

    Example:
        >>> import torch
        >>> quarter = torch.tensor([0.0, 0.0, torch.pi / 2])
        >>> (rotation_matrix(quarter) @ torch.tensor([0.0, 1.0, 0.0])).round(decimals=4).tolist()
        [-1.0, 0.0, 0.0]
    """
    squared = (rotation * rotation).sum(-1, keepdim=True).clamp_min(SMALL_ANGLE)
    angle = squared.sqrt()[..., None]
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return (
        identity + angle.sin() / angle * skew + (1 - angle.cos()) / (angle * angle) * (skew @ skew)
    )


def axis_angle(matrix: Tensor) -> Tensor:
    """Return the axis-angle vector of rotations, [..., 3, 3] -> [..., 3], radians, below pi.

    The inverse of ``rotation_matrix``; rotations by pi exactly have no unique axis and do not
    occur for a face that the tracker sees.
    """
    cosine = ((matrix.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)
    angle = torch.acos(cosine.clamp(-1 + 1e-7, 1 - 1e-7))
    axis = torch.stack(
        [
            matrix[..., 2, 1] - matrix[..., 1, 2],
            matrix[..., 0, 2] - matrix[..., 2, 0],
            matrix[..., 1, 0] - matrix[..., 0, 1],
        ],
        -1,
    )
    return axis * (angle / (2 * angle.sin()))[..., None]


def project(mesh: Tensor, rotation: Tensor, translation_px: Tensor, scale_px: Tensor) -> Tensor:
    """Return where head-space points fall in the image.

    Args:
        mesh: [..., V, 3] cm.
        rotation: [..., 3] axis-angle, radians.
        translation_px: [..., 2] pixels.
        scale_px: [...] pixels per centimetre.

    Returns:
        [..., V, 3] pixels; z grows away from the viewer.
    """
    flipped = mesh * mesh.new_tensor(HEAD_TO_IMAGE)
    turned = flipped @ rotation_matrix(rotation).transpose(-1, -2) * scale_px[..., None, None]
    shift = torch.cat([translation_px, torch.zeros_like(translation_px[..., :1])], -1)
    return turned + shift[..., None, :]


def yaw(rotation: Tensor) -> Tensor:
    """Return how far the head is turned from the viewer, [..., 3] -> [...], radians, 0 to pi."""
    forward = rotation_matrix(rotation)[..., 2]
    return torch.atan2(forward[..., 0].abs(), forward[..., 2])
