"""``dubcli train swaps``."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from dubcli.checkpoints import models_root
from dubcli.cli.options import CacheOption, DataOption, JsonOption, ModelsOption, SwapSheetOption
from dubcli.cli.training_display import training_display
from dubcli.config import DEFAULTS

if TYPE_CHECKING:
    from dubcli.training.swaps import SwapFigures


def swaps(
    data: DataOption,
    cache: CacheOption,
    output: SwapSheetOption,
    models: ModelsOption = DEFAULTS.models,
    as_json: JsonOption = False,
) -> None:
    """Draw closed mouths over open ones, and back, for all val clips, and measure them."""
    from dubcli.training.swaps import summary
    from dubcli.training.swaps import swaps as run

    with training_display():
        found = run(data, cache, models_root(models), output)
    print_swaps(summary(found), as_json=as_json)


def print_swaps(figures: "tuple[SwapFigures, ...]", *, as_json: bool) -> None:
    """Print the figures to stdout.

    Args:
        figures: One for each direction.
        as_json: One JSON list, rather than a table.
    """
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in figures], indent=2))
        return
    typer.echo(f"{'':<18} swaps  source mm  wanted mm  tracked mm  reached")
    for row in figures:
        name = "closed over open" if row.closing else "open over closed"
        typer.echo(
            f"{name:<18} {row.swaps:5} {row.source_mm:10.1f} {row.wanted_mm:10.1f}"
            f" {row.tracked_mm:11.1f} {row.reached:8.2f}"
        )
