"""``dubcli cache``: the analyses that were kept, and removing them."""

import json
import time
from typing import Annotated

import typer

from dubcli.cache import DAY_S, MEGABYTE, Entry, cache_folder, clear, entries
from dubcli.cli.options import CacheFolderOption
from dubcli.config import DEFAULTS

HOUR_S, MINUTE_S = 3600, 60

cache_app = typer.Typer(help="Analyses kept from earlier runs.", no_args_is_help=True)
JsonEntriesOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OlderThanOption = Annotated[
    float, typer.Option(metavar="DAYS", min=0, help="Only what was not used for so many days.")
]


@cache_app.command("ls")
def list_entries(
    folder: CacheFolderOption = DEFAULTS.cache.folder, as_json: JsonEntriesOption = False
) -> None:
    """List the kept analyses, the last used first: size, frames, age, video as last named."""
    found = entries(cache_folder(folder))
    now = time.time()
    if as_json:
        rows = [
            {
                "file": str(entry.file),
                "video": entry.video,
                "frames": entry.frames,
                "bytes": entry.bytes,
                "unused_s": round(now - entry.used),
            }
            for entry in found
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for entry in found:
        typer.echo(entry_line(entry, now))
    size = sum(entry.bytes for entry in found) / MEGABYTE
    typer.echo(f"{len(found)} kept, {size:.1f} MB")


@cache_app.command("clear")
def clear_entries(
    folder: CacheFolderOption = DEFAULTS.cache.folder, older_than: OlderThanOption = 0.0
) -> None:
    """Remove the kept analyses."""
    removed = clear(cache_folder(folder), older_than)
    typer.echo(f"{removed.entries} removed, {removed.bytes / MEGABYTE:.1f} MB")


@cache_app.command("path")
def print_path(folder: CacheFolderOption = DEFAULTS.cache.folder) -> None:
    """Print where they are kept."""
    typer.echo(cache_folder(folder))


def entry_line(entry: Entry, now: float) -> str:
    """Return an entry's line of the table.

    Example:
        >>> from pathlib import Path
        >>> entry_line(Entry(Path("kept"), "talk.mp4", 250, 92_000, 0.0), 7200.0)
        '    0.09 MB      250 frames     2 h  talk.mp4'
    """
    name = "(damaged)" if entry.video is None else entry.video
    size = f"{entry.bytes / MEGABYTE:.2f} MB"
    return f"{size:>11} {entry.frames:>8} frames  {age_text(now - entry.used):>6}  {name}"


def age_text(seconds: float) -> str:
    """Return an age in its largest unit.

    Example:
        >>> [age_text(seconds) for seconds in (-1.0, 59.0, 60.0, 7199.0, 200000.0)]
        ['0 min', '0 min', '1 min', '1 h', '2 d']
    """
    if seconds >= DAY_S:
        return f"{seconds // DAY_S:.0f} d"
    if seconds >= HOUR_S:
        return f"{seconds // HOUR_S:.0f} h"
    return f"{max(0.0, seconds) // MINUTE_S:.0f} min"
