"""What of a batch waits, what is written down of it, and who is told."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dubcli import __version__
from dubcli.batch.records import (
    BATCH,
    FAILED,
    QUEUED,
    STARTED,
    BatchReport,
    Event,
    Job,
    JobStatus,
    Plan,
)
from dubcli.batch.status import Standing, StatusFile, event_of, now, read_events
from dubcli.batch.worker import Outcome, Task
from dubcli.config import BatchOptions
from dubcli.errors import CollectedInputError, InputError
from dubcli.media.mixing import lines_path, mixed_path
from dubcli.media.outputs import discard, is_there, place_of, size_of
from dubcli.media.signing import signed_path
from dubcli.media.writer import partial_path
from dubcli.records import Progress
from dubcli.report.write import unfinished

OnJob = Callable[[JobStatus, Progress | None], None]


def report_of(job: Job, kind: str | None) -> Path | None:
    """Return where a job's QC report of a kind lies: beside its file or folder; None: nowhere.

    Example:
        >>> from dubcli.config import DEFAULTS
        >>> job = Job(Path("a.mov"), Path("a.wav"), Path("out/a.mov"), DEFAULTS)
        >>> report_of(job, "html").name
        'a.mov.html'
    """
    place = place_of(job.output)
    return None if kind is None else place.with_name(f"{place.name}.{kind}")


@dataclass(slots=True, eq=False)
class Ledger:
    """The jobs of one run: what waits, and what happened. Whoever works takes jobs from here."""

    plan: Plan
    options: BatchOptions
    status: StatusFile
    _standing: Standing
    _known: Mapping[Path, JobStatus | None]  # of each output, before this run
    _on_job: OnJob | None
    _waiting: deque[Job] = field(default_factory=deque)

    def begin(self) -> None:
        """Write down that a run begins, and which jobs it has."""
        begin = Event(BATCH, now(), jobs=len(self.plan.jobs), version=__version__)
        # One write for all: of thousands of jobs each line on its own would cost minutes.
        self._waiting.extend(self.plan.jobs)
        queued = [event_of(QUEUED, job, self.plan.folder) for job in self.plan.jobs]
        self._note(begin, *queued)

    def take(self) -> Task | None:
        """Return the next task, written down as started; None if no job waits."""
        while self._waiting:
            job = self._waiting.popleft()
            known = self._known[job.output]
            report = report_of(job, self.options.report)
            if refusal := _refusal(job, known, report):  # it has come since the batch began
                self.close(job, Outcome(FAILED, message=refusal, exit_code=InputError.exit_code))
                continue
            self._note(event_of(STARTED, job, self.plan.folder))
            made = known.made if known is not None and _is_whole(job, known) else None
            resumed = made.fingerprint if made is not None and self.options.resume else ""
            there = is_there(job.output) or (report is not None and report.exists())
            return Task(job, resumed, there, self.options.resume, report)
        return None

    def close(self, job: Job, outcome: Outcome) -> None:
        """Write down what became of a job."""
        self._note(_event(outcome, job, self.plan.folder))
        if outcome.state == FAILED and self.options.halt_on_error:
            self._waiting.clear()

    def tell(self, job: Job, progress: Progress) -> None:
        """Pass on how far a job is."""
        if self._on_job is not None and (status := self._standing.of(job.output)):
            self._on_job(status, progress)

    def report(self) -> BatchReport:
        """Return where every job stands."""
        return self._standing.report(self.plan.unpaired)

    def _note(self, *events: Event) -> None:
        """Write events down, then tell."""
        self.status.append(events)
        for event in events:
            status = self._standing.take(event)
            if status is not None and self._on_job is not None:
                self._on_job(status, None)


@contextmanager
def open_ledger(plan: Plan, options: BatchOptions, on_job: OnJob | None) -> Iterator[Ledger]:
    """Give the ledger of a plan's folder, which nobody else can open meanwhile.

    Args:
        plan: From ``plan_batch``.
        options: See ``BatchOptions``.
        on_job: Called when a job changes its state, and with the progress of those at work.

    Raises:
        InputError: If the folder cannot be written or another batch is at work there. As
            CollectedInputError, if files stand where outputs go that no batch wrote.
        MediaError: If the status file cannot be written.
    """
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{plan.folder}: the folder could not be made ({error.strerror}); choose another"
        ) from error
    with StatusFile(plan.folder) as status:
        standing = Standing(plan.folder, read_events(plan.folder))
        known = {job.output: standing.of(job.output) for job in plan.jobs}
        refusals = [
            _refusal(job, known[job.output], report_of(job, options.report)) for job in plan.jobs
        ]
        if foreign := [sentence for sentence in refusals if sentence]:
            raise CollectedInputError(plan.folder, foreign)
        _sweep(plan, standing, options.report)
        yield Ledger(plan, options, status, standing, known, on_job)


def _refusal(job: Job, known: JobStatus | None, report: Path | None) -> str | None:
    """Return why a file that is there already must stay; None if it may be replaced."""
    if job.options.overwrite or (known is not None and known.begun):
        return None
    if report is not None and report.exists() and (known is None or known.made is None):
        return f"{report}: exists already and no batch wrote it; move it away or --overwrite"
    if not is_there(job.output):
        return None
    if known is None or known.made is None:
        return f"{job.output}: exists already and no batch wrote it; move it away or --overwrite"
    if not _is_whole(job, known):
        return f"{job.output}: is not as the batch left it; move it away or --overwrite"
    return None


def _is_whole(job: Job, known: JobStatus) -> bool:
    """Return whether an output has the size that was written down when it was done."""
    made = known.made
    return made is not None and is_there(job.output) and size_of(job.output) == made.size


def _sweep(plan: Plan, standing: Standing, report: str | None) -> None:
    """Remove what a killed batch has left half written; finished parts stay."""
    for path in filter(None, (report_of(job, report) for job in plan.jobs)):
        for left in unfinished(path):
            left.unlink(missing_ok=True)
    for output in (*standing.begun(), *(job.output for job in plan.jobs)):
        partial = partial_path(place_of(output))
        for left in (partial, mixed_path(output), lines_path(output), signed_path(partial)):
            discard(left, output)


def _event(outcome: Outcome, job: Job, folder: Path) -> Event:
    """Return the line that an outcome becomes."""
    event = event_of(outcome.state, job, folder)
    if outcome.report is None:
        return replace(event, message=outcome.message, exit_code=outcome.exit_code)
    return replace(
        event,
        fingerprint=outcome.fingerprint,
        size=outcome.size,
        frames=outcome.report.frames,
        dubbed_frames=outcome.report.dubbed_frames,
        seconds=round(outcome.seconds, 3),
        warnings=outcome.report.warnings,
    )
