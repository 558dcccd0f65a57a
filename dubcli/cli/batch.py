"""``dubcli batch``: many dubs, and where they stand."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from dubcli.batch.records import DONE, FAILED, SKIPPED, STARTED, STATES, BatchReport, JobStatus
from dubcli.cli import console
from dubcli.cli.dub_options import takes_dub_options
from dubcli.config import BATCH_DEFAULTS, DEFAULTS, BatchOptions, DubOptions
from dubcli.errors import InputError
from dubcli.records import Progress
from dubcli.timecode import parse_rate

if TYPE_CHECKING:
    from dubcli.batch.ledger import OnJob

SOME_FAILED = 10  # the exit code is this and how many failed: apart from all others
MOST_COUNTED = 99

SourceArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="VIDEOS",
        help="Folder of videos, jobs (.csv, .json) or timeline (.otio, .edl, .fcpxml).",
        show_default=False,
    ),
]
SpeechesArgument = Annotated[
    Path | None,
    typer.Argument(metavar="SPEECH", help="Folder of speeches.", show_default=False),
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Folder of the outputs.", show_default="the folder of the job list"
    ),
]
RateOption = Annotated[
    str | None,
    typer.Option(help="Frame rate of an .edl: 25, 29.97, 24000/1001.", show_default=False),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        help="Jobs at the same time, 1 to 256.", show_default="one for each GPU, 1 on a CPU"
    ),
]
EngineOption = Annotated[
    str, typer.Option(help="Who works: local (processes) or ray (a cluster; needs dubcli\\[ray]).")
]
AddressOption = Annotated[str, typer.Option(help="Of the Ray cluster.")]
HaltOption = Annotated[
    bool, typer.Option("--halt-on-error", help="Start nothing more once a file has failed.")
]
ResumeOption = Annotated[
    bool, typer.Option(help="Leave out what is done already, and go on inside long files.")
]
KindOption = Annotated[
    str | None,
    typer.Option(
        "--report",
        metavar="KIND",
        help="Write a QC report beside each output: html or json.",
        show_default="none",
    ),
]
StatusOption = Annotated[
    Path | None,
    typer.Option(
        "--status",
        metavar="FOLDER",
        help="Only show where the batch of FOLDER stands.",
        show_default=False,
    ),
]
WorkerThreadsOption = Annotated[
    int, typer.Option(help="CPU threads of each worker, 0 to 1024; 0: the cores shared out.")
]
ReplaceOption = Annotated[
    bool,
    typer.Option("--overwrite", "-y", help="Replace outputs that no batch wrote, too."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@takes_dub_options(threads=WorkerThreadsOption, overwrite=ReplaceOption)
def batch(
    videos: SourceArgument = None,
    speech: SpeechesArgument = None,
    output: FolderOption = None,
    rate: RateOption = None,
    status: StatusOption = None,
    workers: WorkersOption = BATCH_DEFAULTS.workers,
    halt_on_error: HaltOption = BATCH_DEFAULTS.halt_on_error,
    resume: ResumeOption = BATCH_DEFAULTS.resume,
    engine: EngineOption = BATCH_DEFAULTS.engine,
    address: AddressOption = BATCH_DEFAULTS.address,
    report: KindOption = BATCH_DEFAULTS.report,
    options: DubOptions = DEFAULTS,
    as_json: JsonOption = False,
) -> None:
    """Dub many videos: two folders paired by name, a list of jobs, or a timeline.

    What is done already is left out. The exit code is 10 and the number of files that failed.
    """
    if status is not None:
        from dubcli.batch.status import batch_status

        print_jobs(batch_status(status), as_json=as_json)
        return
    if videos is None:
        raise InputError("VIDEOS is missing: give a folder of videos, or jobs in .csv or .json")
    from dubcli.batch.plan import plan_batch

    running = BatchOptions(workers, halt_on_error, resume, engine, address, report)
    edl_rate = None if rate is None else parse_rate(rate, "--rate")
    plan = plan_batch(videos, speech, output=output, options=options, rate=edl_rate)
    for sentence in plan.unpaired:
        console.print_error(f"warning: {sentence}")
    from dubcli.batch.run import run_batch

    with _display(len(plan.jobs)) as on_job:
        done = run_batch(plan, options=running, on_job=on_job)
    print_jobs(done, as_json=as_json)
    if code := exit_code(done):
        raise typer.Exit(code)


def exit_code(report: BatchReport) -> int:
    """Return 0, or 10 and the number of jobs that failed, 99 at most.

    Example:
        >>> from dataclasses import replace
        >>> job = JobStatus(Path("a.mp4"), Path("a.mp4"), Path("a.wav"), FAILED)
        >>> [exit_code(BatchReport(Path(), (job,) * failed)) for failed in (0, 1, 99, 500)]
        [0, 11, 109, 109]
    """
    failed = report.count(FAILED)
    return SOME_FAILED + min(failed, MOST_COUNTED) if failed else 0


def print_jobs(report: BatchReport, *, as_json: bool) -> None:
    """Print where jobs stand to stdout: a line each, then how many are in each state.

    Args:
        report: The jobs.
        as_json: One JSON object, rather than a table.
    """
    counts = {state: count for state in STATES if (count := report.count(state))}
    if as_json:
        typer.echo(json.dumps({**asdict(report), "counts": counts}, default=str, indent=2))
        return
    for job in report.jobs:
        typer.echo(f"{job.state:<12}{job.output}{_remark(job)}")
        if job.state == DONE and job.made is not None:
            for warning in job.made.warnings:
                typer.echo(f"{'':<12}  warning: {' '.join(warning.split())}")
    typer.echo(", ".join(f"{state} {count}" for state, count in counts.items()) or "no jobs")


def _remark(job: JobStatus) -> str:
    """Return what follows the name of a job's output."""
    if job.state == FAILED:
        return f": {' '.join(job.message.split())}"
    if job.state == DONE and job.made is not None:
        made = job.made
        return f": {made.dubbed_frames} of {made.frames} frames dubbed in {made.seconds:.1f} s"
    return ""


@contextmanager
def _display(total: int) -> Iterator["OnJob"]:
    """Give a callback that says on stderr how far the batch is.

    On a terminal: a bar for all jobs and a line for each at work. Elsewhere: failures only.
    """
    if not sys.stderr.isatty():
        yield _tell_failures(console.print_error)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        whole = bars.add_task("all", total=total)
        at_work: dict[Path, TaskID] = {}
        tell = _tell_failures(lambda line: bars.console.print(line, markup=False, highlight=False))

        def draw(job: JobStatus, progress: Progress | None) -> None:
            if progress is not None:
                name = f"{job.output.name}: {progress.stage}"
                bars.update(
                    at_work[job.output],
                    description=name,
                    completed=progress.done,
                    total=progress.total,
                )
            elif job.state == STARTED:
                at_work[job.output] = bars.add_task(job.output.name, total=None)
            elif job.state in {DONE, SKIPPED, FAILED}:
                if job.output in at_work:
                    bars.remove_task(at_work.pop(job.output))
                bars.advance(whole)
                tell(job, None)

        yield draw


def _tell_failures(say: Callable[[str], None]) -> "OnJob":
    """Return a callback that says a line for each failure, when it happens."""

    def tell(job: JobStatus, progress: Progress | None) -> None:
        if progress is None and job.state == FAILED:
            say(f"error: {' '.join(job.message.split())}")

    return tell
