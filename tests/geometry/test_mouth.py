import cv2
import numpy as np
import pytest

from dubcli.geometry.crop import transform
from dubcli.geometry.morphable import OUTER_LIP_RING, MorphableModel
from dubcli.geometry.mouth import (
    CROP_PX,
    MOUTH_COLUMNS,
    MOUTH_HEIGHT,
    MOUTH_ROWS,
    MOUTH_WIDTH,
    head_crop,
    mouth_picture,
)
from dubcli.records import Bytes, Float

SIDE = 400


def face_px(model: MorphableModel, scale: float = 12.0) -> Float:
    """Return the mean face in a frame, looking at the camera, [V, 3]."""
    points = model.mean.numpy() * [1, -1, -1] * scale + [SIDE / 2, SIDE / 2, 0]
    return points.astype(np.float32)


def smooth_frame() -> Bytes:
    noise = np.random.default_rng(0).uniform(0, 255, (SIDE, SIDE, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 6)
    low, high = blurred.min(), blurred.max()
    return ((blurred - low) / (high - low) * 255).astype(np.uint8)


def test_lips_are_in_the_picture_and_half_as_wide(small_model: MorphableModel) -> None:
    face = face_px(small_model)
    lips = transform(head_crop(face, small_model), face)[list(OUTER_LIP_RING), :2]
    lips = (lips - [MOUTH_COLUMNS[0], MOUTH_ROWS[0]]) / CROP_PX
    assert (lips.min(0) > [8, 8]).all()
    assert (lips.max(0) < [MOUTH_WIDTH - 8, MOUTH_HEIGHT - 8]).all()
    assert np.ptp(lips[:, 0]) > 0.4 * MOUTH_WIDTH


@pytest.mark.parametrize(("angle", "scale"), [(0, 1.0), (20, 1.0), (-10, 0.8), (5, 1.3)])
def test_picture_follows_the_head(small_model: MorphableModel, angle: float, scale: float) -> None:
    frame, face = smooth_frame(), face_px(small_model)
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle, scale)
    matrix[:, 2] += [9, -7]
    centres = matrix.copy()  # OpenCV's pixel centres are integers, the landmarks' are halves
    centres[:, 2] += [0.5, 0.5] - matrix[:, :2] @ [0.5, 0.5]
    moved = face.copy()
    moved[:, :2] = face[:, :2] @ centres[:, :2].T + centres[:, 2]
    moved[:, 2] *= scale
    turned = cv2.warpAffine(frame, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC).astype(np.uint8)
    still = mouth_picture(frame, head_crop(face, small_model)).astype(int)
    made = mouth_picture(turned, head_crop(moved, small_model)).astype(int)
    assert made.shape == (MOUTH_HEIGHT, MOUTH_WIDTH)
    assert np.abs(made - still).max() <= 6
    assert np.ptp(still) > 60


def test_margin_shows_more_on_each_side(small_model: MorphableModel) -> None:
    frame, crop = smooth_frame(), head_crop(face_px(small_model), small_model)
    wide = mouth_picture(frame, crop, margin=4)
    assert wide.shape == (MOUTH_HEIGHT + 8, MOUTH_WIDTH + 8)
    np.testing.assert_array_equal(wide[4:-4, 4:-4], mouth_picture(frame, crop))


def test_the_mouths_own_motion_does_not_move_the_picture(small_model: MorphableModel) -> None:
    face = face_px(small_model)
    still = head_crop(face, small_model).matrix
    free = small_model.alignment_weight.numpy() == 0
    open_face = face.copy()
    open_face[free & (face[:, 1] > SIDE / 2 + 40), 1] += 20
    np.testing.assert_allclose(head_crop(open_face, small_model).matrix, still, atol=1e-4)
