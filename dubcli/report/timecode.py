"""Frame numbers as editors read them."""

from fractions import Fraction


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
