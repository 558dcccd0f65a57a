"""A dub's options, put into commands."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from dubcli.cli.dub_options import OF_A_DUB, OF_THE_FILE, takes_dub_options
from dubcli.config import DEFAULTS, CacheOptions, DubOptions

seen: list[tuple[str, DubOptions, bool]] = []
app = typer.Typer()


@app.command()
@takes_dub_options(without=OF_THE_FILE, threads=Annotated[int, typer.Option(help="Few or many.")])
def show(name: str, options: DubOptions = DEFAULTS, loud: bool = False) -> None:
    """Show it."""
    seen.append((name, options, loud))


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def test_every_field_of_the_options_is_an_option() -> None:
    assert {field.name for field in fields(DubOptions)} - {"cache"} == set(OF_A_DUB)
    assert set(OF_A_DUB) > OF_THE_FILE


def test_command_without_options_gets_the_defaults() -> None:
    assert CliRunner().invoke(app, ["a"]).exit_code == 0
    assert seen == [("a", DEFAULTS, False)]


def test_given_options_reach_the_command_as_one() -> None:
    arguments = ["a", "--range", "1-2", "--range", "3-4", "--threads", "3", "--no-cache"]
    arguments += ["--cache-folder", "c", "--cache-limit", "5", "--mouth-scale", "1.5", "--loud"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    options = DubOptions(
        ranges="1-2, 3-4",
        threads=3,
        mouth_scale=1.5,
        cache=CacheOptions(use=False, folder=Path("c"), limit_mb=5),
    )
    assert seen == [("a", options, True)]


def test_help_says_what_is_taken_and_not_what_is_left_out() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    assert "Few or many." in text
    assert "--mouth-scale" in text
    assert "--crf" not in text
    assert CliRunner().invoke(app, ["a", "--crf", "9"]).exit_code == 2
