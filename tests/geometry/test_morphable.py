import numpy as np
import pytest
import torch

from dubcli.geometry.morphable import (
    FACE_OVAL,
    INNER_LIP_LOWER,
    INNER_LIP_RING,
    INNER_LIP_UPPER,
    LOWER_FACE_FULL,
    LOWER_FACE_NONE,
    NOSE_BASE,
    OUTER_LIP_RING,
    MorphableModel,
    default_landmark_weight,
    displacement,
    lip_aperture,
    lip_gap,
    lower_face_indices,
    lower_face_weight,
    vertices,
)

FLOAT_TOLERANCE = 1e-5  # cm, float32 sums of a handful of shapes


def test_vertices_are_the_mean_plus_the_weighted_shapes(small_model: MorphableModel) -> None:
    rng = np.random.default_rng(0)
    alpha, beta = rng.normal(size=(2, 3)), rng.normal(size=(2, 4))
    got = vertices(small_model, torch.from_numpy(alpha).float(), torch.from_numpy(beta).float())
    assert got.shape == (2, 468, 3)
    for b in range(2):
        expected = small_model.mean.numpy().astype(np.float64)
        for i in range(3):
            expected = expected + alpha[b, i] * small_model.identity[i].numpy()
        for e in range(4):
            expected = expected + beta[b, e] * small_model.expression[e].numpy()
        np.testing.assert_allclose(got[b].numpy(), expected, atol=FLOAT_TOLERANCE)


def test_no_coefficients_give_the_mean_face(small_model: MorphableModel) -> None:
    assert torch.equal(vertices(small_model, torch.zeros(3), torch.zeros(4)), small_model.mean)


@pytest.mark.parametrize(
    ("alpha", "beta", "message"),
    [
        (4, 4, "alpha has 4 coefficients, the basis has 3"),
        (3, 2, "beta has 2 coefficients, the basis has 4"),
    ],
)
def test_wrong_coefficient_counts_are_refused_with_both_numbers(
    small_model: MorphableModel, alpha: int, beta: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        vertices(small_model, torch.zeros(1, alpha), torch.zeros(1, beta))


def test_displacement_keeps_leading_dimensions(small_model: MorphableModel) -> None:
    coefficients = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    got = displacement(small_model.expression, coefficients)
    expected = torch.einsum("abk,kvd->abvd", coefficients, small_model.expression)
    torch.testing.assert_close(got, expected, rtol=0, atol=FLOAT_TOLERANCE)


def test_aperture_is_the_mean_gap_of_the_three_middle_pairs() -> None:
    mesh = torch.zeros(468, 3)
    for upper, lower, gap in ((82, 87, 1.0), (13, 14, 2.0), (312, 317, 3.0)):
        mesh[upper, 1], mesh[lower, 1] = gap / 2, -gap / 2
    assert float(lip_aperture(mesh)) == pytest.approx(2.0)
    assert lip_aperture(torch.zeros(2, 468, 3)).tolist() == [0, 0]


def test_aperture_pairs_lie_above_each_other_on_the_canonical_face(
    small_model: MorphableModel,
) -> None:
    mean = small_model.mean
    for upper, lower in zip(INNER_LIP_UPPER[1:-1], INNER_LIP_LOWER[1:-1], strict=True):
        assert abs(float(mean[upper, 0] - mean[lower, 0])) < 0.2
        assert float(mean[upper, 1]) >= float(mean[lower, 1])


@pytest.mark.parametrize("ring", [INNER_LIP_RING, OUTER_LIP_RING, FACE_OVAL])
def test_rings_are_closed_paths_along_edges_of_the_mesh(
    small_model: MorphableModel, ring: tuple[int, ...]
) -> None:
    edges = {frozenset((int(t[k]), int(t[k - 1]))) for t in small_model.triangles for k in range(3)}
    assert len(set(ring)) == len(ring)
    for k in range(len(ring)):
        assert frozenset((ring[k - 1], ring[k])) in edges


def test_lower_face_weight_is_a_smooth_step_of_the_height(small_model: MorphableModel) -> None:
    mean = small_model.mean
    weight = lower_face_weight(mean)
    height = mean[:, 1] - mean[NOSE_BASE, 1]
    assert (weight[height <= LOWER_FACE_FULL] == 1).all()
    assert (weight[height >= LOWER_FACE_NONE] == 0).all()
    order = height.argsort(descending=True)
    assert (weight[order].diff() >= 0).all()
    assert (weight[list(INNER_LIP_RING)] == 1).all()
    np.testing.assert_array_equal(lower_face_indices(mean), np.flatnonzero(weight.numpy() > 0))


def test_lips_count_most_in_a_fit_then_the_jaw_line() -> None:
    weight = default_landmark_weight()
    assert set(weight[list(OUTER_LIP_RING + INNER_LIP_RING)].tolist()) == {4.0}
    assert weight[152] == 2  # chin
    assert weight[10] == 1  # forehead
    assert weight.shape == (468,)


def test_lip_gap_is_the_aperture_while_open_and_negative_once_lips_cross() -> None:
    mesh = torch.zeros(468, 3)
    mesh[list(INNER_LIP_UPPER), 1] = 0.4
    assert lip_gap(mesh) == pytest.approx(0.4)
    assert lip_gap(mesh) == pytest.approx(float(lip_aperture(mesh)))
    mesh[list(INNER_LIP_UPPER), 1] = -0.1
    assert lip_gap(mesh) == pytest.approx(-0.1)
