import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dubcli.cli import app
from dubcli.evaluation.style import StyleFailure, StyleMatrix, StyleSimilarity

SHA = "ab" * 32
FOUND = StyleSimilarity(0.12345, 50, 60, "style-encoder", SHA)
TABLE = StyleMatrix(
    (Path("v/a.mp4"), Path("v/long.mp4")),
    (50, 60),
    np.eye(2, dtype=np.float32),
    np.array([[1, 0.25], [0.25, 1]], dtype=np.float32),
    (StyleFailure(Path("v/c.mp4"), "v/c.mp4: too short"),),
    "style-encoder",
    SHA,
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Replace the measuring by something that notes its arguments."""
    noted: list[tuple[Any, ...]] = []
    measuring, plotting = ModuleType("style"), ModuleType("plot")

    def two(a: Path, b: Path, **_: Any) -> StyleSimilarity:
        noted.append((a, b))
        return FOUND

    def all_pairs(folder: Path, **_: Any) -> StyleMatrix:
        noted.append((folder,))
        return TABLE

    vars(measuring).update(style_sim=two, style_matrix=all_pairs)
    vars(plotting).update(
        check_plot=lambda path, *, overwrite: noted.append(("check", path, overwrite)),
        plot_styles=lambda found, path: noted.append(("plot", path)),
    )
    monkeypatch.setitem(sys.modules, "dubcli.evaluation.style", measuring)
    monkeypatch.setitem(sys.modules, "dubcli.evaluation.style_plot", plotting)
    return noted


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    calls: list[tuple[Any, ...]],
) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dubcli", "style-sim", *arguments])
        with pytest.raises(SystemExit) as leaving:
            app.main()
        assert isinstance(leaving.value.code, int)
        return leaving.value.code, *capsys.readouterr()

    return call


def test_two_videos_give_one_number_with_three_decimals(
    run: Run, calls: list[tuple[Any, ...]]
) -> None:
    assert run("a.mp4", "b.mp4") == (0, "0.123\n", "")
    assert calls == [(Path("a.mp4"), Path("b.mp4"))]


def test_json_has_frames_and_encoder(run: Run) -> None:
    code, out, err = run("a.mp4", "b.mp4", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "similarity": 0.123,
        "frames_a": 50,
        "frames_b": 60,
        "encoder": "style-encoder",
        "sha256": SHA,
    }


def test_folder_gives_a_table_and_says_what_was_left_out(run: Run) -> None:
    assert run("--matrix", "v") == (
        0,
        "                1      2\n"
        "1 a.mp4     1.000  0.250\n"
        "2 long.mp4  0.250  1.000\n"
        "left out: v/c.mp4: too short\n",
        "",
    )


def test_folder_as_json(run: Run) -> None:
    _, out, _ = run("--matrix", "v", "--json")
    assert json.loads(out) == {
        "videos": ["v/a.mp4", "v/long.mp4"],
        "frames": [50, 60],
        "similarity": [[1.0, 0.25], [0.25, 1.0]],
        "failures": [{"video": "v/c.mp4", "reason": "v/c.mp4: too short"}],
        "encoder": "style-encoder",
        "sha256": SHA,
    }


def test_plot_is_checked_before_and_drawn_after(run: Run, calls: list[tuple[Any, ...]]) -> None:
    run("--matrix", "v", "--plot", "s.png", "-y")
    assert calls == [("check", Path("s.png"), True), (Path("v"),), ("plot", Path("s.png"))]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "error: style-sim: give two videos, or --matrix FOLDER\n"),
        (("a.mp4",), "error: style-sim: give two videos, or --matrix FOLDER\n"),
        (
            ("a.mp4", "b.mp4", "--plot", "s.png"),
            "error: --plot: draws all pairs of a folder; give --matrix FOLDER as well\n",
        ),
        (
            ("a.mp4", "--matrix", "v"),
            "error: a.mp4: --matrix compares the videos of its folder; leave a.mp4 out\n",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    run: Run, calls: list[tuple[Any, ...]], arguments: tuple[str, ...], line: str
) -> None:
    assert run(*arguments) == (2, "", line)
    assert calls == []
