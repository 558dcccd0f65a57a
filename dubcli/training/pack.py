"""Packs: prepared clips in a folder of checksummed shards, for a machine that only trains.

    NAME.dubpack/pack.json          what the pack is for, and each shard's size and SHA-256
    NAME.dubpack/000.safetensors    clips: their rows of clips.csv in the header, arrays as tensors
    NAME.dubpack/001.safetensors    ...

A shard stays under a limit, so that a machine that takes only so much at a time can be given one
after another. Reading needs numpy and safetensors: no video is opened and no face is looked for.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dubcli.checkpoints import read_manifest, sha256_of
from dubcli.errors import InputError
from dubcli.loading import BASIS
from dubcli.training.data import Clip, Prepared

FORMAT = 1
LISTING = "pack.json"
MEGABYTE = 1_000_000
HEADER_BYTES = 200  # at most, of a tensor's name, type, shape and place
REMEDY = "copy the pack again, or make it again with: dubcli train pack"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a pack."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pack:
    """What ``pack.json`` says."""

    folder: Path
    kind: str  # the training command that it is for
    facts: Mapping[str, str]  # what the clips depend on: the basis' SHA-256, the speech encoder
    clips: int
    shards: tuple[Shard, ...]

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.shards)


def is_pack(path: Path) -> bool:
    """Return whether a path is a pack rather than a folder of clips."""
    return path.suffix == ".dubpack" or (path / LISTING).is_file()


def basis_of(models: Path) -> str:
    """Return the SHA-256 of a models folder's basis: crops and features are made with one basis.

    Raises:
        CheckpointError: If the folder has none.
    """
    manifest = read_manifest(models)
    return manifest[BASIS].sha256 if BASIS in manifest else ""


def write_pack(
    target: Path,
    kind: str,
    facts: Mapping[str, str],
    clips: Iterable[Prepared[Arrays]],
    *,
    max_bytes: int,
) -> Pack:
    """Write a pack beside its place, then rename; one shard at a time is held in memory.

    Args:
        target: The folder to make.
        kind: The training command that it is for.
        facts: What the clips depend on.
        clips: With unique names.
        max_bytes: No shard is larger.

    Returns:
        What was written.

    Raises:
        InputError: If the folder exists, there are no clips, or one clip alone is over the limit.
    """
    if target.exists():
        raise InputError(f"{target}: exists; give another --output or remove it")
    partial = target.with_name(f".{target.name}.partial")
    if partial.exists():  # of a packing that was killed
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    shards: list[Shard] = []
    count = 0
    for batch in _batches(clips, max_bytes):
        tensors = {f"{p.clip.name}/{k}": v for p in batch for k, v in p.content.items()}
        rows = json.dumps([_row(p.clip) for p in batch])
        content = save(
            {name: np.ascontiguousarray(array) for name, array in tensors.items()},
            {"clips": rows},
        )
        file = f"{len(shards):03d}.safetensors"
        (partial / file).write_bytes(content)
        shards.append(Shard(file, len(content), hashlib.sha256(content).hexdigest()))
        count += len(batch)
    if not count:
        raise InputError(f"{target}: no usable clips to pack; see the recipe's [data]")
    listing = {
        "format": FORMAT,
        "kind": kind,
        "facts": dict(facts),
        "clips": count,
        "shards": [asdict(shard) for shard in shards],
    }
    (partial / LISTING).write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    partial.replace(target)
    return Pack(target, kind, dict(facts), count, tuple(shards))


def open_pack(folder: Path, kind: str, models: Path) -> Pack:
    """Return what a pack holds, after checking that it is whole and fits.

    Args:
        folder: The pack.
        kind: The training command that asks.
        models: Folder of checkpoints, whose basis the clips must have been made with.

    Raises:
        InputError: If a part is missing or damaged, or the pack is for something else.
    """
    listing = folder / LISTING
    try:
        found = json.loads(listing.read_text(encoding="utf-8"))
        pack = Pack(
            folder,
            found["kind"],
            found["facts"],
            found["clips"],
            tuple(Shard(**shard) for shard in found["shards"]),
        )
        version, basis = found["format"], pack.facts["basis"]
    except OSError as error:
        raise InputError(f"{listing}: cannot be read; {REMEDY}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{listing}: is damaged; {REMEDY}") from error
    if version != FORMAT:
        raise InputError(f"{listing}: format {version}, this dubcli reads {FORMAT}; make it again")
    if pack.kind != kind:
        raise InputError(f"{folder}: was packed for {pack.kind}; pack with --for {kind}")
    if basis != basis_of(models):
        raise InputError(f"{folder}: was made with another basis than that of {models}; pack again")
    for shard in pack.shards:
        file = folder / shard.file
        if not file.is_file():
            raise InputError(f"{file}: is missing; {REMEDY}")
        if file.stat().st_size != shard.bytes or sha256_of(file) != shard.sha256:
            raise InputError(f"{file}: is damaged: size or SHA-256 differ; {REMEDY}")
    return pack


def clips_of(pack: Pack) -> Iterator[Prepared[Arrays]]:
    """Yield the clips of a pack that ``open_pack`` has checked.

    Raises:
        InputError: If a shard is not what this dubcli writes.
    """
    for shard in pack.shards:
        file = pack.folder / shard.file
        try:
            with safe_open(file, framework="numpy") as stream:
                by_clip: dict[str, Arrays] = {}
                for key in stream.keys():  # noqa: SIM118 (a file, not a dict)
                    name, _, array = key.rpartition("/")
                    by_clip.setdefault(name, {})[array] = stream.get_tensor(key)
                for row in json.loads(stream.metadata()["clips"]):
                    clip = Clip(**row | {"path": Path(row["path"])})
                    yield Prepared(clip, by_clip[clip.name])
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: cannot be used ({error}); {REMEDY}") from error


def _row(clip: Clip) -> dict[str, object]:
    """Return a clip's row; of its path, the file name alone."""
    return asdict(clip) | {"path": clip.path.name}


def _batches(clips: Iterable[Prepared[Arrays]], max_bytes: int) -> Iterator[list[Prepared[Arrays]]]:
    """Yield the clips of one shard after another."""
    batch: list[Prepared[Arrays]] = []
    held = 0
    for one in clips:
        arrays = one.content.values()
        size = sum(array.nbytes + HEADER_BYTES for array in arrays) + len(
            json.dumps(_row(one.clip))
        )
        size += 2 * HEADER_BYTES  # quotes that JSON escapes twice, and the file's own header
        if size > max_bytes:
            raise InputError(
                f"{one.clip.path.name}: takes {size / MEGABYTE:.1f} MB alone, over --max-mb "
                f"{max_bytes / MEGABYTE:g}; raise it, or pack fewer pictures with --faces"
            )
        if held + size > max_bytes:
            yield batch
            batch, held = [], 0
        batch.append(one)
        held += size
    if batch:
        yield batch
