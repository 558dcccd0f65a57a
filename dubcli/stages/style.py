"""A video's expression to its speaking style: stretches at 25 Hz, windows, one unit vector.

Letters: T frames, E expression coefficients, N frames at 25 Hz, L lower-face vertices, S embedding
size.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from dubcli.geometry.morphable import MorphableModel, displacement, lower_face_indices
from dubcli.networks.style_encoder import StyleSimEncoder
from dubcli.records import Analysis, Float, Integers

RATE_HZ = 25
MIN_STRETCH_S = 1.0  # a shorter stretch holds two or three syllables: too little to tell a style
WINDOW = 75  # frames at 25 Hz that the encoder sees at once; the longest it was trained on
HOP = 38


def stretches(analysis: Analysis, frame_rate: Fraction) -> list[slice]:
    """Return the frames of each long enough stretch with an uninterrupted face in one shot.

    Args:
        analysis: A fitted video.
        frame_rate: Its frames per second, on average.

    Returns:
        Slices of frames, in order; each lasts ``MIN_STRETCH_S`` or longer.
    """
    place: Integers = np.where(analysis.valid, analysis.shot, -1)  # no shot has a negative number
    edges = [0, *(np.flatnonzero(np.diff(place)) + 1).tolist(), len(analysis)]
    least = MIN_STRETCH_S * frame_rate
    return [
        slice(start, stop)
        for start, stop in pairwise(edges)
        if analysis.valid[start:stop].any() and stop - start >= least
    ]


def at_25_hz(beta: Float, frame_rate: Fraction, time_s: NDArray[np.float64] | None = None) -> Float:
    """Return expression at 25 Hz, linear between frames.

    Args:
        beta: [T, E].
        frame_rate: Frames per second.
        time_s: When each frame is shown, [T], where the rate varies.

    Returns:
        [N, E].
    """
    given = np.arange(len(beta)) / float(frame_rate)
    count = int((len(beta) - 1) * RATE_HZ / frame_rate) + 1
    if time_s is not None:
        given = time_s - time_s[0]
        count = int(given[-1] * RATE_HZ) + 1
    wanted = np.arange(count) / RATE_HZ
    columns = [np.interp(wanted, given, column) for column in beta.T]
    return np.stack(columns, axis=1).astype(np.float32)


def plan_style_windows(count: int) -> list[slice]:
    """Return windows that cover a stretch of ``count`` frames evenly, half overlapping.

    Example:
        >>> [(w.start, w.stop) for w in plan_style_windows(130)]
        [(0, 75), (28, 103), (55, 130)]
        >>> [(w.start, w.stop) for w in plan_style_windows(40)]
        [(0, 40)]
    """
    if count <= WINDOW:
        return [slice(0, count)]
    steps = -(-(count - WINDOW) // HOP)
    starts = np.linspace(0, count - WINDOW, steps + 1).round().astype(int).tolist()
    return [slice(start, start + WINDOW) for start in starts]


def lower_face_motion(model: MorphableModel, beta: Float) -> Float:
    """Return the lower face's displacement {0, beta, 0}, [N, E] -> [N, L, 3] cm."""
    basis = model.expression[:, lower_face_indices(model.mean)]
    motion: Float = displacement(basis, torch.from_numpy(beta)).numpy()
    return motion


def movement(model: MorphableModel, betas: Sequence[Float]) -> float:
    """Return how far the lower face moves about its mean, root mean square over everything, cm."""
    squares = [np.square(m - m.mean(axis=0)).mean() for m in _windows(model, betas)]
    return float(np.sqrt(np.mean(squares)))


@torch.no_grad()
def encode_style(network: StyleSimEncoder, model: MorphableModel, betas: Sequence[Float]) -> Float:
    """Return the style of a video: the mean over windows of their embeddings, unit length.

    Args:
        network: The encoder, in eval mode.
        model: The basis.
        betas: The expression of at least one stretch, [N, E] each, at 25 Hz.

    Returns:
        [S].
    """
    device = next(network.parameters()).device
    found = [
        network(torch.from_numpy(window).to(device)[None])[0].cpu().numpy()
        for window in _windows(model, betas)
    ]
    mean = np.mean(found, axis=0)
    style: Float = (mean / np.linalg.norm(mean)).astype(np.float32)
    return style


def _windows(model: MorphableModel, betas: Sequence[Float]) -> Iterator[Float]:
    """Yield the motion of every window, [n, L, 3] each."""
    for beta in betas:
        for window in plan_style_windows(len(beta)):
            yield lower_face_motion(model, beta[window])
