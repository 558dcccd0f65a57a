"""What flows through a batch: jobs, what happened to them, and where they stand."""

from dataclasses import dataclass
from pathlib import Path

from dubcli.config import DubOptions
from dubcli.line import Line

QUEUED, STARTED, DONE, SKIPPED, FAILED = "queued", "started", "done", "skipped", "failed"
BATCH = "batch"  # the event with which a run begins
INTERRUPTED = "interrupted"  # started, and no batch is at work any more
STATES = (DONE, SKIPPED, FAILED, STARTED, INTERRUPTED, QUEUED)


@dataclass(frozen=True, slots=True)
class Job:
    """One dub."""

    video: Path
    speech: Path
    output: Path
    options: DubOptions
    also: tuple[Line, ...] = ()  # further lines


@dataclass(frozen=True, slots=True)
class Plan:
    """The jobs of a batch; all that can be told without opening the files has been checked."""

    folder: Path  # of the status file
    jobs: tuple[Job, ...]
    options: DubOptions  # what all jobs share: device, models
    unpaired: tuple[str, ...] = ()  # a sentence for each file that is left out


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the status file. What does not apply keeps its default and is not written."""

    event: str  # BATCH or a state, INTERRUPTED apart
    time: str  # ISO 8601, UTC
    output: str = ""  # relative to the status file's folder where it lies in it
    video: str = ""
    speech: str = ""
    fingerprint: str = ""  # of what the output was made from
    size: int = 0  # of the output, bytes
    frames: int = 0
    dubbed_frames: int = 0
    seconds: float = 0.0  # wall-clock, of the dub
    warnings: tuple[str, ...] = ()
    message: str = ""  # why it failed
    exit_code: int = 0  # that `dubcli dub` would have ended with
    jobs: int = 0  # of a batch
    version: str = ""  # of dubcli, of a batch


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a job stands: its events, taken together."""

    output: Path
    video: Path
    speech: Path
    state: str  # one of STATES
    made: Event | None = None  # the last DONE
    begun: bool = False  # since then: the output may be there although nobody wrote it down
    message: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a batch did, or how far it is."""

    folder: Path
    jobs: tuple[JobStatus, ...]
    unpaired: tuple[str, ...] = ()

    def count(self, state: str) -> int:
        """Return how many jobs are in a state."""
        return sum(job.state == state for job in self.jobs)
