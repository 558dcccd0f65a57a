"""What the command gives to the API, and what it prints."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli import bench as module
from dubcli.bench import Benchmark, Machine, Size, Timing
from dubcli.cli.app import app
from dubcli.config import BENCH_HEIGHTS, BENCH_SECONDS, DubOptions
from dubcli.errors import InputError

COLD = Timing(4.0, 3.0, {"import": 1.5, "render": 2.5})
WARM = Timing(2.0, 6.0, {"render": 2.0})
SIZES = (
    Size(320, 256, 12, 12, COLD, WARM, 0.25, 0.5, 800.4, None),
    Size(1350, 1080, 12, 12, COLD, WARM, 0.25, 0.5, None, None),
)
MACHINE = Machine("Linux", 2, 1, "3.11.7", "2.13.0", "cpu", 0.25)
RESULT = Benchmark(Path("a.mp4"), Path("b.wav"), 288, 0.5, MACHINE, SIZES)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def fake(*paths: Path | None, **named: Any) -> Benchmark:
        made.append({"paths": paths, **named})
        return RESULT

    monkeypatch.setattr(module, "bench", fake)
    return made


def test_files_and_options_reach_the_api(calls: list[dict[str, Any]]) -> None:
    more = ["a.mp4", "b.wav", "--heights", "256, 720", "--seconds", "0.5", "--threads", "2"]
    assert CliRunner().invoke(app, ["bench", *more]).exit_code == 0
    assert CliRunner().invoke(app, ["bench"]).exit_code == 0
    given, plain = calls
    assert given["paths"] == (Path("a.mp4"), Path("b.wav"))
    assert (given["heights"], given["seconds"]) == ([256, 720], Fraction(1, 2))
    assert given["options"] == DubOptions(threads=2)
    assert plain["paths"] == (None, None)
    assert (plain["heights"], plain["seconds"]) == (list(BENCH_HEIGHTS), BENCH_SECONDS)


def test_table_has_a_column_for_each_size(calls: list[dict[str, Any]]) -> None:
    lines = CliRunner().invoke(app, ["bench"]).stdout.splitlines()
    assert lines[:5] == [
        "clip              a.mp4, 0.50 s, 288 lines",
        "speech            b.wav",
        "machine           2 cores, Linux, load 0.25 before",
        "software          python 3.11.7, torch 2.13.0",
        "networks on       cpu, 1 threads",
    ]
    assert [line.split() for line in lines[5:]] == [
        ["size", "320x256", "1350x1080"],
        ["frames", "12", "12"],
        ["cold", "import", "s", "1.50", "1.50"],
        ["cold", "render", "s", "2.50", "2.50"],
        ["cold", "all", "s", "4.00", "4.00"],
        ["cold", "frames/s", "3.00", "3.00"],
        ["warm", "render", "s", "2.00", "2.00"],
        ["warm", "all", "s", "2.00", "2.00"],
        ["warm", "frames/s", "6.00", "6.00"],
        ["decoding", "alone", "s", "0.25", "0.25"],
        ["with", "encoding", "s", "0.50", "0.50"],
        ["peak", "MiB", "800", "-"],
    ]
    assert len({len(line) for line in lines[5:]}) == 1


def test_json_is_everything(calls: list[dict[str, Any]]) -> None:
    printed = json.loads(CliRunner().invoke(app, ["bench", "--json"]).stdout)
    assert (printed["video"], printed["machine"]["cores"]) == ("a.mp4", 2)
    assert [size["height"] for size in printed["sizes"]] == [256, 1080]
    assert printed["sizes"][0]["warm"] == {
        "total_s": 2.0,
        "frames_per_s": 6.0,
        "seconds": {"render": 2.0},
    }


@pytest.mark.parametrize("heights", ["", "256,", "tall", "-256", "2.5"])
def test_heights_that_are_no_whole_numbers_are_refused(
    calls: list[dict[str, Any]], heights: str
) -> None:
    done = CliRunner().invoke(app, ["bench", "--heights", heights])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith(f"--heights {heights}: give whole numbers")
    assert calls == []
