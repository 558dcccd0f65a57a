import numpy as np
import pytest

from dubcli.geometry.raster import BACKGROUND, interpolate, rasterise
from dubcli.records import Float, Integers

BARY_TOLERANCE = 1e-5  # float32 storage
ON_AN_EDGE = 1e-5  # barycentric; nearer to an edge, rounding decides who owns the pixel
SAME_DEPTH = 1e-4  # float32 depth of up to 100
PICTURE_TOLERANCE = 1e-3  # pixels, float32 weights times coordinates of up to 100


def slow_rasterise(
    points: Float, triangles: Integers, height: int, width: int
) -> tuple[Integers, Float, Float, np.ndarray]:
    """Ask every triangle at every pixel centre; also say where the answer is not a close call."""
    face = np.full((height, width), BACKGROUND)
    bary = np.zeros((height, width, 3))
    depth = np.full((height, width), np.inf)
    clear = np.ones((height, width), dtype=bool)
    for row in range(height):
        for column in range(width):
            for f, corners in enumerate(triangles):
                # The weights solve: sum of w = 1, sum of w * x = x, sum of w * y = y.
                system = np.vstack([np.ones(3), points[corners, :2].T])
                if abs(np.linalg.det(system)) < 1e-9:
                    continue
                w = np.linalg.solve(system, [1, column + 0.5, row + 0.5])
                clear[row, column] &= abs(w.min()) > ON_AN_EDGE
                if w.min() < 0:
                    continue
                z = w @ points[corners, 2]
                clear[row, column] &= not abs(z - depth[row, column]) < SAME_DEPTH
                if z < depth[row, column]:
                    face[row, column], bary[row, column], depth[row, column] = f, w, z
    return face, bary, depth, clear


@pytest.mark.parametrize("seed", range(4))
def test_random_overlapping_triangles_are_drawn_as_by_the_slow_rasteriser(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = 17, 23
    # A third of the picture's size beyond each border: some triangles are cut, some are unseen.
    points = rng.uniform(-0.33, 1.33, (24, 3)) * [width, height, 10]
    triangles = rng.integers(0, len(points), (20, 3))  # may repeat a corner: degenerate
    face, bary, depth, clear = slow_rasterise(points, triangles, height, width)

    got = rasterise(points.astype(np.float64), triangles, height, width)

    assert clear.mean() > 0.95
    np.testing.assert_array_equal(got.pix_to_face[clear], face[clear])
    np.testing.assert_allclose(got.bary[clear], bary[clear], atol=BARY_TOLERANCE)
    np.testing.assert_allclose(got.zbuf[clear], depth[clear], atol=SAME_DEPTH)


def test_pixels_on_a_shared_edge_are_neither_lost_nor_doubled() -> None:
    # The diagonal runs through the centres of eight pixels.
    points = np.array([[0, 0, 1], [8, 0, 1], [8, 8, 1], [0, 8, 1.0]], dtype=np.float32)
    got = rasterise(points, np.array([[0, 1, 2], [0, 2, 3]]), 8, 8)
    assert (got.pix_to_face >= 0).all()
    np.testing.assert_allclose(got.bary.sum(-1), 1, atol=BARY_TOLERANCE)


def test_nearer_triangle_wins_in_either_order_and_either_winding() -> None:
    square = np.array([[0, 0], [9, 0], [0, 9.0]])
    points = np.concatenate(
        [np.column_stack([square, [5, 5, 5]]), np.column_stack([square, [2, 2, 2]])]
    )
    for order, near in (([[0, 1, 2], [3, 4, 5]], 1), ([[5, 4, 3], [0, 1, 2]], 0)):
        got = rasterise(points.astype(np.float32), np.array(order), 8, 8)
        assert set(got.pix_to_face.ravel()) == {BACKGROUND, near}
        np.testing.assert_allclose(got.zbuf[got.pix_to_face == near], 2, atol=SAME_DEPTH)


def test_crossing_triangles_swap_where_their_depths_cross() -> None:
    square = np.array([[-1, -1], [40, -1], [-1, 40.0]])
    flat = np.column_stack([square, [5, 5, 5]])
    sloped = np.column_stack([square, square[:, 0]])  # depth = x
    points = np.concatenate([flat, sloped]).astype(np.float32)
    got = rasterise(points, np.array([[0, 1, 2], [3, 4, 5]]), 10, 10)
    np.testing.assert_array_equal(got.pix_to_face, np.tile([1] * 5 + [0] * 5, (10, 1)))


def test_nothing_in_sight_leaves_background() -> None:
    far = np.array([[-9, -9, 0], [-5, -9, 0], [-9, -5, 0.0]], dtype=np.float32)
    for points, triangles in ((far, [[0, 1, 2]]), (-far * 9, [[0, 1, 2]]), (far, [])):
        got = rasterise(points, np.array(triangles, dtype=np.int64).reshape(-1, 3), 6, 5)
        assert (got.pix_to_face == BACKGROUND).all()
        assert np.isinf(got.zbuf).all()
        assert not got.bary.any()
        assert got.pix_to_face.shape == got.zbuf.shape == got.bary.shape[:2] == (6, 5)


def test_interpolated_coordinates_are_those_of_the_pixel_centres() -> None:
    rng = np.random.default_rng(5)
    points = (rng.uniform(-0.5, 1.5, (9, 3)) * [30, 20, 3]).astype(np.float32)
    triangles = rng.integers(0, 9, (8, 3))
    fragments = rasterise(points, triangles, 20, 30)

    picture = interpolate(fragments, triangles, points)

    assert picture.dtype == np.float32
    covered = fragments.pix_to_face >= 0
    assert covered.any()
    rows, columns = np.nonzero(covered)
    np.testing.assert_allclose(picture[covered][:, 0], columns + 0.5, atol=PICTURE_TOLERANCE)
    np.testing.assert_allclose(picture[covered][:, 1], rows + 0.5, atol=PICTURE_TOLERANCE)
    np.testing.assert_allclose(picture[covered][:, 2], fragments.zbuf[covered], atol=1e-4)
    assert not picture[~covered].any()


def test_points_of_another_shape_are_refused_with_it() -> None:
    with pytest.raises(ValueError, match=r"points are \(4, 2\), not \[V, 3\]"):
        rasterise(np.zeros((4, 2), np.float32), np.zeros((1, 3), np.int64), 4, 4)
