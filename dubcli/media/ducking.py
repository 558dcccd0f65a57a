"""PURE: how loud the source's sound is under a speech.

Letter: M steps of 10 ms.
"""

import numpy as np

from dubcli.config import DubOptions
from dubcli.records import Facts, Float, Integers

STEP_S = 0.01  # of levels and curves
SPEAKING_DB = -30.0  # below the loudest step: what is louder counts as speech
PAUSE_S = 0.3  # a shorter gap between words is no pause
FALL_S = 0.1  # the bed goes down before the speech begins, not over its first sound


def speaking(levels: Float) -> Facts:
    """Return in which steps somebody speaks, gaps of up to ``PAUSE_S`` included.

    Args:
        levels: [M] root mean square of each step.

    Returns:
        [M]; all False of digital silence.

    Example:
        >>> import numpy as np
        >>> speaking(np.array([0, 1, 0, 0.5, 0.001])).astype(int).tolist()
        [0, 1, 1, 1, 0]
    """
    spoken: Facts = levels > levels.max(initial=0.0) * 10 ** (SPEAKING_DB / 20)
    loud = np.flatnonzero(spoken)
    short = np.flatnonzero(np.diff(loud) <= round(PAUSE_S / STEP_S) + 1)
    for before, after in zip(loud[short], loud[short + 1], strict=True):
        spoken[before:after] = True
    return spoken


def ducked_db(spoken: Facts, options: DubOptions) -> Float:
    """Return the level of the bed at the edges of the steps.

    At ``bed_level`` wherever somebody speaks, 0 dB elsewhere, and between them straight lines in
    dB: down in the ``FALL_S`` before, up in the ``bed_fade`` after. Where two lines meet, the
    lower level holds.

    Args:
        spoken: [M], from ``speaking``.
        options: ``bed_level`` in dB, ``bed_fade`` in seconds.

    Returns:
        [M + 1] dB; edge m is the beginning of step m, the last edge the end of the last step.
    """
    edges = np.zeros(len(spoken) + 1, np.bool_)  # those of a step in which somebody speaks
    edges[:-1] |= spoken
    edges[1:] |= spoken
    at, ducked = np.arange(len(edges)), np.flatnonzero(edges)
    if not len(ducked):
        return np.zeros(len(edges), np.float32)
    before = ducked[np.searchsorted(ducked[1:], at, side="right")]
    after = ducked[np.minimum(np.searchsorted(ducked, at), len(ducked) - 1)]
    amount = np.maximum(
        _line(after - at, FALL_S),  # how far the next speech is
        _line(at - before, options.bed_fade),  # how long ago the last one was
    )
    return (options.bed_level * amount).astype(np.float32)


def _line(steps: Integers, length_s: float) -> Float:
    """Return 1 at 0 steps, falling to 0 over a length; 0 where the steps are negative."""
    ramp = 1 - steps * STEP_S / max(length_s, STEP_S)
    return np.where(steps < 0, 0.0, np.maximum(ramp, 0.0)).astype(np.float32)
