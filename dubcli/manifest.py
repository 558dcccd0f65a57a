"""Which file is which checkpoint: ``manifest.toml``, read, verified and written.

Nothing here knows tensors, and only ``dubcli.checkpoints`` imports it: that is where others find
these functions.
"""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dubcli.errors import CheckpointError

MANIFEST = "manifest.toml"
MANIFEST_HEAD = (
    "# What each checkpoint is. Written by dubcli.checkpoints.record; see README.md here.\n"
)
TABLE_START, TABLE_END = "<!-- table: start -->", "<!-- table: end -->"
BLOCK_BYTES = 1 << 20
SHOWN_DIGITS = 12  # of a SHA-256 in messages
REMEDY = "restore the file or reinstall dubcli, then run `dubcli models verify`"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One checkpoint, as the manifest describes it."""

    name: str
    file: str  # relative to the models folder, with forward slashes
    sha256: str  # 64 hexadecimal digits
    bytes: int
    network: str  # a key of checkpoints.REGISTRY, or what else reads the file: "WhisperEncoder"
    licence: str  # SPDX identifier
    trained_on: str
    card: str  # relative to the models folder


def models_root(options_models: Path | None = None) -> Path:
    """Return the folder that holds the manifest.

    The first that applies: ``options_models`` (--models), the environment's DUBCLI_MODELS, the
    checkout's models/, the copy that the installed package carries.

    Args:
        options_models: The user's folder, or None.

    Returns:
        A folder with a manifest.toml in it.

    Raises:
        CheckpointError: If the chosen folder holds no manifest.
    """
    if options_models is not None:
        return _with_manifest(options_models, "give --models a folder that holds one")
    if chosen := os.environ.get("DUBCLI_MODELS"):
        return _with_manifest(Path(chosen), "correct or unset DUBCLI_MODELS")
    package = Path(__file__).resolve().parent
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "models" / MANIFEST).is_file():
        return checkout / "models"
    return _with_manifest(package / "_models", "reinstall dubcli, or give --models FOLDER")


def read_manifest(root: Path) -> dict[str, ManifestEntry]:
    """Return the entries of ``root``'s manifest by name.

    Args:
        root: The models folder.

    Returns:
        Name -> entry, in the manifest's order.

    Raises:
        CheckpointError: If the manifest is missing, is not TOML, or an entry is not complete.
    """
    path = _with_manifest(root, "restore it, or give --models FOLDER") / MANIFEST
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not valid TOML ({error}); restore the file") from error
    return {name: _entry(path, name, table) for name, table in tables.items()}


def verified_file(root: Path, name: str) -> Path:
    """Return the file of checkpoint ``name`` after checking its size and SHA-256.

    Args:
        root: The models folder.
        name: A name in the manifest.

    Returns:
        The path of a file whose bytes are those the manifest promises.

    Raises:
        CheckpointError: If the name is unknown, or the file is missing or altered.
    """
    entry = _find(root, name)
    path = root / entry.file
    if not path.resolve().is_relative_to(root.resolve()):
        raise CheckpointError(f"{root / MANIFEST}: [{name}] file leaves the folder: {entry.file}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; {REMEDY}")
    size = path.stat().st_size
    if size != entry.bytes:
        raise CheckpointError(
            f"{path}: {size} bytes, manifest says {entry.bytes}; sha256 is "
            f"{sha256_of(path)[:SHOWN_DIGITS]}, manifest says {entry.sha256[:SHOWN_DIGITS]}; "
            f"{REMEDY}"
        )
    found = sha256_of(path)
    if found != entry.sha256:
        raise CheckpointError(
            f"{path}: sha256 is {found[:SHOWN_DIGITS]}, manifest says "
            f"{entry.sha256[:SHOWN_DIGITS]}; {REMEDY}"
        )
    return path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks of 1 MiB.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def entry_for(
    root: Path, name: str, file: Path, *, network: str, licence: str, trained_on: str
) -> ManifestEntry:
    """Return the manifest entry that describes ``file``.

    Args:
        root: The models folder.
        name: The checkpoint's name; its card is ``<name>/card.md``.
        file: The checkpoint, somewhere under ``root``.
        network: A key of checkpoints.REGISTRY, or what else reads the file.
        licence: SPDX identifier.
        trained_on: One line.

    Returns:
        The entry, with the file's size and SHA-256.
    """
    return ManifestEntry(
        name=name,
        file=file.resolve().relative_to(root.resolve()).as_posix(),
        sha256=sha256_of(file),
        bytes=file.stat().st_size,
        network=network,
        licence=licence,
        trained_on=trained_on,
        card=f"{name}/card.md",
    )


def record(root: Path, entry: ManifestEntry) -> None:
    """Put ``entry`` in the manifest and remove the file it replaces.

    The table in ``root``'s README.md, where there is one, is made anew.

    Args:
        root: The models folder; its manifest is made if there is none.
        entry: What to add, or put in place of the entry of the same name.

    Raises:
        CheckpointError: If the manifest there is damaged.
    """
    entries = read_manifest(root) if (root / MANIFEST).is_file() else {}
    previous = entries.get(entry.name)
    entries[entry.name] = entry
    write_whole(root / MANIFEST, manifest_text(entries).encode())
    if previous is not None and previous.file != entry.file:
        (root / previous.file).unlink(missing_ok=True)
    readme = root / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        if TABLE_START in text and TABLE_END in text:
            before, _, rest = text.partition(TABLE_START)
            after = rest.partition(TABLE_END)[2]
            table = f"{TABLE_START}\n{manifest_table(entries)}{TABLE_END}"
            write_whole(readme, f"{before}{table}{after}".encode())


def manifest_text(entries: Mapping[str, ManifestEntry]) -> str:
    """Return the manifest as TOML, sorted by name.

    Args:
        entries: Name -> entry.

    Returns:
        The text of manifest.toml.
    """
    parts = [MANIFEST_HEAD]
    for name in sorted(entries):
        table = asdict(entries[name])
        del table["name"]
        # A JSON string without control characters is a TOML basic string.
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
        head = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
        parts.append("\n".join([f"[{head}]", *lines, ""]))
    return "\n".join(parts)


def manifest_table(entries: Mapping[str, ManifestEntry]) -> str:
    """Return the manifest as a Markdown table, sorted by name.

    Args:
        entries: Name -> entry.

    Returns:
        The table, ending in a newline.
    """
    rows = ["| name | network | MB | licence | trained on | card |", "|---|---|---|---|---|---|"]
    for _, entry in sorted(entries.items()):
        rows.append(
            f"| {entry.name} | {entry.network} | {entry.bytes / 1e6:.1f} | {entry.licence} "
            f"| {entry.trained_on} | [card]({entry.card}) |"
        )
    return "\n".join(rows) + "\n"


def write_whole(target: Path, content: bytes) -> None:
    """Write beside the target, then rename: nobody sees half a file.

    Args:
        target: The file to make or replace.
        content: All of it.
    """
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(content)
    partial.replace(target)


def _with_manifest(folder: Path, remedy: str) -> Path:
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{folder}: no {MANIFEST} there; {remedy}")
    return folder


def _entry(path: Path, name: str, table: object) -> ManifestEntry:
    if not isinstance(table, dict):
        raise CheckpointError(f"{path}: {name} is not a table; restore the file")
    expected: dict[str, type] = {
        field.name: int if field.name == "bytes" else str
        for field in fields(ManifestEntry)
        if field.name != "name"
    }
    for key, kind in expected.items():
        if type(table.get(key)) is not kind:
            word = "a whole number" if kind is int else "text"
            raise CheckpointError(f"{path}: [{name}] needs {key} = {word}; restore the file")
    if unknown := sorted(set(table) - set(expected)):
        raise CheckpointError(f"{path}: [{name}] has unknown keys {', '.join(unknown)}; remove it")
    return ManifestEntry(name=name, **table)


def _find(root: Path, name: str) -> ManifestEntry:
    entries = read_manifest(root)
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise CheckpointError(f"{root / MANIFEST}: no checkpoint named {name}; it has {known}")
    return entries[name]
