"""The exceptions a user can meet, and the exit code of each.

    DubError                 1   anything of ours; never raised itself
    |-- InputError           2   a file, folder, option or pair of them that cannot be used
    |   |-- CollectedInputError  several at once: a sentence each
    |   `-- MissingExtraError    what was asked for needs packages of an extra
    |-- CheckpointError      3   a model file is missing, altered or does not fit its network
    `-- MediaError           4   ffmpeg could not read or write

Each message says what is wrong, where, and what to do about it, in one line.
"""

from collections.abc import Sequence
from pathlib import Path


class DubError(Exception):
    """Base of every error that dubcli raises on purpose."""

    exit_code = 1


class InputError(DubError):
    """The user's input cannot be used as it is."""

    exit_code = 2


class CollectedInputError(InputError):
    """Several things cannot be used; all are told before any work is done."""

    def __init__(self, where: Path, sentences: Sequence[str]) -> None:
        """Keep a sentence each; the message says how many they are."""
        errors = "1 error" if len(sentences) == 1 else f"{len(sentences)} errors"
        super().__init__(f"{where}: {errors}; nothing was started")
        self.sentences = tuple(sentences)


class MissingExtraError(InputError):
    """Something needs a package that only an extra of dubcli installs."""

    def __init__(self, extra: str) -> None:
        """Say how to install it."""
        super().__init__(f"not installed: pip install 'dubcli[{extra}]'")


class CheckpointError(DubError):
    """A model file is missing, altered, or does not fit its network."""

    exit_code = 3


class MediaError(DubError):
    """Reading or writing media failed."""

    exit_code = 4
