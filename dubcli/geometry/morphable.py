"""The linear face: a mean mesh, an identity basis (alpha) and an expression basis (beta).

Letters: B batch (any leading shape), V vertices (468), I identity coefficients, E expression
coefficients, F triangles, L lower-face vertices.

Topology and mean are MediaPipe's canonical face; the bases are learned by ``dubcli train basis``.
Head space is in centimetres: x to the viewer's right, y up, z towards the viewer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dubcli.records import Float, Integers

# The two halves of the inner lip contour, from the face's right mouth corner to its left one, and
# back; each upper point faces the lower point at the same place in the other list.
INNER_LIP_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LIP_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
INNER_LIP_RING = INNER_LIP_UPPER + INNER_LIP_LOWER[-2:0:-1]
OUTER_LIP_RING = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
)  # fmt: skip
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
NOSE_TIP = 1
NOSE_BASE = 2
CHIN = 152

LOWER_FACE_FULL = -1.0  # cm below the canonical origin's height: here and below, generated fully
LOWER_FACE_NONE = 1.2  # cm above: here and higher, the source's own


@dataclass(frozen=True, slots=True, eq=False)
class MorphableModel:
    """A linear face, S = mean + alpha B_id + beta B_exp.

    ``beta = 0`` is a neutral face with its mouth closed. Coefficients have unit standard deviation
    over the training clips.
    """

    mean: Tensor  # [V, 3] cm
    identity: Tensor  # [I, V, 3] cm per standard deviation
    expression: Tensor  # [E, V, 3] cm per standard deviation
    triangles: Integers  # [F, 3] without the mouth's opening
    alignment_weight: Tensor  # [V] MediaPipe's Procrustes weights: 33 stable points, else 0


def vertices(model: MorphableModel, alpha: Tensor, beta: Tensor) -> Tensor:
    """Return face vertices in head space.

    S = S_mean + alpha B_id + beta B_exp      (Blanz and Vetter 1999; the paper's {alpha, beta, 0})

    Args:
        model: The basis.
        alpha: Identity, [B, I], unit standard deviation.
        beta: Expression, [B, E], unit standard deviation.

    Returns:
        Vertices, [B, V, 3], cm.

    Raises:
        ValueError: If a coefficient count does not match its basis.
    """
    for name, value, basis in (("alpha", alpha, model.identity), ("beta", beta, model.expression)):
        if value.shape[-1] != len(basis):
            raise ValueError(
                f"{name} has {value.shape[-1]} coefficients, the basis has {len(basis)}"
            )
    return model.mean + displacement(model.identity, alpha) + displacement(model.expression, beta)


def displacement(basis: Tensor, coefficients: Tensor) -> Tensor:
    """Return the sum of basis shapes, [..., K] x [K, V, 3] -> [..., V, 3], cm."""
    flat = coefficients @ basis.reshape(len(basis), -1)
    return flat.reshape(*coefficients.shape[:-1], *basis.shape[1:])


def lip_aperture(mesh: Tensor) -> Tensor:
    """Return how far the mouth is open: the mean gap of the three middle inner-lip pairs.

    Args:
        mesh: Vertices, [..., V, 3], cm in head space (or pixels: the unit is kept).

    Returns:
        [...], never negative; 0 where the lips touch.
    """
    upper, lower = list(INNER_LIP_UPPER[4:7]), list(INNER_LIP_LOWER[4:7])
    gap: Tensor = torch.linalg.vector_norm(mesh[..., upper, :] - mesh[..., lower, :], dim=-1)
    return gap.mean(-1)


def lip_gap(mesh: Tensor) -> Tensor:
    """Return the signed opening: how far the upper inner lip lies above the lower one.

    Linear in the mesh, unlike ``lip_aperture``; negative where the lips run through each other.

    Args:
        mesh: Vertices, [..., V, 3], cm in head space.

    Returns:
        [...], cm: the mean over the three middle pairs.
    """
    upper, lower = list(INNER_LIP_UPPER[4:7]), list(INNER_LIP_LOWER[4:7])
    return (mesh[..., upper, 1] - mesh[..., lower, 1]).mean(-1)


def lower_face_weight(mean: Tensor) -> Tensor:
    """Return how far each vertex follows the generated mouth, [V], 1 in the lower face, 0 above.

    The weight falls smoothly between the nose's base and the cheek bones, so that the seam moves
    with the mouth instead of tearing (METHOD: "keep the tracked person").
    """
    height = mean[:, 1] - mean[NOSE_BASE, 1]
    ramp = ((LOWER_FACE_NONE - height) / (LOWER_FACE_NONE - LOWER_FACE_FULL)).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def lower_face_indices(mean: Tensor) -> Integers:
    """Return the vertices that are generated, [L], ascending: those with a weight above 0."""
    found: Integers = np.flatnonzero(lower_face_weight(mean).numpy() > 0)
    return found


def without_mouth_opening(triangles: Integers) -> Integers:
    """Drop the triangles over the mouth's opening: all three corners on the inner lip ring."""
    spans = np.isin(triangles, INNER_LIP_RING).all(axis=1)
    kept: Integers = triangles[~spans]
    return kept


def mouth_fan(vertex_count: int) -> Integers:
    """Return the triangles that fill the mouth's opening around one extra vertex, [20, 3].

    The extra vertex has the index ``vertex_count`` (see ``with_mouth_centre``). With it the opening
    has coordinates of its own, by which attention finds teeth and tongue.
    """
    ring = INNER_LIP_RING
    return np.array(
        [(ring[i], ring[(i + 1) % len(ring)], vertex_count) for i in range(len(ring))],
        dtype=np.int64,
    )


def with_mouth_centre(mesh: Float) -> Float:
    """Append the mean of the inner lip ring, [..., V, D] -> [..., V + 1, D]."""
    centre = mesh[..., list(INNER_LIP_RING), :].mean(axis=-2, keepdims=True)
    joined: Float = np.concatenate([mesh, centre], axis=-2)
    return joined


def default_landmark_weight() -> Tensor:
    """Return how much each vertex counts in a fit, [468]: lips 4, jaw line 2, rest 1."""
    weight = torch.ones(468)
    weight[list(FACE_OVAL[9:28])] = 2.0
    weight[list(OUTER_LIP_RING)] = 4.0
    weight[list(INNER_LIP_RING)] = 4.0
    return weight
