import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from dubcli.checkpoints import read_manifest
from dubcli.errors import InputError
from dubcli.training.data import Clip, Prepared
from dubcli.training.pack import (
    LISTING,
    MEGABYTE,
    Arrays,
    Pack,
    basis_of,
    clips_of,
    is_pack,
    open_pack,
    write_pack,
)

MODELS = Path(__file__).parents[2] / "models"
LIMIT = 40_000


def clips(count: int = 7, size: int = 3000) -> Iterator[Prepared[Arrays]]:
    rng = np.random.default_rng(0)
    for k in range(count):
        path = Path(f"somewhere/else/ü.{k}.mp4")
        clip = Clip(path, "train", "speech", f"s{k % 2}", 'a "set"', 1.5, 140.0, "good", -0.04)
        arrays: Arrays = {
            "features0": rng.normal(size=(size, 2)).astype(np.float16),
            "ends": np.arange(k + 1),
            "empty": np.zeros((0, 3), np.float32),
        }
        yield Prepared(clip, arrays)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    facts = {"basis": basis_of(MODELS), "audio_encoder": "whisper"}
    return write_pack(tmp_path / "a.dubpack", "geometry", facts, clips(), max_bytes=LIMIT)


def test_what_is_packed_comes_back_bit_for_bit_in_order(pack: Pack) -> None:
    read = list(clips_of(open_pack(pack.folder, "geometry", MODELS)))
    assert len(read) == pack.clips == 7
    for got, packed in zip(read, clips(), strict=True):
        assert asdict(got.clip) == asdict(packed.clip) | {"path": Path(packed.clip.path.name)}
        assert got.content.keys() == packed.content.keys()
        for name, array in packed.content.items():
            assert got.content[name].dtype == array.dtype
            np.testing.assert_array_equal(got.content[name], array)


def test_no_file_is_over_the_limit_and_none_could_take_another_clip(pack: Pack) -> None:
    files = sorted(p for p in pack.folder.iterdir() if p.name != LISTING)
    assert [f.name for f in files] == ["000.safetensors", "001.safetensors", "002.safetensors"]
    assert all(LIMIT / 2 < f.stat().st_size <= LIMIT for f in files[:-1])
    assert sum(f.stat().st_size for f in files) == pack.bytes
    assert [p.name for p in pack.folder.parent.iterdir()] == ["a.dubpack"]


def test_packs_are_told_from_folders_of_clips(pack: Pack, tmp_path: Path) -> None:
    assert is_pack(pack.folder)
    assert is_pack(pack.folder.rename(tmp_path / "renamed"))
    assert is_pack(tmp_path / "missing.dubpack")
    assert not is_pack(tmp_path)


def test_every_damage_is_one_sentence(pack: Pack) -> None:
    folder, shard = pack.folder, pack.folder / "001.safetensors"

    def refused(sentence: str) -> None:
        with pytest.raises(InputError, match=sentence) as error:
            open_pack(folder, "geometry", MODELS)
        assert "\n" not in str(error.value)

    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(r"001\.safetensors: is damaged: size or SHA-256 differ; copy the pack again")
    shard.write_bytes(whole[:-1])
    refused(r"001\.safetensors: is damaged")
    shard.unlink()
    refused(r"001\.safetensors: is missing")
    listing = folder / LISTING
    for text in ("{", "[]", '{"kind": "geometry"}', '{"kind": 1, "facts": 2, "shards": 3}'):
        listing.write_text(text)
        refused(r"pack\.json: is damaged")
    listing.unlink()
    refused(r"pack\.json: cannot be read")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "renderer"}, r"was packed for renderer; pack with --for geometry"),
        ({"format": 2}, "format 2, this dubcli reads 1"),
        ({"facts": {"basis": "0" * 64}}, "was made with another basis"),
    ],
)
def test_pack_for_something_else_is_refused(
    pack: Pack, change: dict[str, object], sentence: str
) -> None:
    listing = pack.folder / LISTING
    listing.write_text(json.dumps(json.loads(listing.read_text()) | change))
    with pytest.raises(InputError, match=sentence):
        open_pack(pack.folder, "geometry", MODELS)


def test_what_cannot_be_packed_is_refused(pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists; give another --output"):
        write_pack(pack.folder, "geometry", {}, clips(), max_bytes=LIMIT)
    other = tmp_path / "b.dubpack"
    with pytest.raises(InputError, match="no usable clips to pack"):
        write_pack(other, "geometry", {}, iter(()), max_bytes=LIMIT)
    with pytest.raises(InputError, match=r"ü\.0\.mp4: takes 0\.0 MB alone, over --max-mb 0\.01"):
        write_pack(other, "geometry", {}, clips(), max_bytes=int(0.01 * MEGABYTE))
    assert not other.exists()


def test_what_a_killed_packing_left_does_not_get_into_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".a.dubpack.partial"
    left.mkdir()
    (left / "009.safetensors").write_bytes(b"old")
    pack = write_pack(tmp_path / "a.dubpack", "geometry", {}, clips(1), max_bytes=LIMIT)
    assert {p.name for p in pack.folder.iterdir()} == {"000.safetensors", LISTING}
    assert not left.exists()


def test_basis_is_that_of_the_manifest() -> None:
    assert basis_of(MODELS) == read_manifest(MODELS)["basis"].sha256
