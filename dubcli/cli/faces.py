"""``dubcli faces``: who is seen in a video."""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from dubcli.cli import console
from dubcli.cli.options import (
    CacheFolderOption,
    CacheLimitOption,
    FrameRateOption,
    JsonOption,
    ModelsOption,
    OverwriteOption,
    ThreadsOption,
    UseCacheOption,
    VideoArgument,
)
from dubcli.config import DEFAULTS, CacheOptions, DubOptions
from dubcli.records import FacesReport

FacesSheetOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Picture to write, .png.", show_default="none"),
]


def faces(
    video: VideoArgument,
    output: FacesSheetOption = None,
    models: ModelsOption = DEFAULTS.models,
    threads: ThreadsOption = DEFAULTS.threads,
    frame_rate: FrameRateOption = DEFAULTS.frame_rate,
    overwrite: OverwriteOption = DEFAULTS.overwrite,
    cache: UseCacheOption = DEFAULTS.cache.use,
    cache_folder: CacheFolderOption = DEFAULTS.cache.folder,
    cache_limit: CacheLimitOption = DEFAULTS.cache.limit_mb,
    as_json: JsonOption = False,
) -> None:
    """Show who is seen in INPUT, numbered for dub --face.

    What is found out is kept, so that a dub of INPUT need not look for faces again.
    """
    from dubcli.faces import faces as run

    options = DubOptions(
        models=models,
        threads=threads,
        frame_rate=frame_rate,
        overwrite=overwrite,
        cache=CacheOptions(cache, cache_folder, cache_limit),
    )
    with console.progress() as on_progress:
        report = run(video, output, options=options, on_progress=on_progress)
    _print(report, as_json=as_json)


def _print(report: FacesReport, *, as_json: bool) -> None:
    """Print who is seen to stdout."""
    if as_json:
        typer.echo(json.dumps(asdict(report), default=_plain, indent=2))
        return
    from dubcli.faces import lines

    sheet = [] if report.sheet is None else [("sheet", str(report.sheet))]
    console.print_rows(
        [
            *sheet,
            ("frames", str(report.frames)),
            *(("person", line) for line in lines(report.people)),
            *(("warning", warning) for warning in report.warnings),
        ]
    )


def _plain(value: Fraction | Path) -> float | str:
    """Return what JSON has no word for."""
    return float(value) if isinstance(value, Fraction) else str(value)
