"""What an output was made from, in one number: equal numbers, equal work."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from dubcli import __version__
from dubcli.checkpoints import sha256_of
from dubcli.config import DubOptions
from dubcli.errors import InputError
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
    video: Path, speech: Path, options: DubOptions, checkpoints: Mapping[str, str]
) -> str:
    """Return the SHA-256 of the inputs' bytes, the settings, the weights and dubcli's version.

    Args:
        video: Read through, in constant memory. Its name does not count; those of a sequence's
            pictures do, whose numbers the output takes over.
        speech: Likewise.
        options: Of the dub.
        checkpoints: Name -> SHA-256 of the weights in use.

    Raises:
        InputError: If an input cannot be read.
    """
    picture = Path(options.face)  # of whom to dub, unless it is a word or a number
    try:
        pictures = source_files(video)
        hashes = [_sha256(files, _states(files)) for files in (pictures, (speech,))]
        person = sha256_of(picture) if picture.is_file() else None
    except OSError as error:
        raise InputError(
            f"{error.filename or video}: could not be read ({error.strerror}); "
            "check the file and its disk"
        ) from error
    made_from = {
        "dubcli": __version__,
        "video": hashes[0],
        "speech": hashes[1],
        "settings": settings(options),
        "person": person,
        "checkpoints": dict(checkpoints),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _states(files: tuple[Path, ...]) -> tuple[tuple[int, int], ...]:
    """Return what changes when a file is written to, of each."""
    found = [path.stat() for path in files]
    return tuple((status.st_mtime_ns, status.st_size) for status in found)


@lru_cache(maxsize=2)  # of one dub: a batch asks before it, and the dub itself
def _sha256(files: tuple[Path, ...], _states: tuple[tuple[int, int], ...]) -> str:
    """Return the SHA-256 of a file; of pictures, that of theirs and of their numbered names."""
    if len(files) == 1:
        return sha256_of(files[0])
    lines = (f"{sha256_of(path)} {path.name}" for path in files)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
