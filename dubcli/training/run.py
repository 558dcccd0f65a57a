"""What the training commands share: settle the recipe, run the loop, record the checkpoint."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from dubcli.checkpoints import entry_for, record, save_network
from dubcli.config import TrainingOptions
from dubcli.errors import InputError
from dubcli.records import Bytes
from dubcli.training.loop import Loop, LoopOptions, Observer
from dubcli.training.recipe import read_recipe, recipe_hash, recipe_text, shipped_recipe

log = logging.getLogger(__name__)

LICENCE = "MIT"
TRAINED_ON = "talking-face clips from public research and demonstration pages (see the card)"


class HasLoop(Protocol):
    """A recipe of a network that the loop trains."""

    @property
    def loop(self) -> LoopOptions:
        """Budget and rates."""


LoopedRecipe = TypeVar("LoopedRecipe", bound=HasLoop)


def settle(
    name: str,
    defaults: LoopedRecipe,
    options: TrainingOptions,
) -> LoopedRecipe:
    """Return the recipe of a run: the shipped one, or a file's, with a command's own options.

    Args:
        name: The training command.
        defaults: Its recipe.
        options: ``recipe`` is read, which changes what it names; ``minutes`` replaces its budget,
            in minutes or in steps, ``seed`` its seed.

    Raises:
        InputError: If the file cannot be used.
    """
    recipe = read_recipe(options.recipe or shipped_recipe(name), defaults)
    given = {"minutes": options.minutes, "seed": options.seed}
    loop = replace(recipe.loop, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    if options.minutes is not None:
        loop = replace(loop, steps=None)
    return replace(recipe, loop=loop)  # type: ignore[type-var]


def refuse_empty(training: object, judged: object, source: Path) -> None:
    """Refuse a folder or pack from which nothing can be learned or judged."""
    if not training or not judged:
        raise InputError(
            f"{source}: no usable clips in the split {'val' if training else 'train'}; "
            "see dubcli/training/data.py for what a clip needs, and [data] of the recipe"
        )


def descend(
    network: nn.Module,
    name: str,
    cache: Path,
    options: LoopOptions,
    loss: Callable[[np.random.Generator], dict[str, Tensor]],
    judge: Callable[[nn.Module], tuple[float, dict[str, float]]],
    *,
    resume: bool,
    recipe: object | None = None,
    sheet: Callable[[], Bytes] | None = None,
    observer: Observer | None = None,
) -> dict[str, str]:
    """Run the loop; the network then holds its best weights.

    Args:
        network: On its device.
        name: The run is in ``cache/runs/name``.
        cache: Folder of runs.
        options: Of the loop.
        loss: As the loop takes it.
        judge: As the loop takes it.
        resume: Go on from the last saved state; else an earlier run of that name is deleted.
        recipe: Kept in the run's folder and, with its hash, in the metadata.
        sheet: As the loop takes it.
        observer: As the loop takes it.

    Returns:
        What the checkpoint's header is to say.
    """
    folder = cache / "runs" / name
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"seed": str(options.seed)}
    if recipe is not None:
        _keep_recipe(folder / "recipe.toml", recipe_text(recipe))
        metadata |= {"recipe": recipe_text(recipe), "recipe_sha256": recipe_hash(recipe)}
    loop = Loop(network, folder, options, loss=loss, judge=judge, sheet=sheet, observer=observer)
    loop.run()
    best = folder / "best.safetensors"
    with safe_open(best, "pt") as file:
        metadata["best"] = file.metadata()["numbers"]
    network.load_state_dict(load_file(best))
    return metadata | {"steps": str(loop.step)}


def train(
    network: nn.Module,
    name: str,
    cache: Path,
    models: Path,
    options: LoopOptions,
    loss: Callable[[np.random.Generator], dict[str, Tensor]],
    judge: Callable[[nn.Module], tuple[float, dict[str, float]]],
    *,
    resume: bool,
    recipe: object | None = None,
    sheet: Callable[[], Bytes] | None = None,
    observer: Observer | None = None,
) -> Path:
    """Run the loop and record its best weights as checkpoint ``name``; arguments as ``descend``."""
    metadata = descend(
        network,
        name,
        cache,
        options,
        loss,
        judge,
        resume=resume,
        recipe=recipe,
        sheet=sheet,
        observer=observer,
    )
    return export(network, name, models, metadata)


def export(network: nn.Module, name: str, models: Path, metadata: dict[str, str]) -> Path:
    """Write a trained network to the models folder, in half precision, and record it."""
    file = save_network(models, name, network, extra_metadata=metadata, dtype=torch.float16)
    record_checkpoint(models, name, file, type(network).__name__)
    return file


def record_checkpoint(
    models: Path, name: str, file: Path, network: str, licence: str = LICENCE
) -> None:
    """Put a file into the manifest."""
    entry = entry_for(models, name, file, network=network, licence=licence, trained_on=TRAINED_ON)
    record(models, entry)


def _keep_recipe(path: Path, text: str) -> None:
    """Write the run's recipe; say so if the run was started with another."""
    if path.exists() and path.read_text(encoding="utf-8") != text:
        log.warning("%s: the run goes on with another recipe than it was started with", path)
    path.write_text(text, encoding="utf-8")
