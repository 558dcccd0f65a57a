"""Times as people write them, exact: text to seconds, seconds to frames, and back."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from dubcli.errors import InputError

_TIME = re.compile(r"(?:(?:([0-9]{1,4}):)?([0-9]{1,2}):)?([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_TIMECODE = re.compile(r"([0-9]{1,4}:[0-9]{1,2}:[0-9]{1,2}):([0-9]{1,3})")
_RATE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}|/[1-9][0-9]{0,5})?")
_SIXTY = 60
HIGHEST_RATE = 1000
NTSC_STRAY = Fraction(1, 200)  # 23.98 and 23.976 are both 24000/1001


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a video as somebody wrote it: a time, or a timecode that counts frames."""

    text: str
    option: str  # what it was written after, for errors
    time_s: Fraction  # without the frames
    frames: int | None = None  # the ff of hh:mm:ss:ff

    def frame(self, frame_rate: Fraction) -> int:
        """Return the frame that is shown then, from 0.

        Args:
            frame_rate: Frames a second. Timecode counts a fractional rate as the next whole one
                (29.97 as 30) and leaves no number out (non-drop).

        Raises:
            InputError: If a timecode's second has no frame of that number.

        Example:
            >>> parse_moment("00:01:00:00", "--range").frame(Fraction(30000, 1001))
            1800
        """
        if self.frames is None:
            return frame_at(self.time_s, frame_rate)
        base = max(1, round(frame_rate))
        if self.frames >= base:
            raise InputError(
                f"{self.option} {self.text}: frames of a second go up to {base - 1} here; "
                "give another number, or seconds with a fraction (01:15.5)"
            )
        return int(self.time_s) * base + self.frames


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a video as somebody wrote it."""

    start: Moment
    stop: Moment

    @property
    def text(self) -> str:
        """As it was written."""
        return f"{self.start.text}-{self.stop.text}"


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


def parse_rate(text: str, option: str) -> Fraction:
    """Return a frame rate; what is written 23.976, 29.97 or 59.94 is the fraction it stands for.

    Args:
        text: Frames a second: a number, or a fraction such as 30000/1001.
        option: What it was written after, for the error.

    Raises:
        InputError: If it is none, or not from 1 to 1000.

    Example:
        >>> parse_rate("29.97", "--rate"), parse_rate("25", "--rate")
        (Fraction(30000, 1001), Fraction(25, 1))
    """
    found = _RATE.fullmatch(text.strip())
    rate = Fraction(text.strip()) if found else Fraction(0)
    if not 1 <= rate <= HIGHEST_RATE:
        raise InputError(f"{option} {text}: not a frame rate; give 25, 29.97 or 30000/1001")
    ntsc = Fraction(round(rate) * 1000, 1001)
    return ntsc if rate.denominator > 1 and abs(rate - ntsc) < NTSC_STRAY else rate


def parse_moment(text: str, option: str) -> Moment:
    """Return a moment: what ``parse_time`` reads, or the timecode hh:mm:ss:ff.

    Args:
        text: What was written.
        option: What it was written after, for the error.

    Raises:
        InputError: As ``parse_time``.

    Example:
        >>> parse_moment("00:01:15:12", "--range").frame(Fraction(24))
        1812
    """
    text = text.strip()
    if found := _TIMECODE.fullmatch(text):
        return Moment(text, option, parse_time(found[1], option), int(found[2]))
    return Moment(text, option, parse_time(text, option))


def parse_spans(text: str, option: str) -> tuple[Span, ...]:
    """Return ranges, in the order written.

    Args:
        text: START-STOP, several with commas between; empty: none.
        option: What it was written after, for the error.

    Raises:
        InputError: If it holds no ranges of moments.

    Example:
        >>> [each.text for each in parse_spans("1:05-1:20, 90-95.5", "--range")]
        ['1:05-1:20', '90-95.5']
    """
    spans = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        moments = part.split("-")
        if len(moments) != 2:
            raise InputError(
                f"{option} {part}: not a range; give START-STOP, such as 00:01:05-00:01:20"
            )
        spans.append(Span(*(parse_moment(moment, option) for moment in moments)))
    return tuple(spans)


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
