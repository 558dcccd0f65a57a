"""``dubcli train style-encoder`` and ``dubcli train judge-style``."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from dubcli.checkpoints import models_root
from dubcli.cli.options import (
    CacheOption,
    DataOption,
    JsonOption,
    ModelsOption,
)
from dubcli.cli.training_display import training_display
from dubcli.cli.training_options import takes_training_options
from dubcli.config import DEFAULTS, TRAINING_DEFAULTS, TrainingOptions

if TYPE_CHECKING:
    from dubcli.training.judge_style import Spread, StyleRow


@takes_training_options()
def train_style_encoder(
    data: DataOption,
    cache: CacheOption,
    models: ModelsOption = DEFAULTS.models,
    options: TrainingOptions = TRAINING_DEFAULTS,
) -> None:
    """Train the encoder that StyleSim compares people by."""
    from dubcli.training.train_style_encoder import train_style_encoder as run

    with training_display() as observer:
        run(
            data,
            cache,
            models_root(models),
            options,
            observer=observer,
        )


def judge_style(
    data: DataOption,
    cache: CacheOption,
    models: ModelsOption = DEFAULTS.models,
    as_json: JsonOption = False,
) -> None:
    """Measure StyleSim of the same and of different people, none of whom trained the encoder."""
    from dubcli.training.judge_style import judge_style as run

    print_rows(run(data, cache, models_root(models)), as_json=as_json)


def print_rows(rows: "tuple[StyleRow, ...]", *, as_json: bool) -> None:
    """Print the figures to stdout.

    Args:
        rows: The comparisons.
        as_json: One JSON list, rather than a table.
    """
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    typer.echo("StyleSim: median (5 % to 95 %); AUC: share of same pairs above other pairs")
    typer.echo(
        f"{'set':<12} {'comparison':<20} people  pairs {'same person':>21}"
        f"  pairs {'different people':>21}    AUC"
    )
    for row in rows:
        typer.echo(
            f"{row.set:<12} {row.comparison:<20} {row.people:6}  {row.same_pairs:5}"
            f" {_text(row.same):>21}  {row.other_pairs:5} {_text(row.other):>21}  {row.auc:.3f}"
        )


def _text(spread: "Spread") -> str:
    """Return a spread as the table shows it."""
    return f"{spread.median:.3f} ({spread.low:.3f}-{spread.high:.3f})"
