"""Batches: with stand-ins for the work where only the order matters, and for real."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from dubcli.batch import run as module
from dubcli.batch.plan import plan_batch
from dubcli.batch.records import DONE, FAILED, QUEUED, SKIPPED, STARTED, BatchReport, Plan
from dubcli.batch.run import run_batch
from dubcli.batch.status import STATUS_FILE, batch_status, read_events
from dubcli.batch.worker import Outcome
from dubcli.config import BatchOptions, DubOptions
from dubcli.errors import CheckpointError, CollectedInputError
from dubcli.media.excerpt import cut_speech, scale_clip
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.media.writer import partial_path
from dubcli.records import DubReport, Progress

ROOT = Path(__file__).parents[2]
OPTIONS = DubOptions(threads=1, models=ROOT / "models", preset="ultrafast", device="cpu")
Answer = Callable[[Any, Connection], Outcome | None]


class ThreadProcess:
    """What a worker process is to a batch, in a thread: it answers each task."""

    exitcode = -9

    def __init__(self, link: Connection, answer: Answer) -> None:
        self._link, self._answer, self.terminated = link, answer, False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _work(self) -> None:
        with self._link, suppress(EOFError, ConnectionError):
            while said := self._answer(self._link.recv(), self._link):
                self._link.send(said)

    def terminate(self) -> None:
        self.terminated = True

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def is_alive(self) -> bool:
        return False


class Threads:
    """A context of multiprocessing whose processes are threads."""

    def __init__(self) -> None:
        self.started: list[ThreadProcess] = []
        self.options: list[DubOptions] = []  # of each
        self.tasks: list[Any] = []
        self.answers: dict[str, Answer] = {}

    def Pipe(self) -> tuple[Connection, Connection]:  # noqa: N802
        ours, theirs = Pipe()
        return ours, Connection(os.dup(theirs.fileno()))

    def Process(self, *, args: tuple[Any, ...], **_: Any) -> ThreadProcess:  # noqa: N802
        kept = Connection(os.dup(args[0].fileno()))  # the batch closes its own
        self.started.append(ThreadProcess(kept, self._answer))
        self.options.append(args[2])
        return self.started[-1]

    def _answer(self, task: Any, link: Connection) -> Outcome | None:
        self.tasks.append(task)
        return self.answers.get(task.job.output.name, made)(task, link)


def made(task: Any, link: Connection) -> Outcome:
    link.send(Progress("render", 1, 2))
    if task.fingerprint == "same":
        return Outcome(SKIPPED)
    task.job.output.write_bytes(b"made")
    return Outcome(DONE, "same", 4, 1.0, DubReport(task.job.output, 2, 2, {}, ("note",)))


def failed(task: Any, link: Connection) -> Outcome:
    return Outcome(FAILED, message="b.mp4: broken", exit_code=2)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    context = Threads()
    monkeypatch.setattr(module, "get_context", lambda kind: context)
    monkeypatch.setattr(module, "verified_checkpoints", lambda options: {})
    return context


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    for kind, ending in (("videos", "mp4"), ("speech", "wav")):
        (tmp_path / kind).mkdir()
        for name in "abc":
            (tmp_path / kind / f"{name}.{ending}").write_bytes(b"x")
    folders = tmp_path / "videos", tmp_path / "speech"
    return plan_batch(*folders, output=tmp_path / "out", options=OPTIONS)


def states(report: BatchReport) -> list[str]:
    return [job.state for job in report.jobs]


def test_failure_is_recorded_and_the_others_go_on(plan: Plan, threads: Threads) -> None:
    threads.answers = {"b.mp4": failed}
    told: list[tuple[str, str | None]] = []
    report = run_batch(
        plan, on_job=lambda job, progress: told.append((job.state, progress and progress.stage))
    )
    assert states(report) == [DONE, FAILED, DONE]
    assert (report.jobs[1].message, report.jobs[1].exit_code) == ("b.mp4: broken", 2)
    assert states(batch_status(plan.folder)) == [DONE, FAILED, DONE]
    assert told[:6] == [(QUEUED, None)] * 3 + [(STARTED, None), (STARTED, "render"), (DONE, None)]
    assert len(threads.started) == 1


def test_second_run_does_what_is_not_done_and_no_resume_does_all(
    plan: Plan, threads: Threads
) -> None:
    threads.answers = {"b.mp4": failed}
    run_batch(plan)
    threads.answers = {}
    assert states(run_batch(plan)) == [SKIPPED, DONE, SKIPPED]
    again = run_batch(plan, options=BatchOptions(resume=False))
    assert states(again) == [DONE] * 3


def test_halt_on_error_starts_nothing_more(plan: Plan, threads: Threads) -> None:
    threads.answers = {"b.mp4": failed}
    assert states(run_batch(plan, options=BatchOptions(halt_on_error=True))) == [
        DONE,
        FAILED,
        QUEUED,
    ]
    assert [task.job.output.name for task in threads.tasks] == ["a.mp4", "b.mp4"]


def test_worker_that_dies_fails_its_job_and_another_goes_on(plan: Plan, threads: Threads) -> None:
    threads.answers = {"a.mp4": lambda task, link: None}
    report = run_batch(plan)
    assert states(report) == [FAILED, DONE, DONE]
    assert "ended in the middle of it (signal 9)" in report.jobs[0].message
    assert len(threads.started) == 2


def test_workers_share_the_jobs(plan: Plan, threads: Threads) -> None:
    both = threading.Barrier(2, timeout=20)

    def together(task: Any, link: Connection) -> Outcome:
        both.wait()  # breaks unless two jobs are at work at once
        return made(task, link)

    threads.answers = {"a.mp4": together, "b.mp4": together}
    assert states(run_batch(plan, options=BatchOptions(workers=2))) == [DONE] * 3
    assert len(threads.started) == 2


@pytest.mark.parametrize(("workers", "expected"), [(None, "01"), (1, "0"), (3, "010")])
def test_each_gpu_has_a_worker_and_more_workers_share_them(
    plan: Plan,
    threads: Threads,
    monkeypatch: pytest.MonkeyPatch,
    workers: int | None,
    expected: str,
) -> None:
    monkeypatch.setattr(module, "worker_devices", lambda name: ("cuda:0", "cuda:1"))
    together = threading.Barrier(len(expected), timeout=20)

    def wait(task: Any, link: Connection) -> Outcome:
        if len(threads.tasks) <= len(expected):
            together.wait()
        return made(task, link)

    threads.answers = dict.fromkeys(("a.mp4", "b.mp4", "c.mp4"), wait)
    assert states(run_batch(plan, options=BatchOptions(workers=workers))) == [DONE] * 3
    assert [each.device for each in threads.options] == [f"cuda:{n}" for n in expected]


def test_resume_is_told_to_the_worker(plan: Plan, threads: Threads) -> None:
    for resume in (True, False):
        run_batch(plan, options=BatchOptions(resume=resume))
        assert [task.resume for task in threads.tasks] == [resume] * 3
        threads.tasks.clear()


def test_report_is_told_to_the_worker_and_replaces_only_what_a_batch_wrote(
    plan: Plan, threads: Threads
) -> None:
    plan.folder.mkdir()
    foreign = plan.folder / "b.mp4.html"
    foreign.write_text("kept")
    with pytest.raises(CollectedInputError) as caught:
        run_batch(plan, options=BatchOptions(report="html"))
    assert caught.value.sentences == (
        f"{foreign}: exists already and no batch wrote it; move it away or --overwrite",
    )
    foreign.unlink()
    half = [plan.folder / f".a.mp4.partial.{end}" for end in ("html", "clip.mp4")]
    for path in half:
        path.write_text("half")
    for again in (False, True):
        run_batch(plan, options=BatchOptions(report="html"))
        pages = [plan.folder / f"{name}.mp4.html" for name in "abc"]
        assert [task.report for task in threads.tasks] == pages
        assert [task.replace for task in threads.tasks] == [again] * 3
        threads.tasks.clear()
        pages[0].write_text("made")
    assert not any(path.exists() for path in half)
    run_batch(plan)
    assert [task.report for task in threads.tasks] == [None] * 3


def test_files_that_no_batch_wrote_are_refused_before_anything_starts(
    plan: Plan, threads: Threads
) -> None:
    run_batch(replace(plan, jobs=plan.jobs[:1]))
    plan.jobs[0].output.write_bytes(b"edited by hand")
    plan.jobs[2].output.write_bytes(b"kept")
    threads.tasks.clear()
    with pytest.raises(CollectedInputError) as caught:
        run_batch(plan)
    first, third = caught.value.sentences
    assert first.startswith(f"{plan.jobs[0].output}: is not as the batch left it")
    assert third.startswith(f"{plan.jobs[2].output}: exists already and no batch wrote it")
    assert threads.tasks == []
    assert plan.jobs[2].output.read_bytes() == b"kept"
    allowed = [replace(job, options=replace(job.options, overwrite=True)) for job in plan.jobs]
    assert states(run_batch(replace(plan, jobs=tuple(allowed)))) == [DONE] * 3


def test_interrupt_ends_the_worker_and_the_next_run_may_replace_what_it_began(
    plan: Plan, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAVE_S", 0.2)  # a thread cannot be terminated

    def interrupt(job: Any, progress: Progress | None) -> None:
        if progress is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(plan, on_job=interrupt)
    assert threads.started[0].terminated
    assert states(batch_status(plan.folder)) == ["interrupted", QUEUED, QUEUED]
    plan.jobs[0].output.write_bytes(b"renamed, and not written down")
    half = partial_path(plan.jobs[0].output)
    half.write_bytes(b"half")
    assert states(run_batch(plan)) == [DONE] * 3
    assert not half.exists()


def test_weights_cut_short_stop_the_batch_before_it_starts(plan: Plan, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models", models)
    (basis,) = (models / "basis").glob("*.safetensors")
    basis.write_bytes(basis.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="basis"):
        run_batch(replace(plan, options=replace(OPTIONS, models=models)))
    assert not plan.folder.exists()


# For real: small clips, real networks, real processes.


def clip(folder: Path, name: str, frames: int) -> None:
    for kind in ("videos", "speech"):
        (folder / kind).mkdir(exist_ok=True)
    info = probe_video(ROOT / "tests/media_files/carphone.mp4")
    speech = probe_audio(ROOT / "examples/media/speech.wav")
    cut = cut_speech(speech, frames / info.frame_rate, folder / "speech" / f"{name}.wav")
    scale_clip(info, 144, frames, speech=cut, target=folder / "videos" / f"{name}.mp4")


def frame_hashes(video: Path) -> list[str]:
    with FrameReader(probe_video(video)) as reader:
        return [hashlib.sha256(frame.rgb.tobytes()).hexdigest() for frame in reader]


def command(folder: Path, out: str) -> list[str]:
    folders = [str(folder / "videos"), str(folder / "speech"), "-o", str(folder / out)]
    options = ["--threads", "1", "--preset", "ultrafast", "--models", str(ROOT / "models")]
    return [sys.executable, "-m", "dubcli", "batch", *folders, *options]


def test_broken_file_in_the_middle_does_not_stop_real_dubs(tmp_path: Path) -> None:
    clip(tmp_path, "a", 6)
    clip(tmp_path, "c", 6)
    (tmp_path / "videos/b.mp4").write_bytes(b"no video")
    (tmp_path / "speech/b.wav").write_bytes(b"no sound")
    asked = [*command(tmp_path, "out"), "--report", "json"]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 11, done.stderr
    assert done.stderr.startswith(f"error: {tmp_path}/videos/b.mp4: not a video or sound file")
    assert done.stdout.splitlines()[-1] == "done 2, failed 1"
    assert len(frame_hashes(tmp_path / "out/a.mp4")) == 6
    whole = {f"{name}.mp4{end}" for name in "ac" for end in ("", ".json")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == whole | {STATUS_FILE}
    noted = json.loads((tmp_path / "out/c.mp4.json").read_text())
    assert (noted["output"], noted["frames"]) == (str(tmp_path / "out/c.mp4"), 6)


def started(folder: Path) -> Iterator[str]:
    return (event.output for event in read_events(folder) if event.event == STARTED)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_batch_killed_at_a_random_moment_goes_on_to_the_same_outputs(tmp_path: Path) -> None:
    clip(tmp_path, "a", 8)
    clip(tmp_path, "b", 6)
    begin = time.monotonic()
    subprocess.run(command(tmp_path, "whole"), check=True, capture_output=True, cwd=ROOT)
    whole_s = time.monotonic() - begin
    expected = {name: frame_hashes(tmp_path / "whole" / f"{name}.mp4") for name in "ab"}

    out = tmp_path / "out"
    running = subprocess.Popen(command(tmp_path, "out"), stdout=subprocess.DEVNULL, cwd=ROOT)
    while not any(started(out)):
        assert running.poll() is None
        time.sleep(0.01)
    moment = random.SystemRandom().uniform(0, 0.8 * whole_s)
    time.sleep(moment)
    running.send_signal(signal.SIGKILL)
    running.wait()
    for path in out.glob("[!.]*.mp4"):  # under a final name there are whole files only
        assert frame_hashes(path) == expected[path.stem], f"killed after {moment:.2f} s"

    subprocess.run(command(tmp_path, "out"), check=True, capture_output=True, cwd=ROOT)
    for name, hashes in expected.items():
        assert frame_hashes(out / f"{name}.mp4") == hashes, f"killed after {moment:.2f} s"
    assert {path.name for path in out.iterdir()} == {"a.mp4", "b.mp4", STATUS_FILE}
