"""The status file: what it keeps, what it survives, and that two batches do not meet."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dubcli.batch import status as module
from dubcli.batch.records import (
    BATCH,
    DONE,
    FAILED,
    INTERRUPTED,
    QUEUED,
    SKIPPED,
    STARTED,
    Event,
)
from dubcli.batch.status import (
    STATUS_FILE,
    Standing,
    StatusFile,
    batch_status,
    from_line,
    name_in,
    read_events,
    to_line,
)
from dubcli.errors import InputError, MediaError

TIME = "2026-01-01T00:00:00+00:00"


def event(kind: str, output: str = "a.mp4", **more: object) -> Event:
    return Event(kind, TIME, output=output, video="/v/a.mp4", speech="/s/a.wav", **more)  # type: ignore[arg-type]


EVERYTHING = event(
    DONE, "f\udcff.mp4", fingerprint="ab", size=3, frames=2, seconds=0.5, warnings=("a", "b")
)


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    events = [Event(BATCH, TIME, jobs=2, version="1"), event(STARTED), EVERYTHING]
    with StatusFile(tmp_path) as status:
        status.append(events[:1])
        status.append(events[1:])
    assert list(read_events(tmp_path)) == events
    assert "size" not in to_line(event(STARTED))


@pytest.mark.parametrize("cut", [1, 20, 90, -2])
def test_torn_last_line_is_passed_over_and_the_next_begins_on_its_own(
    tmp_path: Path, cut: int
) -> None:
    path = tmp_path / STATUS_FILE
    path.write_text(to_line(event(STARTED)) + "\n" + to_line(EVERYTHING)[:cut])
    assert list(read_events(tmp_path)) == [event(STARTED)]
    with StatusFile(tmp_path) as status:
        status.append([EVERYTHING])
    assert list(read_events(tmp_path)) == [event(STARTED), EVERYTHING]


@pytest.mark.parametrize(
    "line",
    [
        "", "7", "[]", "{}", '{"event": "done"}', '{"event": "melted", "time": "now"}',
        '{"event": "done", "time": 3}', '{"event": "done", "time": "now", "size": "3"}',
        '{"event": "done", "time": "now", "warnings": [1]}', "[" * 99999,
    ],
)  # fmt: skip
def test_line_that_is_no_event_is_none(line: str) -> None:
    assert from_line(line) is None


def test_what_a_later_version_adds_is_passed_over() -> None:
    line = json.dumps({"event": DONE, "time": TIME, "output": "a.mp4", "mood": "good"})
    assert from_line(line) == Event(DONE, TIME, output="a.mp4")


def test_full_disk_is_one_sentence_and_what_was_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write_half(descriptor: int, data: bytes) -> int:
        if len(data) < 60:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[: len(data) - 50])

    with StatusFile(tmp_path) as status:
        status.append([event(STARTED)])
        monkeypatch.setattr(module.os, "write", write_half)
        with pytest.raises(MediaError, match=r"could not be written .No space left on device.;"):
            status.append([EVERYTHING])
        monkeypatch.setattr(module.os, "write", real)
        status.append([EVERYTHING])
    assert list(read_events(tmp_path)) == [event(STARTED), EVERYTHING]


def test_standing_is_that_of_the_last_batch_and_remembers_what_was_made(tmp_path: Path) -> None:
    begin = Event(BATCH, TIME)
    done = event(DONE, size=3)
    standing = Standing(
        tmp_path,
        [begin, event(QUEUED), event(QUEUED, "b.mp4"), event(STARTED, "b.mp4"), event(STARTED),
         done,
         begin, event(QUEUED), event(STARTED), event(FAILED, message="no")],
    )  # fmt: skip
    (job,) = standing.report().jobs
    assert (job.output, job.state, job.message, job.made) == (
        tmp_path / "a.mp4",
        FAILED,
        "no",
        done,
    )
    assert standing.begun() == [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    standing.take(event(SKIPPED))
    assert standing.begun() == [tmp_path / "b.mp4"]
    assert standing.of(tmp_path / "a.mp4").made == done
    assert standing.of(tmp_path / "c.mp4") is None


def test_outputs_elsewhere_keep_their_whole_name(tmp_path: Path) -> None:
    assert name_in(tmp_path, tmp_path / "fr" / "a.mp4") == "fr/a.mp4"
    assert name_in(tmp_path / "x", tmp_path / "a.mp4") == str(tmp_path / "a.mp4")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such lock")
def test_second_batch_is_refused_until_the_first_and_its_workers_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    with StatusFile(tmp_path) as status:
        status.append([Event(BATCH, TIME), event(STARTED)])
        assert batch_status(tmp_path).jobs[0].state == STARTED
        with pytest.raises(InputError, match="another batch is at work there"):
            StatusFile(tmp_path)
        # A process that has the open file, as workers do.
        worker = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[status._descriptor]
        )
    with pytest.raises(InputError, match="another batch is at work there"):
        StatusFile(tmp_path)
    worker.communicate(b"\n")
    assert batch_status(tmp_path).jobs[0].state == INTERRUPTED
    with StatusFile(tmp_path):
        pass


def test_folder_without_a_status_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no batch has worked there"):
        batch_status(tmp_path)
