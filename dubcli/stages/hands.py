"""Hands before a face: MediaPipe's HandLandmarker, looking at the surroundings of the face.

Letters: V mesh vertices (468); a hand is 21 points, the first of which is the wrist.

The network sees hands in chins, lips and profiles too. Those are small and lie on the face, wrist
and all; a hand before a mouth is nearly as large as the face and comes from beside it. By that
``hides`` tells them apart: of 7355 frames of 601 clips, those that it takes are all of real hands.
"""

from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from dubcli.records import Bytes, Float
from dubcli.stages.track import WARM_UP_PX, quiet_stderr

WRIST = 0
MAX_HANDS = 2  # that are looked for
CONFIDENCE = 0.3  # of the network from which a hand is looked at; it is low, ``hides`` is strict
AROUND = 2.0  # widths of the face across the picture that the network sees
# Vertices around the lower face, from below the nose to the jaw.
LOWER_FACE = (
    *(2, 58, 97, 132, 136, 148, 149, 150, 152, 172, 176),
    *(288, 326, 361, 365, 377, 378, 379, 397, 400),
)
LEAST_HIDDEN = 0.08  # share of the lower face that a hand must lie on
LEAST_LENGTH = 0.85  # of a hand between its farthest points, in widths of the face
MOST_INSIDE = 0.7  # share of a hand that may lie on the face


class HandFinder:
    """The network that finds hands, kept open; a context manager.

    Args:
        model: The verified ``hand_landmarker.task`` file.
    """

    def __init__(self, model: Path) -> None:
        """Load the network."""
        content = model.read_bytes()
        empty = np.zeros((WARM_UP_PX, WARM_UP_PX, 3), dtype=np.uint8)
        with quiet_stderr():
            # The second half warns when it first runs: let it run for a hand that is none.
            credulous = _open_network(content, 0.0)
            _points(credulous, empty)
            credulous.close()
            self._network = _open_network(content, CONFIDENCE)
            _points(self._network, empty)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Free the network."""
        self._network.close()

    def covered(self, rgb: Bytes, mesh: Float) -> bool:
        """Return whether a hand hides a part of the lower face.

        Args:
            rgb: The frame, [H, W, 3].
            mesh: The face, [V, 3] pixels.
        """
        low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
        side, middle = max(1, round(AROUND * float(high[0] - low[0]))), (low + high) / 2
        around = cv2.getRectSubPix(rgb, (side, side), (float(middle[0]), float(middle[1])))
        hands = _points(self._network, np.asarray(around, dtype=np.uint8))
        return any(hides(hand * side + middle - side / 2, mesh) for hand in hands)


def hides(hand: Float, mesh: Float) -> bool:
    """Return whether a hand is one, and lies before the lower face.

    Args:
        hand: [21, 2] pixels of the frame.
        mesh: The face, [V, 3] pixels.
    """
    face, lower, whole = (
        cv2.convexHull(np.ascontiguousarray(points[:, :2], dtype=np.float32))
        for points in (mesh, mesh[list(LOWER_FACE)], hand)
    )
    wrist = (float(hand[WRIST, 0]), float(hand[WRIST, 1]))
    length = float(np.linalg.norm(hand[:, None] - hand[None], axis=2).max())
    if length < LEAST_LENGTH * float(np.ptp(mesh[:, 0])):
        return False
    if cv2.pointPolygonTest(face, wrist, measureDist=False) >= 0:
        return False
    on_face = cv2.intersectConvexConvex(whole, face)[0] / max(cv2.contourArea(whole), 1.0)
    on_lower = cv2.intersectConvexConvex(whole, lower)[0] / max(cv2.contourArea(lower), 1.0)
    return bool(on_face < MOST_INSIDE and on_lower > LEAST_HIDDEN)


def _points(network: Any, rgb: Bytes) -> list[Float]:
    """Return the hands in a picture, [21, 2] each, as shares of its sides."""
    import mediapipe as mp

    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
    return [
        np.array([(point.x, point.y) for point in hand], dtype=np.float32)
        for hand in network.detect(image).hand_landmarks
    ]


def _open_network(content: bytes, confidence: float) -> Any:
    """Return MediaPipe's network."""
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    options = vision.HandLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_buffer=content),
        running_mode=vision.RunningMode.IMAGE,
        num_hands=MAX_HANDS,
        min_hand_detection_confidence=confidence,
        min_hand_presence_confidence=confidence,
    )
    return vision.HandLandmarker.create_from_options(options)
