"""Times as people write them, exact: text to seconds, seconds to frames, and back."""

import math
import re
from fractions import Fraction

from dubcli.errors import InputError

_TIME = re.compile(r"(?:(?:([0-9]{1,4}):)?([0-9]{1,2}):)?([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_SIXTY = 60


def parse_time(text: str, option: str) -> Fraction:
    """Return a time in seconds, exact.

    Args:
        text: Seconds (75.5) or [[hh:]mm:]ss[.fff] (1:15.5, 00:01:15.500).
        option: What the user wrote it after, for the error.

    Raises:
        InputError: If it is no such time, or has 60 minutes or seconds beside a larger unit.

    Example:
        >>> parse_time("00:01:15.5", "--at")
        Fraction(151, 2)
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise InputError(
            f"{option} {text}: not a time; give seconds (75.5) or [[hh:]mm:]ss[.fff] (01:15.5)"
        )
    hours, minutes, seconds = (Fraction(part or 0) for part in found.groups())
    if (found[1] is not None and minutes >= _SIXTY) or (found[2] is not None and seconds >= _SIXTY):
        raise InputError(
            f"{option} {text}: minutes and seconds go up to 59 beside a larger unit; "
            "give seconds alone (75.5) or carry over (01:15.5)"
        )
    return (hours * _SIXTY + minutes) * _SIXTY + seconds


def format_time(time_s: Fraction) -> str:
    """Return a time as hh:mm:ss.fff, rounded up to the next millisecond.

    Up, so that the time written for the start of a frame lies in that frame and not in the one
    before: ``parse_time`` and ``frame_at`` lead back to it below 1000 frames a second.

    Args:
        time_s: Seconds, not negative.

    Example:
        >>> format_time(Fraction(35, 24))  # 1.45833...
        '00:00:01.459'
    """
    seconds, milliseconds = divmod(math.ceil(time_s * 1000), 1000)
    minutes, seconds = divmod(seconds, _SIXTY)
    hours, minutes = divmod(minutes, _SIXTY)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"


def frame_at(time_s: Fraction, frame_rate: Fraction) -> int:
    """Return the frame that is shown at a time, from 0.

    Args:
        time_s: Seconds from the first frame's start.
        frame_rate: Frames a second.

    Example:
        >>> frame_at(Fraction(1), Fraction(30000, 1001))
        29
    """
    return math.floor(time_s * frame_rate)
