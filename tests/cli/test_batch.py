"""What the command gives to the API, what it prints, and its exit code."""

import inspect
import json
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.batch import plan as planning
from dubcli.batch import run as running
from dubcli.batch import status as standing
from dubcli.batch.records import (
    DONE,
    FAILED,
    QUEUED,
    SKIPPED,
    BatchReport,
    Event,
    Job,
    JobStatus,
    Plan,
)
from dubcli.cli.app import app, main
from dubcli.config import BATCH_DEFAULTS, DEFAULTS, BatchOptions, DubOptions

V, S = Path("v/a.mp4"), Path("s/a.wav")
MADE = Event(
    DONE, "now", size=3, frames=50, dubbed_frames=40, seconds=1.25, warnings=("10 are\nnot",)
)
JOBS = (
    JobStatus(Path("out/a.mp4"), V, S, DONE, MADE),
    JobStatus(Path("out/b.mp4"), V, S, FAILED, message="v/b.mp4: no\nface", exit_code=2),
    JobStatus(Path("out/c.mp4"), V, S, SKIPPED, MADE),
)
REPORT = BatchReport(Path("out"), JOBS, ("v/d.mp4: no speech",))
TABLE = (
    "done        out/a.mp4: 40 of 50 frames dubbed in 1.2 s\n"
    "              warning: 10 are not\n"
    "failed      out/b.mp4: v/b.mp4: no face\n"
    "skipped     out/c.mp4\n"
    "done 1, skipped 1, failed 1\n"
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    plan = Plan(Path("out"), (Job(V, S, Path("out/a.mp4"), DEFAULTS),), DEFAULTS, REPORT.unpaired)

    def fake_plan(*paths: Path | None, **named: Any) -> Plan:
        made.append((paths, named))
        return plan

    def fake_run(given: Plan, *, options: BatchOptions, on_job: Any) -> BatchReport:
        assert given is plan
        made.append(options)
        on_job(replace(JOBS[0], state=QUEUED), None)
        for job in JOBS:
            on_job(job, None)
        return REPORT

    monkeypatch.setattr(planning, "plan_batch", fake_plan)
    monkeypatch.setattr(running, "run_batch", fake_run)
    monkeypatch.setattr(standing, "batch_status", lambda folder: replace(REPORT, folder=folder))
    return made


def test_table_warnings_failures_and_exit_code(calls: list[Any]) -> None:
    done = CliRunner().invoke(app, ["batch", "v", "s", "-o", "out"])
    assert (done.exit_code, done.stdout) == (11, TABLE)
    assert done.stderr == "warning: v/d.mp4: no speech\nerror: v/b.mp4: no face\n"
    (paths, named), options = calls
    assert paths == (Path("v"), Path("s"))
    assert named == {"output": Path("out"), "options": DEFAULTS, "rate": None}
    assert options == BATCH_DEFAULTS


def test_options_reach_the_api(calls: list[Any]) -> None:
    more = ["--workers", "3", "--halt-on-error", "--no-resume", "--crf", "20", "--rate", "25", "-y"]
    more += ["--engine", "ray", "--address", "10.0.0.1:6379", "--report", "html"]
    CliRunner().invoke(app, ["batch", "jobs.csv", *more])
    (paths, named), options = calls
    assert paths == (Path("jobs.csv"), None)
    assert named == {
        "output": None,
        "options": DubOptions(crf=20, overwrite=True),
        "rate": Fraction(25),
    }
    assert options == BatchOptions(3, True, False, "ray", "10.0.0.1:6379", "html")
    refused = CliRunner().invoke(app, ["batch", "jobs.csv", "--report", "pdf"])
    assert str(refused.exception) == "--report is pdf: give one of html, json"


def test_dub_and_batch_take_the_same_options_of_a_dub() -> None:
    commands = {each.name or "dub": each.callback for each in app.registered_commands}
    ours, theirs = (inspect.signature(commands[name]).parameters for name in ("batch", "dub"))
    names = {field.name for field in fields(DubOptions)} | {"cache_folder", "cache_limit"}
    assert names <= set(theirs)
    assert names <= set(ours)


def test_status_is_shown_and_is_no_failure(calls: list[Any]) -> None:
    shown = CliRunner().invoke(app, ["batch", "--status", "out"])
    assert (shown.exit_code, shown.stdout, calls) == (0, TABLE, [])
    printed = json.loads(CliRunner().invoke(app, ["batch", "--status", "out", "--json"]).stdout)
    assert printed["counts"] == {"done": 1, "skipped": 1, "failed": 1}
    assert printed["jobs"][0]["made"]["frames"] == 50


def test_every_error_of_a_list_is_a_line_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("video,speech,output\na.mp4,a.wav,a.avi\n")
    monkeypatch.setattr("sys.argv", ["dubcli", "batch", str(jobs)])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{jobs}: line 2: video: {tmp_path}/a.mp4: there is no such file; check the path",
        f"{jobs}: line 2: speech: {tmp_path}/a.wav: there is no such file; check the path",
        f"{jobs}: line 2: {tmp_path}/a.avi: the output must end in one of .m4v, .mkv, .mov, .mp4",
        f"error: {jobs}: 3 errors; nothing was started",
    ]
