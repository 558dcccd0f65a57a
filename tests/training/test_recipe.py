import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from dubcli.config import TrainingOptions
from dubcli.errors import InputError
from dubcli.training.recipe import (
    Between,
    read_recipe,
    recipe_hash,
    recipe_text,
    shipped_recipe,
)
from dubcli.training.run import settle
from dubcli.training.train_audio_encoder import HubertRecipe
from dubcli.training.train_basis import BasisRecipe
from dubcli.training.train_geometry import GeometryRecipe
from dubcli.training.train_mouth import MouthRecipe
from dubcli.training.train_renderer import RendererRecipe
from dubcli.training.train_style_encoder import StyleRecipe
from dubcli.training.train_sync_expert import SyncRecipe

OWN: dict[str, Any] = {
    "audio-encoder": HubertRecipe(),
    "basis": BasisRecipe(),
    "geometry": GeometryRecipe(),
    "renderer": RendererRecipe(),
    "mouth": MouthRecipe(),
    "sync-expert": SyncRecipe(),
    "style-encoder": StyleRecipe(),
}


@dataclass(frozen=True)
class Weights:
    image: float = 1.0
    sets: tuple[str, ...] = ("wild",)
    share: dict[str, float] = field(default_factory=lambda: {"wild": 0.5})
    steps: Annotated[int, Between(1, 9)] | None = None
    mirrored: bool = True


@dataclass(frozen=True)
class Sizes:
    width: int = 8
    found: int = 3


@dataclass(frozen=True)
class Small:
    derived: ClassVar[frozenset[str]] = frozenset({"network.found"})

    training: Weights = field(default_factory=Weights)
    network: Sizes = field(default_factory=Sizes)


def written(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", OWN)
def test_shipped_recipe_lists_every_key_at_its_default(name: str) -> None:
    path = shipped_recipe(name)
    assert read_recipe(path, OWN[name]) == OWN[name]
    assert tomllib.loads(path.read_text()) == tomllib.loads(recipe_text(OWN[name]))


def test_every_shipped_file_is_tested_here() -> None:
    assert {p.stem for p in shipped_recipe("basis").parent.glob("*.toml")} == {*OWN}


def test_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[training]\nimage = 2\nsets = ["grid", "wild"]\nsteps = 4\nshare = { grid = 1 }\n',
    )
    read = read_recipe(path, Small())
    assert read == Small(training=Weights(2.0, ("grid", "wild"), {"grid": 1.0}, 4))
    assert type(read.training.image) is float
    assert recipe_hash(read) != recipe_hash(Small())
    assert read_recipe(written(tmp_path, recipe_text(read)), Small()) == read


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[traning]\n", r"\[traning\] is unknown; known: training, network"),
        ("training = 3\n", r"training must be a table: \[training\]"),
        ("[training]\nimages = 1\n", r"\[training\] images is unknown; known: image, sets,"),
        ("[network]\nfound = 4\n", r"\[network\] found is unknown; known: width$"),
        ('[training]\nimage = "1"\n', r'\[training\] image must be a number, not "1"'),
        ("[network]\nwidth = 2.5\n", r"\[network\] width must be a whole number, not 2.5"),
        ("[network]\nwidth = true\n", r"\[network\] width must be a whole number, not true"),
        ("[network]\nwidth = 0\n", r"\[network\] width is 0: give a number from 1$"),
        ("[training]\nimage = -0.5\n", r"\[training\] image is -0.5: give a number from 0$"),
        ("[training]\nimage = nan\n", r"\[training\] image is nan: give a number"),
        ("[training]\nsteps = 10\n", r"\[training\] steps is 10: give a number from 1 to 9"),
        ('[training]\nsets = "wild"\n', r'\[training\] sets must be a list, not "wild"'),
        ("[training]\nsets = [1]\n", r"\[training\] sets must be text, not 1"),
        ("[training]\nshare = 1\n", r"\[training\] share must be a table, not 1"),
        ("[training]\nshare = { a = -1 }\n", r"\[training\] share.a is -1.0: give a number"),
        ("[training]\nmirrored = 1\n", r"\[training\] mirrored must be true or false, not 1"),
        ("[training\n", "is not TOML"),
    ],
)
def test_bad_recipe_gets_a_sentence_with_file_and_key(
    tmp_path: Path, text: str, sentence: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=sentence) as refused:
        read_recipe(path, Small())
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("defaults", "text", "sentence"),
    [
        (GeometryRecipe(), "[network]\nwidth = 100\nheads = 3\n", "100 is no multiple of heads 3"),
        (GeometryRecipe(), "[training]\nset_share = { wild = 0 }\n", "gives no set a share"),
        (GeometryRecipe(), "[network]\naudio_width = 9\n", "audio_width is unknown"),
        (RendererRecipe(), "[loop]\nbetas = [0.9]\n", "betas has 1 numbers, AdamW takes 2"),
        (
            RendererRecipe(),
            "[loop]\nbetas = [0.9, 1]\n",
            "betas is 1.0: give a number from 0 to 0.99999",
        ),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, defaults: object, text: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        read_recipe(written(tmp_path, text), defaults)


def test_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        read_recipe(tmp_path / "none.toml", Small())


def test_options_of_the_command_replace_the_recipe(tmp_path: Path) -> None:
    path = written(tmp_path, "[loop]\nminutes = 7\nseed = 5\nrate = 0.5\n")

    def settled(**given: object) -> RendererRecipe:
        return settle("renderer", RendererRecipe(), TrainingOptions(**given))

    loop = settled(recipe=path, seed=9).loop
    assert (loop.minutes, loop.seed, loop.rate) == (7, 9, 0.5)
    in_steps = written(tmp_path, "[loop]\nsteps = 30\n")
    assert settled(recipe=in_steps).loop.steps == 30
    assert settled(recipe=in_steps, minutes=2).loop.steps is None
    shipped = settled(minutes=0.0)
    assert shipped.loop.minutes == 0
    assert {f.name for f in fields(shipped)} == {
        "data", "sampling", "training", "lip_tracker", "network", "loop"
    }  # fmt: skip
