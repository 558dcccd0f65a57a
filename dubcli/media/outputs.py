"""What an output is on the disk: a file, or a folder of its own for a picture sequence.

A file is written beside its place and renamed. A sequence is thousands of files, which nobody can
rename at once; their folder is. So it is written as a folder beside its place, sound included, and
that is renamed: there is never half a sequence, nor a shorter one among the rest of a longer one.
The price is that such a folder holds one sequence and nothing else.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dubcli.errors import InputError, MediaError
from dubcli.media.sequence import PATTERN, is_pictures, numbering_of
from dubcli.records import Numbering

SOUND = "sound"  # the name of a sequence's sound where its pictures have none but their numbers
_OF_THE_SYSTEM = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # that desktops leave


def names_of(output: Path) -> Numbering:
    """Return how the pictures of an output are named.

    Args:
        output: A picture sequence to be written.

    Raises:
        InputError: If its name has no place for a number.
    """
    names = numbering_of(output)
    if names is None:
        raise InputError(f"{output}: pictures need a place for their numbers; write {PATTERN}")
    return names


def place_of(output: Path) -> Path:
    """Return what is put in place in one step: the file, or the folder of a picture sequence.

    Args:
        output: Whatever ``dub`` writes.

    Example:
        >>> [str(place_of(Path(name))) for name in ("film/out.mp4", "film/shot.%04d.png")]
        ['film/out.mp4', 'film']
    """
    return output.parent if is_pictures(output) else output


def sound_of(output: Path) -> Path:
    """Return the file that has an output's sound: itself, or the WAV beside the pictures.

    Args:
        output: Whatever ``dub`` writes.

    Example:
        >>> str(sound_of(Path("film/shot.%04d.png")))
        'film/shot.wav'
    """
    if not is_pictures(output):
        return output
    stem = names_of(output).before.rstrip("._- ")
    return output.with_name(f"{stem or SOUND}.wav")


def _own(folder: Path, output: Path) -> list[Path]:
    """Return the files of a folder that have names of an output's."""
    names = names_of(output)
    numbered = re.compile(re.escape(names.before) + "([0-9]+)" + re.escape(names.after))
    known = {sound_of(output).name, *_OF_THE_SYSTEM}
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name in known
        or ((found := numbered.fullmatch(path.name)) and names.name(int(found[1])) == path.name)
    ]


def is_there(output: Path) -> bool:
    """Return whether anything stands where an output goes.

    Args:
        output: Whatever ``dub`` writes.
    """
    if not is_pictures(output):
        return output.exists()
    return any(path.name not in _OF_THE_SYSTEM for path in _written(output))


def _written(output: Path) -> list[Path]:
    """Return the files of an output."""
    if not is_pictures(output):
        return [output] if output.is_file() else []
    return _own(output.parent, output) if output.parent.is_dir() else []


def size_of(output: Path) -> int:
    """Return the bytes of an output's files together; 0 if there is none.

    Args:
        output: Whatever ``dub`` writes.
    """
    return sum(path.stat().st_size for path in _written(output))


def settle(output: Path) -> int:
    """Wait until the disk has an output, and return its size.

    Args:
        output: What ``dub`` has written.

    Raises:
        OSError: If the disk does not take it.
    """
    size = 0
    for path in _written(output):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            size += os.fstat(file.fileno()).st_size
    return size


def check_sequence_output(output: Path, inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse a picture sequence that could not or must not be written, before any work is done.

    Args:
        output: Its pattern.
        inputs: The files to be read.
        overwrite: Whether an earlier sequence of that name may be replaced.

    Raises:
        InputError: If its name, its folder or what is in that does not allow it.
    """
    names_of(output)
    folder, above = output.parent, output.parent.parent
    own = f"{output}: a picture sequence gets a folder of its own"
    if Path.cwd().is_relative_to(folder.resolve()):
        raise InputError(f"{own}, which is made; write film/{output.name}")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{own}, and {folder} is a link or a file; choose another name")
    if not above.is_dir():
        raise InputError(f"{output}: the folder {above} does not exist; create it first")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{output}: the folder {above} may not be written to; choose another")
    place = folder.resolve()
    for path in inputs:
        if path.resolve().parent == place:
            raise InputError(f"{own}, and {folder} holds the input {path.name}; choose another")
    if (other := _other(output)) is not None:
        raise InputError(f"{own}, and {folder} holds {other.name}; choose another")
    if is_there(output) and not overwrite:
        raise InputError(f"{output}: exists already; give another name or --overwrite")


def _other(output: Path) -> Path | None:
    """Return something in a sequence's folder that does not belong to it."""
    if not output.parent.is_dir():
        return None
    own = set(_own(output.parent, output))
    return next((path for path in sorted(output.parent.iterdir()) if path not in own), None)


def discard(left: Path, output: Path) -> None:
    """Remove an output that is unfinished or replaced; what else somebody has put there stays.

    Args:
        left: The file or, of a picture sequence, the folder; it may be missing.
        output: Whatever ``dub`` writes.

    Raises:
        OSError: If it cannot be removed.
    """
    if left.is_symlink() or not left.is_dir():
        left.unlink(missing_ok=True)
        return
    for path in _own(left, output):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # it is not empty
        left.rmdir()


def put_in_place(partial: Path, output: Path) -> None:
    """Give a whole output its name; an earlier one of that name goes.

    Between leaving and taking a folder's name there is an instant without either; what a kill in
    it leaves beside the place is whole.

    Args:
        partial: The file or folder that was written.
        output: Its name.

    Raises:
        OSError: If it cannot be renamed.
        MediaError: If files of somebody else's have come into a sequence's folder.
    """
    place = place_of(output)
    if not is_pictures(output) or not place.is_dir():
        partial.replace(place)
        return
    if (other := _other(output)) is not None:
        raise MediaError(f"{place} holds {other.name} by now")
    replaced = place.with_name(f".{place.name}.replaced")
    discard(replaced, output)
    place.replace(replaced)
    partial.replace(place)
    discard(replaced, output)
