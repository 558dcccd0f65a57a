"""Draws generated mouths beside the true ones, for a look at the geometry network while it learns.

Letters: L lower-face vertices, T frames.

A row a clip: the opening of the lips over the first eight seconds, then a few frames of the lower
face from the front.
Grey is the fitted truth, red what the network made.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from dubcli.records import Bytes, Float
from dubcli.training.geometry import GeometryProblem, MadeAndTrue

HEIGHT = 160  # pixels of a row
CURVE = 480  # pixels of a curve
MOUTH = 160  # pixels of a mouth
FRAMES = 5  # mouths a row
CURVE_FRAMES = 200  # of a clip, at 25 Hz
OPEN_CM = 3.0  # opening at the top of a curve
TRUE, MADE = (110, 110, 110), (210, 30, 30)  # RGB
WHITE, LINE = 255, 235
PARTS = 4  # bits of a pixel's fraction in OpenCV's coordinates


def mouth_sheet(clips: Sequence[MadeAndTrue], problem: GeometryProblem) -> Bytes:
    """Return a picture of clips' mouths, RGB, [N * HEIGHT, CURVE + FRAMES * MOUTH, 3].

    Args:
        clips: N of them.
        problem: Knows where the vertices are and what an opening is.
    """
    return np.concatenate([_row(clip, problem) for clip in clips])


def _row(clip: MadeAndTrue, problem: GeometryProblem) -> Bytes:
    """Return the row of one clip."""
    curve = _paper(CURVE)
    for motion, colour in ((clip.true, TRUE), (clip.made, MADE)):
        opening = np.clip(problem.opening(motion[:CURVE_FRAMES]).numpy(), 0, OPEN_CM)
        x = np.linspace(0, CURVE - 1, len(opening))
        _line(curve, np.stack([x, HEIGHT - 4 - opening / OPEN_CM * (HEIGHT - 8)], 1), colour)
    rest = problem.mean[problem.lower]
    parts = [curve]
    for t in np.linspace(0, len(clip.true) - 1, FRAMES + 2).astype(int)[1:-1]:
        mouth = _paper(MOUTH)
        for motion, colour in ((clip.true[t], TRUE), (clip.made[t], MADE)):
            for point in _seen(rest + motion, rest):
                cv2.circle(mouth, _place(point), 1 << PARTS, colour, -1, cv2.LINE_AA, PARTS)
        parts.append(mouth)
    return np.concatenate(parts, axis=1)


def _seen(vertices: Tensor, rest: Tensor) -> Float:
    """Return where vertices fall in a mouth's picture, [L, 3] cm, y up -> [L, 2] pixels."""
    low, high = rest.amin(0), rest.amax(0)
    scale = 0.85 * MOUTH / float((high - low)[:2].max())
    seen = (vertices - (low + high) / 2).numpy()[:, :2] * (scale, -scale)
    return np.asarray(seen + MOUTH / 2, dtype=np.float32)


def _paper(width: int) -> Bytes:
    """Return an empty white picture with a line below it."""
    paper = np.full((HEIGHT, width, 3), WHITE, dtype=np.uint8)
    paper[-1] = LINE
    return paper


def _line(picture: Bytes, points: Float, colour: tuple[int, int, int]) -> None:
    """Draw a curve through points, [N, 2] pixels."""
    fixed = np.rint(points * (1 << PARTS)).astype(np.int32)
    cv2.polylines(picture, [fixed], False, colour, 1, cv2.LINE_AA, PARTS)


def _place(point: Float) -> tuple[int, int]:
    """Return a point in OpenCV's fixed-point coordinates."""
    x, y = np.rint(point * (1 << PARTS)).astype(int)
    return int(x), int(y)
