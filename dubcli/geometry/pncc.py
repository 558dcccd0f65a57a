"""Projected normalised coordinate code (Zhu et al. 2016): where on the face each pixel is.

Letters: V vertices; H, W picture size.
"""

import numpy as np

from dubcli.geometry.morphable import mouth_fan, with_mouth_centre
from dubcli.geometry.raster import interpolate, rasterise
from dubcli.records import Facts, Float, Integers


def normalised_coordinates(mean: Float) -> Float:
    """Return each vertex's colour: its place on the mean face, scaled to [0, 1] on each axis.

    ncc_d = (u_d - min u_d) / (max u_d - min u_d)         (3DDFA, Zhu et al. 2016)

    Args:
        mean: The mean face, [V, 3].

    Returns:
        [V, 3], 0 to 1.

    Example:
        >>> import numpy as np
        >>> normalised_coordinates(np.array([[0, 2, 1], [4, 4, 3], [2, 3, 2.0]]))[2].tolist()
        [0.5, 0.5, 0.5]
    """
    low, high = mean.min(axis=0), mean.max(axis=0)
    scaled: Float = ((mean - low) / (high - low)).astype(np.float32)
    return scaled


class PnccRenderer:
    """Draws the PNCC of one mesh topology, mouth opening included.

    Args:
        mean: The mean face, [V, 3] cm.
        triangles: Without the mouth's opening, [F, 3].
    """

    def __init__(self, mean: Float, triangles: Integers) -> None:
        """Prepare colours and the fan that fills the mouth."""
        self._colours = normalised_coordinates(with_mouth_centre(mean))
        self._triangles = np.concatenate([triangles, mouth_fan(len(mean))])

    def render(self, points_px: Float, height: int, width: int) -> Float:
        """Return the PNCC of projected vertices, [V, 3] pixels -> [H, W, 3], 0 to 1, 0 outside."""
        points = with_mouth_centre(points_px)
        fragments = rasterise(points, self._triangles, height, width)
        return interpolate(fragments, self._triangles, self._colours)

    def cover(
        self, points_px: Float, height: int, width: int, values: Float
    ) -> tuple[Float, Facts]:
        """Return per-vertex values at each pixel of the drawn mesh, and where the mesh is.

        Args:
            points_px: [V, 3] pixels.
            height: Rows.
            width: Columns.
            values: [V, D].

        Returns:
            [H, W, D], 0 outside, and [H, W].
        """
        fragments = rasterise(with_mouth_centre(points_px), self._triangles, height, width)
        picture = interpolate(fragments, self._triangles, with_mouth_centre(values))
        return picture, fragments.pix_to_face >= 0
