"""From what a user points at to a plan: two folders, a manifest, or a timeline."""

from fractions import Fraction
from pathlib import Path

from dubcli.batch.manifest import read_jobs
from dubcli.batch.pairing import pair_folders
from dubcli.batch.records import Plan
from dubcli.batch.timeline import read_timeline_jobs
from dubcli.config import DEFAULTS, TIMELINE_SUFFIXES, DubOptions
from dubcli.errors import InputError


def plan_batch(
    source: Path,
    speech: Path | None = None,
    *,
    output: Path | None = None,
    options: DubOptions = DEFAULTS,
    rate: Fraction | None = None,
) -> Plan:
    """Return the jobs of a batch, checked as far as it goes without opening videos.

    Args:
        source: A folder of videos, a list of jobs (.csv, .json) or a timeline (.otio, .edl,
            .fcpxml).
        speech: The folder of speeches, beside a folder of videos.
        output: Folder of the outputs; a manifest's own folder where it is None.
        options: Of every job, where a manifest says nothing else.
        rate: Frames a second of an EDL.

    Raises:
        InputError: If there is nothing to do, or an argument is missing. As CollectedInputError,
            if there are errors in the manifest or the folders: all of them.
    """
    if source.is_dir():
        if rate is not None:
            raise InputError(f"{source}: is no EDL; leave out --rate")
        if speech is None:
            raise InputError(f"{source}: SPEECH is missing: give the folder of speeches too")
        if output is None:
            raise InputError(f"{source}: --output is missing: say where the dubs go")
        return pair_folders(source, speech, output, options)
    if speech is not None:
        raise InputError(f"{source}: no such folder; give two folders, or one list of jobs")
    folder = output or source.parent
    if source.suffix.lower() in TIMELINE_SUFFIXES:
        return read_timeline_jobs(source, folder, options, rate)
    if rate is not None:
        raise InputError(f"{source}: is no EDL; leave out --rate")
    return read_jobs(source, folder, options)
