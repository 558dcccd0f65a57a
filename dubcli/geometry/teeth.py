"""Mouths of reference frames, laid where the teeth of another frame are.

Letters: S crop size (256), H, W the rendered window, V vertices (468), K mouths.

Teeth are rigid: those of the upper jaw move with the head, those of the lower one with the chin.
So two frames of a person show the same teeth, moved by what the pose says. On the plane in which
they lie, a scaled orthographic camera's change of pose is an affine map of the picture. A mouth
that is carried so is as sharp as its frame; lips are rigid in neither way and lie wrong in it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.records import Bytes, Float

TEETH_DEPTH_CM = 0.8  # of the plane of the teeth behind the middle of the closed lips
LEAST_AREA_PX = 20.0  # of a cm^2 of that plane in a crop, where it has 164 seen from the front
CHIN_VERTICES = (148, 152, 377, 175, 171, 396)  # MediaPipe's, of the chin: they follow the jaw


@dataclass(frozen=True, slots=True, eq=False)
class TeethPlace:
    """Where the teeth of a frame are in its window."""

    plane_px: Float  # [3, 2] a point of the plane of the teeth, and a cm to its right and above it
    chin_px: Float  # [2]


@dataclass(frozen=True, slots=True, eq=False)
class MouthPicture:
    """A reference frame's mouth."""

    rgba: Bytes  # [H, W, 4] the window, and 255 inside the inner lips
    place: TeethPlace
    fine: tuple[Float, Float] | None = None  # from ``crop.finer``; None: the frame is no finer


def head_motion(start: TeethPlace, end: TeethPlace) -> Float:
    """Return the map of the plane of the teeth from one window to another, [2, 3].

    Where the head is seen from the side the plane has no area, and the map is the shift alone.
    """
    sides = start.plane_px[1:] - start.plane_px[0]
    if abs(np.linalg.det(sides)) < LEAST_AREA_PX:
        linear = np.eye(2)
    else:
        linear = np.linalg.solve(sides, end.plane_px[1:] - end.plane_px[0]).T
    shift = end.plane_px[0] - linear @ start.plane_px[0]
    return np.column_stack([linear, shift]).astype(np.float32)


def jaw_motion(start: TeethPlace, end: TeethPlace) -> Float:
    """Return the same map, shifted so that the chins meet, [2, 3]."""
    motion = head_motion(start, end)
    motion[:, 2] += end.chin_px - (motion[:, :2] @ start.chin_px + motion[:, 2])
    return motion


def motions(mouth: MouthPicture, place: TeethPlace) -> tuple[Float, Float]:
    """Return the maps by which ``carry`` moves a mouth: with the head, with the chin."""
    return head_motion(mouth.place, place), jaw_motion(mouth.place, place)


def carry(mouth: MouthPicture, place: TeethPlace) -> Float:
    """Return a reference's mouth as it would be seen in another frame.

    Args:
        mouth: Of the reference.
        place: Of the teeth in the other frame, with the chin where it is to be.

    Returns:
        [8, H, W] in [0, 1]: RGB and the inside of the mouth, moved with the head; the same, moved
        with the chin.
    """
    moved = [_moved(mouth.rgba, motion) for motion in motions(mouth, place)]
    return np.concatenate(moved, axis=2).transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def _moved(rgba: Bytes, motion: Float) -> Bytes:
    """Return a window after an affine map; what lies outside repeats the edge."""
    linear, half = motion[:, :2], np.float32(0.5)  # OpenCV's pixel centres are integers
    matrix = np.column_stack([linear, motion[:, 2] + linear.sum(axis=1) * half - half])
    size = (rgba.shape[1], rgba.shape[0])
    return cv2.warpAffine(
        rgba, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8)


def most_alike(distance_cm: Float, count: int) -> list[int]:
    """Return the mouths that are most like a wanted one, repeated where there are too few.

    Args:
        distance_cm: Of each, [K], at least one.
        count: How many.

    Example:
        >>> import numpy as np
        >>> most_alike(np.array([0.3, 0.1]), 3)
        [1, 0, 1]
    """
    order = np.argsort(distance_cm, kind="stable")
    return [int(k) for k in np.resize(order[:count], count)]
