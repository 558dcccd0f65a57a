"""``dubcli preview``: a contact sheet of a dub."""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from dubcli.cli import console
from dubcli.cli.dub_options import OF_THE_FILE, takes_dub_options
from dubcli.cli.options import AlsoOption, JsonOption, SpeechArgument, VideoArgument
from dubcli.config import DEFAULTS, PREVIEW_MOMENTS, DubOptions
from dubcli.line import parse_line
from dubcli.records import PreviewReport
from dubcli.timecode import parse_time

SheetOption = Annotated[Path, typer.Option("--output", "-o", help="Picture to write, .png.")]
AtOption = Annotated[
    list[str] | None,
    typer.Option(help="Time to show: seconds or [[hh:]mm:]ss[.fff]; may be repeated."),
]
CountOption = Annotated[
    int | None,
    typer.Option(
        help="Moments to choose: half the widest mouths, half closures; 1 to 64.",
        show_default=f"{PREVIEW_MOMENTS}, none beside --at",
    ),
]


@takes_dub_options(without=OF_THE_FILE)
def preview(
    video: VideoArgument,
    speech: SpeechArgument,
    output: SheetOption,
    also: AlsoOption = None,
    at: AtOption = None,
    count: CountOption = None,
    options: DubOptions = DEFAULTS,
    as_json: JsonOption = False,
) -> None:
    """Show a few frames of the dub of INPUT with SPEECH, source over dub, in one picture.

    No video is written. The frames are those that dub would encode.
    """
    from dubcli.preview import preview as run

    times = [parse_time(text, "--at") for text in at or ()]
    lines = [parse_line(text) for text in also or ()]
    with console.progress() as on_progress:
        report = run(
            video,
            speech,
            output,
            also=lines,
            at=times,
            count=count,
            options=options,
            on_progress=on_progress,
        )
    _print(report, as_json=as_json)


def _print(report: PreviewReport, *, as_json: bool) -> None:
    """Print what a sheet shows to stdout."""
    if as_json:
        typer.echo(json.dumps(asdict(report), default=_plain, indent=2))
        return
    from dubcli.preview import label_of

    console.print_rows(
        [
            ("output", str(report.output)),
            ("frames of the dub", str(report.frames)),
            *(("tile", label_of(tile)) for tile in report.tiles),
            *((stage, f"{seconds:.1f} s") for stage, seconds in report.seconds.items()),
            *(("warning", warning) for warning in report.warnings),
        ]
    )


def _plain(value: object) -> object:
    """Return what JSON has no type for: fractions as numbers, paths as text."""
    return float(value) if isinstance(value, Fraction) else str(value)
