"""Recipes: the numbers that decide a training run, read from TOML into frozen dataclasses.

A recipe is a dataclass whose fields are dataclasses: a table of the file each. Fields that follow
from something else than a choice ("network.audio_width") are named in its ``derived`` and are not
part of the file. The defaults stand
in the dataclasses, once, where they are documented and where tests and Python callers get them too.
A file gives only what it changes. The shipped files give everything, at the defaults (a test holds
them there): they are the list of what can be changed, to copy from.
"""

import hashlib
import math
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from dubcli.errors import InputError

Recipe = TypeVar("Recipe")
SHIPPED = Path(__file__).parent / "recipes"
WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
}


@dataclass(frozen=True, slots=True)
class Between:
    """The range of a number in a recipe, both ends included: ``Annotated[float, Between(0, 1)]``.

    Numbers without one may be anything from 0 on.
    """

    low: float
    high: float = math.inf


def shipped_recipe(name: str) -> Path:
    """Return the recipe file that comes with the package, for the training command ``name``."""
    return SHIPPED / f"{name}.toml"


def read_recipe(path: Path, defaults: Recipe) -> Recipe:
    """Return a recipe with what a file changes.

    Args:
        path: A TOML file; tables and keys that it leaves out keep their defaults.
        defaults: The recipe.

    Raises:
        InputError: If the file cannot be read, or a key is unknown, of the wrong type or out of
            range; names file and key.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML: {error}") from error
    changed = {}
    for name, table in tables.items():
        if name not in _names(defaults):
            raise InputError(f"{path}: [{name}] is unknown; known: {', '.join(_names(defaults))}")
        if not isinstance(table, dict):
            raise InputError(f"{path}: {name} must be a table: [{name}]")
        known = _keys(defaults, name)
        changed[name] = _section(path, name, getattr(defaults, name), table, known)
    return replace(defaults, **changed)  # type: ignore[type-var]


def recipe_text(recipe: object) -> str:
    """Return a whole recipe as TOML; settings that are None, which TOML cannot say, are left out.

    Example:
        >>> @dataclass(frozen=True)
        ... class Loop:
        ...     minutes: float = 2.5
        ...     steps: int | None = None
        >>> @dataclass(frozen=True)
        ... class Small:
        ...     loop: Loop = Loop()
        >>> print(recipe_text(Small()), end="")
        [loop]
        minutes = 2.5
    """
    parts = []
    for section in _names(recipe):
        values = getattr(recipe, section)
        lines = [
            f"{key} = {_toml(value)}"
            for key in _keys(recipe, section)
            if (value := getattr(values, key)) is not None
        ]
        parts.append("\n".join([f"[{section}]", *lines]) + "\n")
    return "\n".join(parts)


def recipe_hash(recipe: object) -> str:
    """Return the SHA-256 of ``recipe_text``, 64 hexadecimal digits."""
    return hashlib.sha256(recipe_text(recipe).encode()).hexdigest()


def _section(
    path: Path, section: str, defaults: Any, table: dict[str, object], known: list[str]
) -> Any:
    """Return the dataclass of a table with what the table changes."""
    hints = get_type_hints(type(defaults), include_extras=True)
    for key, value in table.items():
        where = f"{path}: [{section}] {key}"
        if key not in known:
            raise InputError(f"{where} is unknown; known: {', '.join(known)}")
        size = section == "network" and type(value) is int
        table[key] = _checked(where, value, hints[key], Between(1 if size else 0))
    try:
        return replace(defaults, **table)
    except ValueError as error:
        raise InputError(f"{path}: [{section}] {error}") from error


def _checked(where: str, value: object, kind: Any, limits: Between) -> object:
    """Return a TOML value as a field's type, refused where it does not fit."""
    if get_origin(kind) in (
        Union,
        UnionType,
    ):  # int | None: a file cannot say None, it leaves the key out
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Annotated:
        kind, limits = get_args(kind)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_checked(where, item, get_args(kind)[0], limits) for item in value)
    if get_origin(kind) is dict and isinstance(value, dict):
        of = get_args(kind)[1]
        return {key: _checked(f"{where}.{key}", item, of, limits) for key, item in value.items()}
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        word = WORDS.get(kind, "a list" if get_origin(kind) is tuple else "a table")
        raise InputError(f"{where} must be {word}, not {_toml(value)}")
    if isinstance(value, int | float) and not limits.low <= value <= limits.high:
        top = "" if limits.high == math.inf else f" to {limits.high:g}"
        raise InputError(f"{where} is {value}: give a number from {limits.low:g}{top}")
    return value


def _names(record: Any) -> list[str]:
    """Return the names of a dataclass's fields."""
    return [field.name for field in fields(record)]


def _keys(recipe: Any, section: str) -> list[str]:
    """Return the keys of a recipe's table."""
    derived: frozenset[str] = getattr(type(recipe), "derived", frozenset())
    return [k for k in _names(getattr(recipe, section)) if f"{section}.{k}" not in derived]


def _toml(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return str(value)
