"""Many options of a command as one record: typer sees each option, the command sees the record."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter
from typing import Any

Command = Callable[..., None]
Gather = Callable[[dict[str, Any]], object]


def gathered(
    name: str, options: Mapping[str, tuple[Any, Any]], gather: Gather
) -> Callable[[Command], Command]:
    """Return a decorator that puts options in the place of one parameter of a command.

    Args:
        name: Of the parameter.
        options: Name -> its annotation for typer, its default.
        gather: Makes the parameter's value of the options' values by name.
    """

    def decorate(command: Command) -> Command:
        """Give typer the options one by one, and the command one record."""
        parameters: list[Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            parameters += _parameters(options) if parameter.name == name else [parameter]

        @wraps(command)
        def run(**given: Any) -> None:
            """Gather the options."""
            values = {option: given.pop(option) for option in options}
            command(**given, **{name: gather(values)})

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _parameters(options: Mapping[str, tuple[Any, Any]]) -> list[Parameter]:
    """Return the parameters of options."""
    return [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)
        for name, (kind, default) in options.items()
    ]
