"""What an output was made from, in one number: equal numbers, equal work."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dubcli import __version__
from dubcli.batch.records import Job
from dubcli.checkpoints import sha256_of
from dubcli.config import DubOptions
from dubcli.errors import InputError

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


def fingerprint(job: Job, checkpoints: Mapping[str, str]) -> str:
    """Return the SHA-256 of the inputs' bytes, the settings, the weights and dubcli's version.

    Args:
        job: Its inputs are read through, in constant memory. Their names do not count.
        checkpoints: Name -> SHA-256 of the weights in use.

    Raises:
        InputError: If an input cannot be read.
    """
    try:
        video, speech = sha256_of(job.video), sha256_of(job.speech)
    except OSError as error:
        raise InputError(
            f"{error.filename or job.video}: could not be read ({error.strerror}); "
            "check the file and its disk"
        ) from error
    made_from = {
        "dubcli": __version__,
        "video": video,
        "speech": speech,
        "settings": settings(job.options),
        "checkpoints": dict(checkpoints),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
