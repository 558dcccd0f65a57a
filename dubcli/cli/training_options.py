"""The options of every training, written once for the commands that train."""

from collections.abc import Callable
from typing import Any

from dubcli.cli.gathered import Command, gathered
from dubcli.cli.options import (
    DeviceOption,
    MinutesOption,
    RecipeOption,
    ResumeOption,
    SeedOption,
)
from dubcli.config import TRAINING_DEFAULTS, TrainingOptions

# Name -> type and help, in the order of --help. Names are those of TrainingOptions' fields.
OF_A_TRAINING: dict[str, Any] = {
    "recipe": RecipeOption,
    "minutes": MinutesOption,
    "seed": SeedOption,
    "resume": ResumeOption,
    "device": DeviceOption,
}


def takes_training_options(
    without: frozenset[str] = frozenset(),
) -> Callable[[Command], Command]:
    """Return a decorator that puts a training's options in the place of a parameter ``options``.

    Args:
        without: Names of options that the command does not take: they keep their defaults.
    """
    taken = {name: kind for name, kind in OF_A_TRAINING.items() if name not in without}
    options = {name: (kind, getattr(TRAINING_DEFAULTS, name)) for name, kind in taken.items()}
    return gathered("options", options, lambda values: TrainingOptions(**values))
