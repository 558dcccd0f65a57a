"""Frame numbers as editors read them."""

import math
from fractions import Fraction

from dubcli.pace import Pace


def timecode(frame: int, rate: Fraction) -> str:
    """Return HH:MM:SS:FF, counting every frame (non-drop).

    Args:
        frame: From 0.
        rate: Frames a second; a fractional one counts as the next whole one does: 29.97 as 30.

    Example:
        >>> timecode(1799, Fraction(30000, 1001)), timecode(1800, Fraction(30000, 1001))
        ('00:00:59:29', '00:01:00:00')
    """
    base = max(1, round(rate))
    seconds, frames = divmod(frame, base)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}:{frames:02}"


def timecode_at(frame: int, pace: Pace) -> str:
    """Return HH:MM:SS:FF of a frame; where the rate varies, FF counts parts of the real second.

    Args:
        frame: From 0.
        pace: When frames are shown.

    Example:
        >>> import numpy as np
        >>> from dubcli.records import Stamps
        >>> pace = Pace(Fraction(25), Stamps(np.array([0, 1020, 1100]), 1140, Fraction(1, 1000)))
        >>> timecode_at(2, pace), timecode_at(50, Pace(Fraction(25)))
        ('00:00:01:02', '00:00:02:00')
    """
    if pace.stamps is None:
        return timecode(frame, pace.frame_rate)
    base = Fraction(max(1, round(pace.frame_rate)))
    return timecode(math.floor(pace.begins_s(frame) * base), base)
