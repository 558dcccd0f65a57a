"""What the command line shows: progress and errors on stderr, results on stdout."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from dubcli.checkpoints import ManifestEntry
from dubcli.records import DubReport, Progress

if TYPE_CHECKING:
    from dubcli.training.judge import Validation

NAME_WIDTH = 18  # characters of a report's first column
MEGABYTE = 1_000_000


@contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """Give a callback that draws a bar per stage on stderr; it draws nothing off a terminal.

    Yields:
        What to call with each ``Progress``.
    """
    if not sys.stderr.isatty():  # rich's own is_terminal is True under FORCE_COLOR
        yield _draw_nothing
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(event: Progress) -> None:
            if event.stage not in tasks:
                tasks[event.stage] = bars.add_task(event.stage, total=event.total)
            bars.update(tasks[event.stage], completed=event.done, total=event.total)

        yield draw


def print_report(report: DubReport, *, as_json: bool) -> None:
    """Print what a dub did to stdout.

    Args:
        report: The report.
        as_json: One JSON object with the report's fields, rather than a table.
    """
    if as_json:
        typer.echo(json.dumps(asdict(report), default=str, indent=2))
        return
    print_rows(report_rows(report))


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print a table of names and values to stdout, a line each.

    Args:
        rows: Name and value.
    """
    for name, value in rows:
        typer.echo(f"{name:<{NAME_WIDTH}}{' '.join(value.splitlines())}")


def report_rows(report: DubReport) -> list[tuple[str, str]]:
    """Return the table of a report: a name and a value per line.

    Args:
        report: The report.

    Returns:
        Rows in reading order; a row per stage and per warning.

    Example:
        >>> from pathlib import Path
        >>> report = DubReport(Path("out.mp4"), 50, 40, {"analyze": 1.5, "render": 0.5}, ())
        >>> for row in report_rows(report):
        ...     print(*row, sep=": ")
        output: out.mp4
        frames: 50
        dubbed frames: 40
        analyze: 1.5 s
        render: 0.5 s
        frames a second: 25.0
    """
    total_s = sum(report.seconds.values())
    return [
        ("output", str(report.output)),
        *([("report", str(report.report))] if report.report else []),
        ("frames", str(report.frames)),
        ("dubbed frames", str(report.dubbed_frames)),
        *((stage, f"{seconds:.1f} s") for stage, seconds in report.seconds.items()),
        ("frames a second", f"{report.frames / total_s:.1f}" if total_s > 0 else "-"),
        *(("warning", warning) for warning in report.warnings),
    ]


def print_models(entries: Mapping[str, ManifestEntry]) -> None:
    """Print a line per checkpoint to stdout: name, megabytes, licence, network.

    Args:
        entries: Name -> manifest entry.
    """
    width = max((len(name) for name in entries), default=0)
    for name, entry in entries.items():
        size = f"{entry.bytes / MEGABYTE:.1f} MB"
        typer.echo(f"{name:<{width}}  {size:>9}  {entry.licence:<12}  {entry.network}")


def print_validation(validation: "Validation", *, as_json: bool) -> None:
    """Print what was measured on the split val to stdout.

    Args:
        validation: The figures.
        as_json: One JSON object, rather than two tables.
    """
    if as_json:
        typer.echo(json.dumps(asdict(validation), indent=2))
        return
    typer.echo("set      clips  network                     PSNR dB   SSIM  lips dB")
    for row in validation.renderer:
        typer.echo(
            f"{row.set:<8} {row.clips:5}  {row.network:<27} {row.psnr_db:7.2f}"
            f" {row.ssim:6.3f} {row.lip_psnr_db:8.2f}"
        )
    typer.echo(
        "\nset      clips  network                     correlation  deviation  closures  precision"
        "  other sound  error cm"
    )
    for line in validation.geometry:
        typer.echo(
            f"{line.set:<8} {line.clips:5}  {line.network:<27} {line.correlation:11.3f}"
            f" {line.deviation_ratio:10.2f} {line.closure_recall:9.2f}"
            f" {line.closure_precision:10.2f} {line.correlation_with_other_sound:12.3f}"
            f" {line.vertex_error_cm:9.4f}"
        )


def print_error(message: str) -> None:
    """Print one line to stderr, whatever line breaks the message holds.

    Args:
        message: What went wrong, where, and what to do about it.
    """
    typer.echo(_one_line(message), err=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _draw_nothing(event: Progress) -> None:
    """Take a ``Progress`` and show nothing."""
