"""What one face is to say: a further speech of a dub, its face and its time."""

from dataclasses import dataclass
from pathlib import Path

from dubcli.errors import InputError
from dubcli.timecode import parse_moment, parse_spans

OPTION = "--also"
LARGEST = "largest"


@dataclass(frozen=True, slots=True)
class Line:
    """A speech, who says it, and when. The fields mean what a dub's options of that name do."""

    speech: Path
    face: str = LARGEST  # "largest", a number of ``dubcli faces``, or a picture
    at: str | None = None  # when it begins: a time or timecode; None: see ``ranges``
    ranges: str = ""  # START-STOP, ...: only there the face is dubbed; empty: while it is heard

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InputError: Naming the speech, and what is wrong with its line.
        """
        refuse_nobody(self.face, f"{self.speech}: ")
        parse_spans(self.ranges, f"{self.speech}: --range")
        if self.at is not None:
            parse_moment(self.at, f"{self.speech}: --speech-at")


def refuse_nobody(face: str, prefix: str = "") -> None:
    """Refuse what can stand for no face.

    Args:
        face: What was given.
        prefix: Of the sentence.

    Raises:
        InputError: If it is empty, or a number below 1.
    """
    if not face or (face.isdigit() and int(face) < 1):
        raise InputError(
            f"{prefix}--face is {face}: give largest, a number of `dubcli faces`, or a picture"
        )


def parse_line(text: str) -> Line:
    """Return the line that is written FACE=SPEECH, FACE=SPEECH@TIME or FACE=SPEECH@START-STOP.

    The first = ends the face, unless only what comes before a later one is a picture that is
    there. What follows the last @ is a time where it reads as one, else part of the name; an @ at
    the very end is no part of it.

    Args:
        text: What was written after ``--also``.

    Raises:
        InputError: If a part is missing.

    Example:
        >>> parse_line("2=ben@home.wav@4.2").speech.name, parse_line("2=ben.wav@1-2,5-6").ranges
        ('ben@home.wav', '1-2,5-6')
    """
    ends = [place for place, letter in enumerate(text) if letter == "="]
    end = next((each for each in ends if Path(text[:each]).is_file()), ends[0] if ends else -1)
    face, speech = text[: max(end, 0)].strip(), text[end + 1 :]
    name, mark, when = speech.rpartition("@")
    at, ranges = None, ""
    if not mark:
        name = speech
    elif _is_time(when):
        at = when.strip()
    elif _are_ranges(when):
        ranges = when.strip()
    else:
        name = speech
    if end < 0 or not face or not name.strip():
        raise InputError(
            f"{OPTION} {text}: give FACE=SPEECH or FACE=SPEECH@TIME, such as 2=ben.wav@4.2"
        )
    return Line(Path(name), face, at, ranges)


def _is_time(text: str) -> bool:
    try:
        parse_moment(text, OPTION)
    except InputError:
        return False
    return True


def _are_ranges(text: str) -> bool:
    """Return whether a text holds ranges, or nothing at all."""
    try:
        parse_spans(text, OPTION)
    except InputError:
        return False
    return True
