"""Every checkpoint that we ship is what the manifest says, and has a card."""

import tomllib
from pathlib import Path

import pytest

from dubcli.checkpoints import (
    REGISTRY,
    TABLE_END,
    TABLE_START,
    manifest_table,
    manifest_text,
    read_manifest,
    verified_file,
)

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"
MANIFEST = read_manifest(MODELS)
NAMES = sorted(MANIFEST)
HEADINGS = {
    "Summary",
    "Intended use",
    "Out of scope and consent",
    "Architecture",
    "Training data and its licence",
    "Training procedure",
    "Evaluation",
    "Limitations",
    "Licence",
    "How to load",
}
# Made by others: how they trained and measured is theirs to say; where we got it is ours.
THIRD_PARTY = {
    "face-landmarker",
    "hand-landmarker",
    "mobilenet-v2",
    "st-lpips",
    "whisper-tiny-en-enc3",
}
LARGEST_BYTES = 100 * 10**6  # what common Git hosts refuse


def headings(card: Path) -> dict[str, str]:
    """Return the text under each second-level heading."""
    sections = card.read_text(encoding="utf-8").split("\n## ")[1:]
    return {text.partition("\n")[0].strip(): text.partition("\n")[2].strip() for text in sections}


@pytest.mark.parametrize("name", NAMES)
def test_file_is_present_and_its_hash_is_right(name: str) -> None:
    assert verified_file(MODELS, name).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_file_is_named_after_its_hash(name: str) -> None:
    entry = MANIFEST[name]
    if entry.file.endswith(".safetensors"):
        assert entry.file == f"{name}/{name}-{entry.sha256[:8]}.safetensors"


@pytest.mark.parametrize("name", NAMES)
def test_file_fits_a_git_host(name: str) -> None:
    assert MANIFEST[name].bytes < LARGEST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_card_has_text_under_every_heading(name: str) -> None:
    required = HEADINGS
    if name in THIRD_PARTY:
        required = HEADINGS - {"Training procedure", "Evaluation"} | {"Source"}
    found = headings(MODELS / MANIFEST[name].card)
    assert required <= set(found)
    assert all(found[heading] for heading in required)


def test_no_file_lies_about_unlisted() -> None:
    listed = {MODELS / entry.file for entry in MANIFEST.values()}
    stored = {path for path in MODELS.rglob("*") if path.suffix in {".safetensors", ".task"}}
    assert stored == listed


def test_no_checkpoint_is_a_pickle_and_no_python_lies_among_them() -> None:
    suffixes = {path.suffix for path in MODELS.rglob("*") if path.is_file()}
    assert suffixes <= {".md", ".toml", ".safetensors", ".task"}


def test_manifest_is_as_record_writes_it() -> None:
    assert (MODELS / "manifest.toml").read_text(encoding="utf-8") == manifest_text(MANIFEST)


def test_table_in_the_readme_is_made_from_the_manifest() -> None:
    text = (MODELS / "README.md").read_text(encoding="utf-8")
    table = text.partition(TABLE_START)[2].partition(TABLE_END)[0]
    assert table.strip() == manifest_table(MANIFEST).strip()


def test_every_network_we_train_has_a_checkpoint_or_is_known_to_have_none() -> None:
    shipped = {entry.network for entry in MANIFEST.values()}
    assert set(REGISTRY) - shipped == set()


def test_wheel_carries_the_models_where_checkpoints_looks_for_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"models": "dubcli/_models"}
