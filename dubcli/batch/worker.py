"""A process that dubs one job after the other; its networks are loaded once, with the first."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection as connections
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dubcli.batch.records import DONE, FAILED, SKIPPED, Job
from dubcli.config import DubOptions
from dubcli.errors import DubError, InputError, MediaError
from dubcli.loading import Models, load_models
from dubcli.media.outputs import settle
from dubcli.pipeline import dub
from dubcli.pipeline.fingerprint import fingerprint
from dubcli.records import DubReport, Progress

NOTICE_S = 0.2  # between two notices of a stage's progress


@dataclass(frozen=True, slots=True)
class Task:
    """A job, and what the status file knows of it."""

    job: Job
    fingerprint: str  # of the output that is there already, whole; empty if there is none
    replace: bool  # whether the output and the report may be replaced
    resume: bool = True  # whether finished parts are kept and used
    report: Path | None = None  # QC report to write; None: none


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task."""

    state: str  # DONE, SKIPPED or FAILED
    fingerprint: str = ""
    size: int = 0  # of the output, bytes
    seconds: float = 0.0
    report: DubReport | None = None
    message: str = ""
    exit_code: int = 0


@dataclass(slots=True)
class Dubber:
    """Does tasks, and keeps the networks between them."""

    options: DubOptions
    checkpoints: Mapping[str, str]
    models: Models | None = None

    def attempt(self, task: Task, on_progress: Callable[[Progress], None]) -> Outcome:
        """Return what became of a task: no exception leaves, others may go on.

        Args:
            task: The task.
            on_progress: See ``dub``.
        """
        try:
            return self._do(task, on_progress)
        except DubError as error:
            return Outcome(FAILED, message=str(error), exit_code=error.exit_code)
        except Exception as error:  # noqa: BLE001 - one file's trouble must not stop the others
            message = f"{task.job.video}: unexpected {type(error).__name__}: {error}"
            return Outcome(FAILED, message=message, exit_code=DubError.exit_code)

    def _do(self, task: Task, on_progress: Callable[[Progress], None]) -> Outcome:
        started, job = time.perf_counter(), task.job
        made_from = fingerprint(job.video, job.speech, job.options, self.checkpoints, job.also)
        if made_from == task.fingerprint and (task.report is None or task.report.is_file()):
            return Outcome(SKIPPED)
        if self.models is None:
            on_progress(Progress("load", 0, None))
            self.models = load_models(self.options)
        _make_folder(job)
        options = replace(job.options, overwrite=task.replace)
        report = dub(
            job.video,
            job.speech,
            job.output,
            also=job.also,
            models=self.models,
            options=options,
            report=task.report,
            resume=task.resume,
            on_progress=on_progress,
        )
        size = _settle(job)
        return Outcome(DONE, made_from, size, time.perf_counter() - started, report)


def _make_folder(job: Job) -> None:
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{job.output.parent}: the folder could not be made ({error.strerror})"
        ) from error


def _settle(job: Job) -> int:
    """Wait until the disk has the output, and return its size: only then it counts as done."""
    try:
        return settle(job.output)
    except OSError as error:
        raise MediaError(
            f"{job.output}: could not be saved ({error.strerror}); make room on the disk"
        ) from error


def work(
    link: Connection, held: object, options: DubOptions, checkpoints: Mapping[str, str]
) -> None:
    """Do tasks until the other end of the link is closed; what a worker process runs.

    Args:
        link: Brings tasks; takes ``Progress`` and, for each task, an ``Outcome``.
        held: The lock of the folder, which ends with this process.
        options: What the networks are loaded with.
        checkpoints: Name -> SHA-256 of the weights.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the batch decides, and tells us with SIGTERM
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    dubber, tell = Dubber(options, checkpoints), Teller(link)
    code = 0
    try:
        with suppress(EOFError, ConnectionError):  # the batch has closed its end
            while True:
                task = link.recv()
                link.send(dubber.attempt(task, tell))
    except SystemExit:  # from _leave: what was half written is removed
        code = 128 + signal.SIGTERM
    os._exit(code)  # taking the networks apart took 20 s on a machine short of memory


def _leave(number: int, frame: Any) -> None:
    """End in order: what is half written is removed on the way out."""
    raise SystemExit(128 + number)


def _leave_with_parent() -> None:
    """End at once when the batch's process ends, however that came: nobody waits for us."""
    parent = parent_process()
    if parent is not None:
        connections.wait([parent.sentinel])
        os._exit(1)


class Teller:
    """Passes progress on, seldom enough to cost nothing."""

    def __init__(self, link: Connection) -> None:
        """Remember where to."""
        self._link = link
        self._last: tuple[str, float] = ("", 0.0)

    def __call__(self, progress: Progress) -> None:
        """Send it, unless the same stage was told of just now."""
        stage, told = self._last
        now = time.monotonic()
        if stage != progress.stage or now - told > NOTICE_S or progress.done == progress.total:
            self._last = (progress.stage, now)
            self._link.send(progress)
