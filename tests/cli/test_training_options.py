"""A training's options, put into commands."""

from dataclasses import fields
from pathlib import Path

import typer
from typer.testing import CliRunner

from dubcli.cli.training_options import OF_A_TRAINING, takes_training_options
from dubcli.config import TRAINING_DEFAULTS, TrainingOptions

seen: list[tuple[Path, TrainingOptions]] = []
app = typer.Typer()


@app.command()
@takes_training_options(without=frozenset({"device"}))
def show(data: Path, options: TrainingOptions = TRAINING_DEFAULTS) -> None:
    """Show it."""
    seen.append((data, options))


def test_every_field_of_the_options_is_an_option() -> None:
    assert {field.name for field in fields(TrainingOptions)} == set(OF_A_TRAINING)


def test_given_options_reach_the_command_as_one_and_those_left_out_are_refused() -> None:
    seen.clear()
    given = ["d", "--recipe", "r.toml", "--minutes", "2", "--seed", "3", "--resume"]
    assert CliRunner().invoke(app, given).exit_code == 0
    assert CliRunner().invoke(app, ["d"]).exit_code == 0
    assert seen == [
        (Path("d"), TrainingOptions(Path("r.toml"), minutes=2.0, seed=3, resume=True)),
        (Path("d"), TRAINING_DEFAULTS),
    ]
    assert CliRunner().invoke(app, ["d", "--device", "cpu"]).exit_code == 2
