import io
import logging
import math
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from dubcli.cli.training_display import training_display, training_rows, training_table
from dubcli.training.loop import LoopProgress

PROGRESS = LoopProgress(
    step=1200,
    seconds=600.0,
    spent=0.25,
    rate=9.3e-4,
    losses={"image": 0.04561, "warp": 0.02},
    figures={"psnr": 27.123},
    best=27.5,
    best_step=900,
    judged=False,
)


def test_rows_say_where_the_run_is() -> None:
    assert training_rows(PROGRESS) == [
        ("step", "1200"),
        ("time", "10.0 min, 30.0 min left"),
        ("rate", "0.00093"),
        ("losses", "image 0.04561   warp 0.02"),
        ("validation", "psnr 27.12"),
        ("best", "27.5 at step 900"),
    ]
    early = replace(
        PROGRESS, spent=0.0, seconds=0.0, losses={}, figures={}, best=-math.inf, best_step=0
    )
    assert training_rows(early)[1:] == [
        ("time", "0.0 min"),
        ("rate", "0.00093"),
        ("losses", "-"),
        ("validation", "not yet"),
    ]


def test_table_fits_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    console.print(training_table(PROGRESS))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 7  # the bar and six rows


def test_off_a_terminal_the_log_gets_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    with training_display() as observer:
        for seconds in range(0, 200, 5):
            observer(replace(PROGRESS, seconds=float(seconds), step=seconds))
        logging.getLogger("dubcli.training.loop").info("step 9, image 0.5 (best)")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "step 60, 1.0 min, 3.0 min left, image 0.04561, warp 0.02",
        "step 120, 2.0 min, 6.0 min left, image 0.04561, warp 0.02",
        "step 180, 3.0 min, 9.0 min left, image 0.04561, warp 0.02",
        "step 9, image 0.5 (best)",
    ]
    assert logging.getLogger("dubcli").handlers == []


def test_the_next_run_gets_its_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    with training_display() as observer:
        for step, seconds in enumerate((500.0, 565.0, 0.0, 65.0)):
            observer(replace(PROGRESS, seconds=seconds, step=step))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" step ")[1].split(",")[0] for line in lines] == ["1", "3"]


def test_on_a_terminal_table_and_log_are_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with training_display() as observer:
        observer(PROGRESS)
        logging.getLogger("dubcli.training").info("resumed at step 900")
    shown = capsys.readouterr().err
    assert "27.5 at step 900" in shown
    assert "resumed at step 900" in shown
