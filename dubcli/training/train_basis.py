"""``dubcli train basis``: from tracked clips to the linear face."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dubcli.checkpoints import save_arrays, verified_file
from dubcli.training.basis import BasisTraining, learn_basis
from dubcli.training.data import read_clips
from dubcli.training.prepare import track_clips
from dubcli.training.recipe import read_recipe, recipe_hash, recipe_text, shipped_recipe
from dubcli.training.run import record_checkpoint

LICENCE = "MIT AND Apache-2.0"  # triangles and alignment weights are MediaPipe's


@dataclass(frozen=True, slots=True)
class BasisRecipe:
    """What decides the basis."""

    training: BasisTraining = field(default_factory=BasisTraining)


def train_basis(data: Path, cache: Path, models: Path, *, recipe: Path | None = None) -> Path:
    """Learn identity and expression bases from the clips' tracked faces.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks.
        models: Folder of checkpoints, where the result is recorded.
        recipe: TOML file; None: the shipped one.

    Returns:
        The checkpoint.

    Raises:
        InputError: If the recipe or the clips cannot be used.
    """
    settings = read_recipe(recipe or shipped_recipe("basis"), BasisRecipe())
    sets = settings.training.sets
    clips = [c for c in read_clips(data) if c.split == "train" and c.set in sets]
    track_clips(clips, cache, models)
    face = verified_file(models, "face-landmarker")
    made = learn_basis(clips, cache, face, settings.training)
    arrays = {
        "mean": made.mean.numpy(),
        "identity": made.identity.numpy(),
        "expression": made.expression.numpy(),
        "triangles": made.triangles.astype(np.int32),
        "alignment_weight": made.alignment_weight.numpy(),
    }
    metadata = {
        "network": "MorphableModel",
        "recipe": recipe_text(settings),
        "recipe_sha256": recipe_hash(settings),
    }
    file = save_arrays(models, "basis", arrays, metadata=metadata)
    record_checkpoint(models, "basis", file, "MorphableModel", LICENCE)
    return file
