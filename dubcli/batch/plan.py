"""From what a user points at to a plan: two folders, or a manifest."""

from pathlib import Path

from dubcli.batch.manifest import read_jobs
from dubcli.batch.pairing import pair_folders
from dubcli.batch.records import Plan
from dubcli.config import DEFAULTS, DubOptions
from dubcli.errors import InputError


def plan_batch(
    source: Path,
    speech: Path | None = None,
    *,
    output: Path | None = None,
    options: DubOptions = DEFAULTS,
) -> Plan:
    """Return the jobs of a batch, checked as far as it goes without opening videos.

    Args:
        source: A folder of videos, or a list of jobs: .csv or .json.
        speech: The folder of speeches, beside a folder of videos.
        output: Folder of the outputs; a manifest's own folder where it is None.
        options: Of every job, where a manifest says nothing else.

    Raises:
        InputError: If there is nothing to do, or an argument is missing. As CollectedInputError,
            if there are errors in the manifest or the folders: all of them.
    """
    if source.is_dir():
        if speech is None:
            raise InputError(f"{source}: SPEECH is missing: give the folder of speeches too")
        if output is None:
            raise InputError(f"{source}: --output is missing: say where the dubs go")
        return pair_folders(source, speech, output, options)
    if speech is not None:
        raise InputError(f"{source}: no such folder; give two folders, or one list of jobs")
    return read_jobs(source, output or source.parent, options)
