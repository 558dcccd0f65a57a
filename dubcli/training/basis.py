"""Learns the 3DMM's two bases by PCA from tracked clips.

Letters: N meshes, V vertices (468), I identity and E expression coefficients.

Each landmark mesh is carried into head space by MediaPipe's 33 stable points. A clip's neutral face
is the mean of its frames with the most closed mouth; the identity basis is the PCA of the neutral
faces, the expression basis that of the differences to them. So beta = 0 is a closed mouth.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from dubcli.geometry.camera import yaw
from dubcli.geometry.fitting import to_head_space
from dubcli.geometry.morphable import (
    MorphableModel,
    default_landmark_weight,
    lip_aperture,
    without_mouth_opening,
)
from dubcli.training.canonical import CanonicalFace, read_canonical_face
from dubcli.training.data import Clip, load_landmarks
from dubcli.training.recipe import Between

MIN_FRAMES = 10  # of a clip that look forward


@dataclass(frozen=True, slots=True)
class BasisTraining:
    """How the basis is learned; the table [training] of its recipe."""

    sets: tuple[str, ...] = ("wild",)  # of ``clips.csv``
    identities: Annotated[int, Between(1)] = 48
    expressions: Annotated[int, Between(1)] = 32
    max_yaw: float = 0.6  # radians; beyond, the tracker's depth bends the mesh
    neutral_share: Annotated[float, Between(0, 1)] = 0.2  # of frames: those most closed
    frames_a_clip: Annotated[int, Between(1)] = 40  # that the expression basis learns from
    depth_importance: Annotated[float, Between(0, 1)] = 0.3  # of z beside x and y


@dataclass(frozen=True, slots=True, eq=False)
class AlignedClip:
    """A clip's meshes in head space."""

    neutral: Tensor  # [V, 3] cm
    difference: Tensor  # [N, V, 3] cm, from the neutral face


def align_clip(
    landmarks_px: Tensor, face: CanonicalFace, training: BasisTraining
) -> AlignedClip | None:
    """Return a clip's meshes in head space, None where too few frames look forward."""
    mean, weight = torch.from_numpy(face.vertices), torch.from_numpy(face.weight)
    head, rotation, _, _ = to_head_space(landmarks_px, mean, weight)
    head = head[yaw(rotation) < training.max_yaw]
    if len(head) < MIN_FRAMES:
        return None
    order = lip_aperture(head).argsort()
    neutral = head[order[: max(3, int(len(head) * training.neutral_share))]].mean(0)
    step = max(1, len(head) // training.frames_a_clip)
    return AlignedClip(neutral, head[::step] - neutral)


def principal_components(meshes: Tensor, importance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the strongest directions of variation, scaled to one standard deviation.

    Args:
        meshes: Differences from their origin (not centred here), [N, V, 3] cm.
        importance: How much an error at each coordinate counts, [V, 3].
        count: K.

    Returns:
        Basis [K, V, 3] cm, and the share of the weighted variance each component explains, [K].
    """
    root = importance.reshape(-1).sqrt()
    flat = meshes.reshape(len(meshes), -1) * root
    covariance = flat.t() @ flat / len(flat)
    values, vectors = torch.linalg.eigh(covariance.double())
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    basis = (vectors.t() * values.clamp_min(0).sqrt()[:, None]).float() / root
    share = values / covariance.diagonal().sum()
    return basis.reshape(count, *meshes.shape[1:]), share.float()


def learn_basis(
    clips: list[Clip], cache: Path, task: Path, training: BasisTraining
) -> MorphableModel:
    """Return the linear face of the clips' people, speakers weighing alike through their clips.

    Args:
        clips: Training clips; those without cached landmarks are skipped.
        cache: Folder of the landmark cache.
        task: MediaPipe's model file, for the canonical face.
        training: Sizes and limits.

    Raises:
        ValueError: If fewer clips than identity components could be used.
    """
    face = read_canonical_face(task)
    aligned: list[AlignedClip] = []
    for clip in clips:
        found = load_landmarks(cache, clip)
        if found is None:
            continue
        tracked = found.landmarks_px[~np.isnan(found.landmarks_px[:, 0, 0])]
        one = align_clip(torch.from_numpy(tracked), face, training)
        if one is not None:
            aligned.append(one)
    if len(aligned) <= training.identities:
        raise ValueError(f"{len(aligned)} usable clips; {training.identities + 1} are needed")
    importance = default_landmark_weight()[:, None] * torch.tensor(
        [1.0, 1.0, training.depth_importance]
    )
    neutral = torch.stack([one.neutral for one in aligned])
    mean = neutral.mean(0)
    identity, _ = principal_components(neutral - mean, importance, training.identities)
    expression, _ = principal_components(
        torch.cat([one.difference for one in aligned]), importance, training.expressions
    )
    return MorphableModel(
        mean,
        identity,
        expression,
        without_mouth_opening(face.triangles),
        torch.from_numpy(face.weight),
    )
