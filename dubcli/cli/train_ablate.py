"""``dubcli train ablate``."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from dubcli.checkpoints import models_root
from dubcli.cli.options import (
    CacheOption,
    DataOption,
    GeometryStepsOption,
    JsonOption,
    ModelsOption,
    RetrainOption,
)
from dubcli.cli.training_display import training_display
from dubcli.cli.training_options import takes_training_options
from dubcli.config import DEFAULTS, TRAINING_DEFAULTS, TrainingOptions

if TYPE_CHECKING:
    from dubcli.training.ablate import Ablation


@takes_training_options(without=frozenset({"recipe", "minutes"}))
def ablate(
    data: DataOption,
    cache: CacheOption,
    models: ModelsOption = DEFAULTS.models,
    retrain: RetrainOption = None,
    geometry_steps: GeometryStepsOption = None,
    options: TrainingOptions = TRAINING_DEFAULTS,
    as_json: JsonOption = False,
) -> None:
    """Measure what each part of the method is worth, on the split val, set wild.

    With --retrain the networks are trained again; the shipped ones stay as they are.
    """
    if retrain is None and (options != TRAINING_DEFAULTS or geometry_steps is not None):
        raise typer.BadParameter(
            "--geometry-steps, --seed, --resume and --device are of trainings: give their steps",
            param_hint="--retrain",
        )
    from dubcli.training import ablate as shipped
    from dubcli.training import retrain as again

    root = models_root(models)
    with training_display() as observer:
        if retrain is None:
            ablation = shipped.ablate(data, cache, root)
        else:
            ablation = again.retrain(
                data,
                cache,
                root,
                retrain,
                options,
                geometry_steps=geometry_steps,
                observer=observer,
            )
    print_ablation(ablation, as_json=as_json)


def print_ablation(ablation: "Ablation", *, as_json: bool) -> None:
    """Print the figures to stdout.

    Args:
        ablation: The figures.
        as_json: One JSON object, rather than two tables.
    """
    if as_json:
        typer.echo(json.dumps(asdict(ablation), indent=2))
        return
    typer.echo(f"{'without':<36} clips  PSNR dB   SSIM  lips dB  lips' detail")
    for row in ablation.renderer:
        typer.echo(
            f"{row.without:<36} {row.clips:5} {row.psnr_db:8.2f} {row.ssim:6.3f}"
            f" {row.lip_psnr_db:8.2f} {row.lip_detail:13.2f}"
        )
    typer.echo(f"\n{'without':<36} clips  correlation  deviation  closures  StyleSim")
    for line in ablation.geometry:
        typer.echo(
            f"{line.without:<36} {line.clips:5} {line.correlation:12.3f}"
            f" {line.deviation_ratio:10.2f} {line.closure_recall:9.2f}"
            f" {line.style_similarity:9.3f}"
        )
