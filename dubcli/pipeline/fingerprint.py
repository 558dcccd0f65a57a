"""What an output was made from, in one number: equal numbers, equal work."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from dubcli import __version__
from dubcli.checkpoints import sha256_of
from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.line import Line
from dubcli.media.sequence import source_files

# Where and how, not what.
PLACES = frozenset(
    {"device", "models", "threads", "overwrite", "cache", "max_pixels", "max_seconds"}
)


def settings(options: DubOptions) -> dict[str, Any]:
    """Return the options that shape an output, by name.

    Example:
        >>> sorted(set(asdict(DubOptions())) - set(settings(DubOptions())))
        ['cache', 'device', 'max_pixels', 'max_seconds', 'models', 'overwrite', 'threads']
    """
    return {name: value for name, value in asdict(options).items() if name not in PLACES}


def fingerprint(
    video: Path,
    speech: Path,
    options: DubOptions,
    checkpoints: Mapping[str, str],
    also: Sequence[Line] = (),
) -> str:
    """Return the SHA-256 of the inputs' bytes, the settings, the weights and dubcli's version.

    Args:
        video: Read through, in constant memory. Its name does not count; those of a sequence's
            pictures do, whose numbers the output takes over.
        speech: Likewise.
        options: Of the dub.
        checkpoints: Name -> SHA-256 of the weights in use.
        also: Further lines.

    Raises:
        InputError: If an input cannot be read.
    """
    try:
        hashes = [_sha256(files, _states(files)) for files in (source_files(video), (speech,))]
        person = _picture(options.face)
        speeches = [_sha256((each.speech,), _states((each.speech,))) for each in also]
        pictures = [_picture(each.face) for each in also]
    except OSError as error:
        raise InputError(
            f"{error.filename or video}: could not be read ({error.strerror}); "
            "check the file and its disk"
        ) from error
    made_from: dict[str, Any] = {
        "dubcli": __version__,
        "video": hashes[0],
        "speech": hashes[1],
        "settings": settings(options),
        "person": person,
        "checkpoints": dict(checkpoints),
    }
    if also:
        said = [(each.face, each.at, each.ranges) for each in also]
        made_from["also"] = [speeches, pictures, said]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _picture(face: str) -> str | None:
    """Return the SHA-256 of a picture of whom to dub; None of a word or a number."""
    return sha256_of(Path(face)) if Path(face).is_file() else None


def _states(files: tuple[Path, ...]) -> tuple[tuple[int, int], ...]:
    """Return what changes when a file is written to, of each."""
    found = [path.stat() for path in files]
    return tuple((status.st_mtime_ns, status.st_size) for status in found)


@lru_cache(maxsize=32)  # of one dub: a batch asks before it, and the dub itself
def _sha256(files: tuple[Path, ...], _states: tuple[tuple[int, int], ...]) -> str:
    """Return the SHA-256 of a file; of pictures, that of theirs and of their numbered names."""
    if len(files) == 1:
        return sha256_of(files[0])
    lines = (f"{sha256_of(path)} {path.name}" for path in files)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
