"""What the command gives to the API and prints."""

import json
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli import faces as module
from dubcli.cli.app import app
from dubcli.config import CacheOptions, DubOptions
from dubcli.records import FacesReport, SeenPerson

ONE = SeenPerson(
    1, 30, 0.75, 200.5, 190.0, 2, ((Fraction(0), Fraction(1, 2)), (Fraction(1), Fraction(2))), 7,
    Fraction(7, 20),
)  # fmt: skip


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []

    def fake(video: Path, output: Path | None, *, options: DubOptions, on_progress: Any) -> Any:
        made.append((video, output, options))
        return FacesReport(video, output, 40, (ONE,), {"track": 1.0}, ("be careful",))

    assert isinstance(module, ModuleType)
    monkeypatch.setattr(module, "faces", fake)
    return made


def test_people_are_a_line_each(calls: list[Any]) -> None:
    done = CliRunner().invoke(app, ["faces", "in.mp4", "-o", "f.png", "-y", "--no-cache"])
    assert done.exit_code == 0
    assert done.stdout == (
        "sheet             f.png\n"
        "frames            40\n"
        "person            1: 30 frames (75 %), 2 shots, 200 px wide (190 at least), "
        "00:00:00.000-00:00:00.500, 00:00:01.000-00:00:02.000\n"
        "warning           be careful\n"
    )
    options = DubOptions(overwrite=True, cache=CacheOptions(use=False))
    assert calls == [(Path("in.mp4"), Path("f.png"), options)]


def test_json_has_plain_numbers(calls: list[Any]) -> None:
    told = json.loads(CliRunner().invoke(app, ["faces", "in.mp4", "--json"]).stdout)
    assert told["people"][0]["times"] == [[0.0, 0.5], [1.0, 2.0]]
    assert (told["sheet"], told["people"][0]["number"]) == (None, 1)
    assert calls[0][1] is None
