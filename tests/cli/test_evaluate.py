"""``dubcli evaluate``: what is asked for, what is printed where, and the exit code."""

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dubcli.cli import app
from dubcli.config import EVALUATION_DEFAULTS, EvaluationOptions
from dubcli.errors import DubError, MediaError
from dubcli.evaluation import batch
from dubcli.evaluation import evaluate as module
from dubcli.evaluation.records import Evaluation, Row

ROWS = (
    Row("PSNR", "frame", float("inf"), float("inf"), "dB", "higher", "on one frame in 5"),
    Row("CPBD", "face", 0.00123, 0.25, "", "higher", "on one frame in 5"),
    Row("flicker", "lower", 2.5, 3.0, "grey levels", "real"),
    Row("CSIM", "face", None, None, "", "higher", "not installed: " + 20 * "long " + "reason"),
)
WARNING = "clip.mp4 has 50 frames, real.mp4 40: " + 20 * "so " + "on"
TABLE = """\
video       dub.mp4
reference   real.mp4
frames      40

                          region       value      real  unit         better   note
PSNR                      frame          inf       inf  dB           higher      1
CPBD                      face       0.00123     0.250               higher      1
flicker                   lower        2.500     3.000  grey levels  as real
CSIM                      face             -         -               higher      2

note 1      on one frame in 5
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@dataclass
class Calls:
    """What the command asked for."""

    pairs: list[tuple[Path, Path | None]] = field(default_factory=list)
    options: list[EvaluationOptions] = field(default_factory=list)
    speech: list[Path | None] = field(default_factory=list)


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["dubcli", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            app.main()
        code = leaving.value.code
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    monkeypatch.delenv("DUBCLI_DEBUG", raising=False)
    return call


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Replace measuring; a video called broken.mp4 cannot be measured."""
    seen = Calls()

    def fake(video: Path, reference: Path | None, **given: Any) -> Evaluation:
        seen.pairs.append((video, reference))
        seen.options.append(given["options"])
        seen.speech.append(given["speech"])
        if video.name == "broken.mp4":
            error: DubError = MediaError(f"{video}: damaged")
            raise error
        return Evaluation(video, reference, 40, ROWS, (WARNING,))

    monkeypatch.setattr(batch, "evaluate", fake)
    monkeypatch.setattr(module, "load_models", lambda options: None)
    return seen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "broken.mp4", "c.mp4"):
        (tmp_path / name).touch()
    return tmp_path


def test_the_table_has_values_and_the_real_ones_beside_them(run: Run, calls: Calls) -> None:
    outcome = run("dub.mp4", "--reference", "real.mp4")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(TABLE)
    assert calls.pairs == [(Path("dub.mp4"), Path("real.mp4"))]
    assert calls.options == [EVALUATION_DEFAULTS]


def test_the_table_fits_in_100_columns_and_loses_no_word(run: Run, calls: Calls) -> None:
    out = run("dub.mp4").out
    assert max(len(line) for line in out.splitlines()) <= 100
    words = " ".join(out.split())
    assert f"note 2 {ROWS[3].note} warning {WARNING}" in words


def test_options_reach_the_evaluation(run: Run, calls: Calls) -> None:
    given = ["--every", 1, "--leak-test", "--leak-seconds", 2, "--device", "cpu", "--threads", 3]
    run("dub.mp4", "--speech", "other.wav", "--models", "m", *given)
    assert calls.speech == [Path("other.wav")]
    assert calls.options == [
        EvaluationOptions(
            device="cpu", models=Path("m"), threads=3, every=1, leak_test=True, leak_seconds=2
        )
    ]


def test_json_of_one_video_is_one_object(run: Run, calls: Calls) -> None:
    outcome = run("dub.mp4", "--json")
    read = json.loads(outcome.out, parse_constant=pytest.fail)  # nothing but plain JSON
    assert (read["video"], read["reference"], read["frames"]) == ("dub.mp4", None, 40)
    assert read["rows"][0] == {
        "metric": "PSNR",
        "region": "frame",
        "value": "inf",
        "real": "inf",
        "unit": "dB",
        "better": "higher",
        "note": "on one frame in 5",
    }
    assert read["warnings"] == [WARNING]


def test_json_of_a_folder_has_means_and_failures(run: Run, calls: Calls, folder: Path) -> None:
    outcome = run(folder, "--json")
    read = json.loads(outcome.out)
    assert [Path(each["video"]).name for each in read["evaluations"]] == ["a.mp4", "c.mp4"]
    assert read["means"][2]["value"] == 2.5
    assert read["failures"] == [
        {
            "video": str(folder / "broken.mp4"),
            "message": f"{folder / 'broken.mp4'}: damaged",
            "exit_code": 4,
        }
    ]
    assert outcome.code == 4


def test_a_failure_is_a_line_and_the_others_go_on(run: Run, calls: Calls, folder: Path) -> None:
    outcome = run(folder)
    assert outcome.err == f"error: {folder / 'broken.mp4'}: damaged\n"
    assert outcome.code == 4
    assert outcome.out.count("\nframes      40\n") == 2
    assert "mean of     2 videos" in outcome.out


def test_a_single_failure_prints_nothing_on_stdout(run: Run, calls: Calls, folder: Path) -> None:
    for more in ([], ["--json"], ["--csv"]):
        outcome = run(folder / "broken.mp4", *more)
        assert (outcome.code, outcome.out) == (4, "")


def test_csv_has_one_heading_and_a_line_a_row(run: Run, calls: Calls, folder: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(run(folder, "--csv").out)))
    assert len(lines) == 2 * len(ROWS)
    assert lines[1] == {
        "video": str(folder / "a.mp4"),
        "reference": "",
        "metric": "CPBD",
        "region": "face",
        "value": "0.00123",
        "real": "0.25",
        "unit": "",
        "better": "higher",
        "note": "on one frame in 5",
    }
    assert float(lines[0]["value"]) == float("inf")
    assert lines[3]["value"] == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("dub.mp4", "--json", "--csv"), "error: --json and --csv: give one of them\n"),
        (("dub.mp4", "--every", "0"), "error: --every is 0: give a value from 1 to 1000\n"),
        (
            ("dub.mp4", "--leak-seconds", "nan"),
            "error: --leak-seconds is nan: give a value from 0.5 to 60.0\n",
        ),
    ],
)
def test_options_that_cannot_work_are_refused_in_a_line(
    run: Run, calls: Calls, arguments: tuple[str, ...], line: str
) -> None:
    assert run(*arguments) == Outcome(2, "", line)
    assert calls.pairs == []
