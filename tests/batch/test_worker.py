"""When a job is done again, and that no failure leaves a worker."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from dubcli.batch import worker as module
from dubcli.batch.ledger import report_of
from dubcli.batch.records import DONE, FAILED, SKIPPED, Job
from dubcli.batch.worker import Dubber, Task
from dubcli.config import DEFAULTS, CacheOptions, DubOptions
from dubcli.errors import CheckpointError, MediaError
from dubcli.line import Line
from dubcli.pipeline import fingerprint as fingerprints
from dubcli.pipeline.fingerprint import PLACES, fingerprint
from dubcli.records import DubReport

WEIGHTS = {"renderer": "ab", "geometry": "cd"}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for name in ("a.mp4", "a.wav"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    return Job(tmp_path / "a.mp4", tmp_path / "a.wav", tmp_path / "new" / "a.mp4", DEFAULTS)


@pytest.fixture
def dubbed(monkeypatch: pytest.MonkeyPatch) -> list[DubOptions]:
    made: list[DubOptions] = []

    def fake(video: Path, audio: Path, output: Path, *, options: DubOptions, **_: Any) -> DubReport:
        made.append(options)
        output.write_bytes(b"12345")
        return DubReport(output, 3, 2, {}, ())

    monkeypatch.setattr(module, "dub", fake)
    monkeypatch.setattr(module, "load_models", lambda options: "models")
    return made


def number(job: Job, weights: dict[str, str]) -> str:
    return fingerprint(job.video, job.speech, job.options, weights)


def test_fingerprint_is_of_contents_and_not_of_names(job: Job, tmp_path: Path) -> None:
    other = job.video.rename(tmp_path / "other.mov")
    moved = replace(job, video=other, output=tmp_path / "x.mp4")
    job.video.write_bytes(other.read_bytes())
    assert number(moved, WEIGHTS) == number(job, dict(reversed(WEIGHTS.items())))


@pytest.mark.parametrize("name", [field.name for field in fields(DubOptions)])
def test_every_setting_but_place_and_speed_changes_the_fingerprint(job: Job, name: str) -> None:
    others = {
        "device": "cpu",
        "models": Path("m"),
        "audio_encoder": "x",
        "preset": "fast",
        "close_in_silence": False,
        "overwrite": True,
        "mouth_scale": 1.5,
        "length": "loop",
        "loudness": -23.0,
        "codec": "hevc",
        "pixel_format": "yuv444p",
        "allow_8bit": True,
        "deinterlace": True,
        "tracks": "drop",
        "patch_only": True,
        "audio": "mix",
        "bed_level": -12.0,
        "provenance": False,
        "ranges": "1-2",
        "face": "2",
        "debug_mask": True,
        "covered": "dub",
        "speech_at": "0:01",
        "frame_rate": "24",
        "precision": "float32",
        "cache": CacheOptions(use=False, folder=Path("c")),
    }
    other = others.get(name, 7)
    changed = replace(job, options=replace(job.options, **{name: other}))
    same = number(changed, WEIGHTS) == number(job, WEIGHTS)
    assert same == (name in PLACES)


def test_another_picture_of_whom_to_dub_changes_the_fingerprint(job: Job, tmp_path: Path) -> None:
    picture = tmp_path / "her.png"
    picture.write_bytes(b"one")
    wanted = replace(job, options=replace(job.options, face=str(picture)))
    before = number(wanted, WEIGHTS)
    assert number(wanted, WEIGHTS) == before
    picture.write_bytes(b"two")
    assert number(wanted, WEIGHTS) != before


def test_further_lines_are_dubbed_and_change_the_fingerprint(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Line, ...]] = []

    def fake(*paths: Path, also: tuple[Line, ...], **_: Any) -> DubReport:
        given.append(also)
        paths[2].write_bytes(b"12345")
        return DubReport(paths[2], 3, 2, {}, ())

    monkeypatch.setattr(module, "dub", fake)
    monkeypatch.setattr(module, "load_models", lambda options: "models")
    other = tmp_path / "b.wav"
    other.write_bytes(b"words")
    both = replace(job, also=(Line(other, "2"),))
    first = Dubber(DEFAULTS, WEIGHTS).attempt(Task(both, "", replace=False), print)
    other.write_bytes(b"other words")
    again = Dubber(DEFAULTS, WEIGHTS).attempt(Task(both, first.fingerprint, replace=True), print)
    assert (first.state, again.state, given) == (DONE, DONE, [both.also] * 2)
    assert len({first.fingerprint, again.fingerprint, number(job, WEIGHTS)}) == 3


def test_done_job_is_done_again_where_its_report_is_missing(
    job: Job, dubbed: list[DubOptions]
) -> None:
    first = Dubber(DEFAULTS, WEIGHTS).attempt(Task(job, "", replace=False), print)
    page = report_of(job, "json")
    assert page is not None
    task = Task(job, first.fingerprint, replace=True, report=page)
    assert Dubber(DEFAULTS, WEIGHTS).attempt(task, print).state == DONE
    page.write_text("{}")
    assert Dubber(DEFAULTS, WEIGHTS).attempt(task, print).state == SKIPPED


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("what", ["video", "speech", "weights", "version", "nothing"])
def test_done_job_is_left_out_until_something_changes(
    job: Job, dubbed: list[DubOptions], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    first = Dubber(DEFAULTS, WEIGHTS).attempt(Task(job, "", replace=False), print)
    assert (first.state, first.size, len(dubbed)) == (DONE, 5, 1)
    weights = WEIGHTS
    if what in {"video", "speech"}:
        flip(getattr(job, what))
    elif what == "weights":
        weights = {**WEIGHTS, "renderer": "ac"}
    elif what == "version":
        monkeypatch.setattr(fingerprints, "__version__", "99")
    second = Dubber(DEFAULTS, weights).attempt(Task(job, first.fingerprint, replace=True), print)
    assert second.state == (SKIPPED if what == "nothing" else DONE)
    assert [options.overwrite for options in dubbed] == [False, True][: len(dubbed)]


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (MediaError("out.mp4: no space"), "out.mp4: no space", 4),
        (ZeroDivisionError("oh"), "a.mp4: unexpected ZeroDivisionError: oh", 1),
    ],
)
def test_failure_is_an_outcome(
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    dubbed: Any,
    error: Exception,
    message: str,
    code: int,
) -> None:
    def fail(*paths: Path, **named: Any) -> None:
        raise error

    monkeypatch.setattr(module, "dub", fail)
    outcome = Dubber(DEFAULTS, WEIGHTS).attempt(Task(job, "", replace=False), print)
    assert (outcome.state, outcome.exit_code) == (FAILED, code)
    assert outcome.message.endswith(message)


def test_networks_are_loaded_once_and_a_damaged_one_is_an_outcome(
    job: Job, dubbed: list[DubOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[DubOptions] = []

    def load(options: DubOptions) -> str:
        loaded.append(options)
        if len(loaded) == 1:
            raise CheckpointError("cut short")
        return "models"

    monkeypatch.setattr(module, "load_models", load)
    dubber = Dubber(DEFAULTS, WEIGHTS)
    attempt: Callable[[], Any] = lambda: dubber.attempt(Task(job, "", replace=True), print)  # noqa: E731
    assert [attempt().state for _ in range(3)] == [FAILED, DONE, DONE]
    assert len(loaded) == 2


def test_input_that_is_gone_is_one_sentence(job: Job, dubbed: list[DubOptions]) -> None:
    job.speech.unlink()
    outcome = Dubber(DEFAULTS, WEIGHTS).attempt(Task(job, "", replace=False), print)
    assert outcome.message == (
        f"{job.speech}: could not be read (No such file or directory); check the file and its disk"
    )
