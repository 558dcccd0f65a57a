"""Which files a picture sequence is made of: numbered without a gap, and all of one kind.

A sequence is named by a pattern (``shot.%04d.png``), by its first picture (``shot.0001.png``) or by
a folder that holds one. Patterns are read here and nowhere else: a ``%`` in the name of a folder,
or anywhere but in the one number, is a ``%``.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from dubcli.config import PICTURE_SUFFIXES
from dubcli.errors import InputError
from dubcli.media.files import check_readable
from dubcli.media.stills import Still, read_still
from dubcli.records import Integers, Numbering, Pictures

PATTERN = "shot.%04d.png"  # as an example, in errors
_PLACE = re.compile(r"%(?:0([1-9]))?d")
_NUMBERED = re.compile(r"(.*?)([0-9]+)(\.[^.]+)", re.DOTALL)
_MOST_DIGITS = 9  # ffmpeg counts pictures in 32 bits
_NAMED_GAPS = 3  # in an error


def is_pictures(path: Path) -> bool:
    """Return whether a path names a picture sequence, by a pattern or a picture; not a folder.

    Args:
        path: Whatever a user wrote.

    Example:
        >>> [is_pictures(Path(name)) for name in ("a.%04d.png", "a.0001.TIF", "a.%04d.mp4")]
        [True, True, False]
    """
    return path.suffix.lower() in PICTURE_SUFFIXES


def is_sequence(path: Path) -> bool:
    """Return whether a path that is there names a picture sequence, not a video file.

    Args:
        path: Whatever a user wrote.
    """
    return is_pictures(path) or os.path.isdir(path)  # noqa: PTH112 - of any text


def numbering_of(path: Path) -> Numbering | None:
    """Return the pattern that a path's name is; None if it has no place for a number.

    Args:
        path: Its folder is taken as it is.

    Raises:
        InputError: If the name has two such places.

    Example:
        >>> found = numbering_of(Path("100%d/a_%04d.png"))
        >>> found.before, found.digits, found.after
        ('a_', 4, '.png')
    """
    places = list(_PLACE.finditer(path.name))
    if not places:
        return None
    if len(places) > 1:
        raise InputError(f"{path}: has more than one place for a number; leave one, as {PATTERN}")
    start, stop = places[0].span()
    digits = int(places[0][1] or 1)
    return Numbering(path.parent, path.name[:start], digits, path.name[stop:])


def pattern_text(names: Numbering) -> str:
    """Return a sequence's file names as printf writes them.

    Example:
        >>> pattern_text(Numbering(Path("film"), "shot.", 4, ".png"))
        'shot.%04d.png'
    """
    number = f"%0{names.digits}d" if names.digits > 1 else "%d"
    return f"{names.before}{number}{names.after}"


def find_pictures(path: Path) -> tuple[Pictures, Still, tuple[str, ...]]:
    """Return the pictures of a sequence, what they are, and what the user should know.

    Every file's header is read, and nothing is decoded.

    Args:
        path: A pattern, the first picture, or a folder of one sequence.

    Raises:
        InputError: If there is none, a number is missing, or the pictures are not alike.
    """
    notes: list[str] = []
    if os.path.isdir(path):  # noqa: PTH112 - as above
        names, numbers = _series_of_folder(path)
    elif (pattern := numbering_of(path)) is not None:
        names, numbers = pattern, _numbers(pattern)
        if not len(numbers):
            raise InputError(f"{path}: there is no such picture; check the folder and the digits")
    else:
        names, first = _series_of_picture(path)
        numbers = _numbers(names)
        if names.name(first)[len(names.before)] != "0" and numbers[0] == first:
            names = replace(names, digits=1)  # no lower number has zeros before it
            numbers = _numbers(names)
        if before := int((numbers < first).sum()):
            notes.append(
                f"the sequence begins with {path.name}: {before} with lower numbers are left out; "
                f"give {pattern_text(names)} for all"
            )
        numbers = numbers[numbers >= first]
    _refuse_gaps(path, names, numbers)
    pictures = Pictures(names, int(numbers[0]), len(numbers))
    still = _common(pictures)
    if still.premultiplied:
        notes.append("the pictures' colours are premultiplied by alpha, and stay as they are")
    return pictures, still, tuple(notes)


def _series_of_picture(path: Path) -> tuple[Numbering, int]:
    """Return the naming of the sequence that begins with a picture, and its number."""
    check_readable(path)
    found = _NUMBERED.fullmatch(path.name)
    if found is None or len(found[2]) > _MOST_DIGITS:
        raise InputError(
            f"{path}: a single picture without a number is no video; give a sequence, as {PATTERN}"
        )
    return Numbering(path.parent, found[1], len(found[2]), found[3]), int(found[2])


def _series_of_folder(folder: Path) -> tuple[Numbering, Integers]:
    """Return the one sequence of a folder; files that are no pictures do not count."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in sorted(_listed(folder)):
        if is_pictures(Path(name)) and not name.startswith("."):
            parts = _NUMBERED.fullmatch(name)
            if parts is None or len(parts[2]) > _MOST_DIGITS:
                raise InputError(
                    f"{folder}: {name} in it has no number before its extension; give the pattern "
                    f"of the sequence, as {folder / PATTERN}"
                )
            found.setdefault((parts[1], parts[3]), []).append(parts[2])
    if not found:
        raise InputError(f"{folder}: this is a folder without numbered PNG or TIFF; give a file")
    if len(found) > 1:
        (one, *_), (other, *_) = ([a + n + b for n in found[a, b]] for a, b in list(found)[:2])
        raise InputError(
            f"{folder}: holds more than one sequence ({one}, {other}); give the pattern of one, "
            f"as {folder / PATTERN}"
        )
    ((before, after), texts) = next(iter(found.items()))
    padded = [len(text) for text in texts if text.startswith("0")]
    names = Numbering(folder, before, min(padded, default=1), after)
    odd = next((t for t in texts if names.name(int(t)) != f"{before}{t}{after}"), None)
    if odd is not None:
        raise InputError(
            f"{folder}: the number of {before}{odd}{after} has not as many digits as others; "
            "rename the pictures alike"
        )
    return names, np.sort(np.array([int(text) for text in texts], np.int64))


def _numbers(names: Numbering) -> Integers:
    """Return the numbers of the files that are named so, ascending."""
    wanted = re.compile(re.escape(names.before) + r"([0-9]{1,9})" + re.escape(names.after))
    matches = (wanted.fullmatch(name) for name in _listed(names.folder))
    numbers = [int(found[1]) for found in matches if found and _is_written_so(names, found)]
    return np.sort(np.array(numbers, np.int64))


def _is_written_so(names: Numbering, found: re.Match[str]) -> bool:
    """Return whether a file's number has the zeros that the pattern asks for."""
    return names.name(int(found[1])) == found[0]


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names alone, of thousands of files
    except FileNotFoundError as error:
        raise InputError(f"{folder}: there is no such folder; check the path") from error
    except OSError as error:
        raise InputError(f"{folder}: could not be read ({error.strerror})") from error


def _refuse_gaps(path: Path, names: Numbering, numbers: Integers) -> None:
    """Refuse a sequence in whose numbering pictures are missing."""
    at = np.flatnonzero(np.diff(numbers) > 1)
    if not len(at):
        return
    gaps = [(int(numbers[i]) + 1, int(numbers[i + 1]) - 1) for i in at]
    missing = sum(b - a + 1 for a, b in gaps)
    told = [_number(names, a) + (f" to {_number(names, b)}" if b > a else "") for a, b in gaps]
    if len(told) > _NAMED_GAPS:
        told = [*told[:_NAMED_GAPS], "..."]
    what = "picture is" if missing == 1 else "pictures are"
    raise InputError(
        f"{path}: {missing} {what} missing between {names.name(int(numbers[0]))} and "
        f"{names.name(int(numbers[-1]))}: {', '.join(told)}; add them, or move the others apart"
    )


def _number(names: Numbering, number: int) -> str:
    return f"{number:0{names.digits}d}"


def _common(pictures: Pictures) -> Still:
    """Return what all pictures are; refuse the first that differs."""
    still: Still | None = None
    for path in pictures.paths():
        check_readable(path)
        found = read_still(path)
        still = still or found
        if found != still:
            raise InputError(
                f"{path}: is {found}, but {pictures.names.name(pictures.first)} is {still}; make "
                "all pictures alike"
            )
    if still is None:
        raise ValueError("a sequence has at least one picture")
    return still


def source_files(video: Path) -> tuple[Path, ...]:
    """Return the files that a video is read from: itself, or the pictures of a sequence.

    Args:
        video: Whatever ``probe_source`` takes.

    Raises:
        InputError: If it is a sequence that cannot be used.
    """
    if not is_sequence(video):
        return (video,)
    return tuple(find_pictures(video)[0].paths())
