"""One picture of each tracked face: its most frontal and largest moment, laid straight.

Letters: V mesh vertices (468), K tracks, S side of a portrait (112).
"""

import cv2
import numpy as np

from dubcli.geometry.morphable import NOSE_TIP
from dubcli.records import Bytes, Float, Integers, TrackedFace

SIDE = 112
# Where face recognition networks of the ArcFace family want the eyes (the person's right one
# first), the tip of the nose and the corners of the mouth; the mesh vertices whose means they are.
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)
POINTS = ((33, 133), (362, 263), (NOSE_TIP,), (61,), (291,))
CHEEKS = (234, 454)  # the outermost vertices beside the ears
BETTER = 1.1  # a new portrait must be better by this factor: else every frame would be cut out


class Portraits:
    """Keeps the best picture of each track while frames go by."""

    def __init__(self) -> None:
        """Start without any."""
        self._best: list[tuple[float, int, Bytes]] = []  # of each track: score, frame, picture

    def show(self, rgb: Bytes, face: TrackedFace) -> None:
        """Look at a face, and keep it if it is the best of its track by far.

        Args:
            rgb: The frame, [H, W, 3].
            face: One of its faces; tracks are new in the order of their numbers.
        """
        score = frontality(face.landmarks_px) * float(np.ptp(face.landmarks_px[:, 0]))
        if face.track == len(self._best):
            self._best.append((score, face.index, straight(rgb, face.landmarks_px)))
        elif score > BETTER * self._best[face.track][0]:
            self._best[face.track] = (score, face.index, straight(rgb, face.landmarks_px))

    def pictures(self) -> Bytes:
        """Return the portraits, [K, S, S, 3]."""
        none = np.zeros((0, SIDE, SIDE, 3), dtype=np.uint8)
        return np.stack([picture for _, _, picture in self._best]) if self._best else none

    def frames(self) -> Integers:
        """Return the frame that each is from, [K]."""
        return np.array([frame for _, frame, _ in self._best], dtype=np.int64)


def frontality(landmarks_px: Float) -> float:
    """Return how far a face looks at the camera, [V, 3] pixels: 1 straight, 0 in profile.

    The distances from the tip of the nose to either cheek: the smaller over the larger.
    """
    nose, left, right = landmarks_px[[NOSE_TIP, *CHEEKS], 0]
    near, far = sorted((abs(float(nose - left)), abs(float(right - nose))))
    return near / far if far > 0 and left < nose < right else 0.0


def straight(rgb: Bytes, landmarks_px: Float) -> Bytes:
    """Return a face laid onto ``TEMPLATE`` by a similarity, [H, W, 3] -> [S, S, 3]."""
    points = np.array([landmarks_px[list(group), :2].mean(axis=0) for group in POINTS])
    # x' = a x - b y + c, y' = b x + a y + d, least squares over the five points.
    x, y, one, zero = points[:, 0], points[:, 1], np.ones(len(points)), np.zeros(len(points))
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, c, d = np.linalg.lstsq(rows, TEMPLATE.T.reshape(-1), rcond=None)[0]
    matrix = np.array([[a, -b, c], [b, a, d]])
    return cv2.warpAffine(rgb, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR).astype(np.uint8)
