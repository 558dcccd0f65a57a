"""Which frames serve as references: the paper's Algorithm 1, in both its strategies.

Letters: T frames of the video, N_f face and N_l lip references. The paper counts frames from 1;
here they count from 0.
"""

import numpy as np

from dubcli.records import Facts, Float, Integers


def spread(low: int, high: int, count: int) -> Integers:
    """Return ``count`` whole numbers evenly from low to high, both included (linspace)."""
    return np.round(np.linspace(low, high, count)).astype(np.int64)


def training_references(
    index: int, length: int, generator: np.random.Generator, *, face: int = 5, lip: int = 5
) -> tuple[Integers, Integers]:
    """Return the references of Algorithm 1, training strategy.

    low = max(1, i - 2 N_f), high = min(T, i + 2 N_f); face = linspace(low, high, N_f);
    lip = N_l random frames of the video.

    Args:
        index: i, from 0.
        length: T.
        generator: For the lip frames.
        face: N_f.
        lip: N_l.

    Returns:
        Frame indices [N_f] and [N_l], from 0. They may contain i itself, as in the paper.

    Raises:
        ValueError: If i is no frame of the video.
    """
    _check(index, length)
    window = spread(max(0, index - 2 * face), min(length - 1, index + 2 * face), face)
    return window, generator.choice(length, lip, replace=length < lip)


def face_window(index: int, length: int, *, face: int = 5) -> Integers:
    """Return the face references of Algorithm 1, inference strategy.

    low = max(1, i - N_f // 2), high = min(T, i + N_f // 2); face = range(low, high), both ends
    included: at the ends of the video there are fewer than N_f.

    Raises:
        ValueError: If i is no frame of the video.
    """
    _check(index, length)
    return np.arange(max(0, index - face // 2), min(length - 1, index + face // 2) + 1)


def lip_bank(aperture: Float, valid: Facts, *, lip: int = 25) -> Integers:
    """Return the lip references of Algorithm 1, inference strategy.

    The frames at linspace(1, T, N_l) of the order given by sorting all frames by the mouth opening
    of their canonical geometry {alpha_t, beta_t, 0}: from the most closed to the most open.

    Args:
        aperture: Lip opening, [T] cm.
        valid: Frames that may serve, [T].
        lip: N_l.

    Returns:
        Frame indices, [N_l] or all usable ones if they are fewer; in order of opening.

    Raises:
        ValueError: If no frame may serve.
    """
    usable = np.flatnonzero(valid)
    if not len(usable):
        raise ValueError("no frame has a face")
    order = usable[np.argsort(aperture[usable], kind="stable")]
    if len(order) <= lip:
        return order
    chosen: Integers = order[spread(0, len(order) - 1, lip)]
    return chosen


def _check(index: int, length: int) -> None:
    """Refuse a frame outside the video."""
    if not 0 <= index < length:
        raise ValueError(f"frame {index} is not among {length} frames")
