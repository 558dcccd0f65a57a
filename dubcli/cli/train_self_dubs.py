"""``dubcli train self-dubs``."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dubcli.checkpoints import models_root
from dubcli.cli.options import CacheOption, DataOption, JsonOption, ModelsOption
from dubcli.cli.training_display import training_display
from dubcli.config import DEFAULTS, SELF_DUB_S

if TYPE_CHECKING:
    from dubcli.training.self_dubs import SelfDubRow

BesideOption = Annotated[
    list[Path] | None,
    typer.Option(help="Models folder of another version; may be repeated.", show_default="none"),
]
SecondsOption = Annotated[float, typer.Option(min=1.0, help="How much of each clip is dubbed.")]
MostOption = Annotated[
    int | None,
    typer.Option("--clips", min=1, help="How many clips.", show_default="all that are long enough"),
]
COLUMNS = {  # heading and format of each figure
    "psnr_db": ("PSNR", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "crop_psnr_db": ("crop dB", ".2f"),
    "crop_ssim": ("crop SSIM", ".3f"),
    "st_lpips": ("ST-LPIPS", ".3f"),
    "csim": ("CSIM", ".3f"),
    "lmd": ("LMD", ".2f"),
    "correlation": ("corr.", ".2f"),
    "deviation_ratio": ("dev.", ".2f"),
    "closure_recall": ("closures", ".2f"),
    "sync_confidence": ("LSE-C", ".3f"),
    "style_similarity": ("StyleSim", ".3f"),
    "flicker": ("flicker", ".2f"),
}


def self_dubs(
    data: DataOption,
    cache: CacheOption,
    models: ModelsOption = DEFAULTS.models,
    beside: BesideOption = None,
    seconds: SecondsOption = SELF_DUB_S,
    clips: MostOption = None,
    as_json: JsonOption = False,
) -> None:
    """Dub the val clips with their own sound, and measure that as evaluate does."""
    from dubcli.training.self_dubs import self_dubs as run

    with training_display():
        root = models_root(models)
        rows = run(data, cache, root, beside=beside or (), seconds=seconds, most=clips)
    print_self_dubs(rows, as_json=as_json)


def print_self_dubs(rows: "list[SelfDubRow]", *, as_json: bool) -> None:
    """Print the table to stdout.

    Args:
        rows: Its lines.
        as_json: One JSON list, rather than a table.
    """
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    heading = "".join(f"{title:>{_width(title)}}" for title, _ in COLUMNS.values())
    typer.echo(f"{'version':<22}{'mouth':<16}{'weights':<18}{'clips':>5}{heading}")
    for row in rows:
        values = [
            _cell(getattr(row.figures, each.name), *COLUMNS[each.name])
            for each in fields(row.figures)
        ]
        typer.echo(
            f"{row.version:<22}{row.mouth:<16}{row.weights:<18}{row.clips:5}{''.join(values)}"
        )


def _width(title: str) -> int:
    return max(len(title), 5) + 2


def _cell(value: float | None, title: str, form: str) -> str:
    """Return a figure under its heading."""
    return f"{'-' if value is None else format(value, form):>{_width(title)}}"
