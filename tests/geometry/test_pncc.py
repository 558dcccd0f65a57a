import cv2
import numpy as np

from dubcli.geometry.morphable import (
    INNER_LIP_LOWER,
    INNER_LIP_RING,
    INNER_LIP_UPPER,
    MorphableModel,
    mouth_fan,
    with_mouth_centre,
)
from dubcli.geometry.pncc import PnccRenderer, normalised_coordinates
from dubcli.geometry.raster import rasterise
from dubcli.records import Float

SIZE = 96
PX_PER_CM = 4.0
PLACE_TOLERANCE = 2e-3  # pixels: float32 colours of a face 80 pixels wide


def seen_from_the_front(mesh: Float) -> Float:
    return (mesh * [PX_PER_CM, -PX_PER_CM, -PX_PER_CM] + [SIZE / 2, SIZE / 2, 0]).astype(np.float32)


def open_mouth(mean: Float, drop_cm: float = 2.0) -> Float:
    """Move all that is below the line between the lips: a stiff jaw."""
    below = mean[:, 1] < mean[list(INNER_LIP_RING), 1].mean()
    below[list(INNER_LIP_UPPER)] = False
    below[list(INNER_LIP_LOWER[1:-1])] = True
    return mean - below[:, None] * np.array([0, drop_cm, 0], np.float32)


def mouth_hole(points_px: Float) -> np.ndarray:
    """Return the pixels well inside the inner lips."""
    hole = np.zeros((SIZE, SIZE), np.uint8)
    ring = np.round(points_px[list(INNER_LIP_RING), :2] - 0.5).astype(np.int32)
    cv2.fillPoly(hole, [ring], 1)
    return cv2.erode(hole, np.ones((3, 3), np.uint8)) > 0


def test_colours_span_exactly_zero_to_one_on_every_axis(small_model: MorphableModel) -> None:
    colours = normalised_coordinates(small_model.mean.numpy())
    assert colours.dtype == np.float32
    np.testing.assert_array_equal(colours.min(0), 0)
    np.testing.assert_array_equal(colours.max(0), 1)


def test_colour_of_each_pixel_names_the_place_on_the_face_that_is_seen_there(
    small_model: MorphableModel,
) -> None:
    mean = small_model.mean.numpy()
    drawn = PnccRenderer(mean, small_model.triangles).render(seen_from_the_front(mean), SIZE, SIZE)

    # Undo the normalisation: on the mean face the colour is the point, and projects to its pixel.
    place = drawn * np.ptp(mean, axis=0) + mean.min(0)
    back = seen_from_the_front(place.reshape(-1, 3)).reshape(SIZE, SIZE, 3)
    rows, columns = np.nonzero(drawn.max(-1) > 0)
    assert len(rows) > 0.3 * SIZE**2
    np.testing.assert_allclose(back[rows, columns, 0], columns + 0.5, atol=PLACE_TOLERANCE)
    np.testing.assert_allclose(back[rows, columns, 1], rows + 0.5, atol=PLACE_TOLERANCE)


def test_colours_travel_with_the_vertices(small_model: MorphableModel) -> None:
    mean = small_model.mean.numpy()
    renderer = PnccRenderer(mean, small_model.triangles)
    points = seen_from_the_front(mean)
    shifted = points + np.array([7, -3, 0], dtype=np.float32)
    drawn, moved = renderer.render(points, SIZE, SIZE), renderer.render(shifted, SIZE, SIZE)
    np.testing.assert_allclose(moved[:-3, 7:], drawn[3:, :-7], atol=1e-4)


def test_background_is_zero(small_model: MorphableModel) -> None:
    mean = small_model.mean.numpy()
    points = seen_from_the_front(mean)
    drawn = PnccRenderer(mean, small_model.triangles).render(points, SIZE, SIZE)
    covered = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(covered, cv2.convexHull(np.round(points[:, :2]).astype(np.int32)), 1)
    outside = cv2.dilate(covered, np.ones((5, 5), np.uint8)) == 0
    assert outside.any()
    assert not drawn[outside].any()


def test_fan_fills_the_open_mouth_with_coordinates_between_the_lips(
    small_model: MorphableModel,
) -> None:
    mean = small_model.mean.numpy()
    points = seen_from_the_front(open_mouth(mean))
    hole = mouth_hole(points)
    assert hole.sum() > 30

    unfilled = rasterise(points, small_model.triangles, SIZE, SIZE).pix_to_face
    drawn = PnccRenderer(mean, small_model.triangles).render(points, SIZE, SIZE)

    assert (unfilled[hole] < 0).all()
    ring = normalised_coordinates(mean)[list(INNER_LIP_RING)]
    assert (drawn[hole] >= ring.min(0) - 1e-5).all()
    assert (drawn[hole] <= ring.max(0) + 1e-5).all()


def test_fan_joins_every_edge_of_the_inner_lip_ring_to_its_mean(
    small_model: MorphableModel,
) -> None:
    mean = small_model.mean.numpy()
    fan, joined = mouth_fan(len(mean)), with_mouth_centre(mean)
    assert fan.shape == (20, 3)
    assert joined.shape == (469, 3)
    np.testing.assert_allclose(joined[468], mean[list(INNER_LIP_RING)].mean(0), atol=1e-6)
    assert (fan[:, 2] == 468).all()
    assert sorted(fan[:, 0]) == sorted(fan[:, 1]) == sorted(INNER_LIP_RING)
    # Each edge of the hole belongs to one skin triangle and to one of the fan: the skin is closed.
    skin = [frozenset(e) for t in small_model.triangles for e in zip(t, np.roll(t, 1), strict=True)]
    for a, b, _ in fan:
        assert skin.count(frozenset({a, b})) == 1
