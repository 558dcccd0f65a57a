"""Overlapping windows over a long signal: where they start, and how their features are joined.

Letters: N samples, T feature frames, D feature width.

Two neighbouring windows share ``overlap`` samples. Their features disagree most at the window
edges, where one side of the context is missing, so the join keeps clear of both edges: the first
``(overlap - fade) / 2`` shared frames come from the earlier window alone, the last ones from the
later window alone, and only the middle ``fade`` frames are mixed, linearly.

Example:
    >>> [(w.start, w.stop) for w in plan_windows(25, window=10, overlap=4)]
    [(0, 10), (6, 16), (12, 22), (18, 25)]
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of samples."""

    start: int  # first sample
    stop: int  # one past the last sample
    last: bool  # no window follows


def check_window(window: int, overlap: int) -> None:
    """Refuse a window and an overlap that cannot tile a signal.

    Args:
        window: Window length, samples.
        overlap: Samples that neighbours share.

    Raises:
        ValueError: If ``window`` is not positive, or ``overlap`` negative or over its half.
    """
    if window <= 0 or not 0 <= 2 * overlap <= window:
        raise ValueError(
            f"an overlap of {overlap} samples needs a window of at least twice that; it is {window}"
        )


def plan_windows(sample_count: int, window: int, overlap: int) -> list[Window]:
    """Return the windows that cover ``sample_count`` samples, each but the last ``window`` long.

    The last window is as long as what is left: more than ``overlap``, unless it is the only one.

    Args:
        sample_count: Length of the signal, samples.
        window: Window length, samples.
        overlap: Samples that neighbours share, at most half of ``window``.

    Returns:
        Windows in order; none for an empty signal.

    Raises:
        ValueError: If the count is negative, or the window and the overlap cannot tile a signal.

    Example:
        >>> plan_windows(8, window=10, overlap=4)
        [Window(start=0, stop=8, last=True)]
        >>> plan_windows(0, window=10, overlap=4)
        []
    """
    check_window(window, overlap)
    if sample_count < 0:
        raise ValueError(f"the sample count is {sample_count}: it cannot be negative")
    windows: list[Window] = []
    start = 0
    while sample_count - start > window:
        windows.append(Window(start, start + window, last=False))
        start += window - overlap
    if sample_count:
        windows.append(Window(start, sample_count, last=True))
    return windows


def cut_windows(
    chunks: Iterable[Float], window: int, overlap: int
) -> Iterator[tuple[Window, Float]]:
    """Yield the windows of ``plan_windows`` with their samples, from a stream of unknown length.

    Holds at most one window and one chunk.

    Args:
        chunks: Consecutive stretches of the signal, each [n]; lengths may differ.
        window: Window length, samples.
        overlap: Samples that neighbours share, at most half of ``window``.

    Yields:
        Each window and its samples, [stop - start].

    Raises:
        ValueError: If a chunk is not one-dimensional, or the lengths cannot tile a signal.
    """
    check_window(window, overlap)
    parts: list[Float] = []
    start = held = 0
    for chunk in chunks:
        if chunk.ndim != 1:
            raise ValueError(f"a chunk of sound has shape {list(chunk.shape)}: it must be [n]")
        parts.append(chunk)
        held += len(chunk)
        if held <= window:
            continue
        signal = np.concatenate(parts)
        while len(signal) > window:
            yield Window(start, start + window, last=False), signal[:window]
            signal = signal[window - overlap :]
            start += window - overlap
        parts, held = [signal.copy()], len(signal)  # a copy: a view would keep the whole chunk
    if held:
        yield Window(start, start + held, last=True), np.concatenate(parts)


def cross_fade(earlier: Float, later: Float, fade: int) -> Float:
    """Return the join of two windows' features of the same frames.

    Args:
        earlier: Features by the earlier window, [T, D].
        later: Features by the later window, [T, D].
        fade: Frames in the middle that are mixed, at most T.

    Returns:
        ``earlier``, then a linear mixture of ``fade`` frames, then ``later``, [T, D].

    Raises:
        ValueError: If the shapes differ or ``fade`` is not from 0 to T.

    Example:
        >>> cross_fade(np.zeros((5, 1), np.float32), np.ones((5, 1), np.float32), 3)[:, 0].tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if earlier.shape != later.shape:
        raise ValueError(f"{list(earlier.shape)} features do not join {list(later.shape)} ones")
    frames = len(earlier)
    if not 0 <= fade <= frames:
        raise ValueError(f"a fade of {fade} frames does not fit an overlap of {frames}")
    keep = (frames - fade) // 2
    ramp = (np.arange(frames, dtype=np.float32) - keep + 1) / (fade + 1)
    weight = ramp.clip(0, 1)[:, None]
    return np.asarray(earlier * (1 - weight) + later * weight, dtype=np.float32)


def join_windows(
    features: Iterable[tuple[Window, Float]], overlap: int, fade: int
) -> Iterator[Float]:
    """Yield the features of a whole signal from those of its windows, window by window.

    Args:
        features: Each window of a plan with its features, [T, D].
        overlap: Frames that neighbours share.
        fade: Frames in the middle of the overlap that are mixed.

    Yields:
        Consecutive features, [n, D]; together they cover every frame once.

    Raises:
        ValueError: If ``fade`` does not fit ``overlap``.
    """
    tail: Float | None = None
    for window, rows in features:
        if tail is not None:
            head = cross_fade(tail, rows[:overlap], fade)
            rows = np.concatenate([head, rows[overlap:]])
        if window.last:
            yield rows
            return
        split = len(rows) - overlap
        tail = rows[split:]
        yield rows[:split]
