"""What a training shows: a live table on a terminal, a line a minute elsewhere; all on stderr."""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.live import Live
from rich.logging import RichHandler
from rich.progress_bar import ProgressBar
from rich.table import Table

if TYPE_CHECKING:
    from dubcli.training.loop import LoopProgress
    from dubcli.training.packing import PackReport

log = logging.getLogger(__name__)

LINE_S = 60.0  # of training between two lines off a terminal
NAME_WIDTH = 12  # characters of a row's name
REFRESH_HZ = 4
BAR_WIDTH = 50  # characters


@contextmanager
def training_display() -> Iterator["Callable[[LoopProgress], None]"]:
    """Give a callback that shows where a run is, and let the log be read beside it.

    Yields:
        What to call with each ``LoopProgress``.
    """
    if not sys.stderr.isatty():
        with _logging_to(logging.StreamHandler(), "%(asctime)s %(message)s"):
            yield _Lines().show
        return
    console = Console(stderr=True)
    handler = RichHandler(
        console=console, show_path=False, show_level=False, highlighter=NullHighlighter()
    )
    with (
        _logging_to(handler, "%(message)s"),
        Live(console=console, refresh_per_second=REFRESH_HZ) as live,
    ):
        yield lambda progress: live.update(training_table(progress))


class _Lines:
    """Logs where a run is, once a minute of training; judgements are logged by the loop."""

    def __init__(self) -> None:
        self._last_s: float | None = None

    def show(self, progress: "LoopProgress") -> None:
        """Log a line if the last one is old."""
        if self._last_s is None or progress.seconds < self._last_s:  # the next run
            self._last_s = progress.seconds
        if progress.seconds - self._last_s < LINE_S:
            return
        self._last_s = progress.seconds
        parts = [f"step {progress.step}", _time_text(progress), *_texts(progress.losses)]
        log.info("%s", ", ".join(parts))


def training_table(progress: "LoopProgress") -> Table:
    """Return where a run is, to be drawn: a bar, then a row per kind of figure."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", min_width=NAME_WIDTH)
    table.add_column()
    table.add_row("done", ProgressBar(total=1.0, completed=progress.spent, width=BAR_WIDTH))
    for name, text in training_rows(progress):
        table.add_row(name, text)
    return table


def training_rows(progress: "LoopProgress") -> list[tuple[str, str]]:
    """Return the rows of the table: a name and its text."""
    rows = [
        ("step", f"{progress.step}"),
        ("time", _time_text(progress)),
        ("rate", f"{progress.rate:.2g}"),
        ("losses", "   ".join(_texts(progress.losses)) or "-"),
        ("validation", "   ".join(_texts(progress.figures)) or "not yet"),
    ]
    if progress.best_step:
        rows.append(("best", f"{progress.best:.4g} at step {progress.best_step}"))
    return rows


def print_pack(report: "PackReport", *, as_json: bool) -> None:
    """Print what was packed to stdout: one JSON object, or a table."""
    if as_json:
        typer.echo(json.dumps(asdict(report), default=str, indent=2))
        return
    rows = [
        ("pack", str(report.folder)),
        ("clips", str(report.clips)),
        ("files", f"{report.shards}, the largest {report.largest_shard_megabytes:.1f} MB"),
        ("together", f"{report.megabytes:.1f} MB"),
    ]
    if report.psnr_db is not None:
        rows.append(("pictures", f"{report.pictures}, {report.psnr_db:.1f} dB beside the cache"))
    for name, text in rows:
        typer.echo(f"{name:<{NAME_WIDTH}}{text}")


def _time_text(progress: "LoopProgress") -> str:
    """Return how much time is spent and how much is left."""
    left = progress.seconds_left
    text = f"{progress.seconds / 60:.1f} min"
    return text if left is None else f"{text}, {left / 60:.1f} min left"


def _texts(figures: Mapping[str, float]) -> list[str]:
    """Return figures with their names."""
    return [f"{name} {value:.4g}" for name, value in figures.items()]


@contextmanager
def _logging_to(handler: logging.Handler, form: str) -> Iterator[None]:
    """Send dubcli's log to a handler for a while."""
    handler.setFormatter(logging.Formatter(form))
    logger = logging.getLogger("dubcli")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
