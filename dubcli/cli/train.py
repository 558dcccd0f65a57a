"""``dubcli train``: the commands that make checkpoints and judge them."""

import logging

import typer

from dubcli.checkpoints import models_root
from dubcli.cli import console
from dubcli.cli.options import (
    AudioEncoderOption,
    CacheOption,
    DataOption,
    DeviceOption,
    HalfOption,
    JsonOption,
    KindOption,
    MinutesOption,
    ModelsOption,
    NameOption,
    ResumeOption,
    SeedOption,
    VggOption,
)
from dubcli.cli.train_style import judge_style, train_style_encoder
from dubcli.config import DEFAULTS

train_app = typer.Typer(help="Train the networks.", no_args_is_help=True)
train_app.command("style-encoder")(train_style_encoder)
train_app.command("judge-style")(judge_style)


@train_app.callback()
def _log_training() -> None:
    """Train the networks."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


@train_app.command("basis")
def train_basis(
    data: DataOption, cache: CacheOption, models: ModelsOption = DEFAULTS.models
) -> None:
    """Learn the face basis from the clips' tracked faces."""
    from dubcli.training.run import train_basis as run

    run(data, cache, models_root(models))


@train_app.command("geometry")
def train_geometry(
    data: DataOption,
    cache: CacheOption,
    minutes: MinutesOption,
    models: ModelsOption = DEFAULTS.models,
    seed: SeedOption = 0,
    resume: ResumeOption = False,
    device: DeviceOption = DEFAULTS.device,
    audio_encoder: AudioEncoderOption = DEFAULTS.audio_encoder,
) -> None:
    """Train the network from speech to lip motion."""
    from dubcli.training.run import train_geometry as run

    run(
        data,
        cache,
        models_root(models),
        minutes=minutes,
        seed=seed,
        resume=resume,
        device=device,
        audio_encoder=audio_encoder,
    )


@train_app.command("renderer")
def train_renderer(
    data: DataOption,
    cache: CacheOption,
    minutes: MinutesOption,
    models: ModelsOption = DEFAULTS.models,
    seed: SeedOption = 0,
    resume: ResumeOption = False,
    device: DeviceOption = DEFAULTS.device,
    vgg: VggOption = None,
) -> None:
    """Train the network from geometry and references to pictures."""
    from dubcli.training.run import train_renderer as run

    run(
        data,
        cache,
        models_root(models),
        minutes=minutes,
        seed=seed,
        resume=resume,
        device=device,
        vgg=vgg,
    )


@train_app.command("sync-expert")
def train_sync_expert(
    data: DataOption,
    cache: CacheOption,
    minutes: MinutesOption,
    kind: KindOption,
    name: NameOption,
    half: HalfOption = "losses",
    models: ModelsOption = DEFAULTS.models,
    seed: SeedOption = 0,
    resume: ResumeOption = False,
    device: DeviceOption = DEFAULTS.device,
) -> None:
    """Train a network that tells whether mouth and sound belong together."""
    from dubcli.training.train_sync_expert import train_sync_expert as run

    run(
        data,
        cache,
        models_root(models),
        minutes=minutes,
        seed=seed,
        resume=resume,
        device=device,
        kind=kind,
        name=name,
        half=half,
    )


@train_app.command("judge")
def judge(
    data: DataOption,
    cache: CacheOption,
    models: ModelsOption = DEFAULTS.models,
    as_json: JsonOption = False,
) -> None:
    """Measure the shipped networks on the split val, baselines beside them."""
    from dubcli.training.judge import judge_models

    console.print_validation(judge_models(data, cache, models_root(models)), as_json=as_json)
