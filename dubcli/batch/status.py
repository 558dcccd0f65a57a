"""The status file of a folder: a line of JSON for each thing that happened, never rewritten.

Each line is on the disk before the batch goes on. Whatever a crash leaves of the last line is
passed over, and the next line begins on its own.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, fields, replace
from datetime import UTC, datetime
from multiprocessing import reduction
from pathlib import Path
from typing import Any, Self

from dubcli.batch.records import (
    BATCH,
    DONE,
    FAILED,
    INTERRUPTED,
    QUEUED,
    SKIPPED,
    STARTED,
    BatchReport,
    Event,
    Job,
    JobStatus,
)
from dubcli.errors import InputError, MediaError

if sys.platform != "win32":
    import fcntl

STATUS_FILE = ".dubcli-status.jsonl"
PATIENCE_S = 10.0  # for the workers of a batch that was killed: they end at once
RETRY_S = 0.1
_DEFAULTS = {field.name: field.default for field in fields(Event)}


def now() -> str:
    """Return the time for an event."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Standing:
    """Where every job of a folder stands: its events, taken together in their order."""

    def __init__(self, folder: Path, events: Iterable[Event] = ()) -> None:
        """Take events.

        Args:
            folder: Of the status file.
            events: In their order.
        """
        self._folder = folder
        self._jobs: dict[str, JobStatus] = {}
        self._latest: dict[str, None] = {}  # jobs since the last BATCH, in order
        for event in events:
            self.take(event)

    def take(self, event: Event) -> JobStatus | None:
        """Take one more event and return where its job stands now; None for a BATCH."""
        if event.event == BATCH:
            self._latest = {}
            return None
        before = self._jobs.get(event.output)
        made = event if event.event == DONE else before.made if before else None
        begun = before is not None and before.begun and event.event not in {DONE, SKIPPED}
        status = JobStatus(
            output=self._folder / event.output,
            video=Path(event.video),
            speech=Path(event.speech),
            state=event.event,
            made=made,
            begun=begun or event.event == STARTED,
            message=event.message,
            exit_code=event.exit_code,
        )
        self._jobs[event.output] = status
        self._latest[event.output] = None
        return status

    def of(self, output: Path) -> JobStatus | None:
        """Return where the job of an output stands; None if no batch has known it."""
        return self._jobs.get(name_in(self._folder, output))

    def begun(self) -> list[Path]:
        """Return the outputs that a batch began and did not finish."""
        return [job.output for job in self._jobs.values() if job.begun]

    def report(self, unpaired: tuple[str, ...] = ()) -> BatchReport:
        """Return the jobs of the last batch, in its order.

        Args:
            unpaired: A sentence for each file that is left out.
        """
        return BatchReport(self._folder, tuple(self._jobs[name] for name in self._latest), unpaired)


def name_in(folder: Path, output: Path) -> str:
    """Return an output's name in the status file: it stays right when the folder is moved."""
    folder, output = folder.absolute(), output.absolute()
    inside = output.is_relative_to(folder)
    return (output.relative_to(folder) if inside else output).as_posix()


def event_of(kind: str, job: Job, folder: Path) -> Event:
    """Return an event of a job with its files named, and nothing else."""
    return Event(
        kind,
        now(),
        output=name_in(folder, job.output),
        video=str(job.video.absolute()),
        speech=str(job.speech.absolute()),
    )


def to_line(event: Event) -> str:
    """Return an event as a line of JSON, without what has its default.

    Example:
        >>> to_line(Event(DONE, "2026-01-01T00:00:00+00:00", output="a.mp4", frames=3))
        '{"event": "done", "time": "2026-01-01T00:00:00+00:00", "output": "a.mp4", "frames": 3}'
    """
    values = {k: v for k, v in asdict(event).items() if v != _DEFAULTS[k]}
    return json.dumps(values)


def from_line(line: str) -> Event | None:
    """Return the event of a line; None if it is not one: torn, or written by other hands."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not isinstance(values.get("time"), str):
        return None
    if values.get("event") not in {BATCH, QUEUED, STARTED, DONE, SKIPPED, FAILED}:
        return None
    known: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        if name not in values:
            continue
        value = tuple(values[name]) if isinstance(values[name], list) else values[name]
        if not _fits(value, default):
            return None
        known[name] = value
    return Event(**known)


def _fits(value: object, default: object) -> bool:
    """Return whether a value has the type of its default."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(isinstance(each, str) for each in value)
    if isinstance(default, float):
        return type(value) in {int, float}
    return type(value) is (str if default is MISSING else type(default))


def read_events(folder: Path) -> Iterator[Event]:
    """Yield the events of a folder's status file, in their order; none if there is no such file.

    Args:
        folder: The folder.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        with (folder / STATUS_FILE).open(encoding="utf-8", errors="replace", newline="\n") as file:
            for line in file:
                event = from_line(line)
                if event is not None:
                    yield event
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{error.filename}: could not be read ({error.strerror})") from error


def batch_status(folder: Path) -> BatchReport:
    """Return how far the last batch of a folder is, or how it ended.

    Args:
        folder: Where its outputs and its status file are.

    Raises:
        InputError: If the folder has no status file.
    """
    path = folder / STATUS_FILE
    if not path.is_file():
        raise InputError(f"{folder}: no batch has worked there; give the folder of its outputs")
    report = Standing(folder, read_events(folder)).report()
    if _is_locked(path):
        return report
    jobs = (replace(job, state=INTERRUPTED) if job.state == STARTED else job for job in report.jobs)
    return replace(report, jobs=tuple(jobs))


def _is_locked(path: Path) -> bool:
    """Return whether a batch holds the status file; on Windows it is not known: True."""
    if sys.platform == "win32":
        return True
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


class StatusFile:
    """A context manager that appends events, and keeps other batches out of the folder.

    The lock is one of the open file, which workers share: pickled into a spawned process, the file
    is open there too. So after ``kill -9`` the next batch waits until the last worker is gone, and
    no two ever write the same output. Windows has no such lock; there nothing keeps a second batch
    out.
    """

    def __init__(self, folder: Path) -> None:
        """Open the file, made if it is not there, and lock it.

        Args:
            folder: An existing folder.

        Raises:
            InputError: If it cannot be written or another batch is at work.
        """
        self._path = folder / STATUS_FILE
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            self._descriptor = os.open(self._path, flags, 0o644)
        except OSError as error:
            raise InputError(
                f"{self._path}: could not be opened ({error.strerror}); choose another output "
                "folder"
            ) from error
        try:
            _lock(self._descriptor, self._path)
            self._torn = _ends_torn(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, events: Iterable[Event]) -> None:
        """Write events and wait until the disk has them.

        Args:
            events: A line each.

        Raises:
            MediaError: If they cannot be written.
        """
        text = "".join(to_line(event) + "\n" for event in events)
        data = (("\n" if self._torn else "") + text).encode()
        self._torn = True  # until all of it is there
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise MediaError(
                f"{self._path}: could not be written ({error.strerror}); make room and start the "
                "batch again: it goes on with what is not done"
            ) from error
        self._torn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        os.close(self._descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        if sys.platform == "win32":
            return _Held, (None,)
        return _Held, (reduction.DupFd(self._descriptor),)


class _Held:
    """The lock in a worker: held until the process ends."""

    def __init__(self, duplicate: Any) -> None:
        self._descriptor = None if duplicate is None else duplicate.detach()


def _lock(descriptor: int, path: Path) -> None:
    """Lock an open file; wait a moment for a batch that is ending."""
    if sys.platform == "win32":
        return
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise InputError(
                    f"{path.parent}: another batch is at work there; wait for it, or choose "
                    "another output folder"
                ) from error
            time.sleep(RETRY_S)
        except OSError as error:
            raise InputError(
                f"{path}: could not be locked ({error.strerror}); choose an output folder on "
                "another disk"
            ) from error
        else:
            return


def _ends_torn(descriptor: int) -> bool:
    """Return whether the last line of a file does not end."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size == 0:
        return False
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) != b"\n"
