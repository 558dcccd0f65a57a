import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dubcli.geometry.camera import axis_angle, project, rotation_matrix, yaw

MATRIX_TOLERANCE = 2e-6  # float32
ANGLE_TOLERANCE = 2e-4  # radians: arc cosine of a float32 trace
PIXEL_TOLERANCE = 1e-3  # pixels of a float32 coordinate of up to 1000


def random_rotations(count: int, largest: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=(count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    return axis * rng.uniform(0, largest, (count, 1))


@pytest.mark.parametrize("largest", [1e-6, 1e-3, 1.0, math.pi])
def test_rotation_matrix_is_scipys(largest: float) -> None:
    vectors = random_rotations(50, largest)
    expected = Rotation.from_rotvec(vectors).as_matrix()
    got = rotation_matrix(torch.from_numpy(vectors).float())
    assert got.shape == (50, 3, 3)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, atol=MATRIX_TOLERANCE)


def test_no_rotation_is_exactly_the_identity() -> None:
    torch.testing.assert_close(rotation_matrix(torch.zeros(3)), torch.eye(3), rtol=0, atol=0)


@pytest.mark.parametrize("largest", [1e-6, 1e-3, 1.0, 3.0])
def test_axis_angle_undoes_rotation_matrix(largest: float) -> None:
    vectors = torch.from_numpy(random_rotations(50, largest, seed=1)).float()
    back = axis_angle(rotation_matrix(vectors))
    torch.testing.assert_close(back, vectors, rtol=0, atol=ANGLE_TOLERANCE)


def test_axis_angle_is_scipys() -> None:
    turns = Rotation.random(50, rng=np.random.default_rng(2))
    turns = turns[turns.magnitude() < 3.0]
    got = axis_angle(torch.from_numpy(turns.as_matrix()).float())
    np.testing.assert_allclose(got.numpy(), turns.as_rotvec(), atol=2 * ANGLE_TOLERANCE)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1e-3, 0.5, 3.0])
def test_gradient_of_the_rotation_is_finite_at_every_angle(angle: float) -> None:
    vector = torch.tensor([0.6, 0.0, 0.8]) * angle
    vector.requires_grad_()
    (rotation_matrix(vector) @ torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert vector.grad is not None
    assert vector.grad.isfinite().all()
    assert vector.grad.abs().max() > 0.1  # the angle can be learned away from 0, too


def test_gradient_of_the_rotation_is_that_of_finite_differences() -> None:
    vectors = torch.from_numpy(random_rotations(4, 2.0, seed=3)).requires_grad_()
    assert torch.autograd.gradcheck(rotation_matrix, [vectors])


def test_projection_is_scale_times_rotation_of_the_flipped_point_plus_translation() -> None:
    rng = np.random.default_rng(4)
    mesh, turn = rng.normal(size=(2, 5, 3)) * 8, random_rotations(2, 1.0, seed=4)
    shift, scale = rng.uniform(0, 900, (2, 2)), rng.uniform(5, 40, 2)

    got = project(*(torch.from_numpy(x).float() for x in (mesh, turn, shift, scale)))

    assert got.shape == (2, 5, 3)
    for b in range(2):
        matrix = Rotation.from_rotvec(turn[b]).as_matrix()
        for v in range(5):
            x, y, z = mesh[b, v]
            expected = scale[b] * matrix @ [x, -y, -z] + [*shift[b], 0]
            np.testing.assert_allclose(got[b, v].numpy(), expected, atol=PIXEL_TOLERANCE)


def test_head_axes_are_right_up_and_towards_the_viewer() -> None:
    points = project(torch.eye(3), torch.zeros(3), torch.tensor([50.0, 60.0]), torch.tensor(10.0))
    assert points.tolist() == [[60, 60, 0], [50, 50, 0], [50, 60, -10]]


@pytest.mark.parametrize("degrees", [0, 20, 60, 89, 120, 170])
@pytest.mark.parametrize("sign", [-1, 1])
def test_yaw_is_the_turn_to_either_side_whatever_the_roll(degrees: int, sign: int) -> None:
    for roll in (-30, 0, 30):
        turn = Rotation.from_euler("zy", [roll, sign * degrees], degrees=True)
        got = float(yaw(torch.from_numpy(turn.as_rotvec()).float()))
        assert math.degrees(got) == pytest.approx(degrees, abs=0.05)


@pytest.mark.parametrize("degrees", [-40, 40])
def test_a_nod_is_no_turn(degrees: int) -> None:
    vector = torch.tensor([math.radians(degrees), 0.0, 0.0])
    assert float(yaw(vector)) == pytest.approx(0, abs=1e-6)
