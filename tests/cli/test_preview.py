"""What the command gives to the API, and what it prints."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli import preview as module
from dubcli.cli.app import app
from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.line import Line
from dubcli.records import PreviewReport, PreviewTile

TILE = PreviewTile(Fraction(35, 24), 35, "open", 1.234, True)
REPORT = PreviewReport(Path("s.png"), 50, (TILE,), {"track": 1.5}, ("short\nspeech",))
COMMAND = ["preview", "in.mp4", "speech.wav", "-o", "s.png"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def fake(*paths: Path, **named: Any) -> PreviewReport:
        made.append({"paths": paths, **named})
        return REPORT

    monkeypatch.setattr(module, "preview", fake)
    return made


def test_times_count_and_options_reach_the_api(calls: list[dict[str, Any]]) -> None:
    more = ["--at", "00:00:01.5", "--at", "2", "--count", "4", "--mouth-scale", "0.5", "-y"]
    more += ["--also", "2=b.wav@1"]
    assert CliRunner().invoke(app, [*COMMAND, *more]).exit_code == 0
    assert CliRunner().invoke(app, COMMAND).exit_code == 0
    chosen, plain = calls
    assert chosen["paths"] == (Path("in.mp4"), Path("speech.wav"), Path("s.png"))
    assert chosen["at"] == [Fraction(3, 2), Fraction(2)]
    assert (chosen["count"], chosen["also"]) == (4, [Line(Path("b.wav"), "2", at="1")])
    assert chosen["options"] == DubOptions(mouth_scale=0.5, overwrite=True)
    assert (plain["at"], plain["count"], plain["options"]) == ([], None, DubOptions())
    assert plain["also"] == []


def test_table_names_each_tile(calls: list[dict[str, Any]]) -> None:
    assert CliRunner().invoke(app, COMMAND).stdout.splitlines() == [
        "output            s.png",
        "frames of the dub 50",
        "tile              00:00:01.459  open  12 mm",
        "track             1.5 s",
        "warning           short speech",
    ]


def test_json_is_the_report(calls: list[dict[str, Any]]) -> None:
    printed = json.loads(CliRunner().invoke(app, [*COMMAND, "--json"]).stdout)
    assert printed["output"] == "s.png"
    (tile,) = printed["tiles"]
    assert tile.pop("time_s") == pytest.approx(35 / 24)
    assert tile == {"frame": 35, "kind": "open", "opening_cm": 1.234, "dubbed": True}


def test_what_is_no_time_is_refused_before_anything_is_done(calls: list[dict[str, Any]]) -> None:
    done = CliRunner().invoke(app, [*COMMAND, "--at", "soon"])
    assert isinstance(done.exception, InputError)
    assert calls == []
