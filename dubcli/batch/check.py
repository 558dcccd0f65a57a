"""What can be said about jobs before the first one starts, without opening a file."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dubcli.batch.records import Job
from dubcli.config import CONTAINERS
from dubcli.errors import InputError
from dubcli.media.files import check_readable
from dubcli.media.outputs import names_of, place_of
from dubcli.media.sequence import find_pictures, is_pictures, is_sequence


@dataclass(frozen=True, slots=True)
class Named:
    """A job and where it was asked for."""

    place: str  # "jobs.csv: line 2", or the speech
    job: Job


def problem_of_input(path: Path) -> str | None:
    """Return why a file cannot be an input; None if it may be one.

    Args:
        path: Whatever a user wrote.
    """
    try:
        check_readable(path)
    except InputError as error:
        return str(error)
    except (OSError, ValueError):  # a name that the system does not allow
        return f"{path}: this cannot be the name of a file; correct it"
    return None


def problem_of_video(path: Path) -> str | None:
    """Return why a file or picture sequence cannot be a video; None if it may be one.

    Args:
        path: Whatever a user wrote.
    """
    try:
        if not is_sequence(path):
            return problem_of_input(path)
        find_pictures(path)
    except InputError as error:
        return str(error)
    except (OSError, ValueError):
        return f"{path}: this cannot be the name of a file; correct it"
    return None


def problems_of_outputs(named: Sequence[Named]) -> list[str]:
    """Return a sentence for each output that must not or could not be written.

    Whether an output exists already is asked later, when the earlier runs are known.

    Args:
        named: The jobs.

    Returns:
        In the order of the jobs; of outputs that are named twice, at the second.
    """
    found: list[str] = []
    inputs = {
        name: path
        for each in named
        for path in (
            place_of(each.job.video),
            each.job.speech,
            *(line.speech for line in each.job.also),
        )
        for name in _identities(path)
    }
    outputs: dict[object, str] = {}
    for each in named:
        output, names = each.job.output, list(_identities(place_of(each.job.output)))
        sentence = _unwritable(output)
        for name in names:
            if name in inputs:
                sentence = sentence or f"this is the input {inputs[name]}; choose another output"
            if name in outputs:
                sentence = sentence or f"is the output of {outputs[name]} too; name each once"
        if sentence:
            found.append(f"{each.place}: {output}: {sentence}")
        outputs |= dict.fromkeys(names, each.place)
    return found


def _identities(path: Path) -> Iterator[object]:
    """Yield what two paths to one file have in common, under whatever name or link."""
    try:
        yield path.resolve()
        found = path.stat()
        yield found.st_dev, found.st_ino
    except (OSError, ValueError, RuntimeError):  # no such file, or no name of a file
        return


def _unwritable(output: Path) -> str | None:
    """Return why an output could not be written; its folders may be missing yet."""
    if is_pictures(output):
        try:
            names_of(output)
        except InputError as error:
            return str(error).removeprefix(f"{output}: ")
    elif output.suffix.lower() not in CONTAINERS:
        return f"the output must end in one of {', '.join(sorted(CONTAINERS))}"
    try:
        if output.is_dir():
            return "this is a folder; give the name of a file to write"
        above = next(folder for folder in output.absolute().parents if folder.exists())
        if not above.is_dir():
            return f"{above} is a file and can hold no other; choose another output"
        if not os.access(above, os.W_OK | os.X_OK):
            return f"the folder {above} may not be written to; choose another output"
        output.lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return "this cannot be the name of a file; correct it"
    return None
