from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dubcli.geometry.camera import rotation_matrix
from dubcli.geometry.fitting import (
    DEFAULT_WEIGHTS,
    closed_form,
    fit_clip,
    length,
    ridge_regression,
    similarity,
    stay_loss,
    tempo_loss,
    to_head_space,
)
from dubcli.geometry.morphable import INNER_LIP_RING, OUTER_LIP_RING, MorphableModel, vertices

FLOAT_TOLERANCE = 1e-4  # float32 least squares of points of size 10
LOSS_TOLERANCE = 1e-3  # relative: the length is smoothed by 1e-4 at 0
LIP_ERROR_CM = 0.08  # mean, measured 0.056: identity hides behind pose, depth is not optimised
BETA_ERROR = 0.1  # mean, in standard deviations; measured 0.05: ridge and pull to the start
PIXEL_ERROR = 0.5  # mean over vertices; 14 pixels are a centimetre


def test_similarity_recovers_a_known_transform_and_ignores_points_without_weight() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(20, 3)) * 5
    weight = rng.uniform(0.1, 2, 20)
    weight[:4] = 0
    turns, scales, shifts = (
        Rotation.random(6, rng=rng),
        rng.uniform(1, 30, 6),
        rng.normal(size=(6, 3)),
    )
    target = np.stack(
        [s * r.apply(source) + t for r, s, t in zip(turns, scales, shifts, strict=True)]
    )
    target[:, :4] += 50  # these have no weight

    rotation, translation, scale = similarity(
        torch.from_numpy(source).expand(6, -1, -1),
        torch.from_numpy(target),
        torch.from_numpy(weight),
    )

    np.testing.assert_allclose(rotation.numpy(), turns.as_matrix(), atol=1e-9)
    np.testing.assert_allclose(scale.numpy(), scales, atol=1e-9)
    np.testing.assert_allclose(translation.numpy(), shifts, atol=1e-8)


def test_similarity_of_noisy_points_is_a_minimum_of_the_weighted_squares() -> None:
    rng = np.random.default_rng(1)
    source, weight = rng.normal(size=(12, 3)), rng.uniform(0, 1, 12)
    target = 3 * source + rng.normal(size=(12, 3)) * 0.3
    found = similarity(
        torch.from_numpy(source[None]), torch.from_numpy(target[None]), torch.from_numpy(weight)
    )
    matrix, shift, scale = (x[0].numpy() for x in found)

    def cost(turn: Rotation, by: float, shift: np.ndarray) -> float:
        moved = by * scale * source @ (turn.as_matrix() @ matrix).T + shift
        return float((weight * ((moved - target) ** 2).sum(1)).sum())

    best = cost(Rotation.identity(), 1.0, shift)
    for _ in range(40):
        turn = Rotation.from_rotvec(rng.normal(size=3) * 0.02)
        assert cost(turn, 1 + rng.normal() * 0.02, shift + rng.normal(size=3) * 0.02) > best


def test_mirrored_points_never_give_a_reflection() -> None:
    source = torch.randn(1, 9, 3, generator=torch.Generator().manual_seed(2))
    rotation, _, scale = similarity(source, source * torch.tensor([-1.0, 1, 1]), torch.ones(9))
    assert float(torch.det(rotation[0])) == pytest.approx(1, abs=1e-5)
    assert float(scale) > 0


def test_head_space_is_the_mesh_that_was_projected(small_model: MorphableModel, known_clip) -> None:
    mesh = vertices(small_model, known_clip.alpha.expand(60, -1), known_clip.beta)
    head, rotation, translation, scale = to_head_space(
        known_clip.landmarks_px, mesh, small_model.alignment_weight
    )
    torch.testing.assert_close(head, mesh, rtol=0, atol=1e-3)
    torch.testing.assert_close(rotation, known_clip.rotation, rtol=0, atol=1e-3)
    torch.testing.assert_close(translation, known_clip.translation_px, rtol=0, atol=0.02)
    torch.testing.assert_close(scale, known_clip.scale_px, rtol=0, atol=0.01)


def test_ridge_is_least_squares_with_a_row_for_each_coefficient() -> None:
    rng = np.random.default_rng(3)
    basis, offset = rng.normal(size=(5, 12)), rng.normal(size=(7, 12))
    importance, ridge = rng.uniform(0.1, 3, 12), 0.05
    pull = np.sqrt(ridge * importance.sum() / 3)
    rows = np.vstack([(basis * np.sqrt(importance)).T, pull * np.eye(5)])
    wanted = np.vstack([(offset * np.sqrt(importance)).T, np.zeros((5, 7))])
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0].T

    got = ridge_regression(
        *(torch.from_numpy(x).float() for x in (basis, offset, importance)), ridge
    )

    np.testing.assert_allclose(got.numpy(), expected, atol=FLOAT_TOLERANCE)


def test_tempo_loss_is_equation_1_written_out_in_loops() -> None:
    rng = np.random.default_rng(4)
    T, K = 5, 3
    points, landmarks = rng.normal(size=(T, K, 2)), rng.normal(size=(T, K, 2))
    pose, beta = rng.normal(size=(T, 6)), rng.normal(size=(T, 4))
    motion = 0.0
    for t in range(T - 1):
        for k in range(K):
            made = points[t + 1, k] - points[t, k]
            seen = landmarks[t + 1, k] - landmarks[t, k]
            motion += np.linalg.norm(made - seen) / K
    jitter = 0.0
    for t in range(1, T - 1):
        jitter += np.linalg.norm(pose[t - 1] - 2 * pose[t] + pose[t + 1])
        jitter += np.linalg.norm(beta[t - 1] - 2 * beta[t] + beta[t + 1])

    got = tempo_loss(*(torch.from_numpy(x) for x in (points, landmarks, pose, beta)), 0.2)

    assert float(got) == pytest.approx(motion + 0.2 * jitter, rel=LOSS_TOLERANCE)


@pytest.mark.parametrize("frames", [1, 2])
def test_tempo_loss_of_very_short_clips_is_finite(frames: int) -> None:
    zero = torch.zeros(frames, 3, 2)
    loss = tempo_loss(zero, zero, torch.zeros(frames, 6), torch.zeros(frames, 4), 0.2)
    assert 0 <= float(loss) < 1e-3


def test_stay_loss_is_equation_2_written_out_in_loops() -> None:
    rng = np.random.default_rng(5)
    now = [rng.normal(size=shape) for shape in ((3,), (6, 4), (6, 5))]
    start = [rng.normal(size=x.shape) for x in now]
    expected = np.linalg.norm(now[0] - start[0])
    for t in range(6):
        expected += np.linalg.norm(now[1][t] - start[1][t])
        expected += np.linalg.norm(now[2][t] - start[2][t])

    got = stay_loss(
        tuple(torch.from_numpy(x) for x in now), tuple(torch.from_numpy(x) for x in start)
    )

    assert float(got) == pytest.approx(expected, rel=LOSS_TOLERANCE)


def test_length_has_a_finite_gradient_at_zero() -> None:
    vector = torch.zeros(2, 3, requires_grad=True)
    length(vector).sum().backward()
    assert vector.grad is not None
    assert not vector.grad.any()


def test_clip_fit_recovers_known_coefficients(small_model: MorphableModel, known_clip) -> None:
    fitted = fit_clip(small_model, known_clip.landmarks_px)

    truth = vertices(small_model, known_clip.alpha.expand(60, -1), known_clip.beta)
    lips = list(OUTER_LIP_RING + INNER_LIP_RING)
    error = (fitted.mesh(small_model) - truth)[:, lips].norm(dim=-1)
    assert float(error.mean()) < LIP_ERROR_CM
    assert float((fitted.beta - known_clip.beta).abs().mean()) < BETA_ERROR
    assert float((fitted.alpha - known_clip.alpha).abs().max()) < BETA_ERROR
    matrices = rotation_matrix(fitted.rotation) @ rotation_matrix(known_clip.rotation).mT
    turned = Rotation.from_matrix(matrices.numpy()).magnitude()
    assert np.degrees(turned).max() < 1.0
    drawn = fitted.project(small_model)[..., :2] - known_clip.landmarks_px[..., :2]
    assert float(drawn.norm(dim=-1).mean()) < PIXEL_ERROR


def test_optimisation_curbs_jitter_that_the_closed_form_keeps(
    small_model: MorphableModel, known_clip
) -> None:
    generator = torch.Generator().manual_seed(6)
    noise = torch.randn(known_clip.landmarks_px.shape, generator=generator) * 0.7
    noisy = known_clip.landmarks_px + noise
    start, fitted = closed_form(small_model, noisy), fit_clip(small_model, noisy)

    def jitter(beta: torch.Tensor) -> float:
        return float((beta - known_clip.beta).diff(n=2, dim=0).norm(dim=-1).mean())

    assert jitter(fitted.beta) < 0.8 * jitter(start.beta)


def test_known_identity_is_kept(small_model: MorphableModel, known_clip) -> None:
    alpha = torch.tensor([0.1, 0.2, 0.3])
    fitted = fit_clip(small_model, known_clip.landmarks_px[:5], alpha=alpha)
    assert torch.equal(fitted.alpha, alpha)
    assert not fitted.beta.requires_grad


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_of_a_few_frames_are_fitted(
    small_model: MorphableModel, known_clip, frames: int
) -> None:
    fitted = fit_clip(small_model, known_clip.landmarks_px[:frames])
    assert fitted.beta.shape == (frames, 4)
    drawn = fitted.project(small_model)[..., :2] - known_clip.landmarks_px[:frames, :, :2]
    assert float(drawn.norm(dim=-1).mean()) < 2 * PIXEL_ERROR


def test_fit_does_not_change_its_landmarks(small_model: MorphableModel, known_clip) -> None:
    before = known_clip.landmarks_px.clone()
    fit_clip(small_model, known_clip.landmarks_px, weights=replace(DEFAULT_WEIGHTS, steps=2))
    assert torch.equal(known_clip.landmarks_px, before)


def test_empty_clip_is_refused(small_model: MorphableModel) -> None:
    with pytest.raises(ValueError, match="no frames to fit"):
        fit_clip(small_model, torch.zeros(0, 468, 3))
