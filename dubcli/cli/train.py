"""``dubcli train``: the commands that make checkpoints and judge them."""

from pathlib import Path

import typer

from dubcli.checkpoints import models_root
from dubcli.cli import console
from dubcli.cli.options import (
    CacheOption,
    ClipsOption,
    DataOption,
    FacesOption,
    FeaturesOption,
    HalfOption,
    JsonOption,
    KindOption,
    MaxMbOption,
    ModelsOption,
    NameOption,
    PackForOption,
    PackOption,
    PackOutputOption,
    RecipeOption,
    RequiredVggOption,
    VggOption,
)
from dubcli.cli.train_ablate import ablate
from dubcli.cli.train_audio_encoder import train_audio_encoder
from dubcli.cli.train_self_dubs import self_dubs
from dubcli.cli.train_style import judge_style, train_style_encoder
from dubcli.cli.train_swaps import swaps
from dubcli.cli.training_display import print_pack, training_display
from dubcli.cli.training_options import takes_training_options
from dubcli.config import DEFAULTS, TRAINING_DEFAULTS, TrainingOptions

train_app = typer.Typer(help="Train the networks.", no_args_is_help=True)
train_app.command("ablate")(ablate)
train_app.command("audio-encoder")(train_audio_encoder)
train_app.command("swaps")(swaps)
train_app.command("self-dubs")(self_dubs)
train_app.command("style-encoder")(train_style_encoder)
train_app.command("judge-style")(judge_style)


@train_app.command("basis")
def train_basis(
    data: DataOption,
    cache: CacheOption,
    models: ModelsOption = DEFAULTS.models,
    recipe: RecipeOption = None,
) -> None:
    """Learn the face basis from the clips' tracked faces."""
    from dubcli.training.train_basis import train_basis as run

    with training_display():
        run(data, cache, models_root(models), recipe=recipe)


@train_app.command("geometry")
@takes_training_options()
def train_geometry(
    cache: CacheOption,
    data: ClipsOption = None,
    pack: PackOption = None,
    models: ModelsOption = DEFAULTS.models,
    options: TrainingOptions = TRAINING_DEFAULTS,
    audio_encoder: FeaturesOption = None,
) -> None:
    """Train the network from speech to lip motion."""
    source = _source(data, pack)
    from dubcli.training.train_geometry import train_geometry as run

    with training_display() as observer:
        run(
            source,
            cache,
            models_root(models),
            options,
            audio_encoder=audio_encoder,
            observer=observer,
        )


@train_app.command("renderer")
@takes_training_options()
def train_renderer(
    cache: CacheOption,
    data: ClipsOption = None,
    pack: PackOption = None,
    models: ModelsOption = DEFAULTS.models,
    options: TrainingOptions = TRAINING_DEFAULTS,
    vgg: VggOption = None,
) -> None:
    """Train the network from geometry and references to pictures."""
    source = _source(data, pack)
    from dubcli.training.train_renderer import train_renderer as run

    with training_display() as observer:
        run(
            source,
            cache,
            models_root(models),
            options,
            vgg=vgg,
            observer=observer,
        )


@train_app.command("mouth")
@takes_training_options(without=frozenset({"device"}))
def train_mouth(
    cache: CacheOption,
    vgg: RequiredVggOption,
    data: ClipsOption = None,
    pack: PackOption = None,
    models: ModelsOption = DEFAULTS.models,
    options: TrainingOptions = TRAINING_DEFAULTS,
) -> None:
    """Train a refiner of the mouth for the renderer in the models folder."""
    source = _source(data, pack)
    from dubcli.training.train_mouth import train_mouth as run

    with training_display() as observer:
        run(
            source,
            cache,
            models_root(models),
            options,
            vgg=vgg,
            observer=observer,
        )


@train_app.command("pack")
def pack_clips(
    data: DataOption,
    cache: CacheOption,
    output: PackOutputOption,
    kind: PackForOption = "renderer",
    max_mb: MaxMbOption = 60.0,
    faces: FacesOption = 40,
    recipe: RecipeOption = None,
    models: ModelsOption = DEFAULTS.models,
    audio_encoder: FeaturesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prepare a folder of clips for a machine that only trains."""
    from dubcli.training.packing import make_pack as run

    with training_display():
        report = run(
            data,
            cache,
            models_root(models),
            output,
            kind=kind,
            max_mb=max_mb,
            faces=faces,
            recipe=recipe,
            audio_encoder=audio_encoder,
        )
    print_pack(report, as_json=as_json)


@train_app.command("sync-expert")
@takes_training_options()
def train_sync_expert(
    data: DataOption,
    cache: CacheOption,
    kind: KindOption,
    name: NameOption,
    half: HalfOption = "losses",
    models: ModelsOption = DEFAULTS.models,
    options: TrainingOptions = TRAINING_DEFAULTS,
) -> None:
    """Train a network that tells whether mouth and sound belong together."""
    from dubcli.training.train_sync_expert import train_sync_expert as run

    with training_display() as observer:
        run(
            data,
            cache,
            models_root(models),
            options,
            kind=kind,
            name=name,
            half=half,
            observer=observer,
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

    with training_display():
        validation = judge_models(data, cache, models_root(models))
    console.print_validation(validation, as_json=as_json)


def _source(data: Path | None, pack: Path | None) -> Path:
    """Return the one of the two that is given."""
    if data is not None and pack is None:
        return data
    if pack is not None and data is None:
        return pack
    raise typer.BadParameter("give either a folder of clips or a pack", param_hint="--data, --pack")
