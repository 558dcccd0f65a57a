"""Landmarks to identity, expression and pose: closed-form start, then one optimisation over a clip.

Letters: T frames, V vertices (468), I identity and E expression coefficients.

The paper's hybrid estimation: a network's first values, then all of them optimised together with
Eq. 1 (keep the landmarks' own motion, curb jitter) and Eq. 2 (stay near the first values). Our
first values come from the tracker's mesh in closed form, because the tracker already measures in
3D.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dubcli.geometry.camera import HEAD_TO_IMAGE, axis_angle, project
from dubcli.geometry.morphable import (
    MorphableModel,
    default_landmark_weight,
    displacement,
    vertices,
)

DEPTH_WEIGHT = 0.3  # the tracker's depth is a guess beside its x and y
CLOSED_FORM_ROUNDS = 3  # shape and pose in turn; the change after the third is below 0.01 cm


@dataclass(frozen=True, slots=True)
class FittingWeights:
    """Weights of the clip optimisation."""

    landmark: float = 30.0  # squared cm, mean over vertices, sum over frames
    motion: float = 1.0  # Eq. 1, first part, per vertex
    smooth: float = 0.2  # lambda of Eq. 1
    stay: float = 0.2  # Eq. 2
    ridge: float = 2e-3  # closed form: pull of the coefficients towards 0, per vertex and axis
    steps: int = 60
    rate: float = 0.03


DEFAULT_WEIGHTS = FittingWeights()


@dataclass(frozen=True, slots=True, eq=False)
class FittedClip:
    """The coefficients of T frames of one face."""

    alpha: Tensor  # [I]
    beta: Tensor  # [T, E]
    rotation: Tensor  # [T, 3] axis-angle, radians
    translation_px: Tensor  # [T, 2]
    scale_px: Tensor  # [T] pixels per cm

    def mesh(self, model: MorphableModel) -> Tensor:
        """Return the canonical geometry {alpha, beta, 0}, [T, V, 3] cm."""
        return vertices(model, self.alpha.expand(len(self.beta), -1), self.beta)

    def project(self, model: MorphableModel) -> Tensor:
        """Return the fitted mesh in the image, [T, V, 3] pixels."""
        return project(self.mesh(model), self.rotation, self.translation_px, self.scale_px)


def similarity(source: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted similarity that takes source to target (Umeyama 1991).

    Args:
        source: [T, V, 3] head-space points with the axes already flipped to the image's.
        target: [T, V, 3] pixels.
        weight: [V], not negative.

    Returns:
        Rotation matrices [T, 3, 3], translations [T, 3] and scales [T], such that
        target = scale R source + translation.
    """
    share = (weight / weight.sum())[:, None]
    source_mean, target_mean = (source * share).sum(-2), (target * share).sum(-2)
    centred, goal = source - source_mean[..., None, :], target - target_mean[..., None, :]
    covariance = goal.transpose(-1, -2) @ (centred * share)
    u, singular, vh = torch.linalg.svd(covariance)
    sign = torch.ones_like(singular)
    sign[..., 2] = torch.det(u @ vh).sign()  # a reflection is not a rotation
    rotation = u @ (sign[..., None] * vh)
    scale = (singular * sign).sum(-1) / (centred.square() * share).sum((-1, -2))
    translation = target_mean - scale[..., None] * (rotation @ source_mean[..., None])[..., 0]
    return rotation, translation, scale


def to_head_space(
    landmarks_px: Tensor, mesh: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return landmarks carried into head space by their best similarity, and that similarity.

    Args:
        landmarks_px: [T, V, 3] pixels.
        mesh: What they are aligned to, [T, V, 3] or [V, 3] cm, head space.
        weight: Of each vertex in the alignment, [V].

    Returns:
        Head-space landmarks [T, V, 3] cm; rotation [T, 3]; translation_px [T, 2]; scale_px [T].
    """
    flip = landmarks_px.new_tensor(HEAD_TO_IMAGE)
    flipped = (mesh * flip).expand_as(landmarks_px)
    rotation, translation, scale = similarity(flipped, landmarks_px, weight)
    turned = (landmarks_px - translation[:, None]) @ rotation / scale[:, None, None]
    return turned * flip, axis_angle(rotation), translation[:, :2], scale


def closed_form(
    model: MorphableModel,
    landmarks_px: Tensor,
    weights: FittingWeights = DEFAULT_WEIGHTS,
    *,
    alpha: Tensor | None = None,
) -> FittedClip:
    """Return the first values {alpha, beta, p}^init: pose and a ridge regression, in turns.

    Args:
        model: The basis.
        landmarks_px: [T, V, 3] pixels, all of one face.
        weights: ``ridge`` is used.
        alpha: A known identity, [I]; None: the mean over the frames of each frame's own.

    Returns:
        The fit; beta is solved given its alpha.
    """
    importance = (
        default_landmark_weight()[:, None] * torch.tensor([1.0, 1.0, DEPTH_WEIGHT])
    ).reshape(-1)
    count = len(model.identity)
    basis = torch.cat([model.identity, model.expression]).reshape(-1, importance.numel())
    mesh = model.mean.expand_as(landmarks_px)
    identity = torch.zeros(count) if alpha is None else alpha
    for _ in range(CLOSED_FORM_ROUNDS):
        head, rotation, translation, scale = to_head_space(
            landmarks_px, mesh, model.alignment_weight
        )
        offset = (head - model.mean).reshape(len(head), -1)
        if alpha is None:
            identity = ridge_regression(basis, offset, importance, weights.ridge)[:, :count].mean(0)
        left = offset - (identity @ basis[:count])
        beta = ridge_regression(basis[count:], left, importance, weights.ridge)
        mesh = vertices(model, identity.expand(len(beta), -1), beta)
    return FittedClip(identity, beta, rotation, translation, scale)


def ridge_regression(basis: Tensor, offset: Tensor, importance: Tensor, ridge: float) -> Tensor:
    """Return c minimising sum_d w_d (offset - c basis)_d^2 + ridge * sum(w) / 3 * |c|^2.

    Args:
        basis: [K, D]. offset: [T, D]. importance: w, [D].
        offset: What the coefficients should explain, [T, D].
        importance: Weight of each dimension, [D].
        ridge: In squared units of the offset.

    Returns:
        [T, K].
    """
    weighted = basis * importance
    normal = weighted @ basis.t()
    normal = normal + torch.eye(len(basis)) * (ridge * importance.sum() / 3)
    solution: Tensor = torch.linalg.solve(normal, weighted @ offset.t()).t()
    return solution


def length(vector: Tensor) -> Tensor:
    """Return the Euclidean length over the last axis, differentiable at 0."""
    return (vector.square().sum(-1) + 1e-8).sqrt()


def tempo_loss(
    points: Tensor, landmarks: Tensor, pose: Tensor, beta: Tensor, smooth: float
) -> Tensor:
    """Return Eq. 1: the mesh moves as the landmarks move, and pose and expression do not jitter.

    L_tempo = sum_k sum_t ||(kp_{k,t+1} - kp_{k,t}) - (gt_{k,t+1} - gt_{k,t})||_2
              + lambda sum_t (||lap p_t||_2 + ||lap beta_t||_2)

    The first sum is divided by the number of points, so that it does not depend on the mesh.

    Args:
        points: Projected vertices, [T, V, 2], cm.
        landmarks: Detected ones, [T, V, 2], cm.
        pose: [T, P].
        beta: [T, E].
        smooth: lambda.
    """
    motion = length(points.diff(dim=0) - landmarks.diff(dim=0)).mean(-1).sum()
    if len(points) < 3:
        return motion
    jitter = length(pose.diff(n=2, dim=0)).sum() + length(beta.diff(n=2, dim=0)).sum()
    return motion + smooth * jitter


def stay_loss(now: tuple[Tensor, ...], start: tuple[Tensor, ...]) -> Tensor:
    """Return Eq. 2: the sum over frames of the distances from the first values."""
    return torch.stack([length(n - s).sum() for n, s in zip(now, start, strict=True)]).sum()


def fit_clip(
    model: MorphableModel,
    landmarks_px: Tensor,
    *,
    alpha: Tensor | None = None,
    weights: FittingWeights = DEFAULT_WEIGHTS,
) -> FittedClip:
    """Return identity, expression and pose of one face over T consecutive frames.

    Args:
        model: The basis.
        landmarks_px: [T, V, 3] pixels.
        alpha: A known identity, [I]; None: estimated from these frames.
        weights: Of the terms.

    Returns:
        The fit.

    Raises:
        ValueError: If there is no frame.
    """
    if not len(landmarks_px):
        raise ValueError("no frames to fit")
    start = closed_form(model, landmarks_px, weights, alpha=alpha)
    known = alpha is not None
    size = start.scale_px.mean()  # one scale for the clip makes pixels comparable with cm
    middle = start.translation_px.mean(0)
    pose_start = torch.cat(
        [
            start.rotation,
            (start.translation_px - middle) / size,
            (start.scale_px / size).log()[:, None],
        ],
        1,
    )
    leaves = [start.alpha.clone(), start.beta.clone(), pose_start.clone()]
    for leaf in leaves[known:]:
        leaf.requires_grad_()
    importance = default_landmark_weight()
    importance = importance / importance.sum()
    truth = (landmarks_px[..., :2] - middle) / size
    optimiser = torch.optim.Adam(leaves[known:], lr=weights.rate, betas=(0.9, 0.99))
    neutral = model.mean.reshape(-1)

    for step in range(weights.steps):
        for group in optimiser.param_groups:
            group["lr"] = weights.rate * (1 - step / weights.steps)
        who, beta, pose = leaves
        shape = (neutral + displacement(model.identity, who).reshape(-1)).reshape(-1, 3)
        mesh = shape + displacement(model.expression, beta)
        points = project(mesh, pose[:, :3], pose[:, 3:5], pose[:, 5].exp())[..., :2]
        landmark = ((points - truth).square().sum(-1) * importance).sum()
        loss = (
            weights.landmark * landmark
            + weights.motion * tempo_loss(points, truth, pose, beta, weights.smooth)
            + weights.stay * stay_loss((who, beta, pose), (start.alpha, start.beta, pose_start))
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    who, beta, pose = (leaf.detach() for leaf in leaves)
    return FittedClip(who, beta, pose[:, :3], pose[:, 3:5] * size + middle, pose[:, 5].exp() * size)
