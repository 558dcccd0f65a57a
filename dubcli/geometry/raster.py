"""A z-buffer rasteriser for a mesh of about 900 triangles.

Letters: H, W picture size; V vertices; F triangles.
"""

from dataclasses import dataclass

import numba
import numpy as np

from dubcli.records import Float, Integers

BACKGROUND = -1
EDGE_TOLERANCE = -1e-6  # barycentric: a pixel centre on a shared edge belongs to either triangle


@dataclass(frozen=True, slots=True, eq=False)
class Fragments:
    """Which triangle covers each pixel.

    ``pix_to_face[y, x] = f`` means that triangle f is nearest at that pixel's centre, -1 that none
    covers it. ``bary[y, x]`` are the weights of its three corners, ``zbuf[y, x]`` its depth
    (infinite in the background).
    """

    pix_to_face: Integers  # [H, W]
    bary: Float  # [H, W, 3]
    zbuf: Float  # [H, W]


@numba.njit(cache=True, nogil=True)
def _fill(points, triangles, pix_to_face, bary, zbuf):  # type: ignore[no-untyped-def]
    """Draw each triangle over its bounding box, keeping the nearest."""
    height, width = pix_to_face.shape
    for f in range(triangles.shape[0]):
        ax, ay, az = points[triangles[f, 0]]
        bx, by, bz = points[triangles[f, 1]]
        cx, cy, cz = points[triangles[f, 2]]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        top = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0)
        bottom = min(int(np.floor(max(ay, by, cy) - 0.5)), height - 1)
        left = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0)
        right = min(int(np.floor(max(ax, bx, cx) - 0.5)), width - 1)
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < EDGE_TOLERANCE or v < EDGE_TOLERANCE or w < EDGE_TOLERANCE:
                    continue
                z = u * az + v * bz + w * cz
                if z < zbuf[row, column]:
                    zbuf[row, column] = z
                    pix_to_face[row, column] = f
                    bary[row, column, 0] = u
                    bary[row, column, 1] = v
                    bary[row, column, 2] = w


def rasterise(points_px: Float, triangles: Integers, height: int, width: int) -> Fragments:
    """Return the nearest triangle at each pixel centre.

    Both sides of a triangle are drawn; where two overlap the one with the smaller z wins.

    Args:
        points_px: [V, 3] pixels, z away from the viewer.
        triangles: [F, 3] indices into the points.
        height: Rows.
        width: Columns.

    Returns:
        The fragments.

    Raises:
        ValueError: If the points are not [V, 3].
    """
    if points_px.ndim != 2 or points_px.shape[1] != 3:
        raise ValueError(f"points are {points_px.shape}, not [V, 3]")
    pix_to_face = np.full((height, width), BACKGROUND, dtype=np.int64)
    bary = np.zeros((height, width, 3), dtype=np.float32)
    zbuf = np.full((height, width), np.inf, dtype=np.float32)
    _fill(np.ascontiguousarray(points_px, dtype=np.float64), triangles, pix_to_face, bary, zbuf)
    return Fragments(pix_to_face, bary, zbuf)


@numba.njit(cache=True, nogil=True)
def _blend(pix_to_face, bary, triangles, attributes, picture):  # type: ignore[no-untyped-def]
    """Mix the corners' attributes by the barycentric weights."""
    height, width = pix_to_face.shape
    for row in range(height):
        for column in range(width):
            f = pix_to_face[row, column]
            if f < 0:
                continue
            for d in range(attributes.shape[1]):
                value = 0.0
                for corner in range(3):
                    value += bary[row, column, corner] * attributes[triangles[f, corner], d]
                picture[row, column, d] = value


def interpolate(fragments: Fragments, triangles: Integers, attributes: Float) -> Float:
    """Return vertex attributes at each pixel, [V, D] -> [H, W, D], 0 in the background."""
    shape = (*fragments.pix_to_face.shape, attributes.shape[1])
    picture = np.zeros(shape, dtype=np.float32)
    _blend(fragments.pix_to_face, fragments.bary, triangles, attributes, picture)
    return picture
