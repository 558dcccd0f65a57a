"""``dubcli doctor``: whether everything that a dub needs is here and works."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from dubcli.cli.options import CacheFolderOption, ModelsOption
from dubcli.config import DEFAULTS
from dubcli.doctor import Check, examine

FAILED = 2
STATUS_WIDTH, NAME_WIDTH = 8, 28  # characters
JsonChecksOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def doctor(
    models: ModelsOption = DEFAULTS.models,
    cache_folder: CacheFolderOption = DEFAULTS.cache.folder,
    as_json: JsonChecksOption = False,
) -> None:
    """Check everything that a dub needs; each fault comes with its remedy."""
    checks = []
    for check in examine(models, cache_folder):
        checks.append(check)
        if not as_json:
            typer.echo(check_line(check))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    if any(check.status == "failed" for check in checks):
        raise typer.Exit(FAILED)


def check_line(check: Check) -> str:
    """Return a check as a line.

    Example:
        >>> print(check_line(Check("libEGL.so.1", "failed", "not found", "install libegl1")))
        failed   libEGL.so.1                 not found; install libegl1
    """
    text = f"{check.found}; {check.remedy}" if check.remedy else check.found
    return f"{check.status:<{STATUS_WIDTH}} {check.name:<{NAME_WIDTH - 1}} {text}"
