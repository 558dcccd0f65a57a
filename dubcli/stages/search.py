"""Faces that are small in their frame: looked for in pieces of it, then followed.

Letters: H, W frame size; V mesh vertices (468).

MediaPipe's detector sees the whole frame at 128 pixels: a face narrower than about an eighth of the
frame's longer side is missed, 200 pixels in a frame of 1920. So where the whole frame shows none,
squares of it are shown to the detector, and now and then where it shows some; and a face that was
there in the frame before and is not found any more is looked for around its place.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dubcli.records import Bytes, Float

SCALES = (1.0, 0.5)  # sides of the squares, of the frame's shorter side
OVERLAP = 1 / 3  # of neighbouring squares: what is larger is found in the larger squares
AROUND = 4.0  # side of the square around a face's last place, in widths of the face
EAGER = 3  # frames of a shot in which all squares are looked at while nobody is found
PATIENT = 12  # later it is one frame in so many
HEAD = 2.0  # of a head with its hair, in sizes of its face: locks in it were taken for small faces
BESIDE = 48  # frames of a shot: in the first of so many all squares are looked at in any case
MAX_FACES = 4  # that are followed at a time
LEAST_PX = 20  # width of a face in a square: narrower ones are of no use, and many are none
SAME = 0.3  # overlap of two boxes, of the smaller one's area, from which they are one face

Box = tuple[float, float, float, float]  # left, top, right, bottom
Detect = Callable[[Bytes], list[Float]]


class FaceFinder:
    """Finds the faces of one frame after the other.

    Args:
        detect: A picture -> the meshes of its faces, [V, 3] pixels each (``Tracker.meshes_px``).
    """

    def __init__(self, detect: Detect) -> None:
        """Start before the first frame."""
        self._detect = detect
        self._last: list[Float] = []  # the faces of the frame before
        self._alone = 0  # frames of this shot since somebody was seen
        self._frames = 0  # of this shot

    def find(self, rgb: Bytes, *, cut: bool) -> list[Float]:
        """Return the meshes of a frame's largest faces, the largest first, [V, 3] pixels each.

        Args:
            rgb: The frame, [H, W, 3]; call it once a frame, in order.
            cut: Whether a new shot begins with it.
        """
        if cut:
            self._last, self._alone, self._frames = [], 0, 0
        found = self._detect(rgb)
        for mesh in self._last:
            if not any(_same(mesh, other) for other in found):
                found += _new(self._near(rgb, mesh), found)
        alone = not found and (self._alone < EAGER or self._alone % PATIENT == 0)
        if alone or self._frames % BESIDE == 0:
            for square in squares(rgb.shape[0], rgb.shape[1]):
                for mesh in _new(self._in_square(rgb, *square), found):
                    if not any(_in_hair(mesh, other) for other in found):
                        found += _new(self._near(rgb, mesh) or [mesh], found)  # looked at closely
        self._alone = 0 if found else self._alone + 1
        self._frames += 1
        self._last = largest_first(found)[:MAX_FACES]
        return list(self._last)

    def _near(self, rgb: Bytes, mesh: Float) -> list[Float]:
        """Return the face that is where one was, if there is one."""
        seen = self._in_square(rgb, *around(mesh))
        return [one for one in seen if _same(mesh, one)][:1]

    def _in_square(self, rgb: Bytes, left: int, top: int, side: int) -> list[Float]:
        """Return the faces in a square of the frame, which may reach beyond it."""
        x, y = max(left, 0), max(top, 0)
        piece = rgb[y : top + side, x : left + side]
        if not piece.size:
            return []
        offset = np.array([x, y, 0], dtype=np.float32)
        seen = self._detect(np.ascontiguousarray(piece))
        return [mesh + offset for mesh in seen if np.ptp(mesh[:, 0]) >= LEAST_PX]


def squares(height: int, width: int) -> Iterator[tuple[int, int, int]]:
    """Yield left, top and side of squares that cover a frame, each scale as ``SCALES`` has it.

    Neighbours share at least ``OVERLAP`` of their side.

    Example:
        >>> list(squares(90, 160))[:3]
        [(0, 0, 90), (35, 0, 90), (70, 0, 90)]
    """
    for scale in SCALES:
        side = max(1, round(scale * min(height, width)))
        for top in _starts(height, side):
            for left in _starts(width, side):
                yield left, top, side


def _starts(length: int, side: int) -> list[int]:
    """Return where pieces of a length begin that cover it evenly."""
    steps = int(np.ceil((length - side) / (side * (1 - OVERLAP))))
    return [round(k * (length - side) / max(steps, 1)) for k in range(steps + 1)]


def around(mesh: Float) -> tuple[int, int, int]:
    """Return left, top and side of the square in which a face is looked for again.

    Args:
        mesh: Where it was last seen, [V, 3] pixels.
    """
    side = max(1, round(AROUND * float(np.ptp(mesh[:, 0]))))
    left, top = (np.asarray(_centre(mesh)) - side / 2).round().astype(int)
    return int(left), int(top), side


def _centre(mesh: Float) -> tuple[float, float]:
    """Return the middle of a mesh's box."""
    left, top, right, bottom = _box(mesh)
    return (left + right) / 2, (top + bottom) / 2


def _box(mesh: Float) -> Box:
    """Return the box around a mesh."""
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _same(mesh: Float, other: Float) -> bool:
    """Return whether two meshes are of one face: the smaller one's box lies on the other's."""
    a, b = _box(mesh), _box(other)
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return across > 0 and down > 0 and across * down > SAME * smaller


def _in_hair(mesh: Float, other: Float) -> bool:
    """Return whether a mesh lies on the head of a face that is more than ``HEAD`` times as wide."""
    if np.ptp(other[:, 0]) <= HEAD * np.ptp(mesh[:, 0]):
        return False
    apart = np.abs(np.subtract(_centre(mesh), _centre(other)))
    return bool((apart < HEAD / 2 * np.ptp(other[:, :2], axis=0)).all())


def _new(meshes: list[Float], found: list[Float]) -> list[Float]:
    """Return the meshes that are of none of the faces found before."""
    return [mesh for mesh in meshes if not any(_same(mesh, other) for other in found)]


def largest_first(meshes: Sequence[Float]) -> list[Float]:
    """Return meshes by the area of their boxes."""
    return sorted(meshes, key=lambda mesh: -float(np.prod(np.ptp(mesh[:, :2], axis=0))))
