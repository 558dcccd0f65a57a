"""Imports point one way, so that a reader of one layer never has to know the one above."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dubcli"
FOUNDATION = {"errors", "records", "line", "config", "pace"}
LOWER = {"geometry", "metrics", "networks", "media", "checkpoints", "stages"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "records": set(),
    "timecode": {"errors"},
    "pace": {"records"},
    "line": {"errors", "timecode"},
    "config": {"errors", "timecode", "line"},
    "sheet": {"records"},
    "geometry": {"records"},
    "metrics": {"records", "geometry"},
    "networks": set(),
    "media": FOUNDATION | {"timecode"},
    "manifest": {"errors"},
    "checkpoints": {"errors", "config", "manifest", "networks"},
    "stages": FOUNDATION | {"geometry", "networks"},
    "loading": FOUNDATION | {"geometry", "networks", "checkpoints"},
    "extras": {"errors", "records", "geometry", "networks", "checkpoints"},
    "cache": FOUNDATION | {"geometry"},
    "doctor": FOUNDATION | {"media", "stages", "checkpoints", "cache"},
    "report": FOUNDATION | {"geometry", "media", "checkpoints", "timecode"},
    "training": FOUNDATION | LOWER | {"loading", "extras", "sheet", "pipeline", "evaluation"},
    "pipeline": FOUNDATION | LOWER | {"loading", "report", "cache", "extras", "timecode"},
    "preview": FOUNDATION | LOWER | {"loading", "pipeline", "sheet", "timecode"},
    "faces": FOUNDATION | {"media", "loading", "pipeline", "sheet", "timecode"},
    "bench": FOUNDATION | {"media", "loading", "pipeline"},
    "evaluation": FOUNDATION | LOWER | {"loading", "extras", "pipeline"},
    "batch": FOUNDATION | {"media", "checkpoints", "loading", "pipeline", "report"},
    "cli": FOUNDATION
    | {
        "batch",
        "pipeline",
        "training",
        "evaluation",
        "checkpoints",
        "preview",
        "bench",
        "timecode",
        "cache",
        "doctor",
        "faces",
    },
}
ENTRANCES = {"__init__", "__main__"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Yield what ``import a.b``, ``from a.b import c`` and ``from a import b`` import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "dubcli":
                yield from (f"dubcli.{name.name}" for name in node.names)
            else:
                yield node.module or ""


def own_layers(source: str) -> set[str]:
    names = imported_modules(ast.parse(source))
    layers = {name.split(".")[1] for name in names if name.startswith("dubcli.")}
    return layers - {"__version__"}  # the one thing that the package itself defines


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    if layer(path) in ENTRANCES:
        return
    assert layer(path) in MAY_IMPORT, "a new layer is a line in MAY_IMPORT, on purpose"
    allowed = MAY_IMPORT[layer(path)] | {layer(path)}
    assert own_layers(path.read_text()) <= allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_media_starts_other_programs(path: Path) -> None:
    names = {name.split(".")[0] for name in imported_modules(ast.parse(path.read_text()))}
    assert layer(path) == "media" or not names & {"subprocess", "ffmpeg", "imageio_ffmpeg"}


@pytest.mark.parametrize(
    "source",
    [
        "import dubcli.cli",
        "import dubcli.cli.app as app",
        "from dubcli import cli",
        "from dubcli.cli import app",
        "from dubcli.cli.app import main",
        "def f():\n    from dubcli.cli import app",
    ],
)
def test_every_form_of_import_is_seen(source: str) -> None:
    assert own_layers(source) == {"cli"}


def test_rules_have_no_cycle() -> None:
    done: set[str] = set()
    while len(done) < len(MAY_IMPORT):
        ready = {name for name, below in MAY_IMPORT.items() if below <= done} - done
        assert ready, f"a cycle among {sorted(set(MAY_IMPORT) - done)}"
        done |= ready
