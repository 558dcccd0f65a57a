"""Frames to landmarks: MediaPipe's FaceLandmarker, picture by picture, and where the shots are cut.

Letters: H, W frame size; V mesh vertices (468).

The tracker runs in IMAGE mode: VIDEO mode smooths away 30-40 % of fast lip motion. Its mesh has 478
points; the last ten are the irises and are dropped.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from dubcli.errors import InputError
from dubcli.records import Bytes, Float, Frame, TrackedFace, TrackedFrame
from dubcli.stages.portraits import Portraits
from dubcli.stages.search import MAX_FACES, FaceFinder, largest_first

if TYPE_CHECKING:
    from dubcli.stages.hands import HandFinder

log = logging.getLogger(__name__)

MESH_VERTICES = 468
STDERR = 2  # the file descriptor
WARM_UP_PX = 64  # side of the first, empty picture
LOOK_EVERY = 3  # frames: hands are looked for in the first of so many
CUT_THUMBNAIL = (32, 18)  # pixels; small enough that motion inside a shot changes little
# Grey levels between neighbouring thumbnails, mean beside their median: a lamp is no cut. Of 2146
# joins of two clips 97.4 % lie above 20 and 96.4 % above 25, of 7754 pairs of neighbours in 85
# clips one above 20 and none above 25.
CUT_DIFFERENCE = 22.0
# How far a face may move from one frame to the next, in its widths, and how many times it may
# grow or shrink. Of 71204 pairs in all clips of the set wild none did.
CUT_JUMP, CUT_ZOOM = 0.4, 1.25


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
            with quiet_stderr():
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

    def __exit__(self, *raised: object) -> None:
        """Free the network."""
        self._network.close()

    def landmarks_px(self, rgb: Bytes) -> Float | None:
        """Return the mesh of the largest face, [468, 3] in pixels, or None if there is no face.

        x and y count from the frame's top left corner; z has the scale of x and points away from
        the camera (MediaPipe's own convention).
        """
        return next(iter(self.meshes_px(rgb)), None)

    def meshes_px(self, rgb: Bytes) -> list[Float]:
        """Return the meshes of all faces, the largest first; as ``landmarks_px``."""
        height, width = rgb.shape[:2]
        found = self._detect(rgb)
        to_pixels = np.array([width, height, width], dtype=np.float32)
        meshes = [
            np.array([(p.x, p.y, p.z) for p in face[:MESH_VERTICES]], dtype=np.float32) * to_pixels
            for face in found
        ]
        return largest_first(meshes)

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
def quiet_stderr() -> Iterator[None]:
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


class Follower:
    """Says which face of a frame is which of those before, and when a new shot begins.

    A hard cut changes most of the picture at once, or moves and resizes every face further than
    a head can in a frame. Dissolves are not recognised.
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        self.shot = 0
        self._thumbnail: Bytes | None = None
        self._known: dict[int, Float] = {}  # of this shot: track -> where it was last seen
        self._tracks = 0

    def follow(self, meshes: Sequence[Float], *, cut: bool) -> list[int]:
        """Return the track of each face; call it once a frame, in order.

        Args:
            meshes: The faces of the frame, [V, 3] pixels each.
            cut: What ``picture_changes`` says of the frame.

        Returns:
            Numbers that count through the video. ``shot`` is then this frame's.
        """
        same = match(self._known, meshes)
        if cut or (self._known and meshes and not same):
            self.shot += 1
            self._known, same = {}, {}
        tracks = []
        for k, mesh in enumerate(meshes):
            if k not in same:
                same[k] = self._tracks
                self._tracks += 1
            self._known[same[k]] = mesh
            tracks.append(same[k])
        return tracks

    def picture_changes(self, rgb: Bytes) -> bool:
        """Return whether most of the picture is another than before; call it once a frame.

        Args:
            rgb: The frame, [H, W, 3].
        """
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        thumbnail = cv2.resize(grey, CUT_THUMBNAIL, interpolation=cv2.INTER_AREA)
        before, self._thumbnail = self._thumbnail, np.asarray(thumbnail, dtype=np.uint8)
        if before is None:
            return False
        change = thumbnail.astype(np.float32) - before
        return bool(np.abs(change - np.median(change)).mean() > CUT_DIFFERENCE)


def match(known: Mapping[int, Float], meshes: Sequence[Float]) -> dict[int, int]:
    """Return which faces are known ones: those that lie nearest, the nearest pair first.

    Args:
        known: Track -> its mesh where it was last seen, [V, 3] pixels.
        meshes: The faces of a frame, [V, 3] pixels each.

    Returns:
        Position in ``meshes`` -> track, for those that moved less than ``CUT_JUMP`` of their width
        and changed their size by less than ``CUT_ZOOM``.
    """
    near = []
    for track, last in known.items():
        width = float(np.ptp(last[:, 0]))
        for k, mesh in enumerate(meshes):
            jump = float(np.linalg.norm((mesh - last)[:, :2].mean(0))) / width
            zoom = float(np.sqrt(np.prod(np.ptp(mesh[:, :2], 0)) / np.prod(np.ptp(last[:, :2], 0))))
            if jump <= CUT_JUMP and 1 / CUT_ZOOM <= zoom <= CUT_ZOOM:
                near.append((jump, track, k))
    found: dict[int, int] = {}
    for _, track, k in sorted(near):
        if k not in found and track not in found.values():
            found[k] = track
    return found


def track(
    frames: Iterable[Frame],
    tracker: Tracker,
    portraits: Portraits,
    hands: "HandFinder | None" = None,
) -> Iterator[TrackedFrame]:
    """Yield the faces of each frame.

    Args:
        frames: Pictures in order.
        tracker: The landmark network.
        portraits: Is shown every face.
        hands: Is asked about every face in every ``LOOK_EVERY``-th frame, and when it is new; the
            frames after it are taken to be alike. None: no hand is looked for.

    Yields:
        One item a frame. ``shot`` counts up at every cut, ``track`` at every face that is new.
    """
    follower, finder = Follower(), FaceFinder(tracker.meshes_px)
    covered: dict[int, bool] = {}  # of the faces of the frame before, by their tracks
    for frame in frames:
        cut = follower.picture_changes(frame.rgb)
        meshes = finder.find(frame.rgb, cut=cut)
        tracks = follower.follow(meshes, cut=cut)
        known = {} if frame.index % LOOK_EVERY == 0 else covered
        covered = {
            number: known[number]
            if number in known
            else hands is not None and hands.covered(frame.rgb, mesh)
            for mesh, number in zip(meshes, tracks, strict=True)
        }
        faces = tuple(
            TrackedFace(frame.index, follower.shot, mesh, number, covered[number])
            for mesh, number in zip(meshes, tracks, strict=True)
        )
        for face in faces:
            portraits.show(frame.rgb, face)
        yield TrackedFrame(frame.index, follower.shot, faces)
