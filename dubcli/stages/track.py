"""Frames to landmarks: MediaPipe's FaceLandmarker, picture by picture, and where the shots are cut.

Letters: H, W frame size; V mesh vertices (468).

The tracker runs in IMAGE mode: VIDEO mode smooths away 30-40 % of fast lip motion. Its mesh has 478
points; the last ten are the irises and are dropped.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from dubcli.errors import InputError
from dubcli.records import Bytes, Float, Frame, TrackedFace

log = logging.getLogger(__name__)

MESH_VERTICES = 468
STDERR = 2  # the file descriptor
WARM_UP_PX = 64  # side of the first, empty picture
MAX_FACES = 4  # the largest of these is the speaker
CUT_THUMBNAIL = (32, 18)  # pixels; small enough that motion inside a shot changes little
CUT_DIFFERENCE = 38.0  # mean grey levels between neighbouring thumbnails
CUT_JUMP = 0.6  # face widths that a face may move from one frame to the next


class Tracker:
    """The landmark network, kept open; a context manager.

    Args:
        model: The verified ``face_landmarker.task`` file.

    Raises:
        InputError: If the graphics libraries that MediaPipe needs are missing.
    """

    def __init__(self, model: Path) -> None:
        """Load the network."""
        try:
            with _quiet_stderr():
                self._network: Any = _open_network(model)
                self._detect(np.zeros((WARM_UP_PX, WARM_UP_PX, 3), dtype=np.uint8))
        except OSError as error:
            raise InputError(
                f"the face tracker cannot start ({error}); on Debian or Ubuntu: "
                "apt-get install libegl1 libgles2"
            ) from error

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the network."""
        self._network.close()

    def landmarks_px(self, rgb: Bytes) -> Float | None:
        """Return the mesh of the largest face, [468, 3] in pixels, or None if there is no face.

        x and y count from the frame's top left corner; z has the scale of x and points away from
        the camera (MediaPipe's own convention).
        """
        height, width = rgb.shape[:2]
        faces = self._detect(rgb)
        if not faces:
            return None
        meshes = np.array(
            [[(p.x, p.y, p.z) for p in face[:MESH_VERTICES]] for face in faces], dtype=np.float32
        )
        meshes *= np.array([width, height, width], dtype=np.float32)
        extent = np.ptp(meshes[:, :, :2], axis=1)
        largest: Float = meshes[np.argmax(extent[:, 0] * extent[:, 1])]
        return largest

    def _detect(self, rgb: Bytes) -> Any:
        """Return MediaPipe's own list of faces."""
        import mediapipe as mp

        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        return self._network.detect(image).face_landmarks


def _open_network(model: Path) -> Any:
    """Return MediaPipe's network."""
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    options = vision.FaceLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_buffer=model.read_bytes()),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=MAX_FACES,
    )
    return vision.FaceLandmarker.create_from_options(options)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep MediaPipe's start-up log off the terminal: its C++ part writes past Python to stderr.

    Only its start and its first picture write; errors come as exceptions and are not hidden.
    """
    sys.stderr.flush()
    kept = os.dup(STDERR)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, STDERR)
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        os.close(sink)


class CutDetector:
    """Says when a new shot begins, from a thumbnail of each frame and the face's position.

    A hard cut changes most of the picture at once, or moves the face further than a head moves in
    a frame. Dissolves are not recognised.
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        self._thumbnail: Bytes | None = None
        self._face: Float | None = None

    def is_cut(self, rgb: Bytes, landmarks_px: Float | None) -> bool:
        """Return whether this frame starts a new shot; call it once a frame, in order."""
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        thumbnail = cv2.resize(grey, CUT_THUMBNAIL, interpolation=cv2.INTER_AREA)
        cut = False
        if self._thumbnail is not None:
            difference = np.abs(thumbnail.astype(np.float32) - self._thumbnail).mean()
            cut = bool(difference > CUT_DIFFERENCE)
        if landmarks_px is not None and self._face is not None:
            jump = np.linalg.norm((landmarks_px - self._face)[:, :2].mean(0))
            cut = cut or bool(jump > CUT_JUMP * np.ptp(self._face[:, 0]))
        self._thumbnail = np.asarray(thumbnail, dtype=np.uint8)
        if cut or landmarks_px is not None:
            self._face = landmarks_px
        return cut


def track(frames: Iterable[Frame], tracker: Tracker) -> Iterator[TrackedFace | None]:
    """Yield the face of each frame, None where there is none.

    Args:
        frames: Pictures in order.
        tracker: The landmark network.

    Yields:
        One item a frame. ``shot`` counts up at every cut.
    """
    cuts = CutDetector()
    shot = 0
    for frame in frames:
        landmarks = tracker.landmarks_px(frame.rgb)
        shot += cuts.is_cut(frame.rgb, landmarks)
        yield None if landmarks is None else TrackedFace(frame.index, shot, landmarks)
