"""PURE: the timeline's pictures, as SVG that stretches to any width.

Letters: T frames of the output. A curve's horizontal unit is a frame, its height ``HEIGHT``.
However long the dub, a path has at most 2 * ``COLUMNS`` points.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise

import numpy as np

from dubcli.records import AudioWindow, Float
from dubcli.report.records import Range

HEIGHT = 100
COLUMNS = 1500


def peaks(windows: Iterable[AudioWindow], total: int, columns: int = COLUMNS) -> Float:
    """Return the loudest sample of each of ``columns`` equal stretches, [columns], 0 to 1.

    Args:
        windows: Consecutive, of the whole sound; one is held at a time.
        total: Samples that the columns span, at the windows' rate.
        columns: How many.

    Raises:
        ValueError: If ``total`` or ``columns`` is not positive.
    """
    if total < 1 or columns < 1:
        raise ValueError(f"{total} samples in {columns} columns: both must be at least 1")
    loudest = np.zeros(columns, dtype=np.float32)
    for window in windows:
        place = (window.start + np.arange(len(window.samples))) * columns // total
        np.maximum.at(loudest, np.minimum(place, columns - 1), np.abs(window.samples))
    return np.clip(loudest, 0, 1)


def waveform_path(loudness: Float) -> str:
    """Return the outline of a waveform, mirrored at half of ``HEIGHT``; x counts columns."""
    if not loudness.any():
        return f"M0 {HEIGHT / 2}H{len(loudness)}"
    scaled = loudness / loudness.max() * (HEIGHT / 2)
    upper = [f"{x + 0.5:g} {HEIGHT / 2 - y:.1f}" for x, y in enumerate(scaled)]
    lower = [f"{x + 0.5:g} {HEIGHT / 2 + y:.1f}" for x, y in enumerate(scaled)]
    return "M" + "L".join([*upper, *reversed(lower)]) + "Z"


def envelope(curve: Float, columns: int = COLUMNS) -> Iterator[tuple[float, float]]:
    """Yield points (frame, value) that look like a curve; nan where it breaks.

    Up to 2 * ``columns`` frames every frame is a point; beyond, each column gives its lowest and
    its highest one, in their order, so that no peak and no closure is lost.

    Args:
        curve: [T].
        columns: Of a long curve.
    """
    if len(curve) <= 2 * columns:
        yield from ((t + 0.5, float(value)) for t, value in enumerate(curve))
        return
    edges = np.linspace(0, len(curve), columns + 1).astype(int)
    for start, stop in pairwise(edges):
        part = curve[start:stop]
        if np.isnan(part).all():
            yield start + 0.5, float("nan")
            continue
        for t in sorted((int(np.nanargmin(part)), int(np.nanargmax(part)))):
            yield start + t + 0.5, float(part[t])


def curve_path(curve: Float, low: float, high: float) -> str:
    """Return the path of a curve, broken where it is nan.

    Args:
        curve: [T].
        low: The value at the bottom.
        high: The value at the top.
    """
    parts: list[str] = []
    pen_down = False
    for x, value in envelope(curve):
        if np.isnan(value):
            pen_down = False
            continue
        y = HEIGHT * (high - value) / (high - low)
        if not pen_down:  # a lone frame is a dot: a line of no length has round ends
            parts.append(f"M{x:g} {y:.1f}")
        parts.append(f"L{x:g} {y:.1f}")
        pen_down = True
    return "".join(parts)


def opening_limits(*curves: Float) -> tuple[float, float]:
    """Return the lowest and the highest value drawn, cm: all of the curves, and 0."""
    known = np.concatenate([curve[~np.isnan(curve)] for curve in curves])
    if not len(known):
        return 0.0, 1.0
    low, high = min(0.0, float(known.min())), max(0.2, float(known.max()))
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def range_marks(found: Sequence[Range], kind: str, titles: Sequence[str]) -> str:
    """Return a rectangle a range, with its class, frames and title."""
    return "".join(
        f'<rect class="mark {kind}" data-start="{each.start}" data-stop="{each.stop}" '
        f'x="{each.start}" width="{each.stop - each.start}" y="0" height="{HEIGHT}">'
        f"<title>{escape(title)}</title></rect>"
        for each, title in zip(found, titles, strict=True)
    )


def cut_marks(found: Sequence[int], titles: Sequence[str]) -> str:
    """Return a line a cut, at the left edge of the frame that begins the shot."""
    return "".join(
        f'<line class="mark cut" data-start="{frame}" x1="{frame}" x2="{frame}" '
        f'y1="0" y2="{HEIGHT}"><title>{escape(title)}</title></line>'
        for frame, title in zip(found, titles, strict=True)
    )
