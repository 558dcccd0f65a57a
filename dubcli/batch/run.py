"""Runs a batch: hands jobs to worker processes and writes down what becomes of each."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection as connections
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
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
from dubcli.batch.worker import Outcome, Task, work
from dubcli.config import BATCH_DEFAULTS, BatchOptions, DubOptions
from dubcli.errors import CollectedInputError, DubError, InputError
from dubcli.loading import device_for, verified_checkpoints
from dubcli.media.mixing import mixed_path
from dubcli.media.writer import partial_path
from dubcli.records import Progress

LEAVE_S = 20.0  # that a worker gets to remove what it has half written
OnJob = Callable[[JobStatus, Progress | None], None]


def run_batch(
    plan: Plan, *, options: BatchOptions = BATCH_DEFAULTS, on_job: OnJob | None = None
) -> BatchReport:
    """Dub every job of a plan that is not done already; one that fails does not stop the others.

    Each job runs in a worker process. They are spawned: a script that calls this needs the usual
    ``if __name__ == "__main__":``.

    Args:
        plan: From ``plan_batch``.
        options: See ``BatchOptions``.
        on_job: Called when a job changes its state, and with the progress of those at work.

    Returns:
        Where every job stands.

    Raises:
        InputError: If the folder cannot be written, another batch is at work there or the device
            cannot be had. As CollectedInputError, if files stand where outputs go that no batch
            wrote.
        CheckpointError: If a model file is missing or altered.
        MediaError: If the status file cannot be written.
    """
    device_for(plan.options.device)
    checkpoints = verified_checkpoints(plan.options)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{plan.folder}: the folder could not be made ({error.strerror}); choose another"
        ) from error
    with StatusFile(plan.folder) as status:
        standing = Standing(plan.folder, read_events(plan.folder))
        known = {job.output: standing.of(job.output) for job in plan.jobs}
        refusals = [_refusal(job, known[job.output]) for job in plan.jobs]
        if foreign := [sentence for sentence in refusals if sentence]:
            raise CollectedInputError(plan.folder, foreign)
        _sweep(plan, standing)
        run = _Run(plan, options, checkpoints, known, status, standing, on_job)
        run.go()
        return standing.report(plan.unpaired)


def _refusal(job: Job, known: JobStatus | None) -> str | None:
    """Return why an output that is there already must stay; None if it may be replaced."""
    if job.options.overwrite or not job.output.exists() or (known is not None and known.begun):
        return None
    if known is None or known.made is None:
        return f"{job.output}: exists already and no batch wrote it; move it away or --overwrite"
    if not _is_whole(job, known):
        return f"{job.output}: is not as the batch left it; move it away or --overwrite"
    return None


def _is_whole(job: Job, known: JobStatus) -> bool:
    """Return whether an output has the size that was written down when it was done."""
    made = known.made
    return made is not None and job.output.is_file() and job.output.stat().st_size == made.size


def _sweep(plan: Plan, standing: Standing) -> None:
    """Remove what a killed batch has left half written."""
    for output in (*standing.begun(), *(job.output for job in plan.jobs)):
        for left in (partial_path(output), mixed_path(output)):
            left.unlink(missing_ok=True)


@dataclass(slots=True, eq=False)
class _Worker:
    """A process, our end of its link, and what it is at."""

    process: SpawnProcess
    link: Connection
    job: Job | None = None


@dataclass(slots=True, eq=False)
class _Run:
    """One run: what waits, who works, and what happened."""

    _plan: Plan
    _options: BatchOptions
    _checkpoints: Mapping[str, str]
    _known: Mapping[Path, JobStatus | None]  # of each output, before this run
    _status: StatusFile
    _standing: Standing
    _on_job: OnJob | None
    _waiting: deque[Job] = field(default_factory=deque)
    _workers: list[_Worker] = field(default_factory=list)

    def go(self) -> None:
        """Do the jobs."""
        begin = Event(BATCH, now(), jobs=len(self._plan.jobs), version=__version__)
        # One write for all: of thousands of jobs each line on its own would cost minutes.
        self._waiting.extend(self._plan.jobs)
        queued = [event_of(QUEUED, job, self._plan.folder) for job in self._plan.jobs]
        self._note(begin, *queued)
        try:
            while self._hand_out():
                links = [worker.link for worker in self._workers if worker.job is not None]
                for link in connections.wait(links):
                    self._hear(next(each for each in self._workers if each.link is link))
        finally:
            self._end()

    def _hand_out(self) -> bool:
        """Give jobs to workers that have none; return whether any is at work."""
        while self._waiting:
            worker = next((each for each in self._workers if each.job is None), None)
            if worker is None:
                if len(self._workers) == self._options.workers:
                    break
                worker = self._hire()
            job = self._waiting.popleft()
            known = self._known[job.output]
            if refusal := _refusal(job, known):  # it has come since the batch began
                self._close(job, Outcome(FAILED, message=refusal, exit_code=InputError.exit_code))
                continue
            self._note(event_of(STARTED, job, self._plan.folder))
            made = known.made if known is not None and _is_whole(job, known) else None
            resumed = made.fingerprint if made is not None and self._options.resume else ""
            worker.job = job
            with suppress(OSError):  # it has died; _hear finds out why
                worker.link.send(Task(job, resumed, job.output.exists(), self._options.resume))
        return any(worker.job is not None for worker in self._workers)

    def _hire(self) -> _Worker:
        """Start a worker."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        options = replace(self._plan.options, threads=_threads(self._plan.options, self._options))
        process = context.Process(
            target=work, args=(theirs, self._status, options, self._checkpoints), daemon=True
        )
        with _unheard_interrupts():
            process.start()
        theirs.close()  # so that its death ends the link
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker) -> None:
        """Take what a worker says; if it has died, its job has failed."""
        job = worker.job
        if job is None:
            return
        try:
            said = worker.link.recv()
        except (EOFError, ConnectionResetError):
            self._workers.remove(worker)
            worker.link.close()
            worker.process.join()
            said = Outcome(FAILED, message=_last_words(job, worker), exit_code=DubError.exit_code)
        if isinstance(said, Outcome):
            worker.job = None
            self._close(job, said)
        elif self._on_job is not None and (status := self._standing.of(job.output)):
            self._on_job(status, said)

    def _close(self, job: Job, outcome: Outcome) -> None:
        """Write down what became of a job."""
        self._note(_event(outcome, job, self._plan.folder))
        if outcome.state == FAILED and self._options.halt_on_error:
            self._waiting.clear()

    def _note(self, *events: Event) -> None:
        """Write events down, then tell."""
        self._status.append(events)
        for event in events:
            status = self._standing.take(event)
            if status is not None and self._on_job is not None:
                self._on_job(status, None)

    def _end(self) -> None:
        """Let workers go; those that are still at a job clean up first."""
        for worker in self._workers:
            if worker.job is None:
                worker.link.close()
            else:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(LEAVE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.link.close()


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


def _last_words(job: Job, worker: _Worker) -> str:
    """Return why a worker is gone."""
    code = worker.process.exitcode or 0
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return (
        f"{job.video}: the worker process ended in the middle of it ({how}), perhaps for want of "
        "memory; try fewer --workers"
    )


def _threads(shared: DubOptions, options: BatchOptions) -> int:
    """Return how many threads each worker's networks get: the cores are shared out."""
    if shared.threads or options.workers == 1:
        return shared.threads
    return max(1, cores() // options.workers)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _unheard_interrupts() -> Iterator[None]:
    """Let processes that are started here be born deaf to Ctrl-C, which is for us alone."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
