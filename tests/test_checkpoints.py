"""Loading refuses everything that is not exactly what the manifest promises."""

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from dubcli import checkpoints, manifest
from dubcli.checkpoints import (
    ManifestEntry,
    entry_for,
    load_arrays,
    load_network,
    manifest_text,
    models_root,
    read_header,
    read_manifest,
    record,
    save_arrays,
    save_network,
    sha256_of,
    verified_file,
)
from dubcli.errors import CheckpointError

REMEDY = checkpoints.REMEDY


@dataclass(frozen=True)
class TinyHyper:
    widths: tuple[int, ...] = (3, 4)
    bias: bool = True


class TinyNet(nn.Module):
    def __init__(self, hyper: TinyHyper) -> None:
        super().__init__()
        self.hyper = hyper
        self.linear = nn.Linear(*hyper.widths, bias=hyper.bias)
        self.register_buffer("steps", torch.tensor([7]))


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    home = ModuleType("tiny_networks")
    home.TinyNet, home.TinyHyper = TinyNet, TinyHyper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiny_networks", home)
    monkeypatch.setitem(
        checkpoints.REGISTRY, "TinyNet", ("tiny_networks:TinyNet", "tiny_networks:TinyHyper")
    )


@pytest.fixture
def network() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet(TinyHyper(widths=(5, 2)))


@pytest.fixture
def root(tmp_path: Path, network: TinyNet) -> Path:
    add(tmp_path, save_network(tmp_path, "tiny", network))
    return tmp_path


def add(root: Path, file: Path, name: str = "tiny") -> ManifestEntry:
    entry = entry_for(root, name, file, network="TinyNet", licence="MIT", trained_on="nothing")
    record(root, entry)
    return entry


def the_file(root: Path) -> Path:
    return root / read_manifest(root)["tiny"].file


def refusal(root: Path, name: str = "tiny") -> str:
    with pytest.raises(CheckpointError) as caught:
        load_network(root, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_saved_network_comes_back_the_same_in_eval_mode_and_frozen(
    root: Path, network: TinyNet
) -> None:
    loaded = load_network(root, "tiny")
    assert isinstance(loaded, TinyNet)
    assert loaded.hyper == network.hyper
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)


def test_file_is_named_after_its_hash_and_nothing_else_is_left(root: Path) -> None:
    file = the_file(root)
    assert file.name == f"tiny-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.safetensors"
    assert list(file.parent.iterdir()) == [file]


def test_header_holds_network_hyperparameters_and_extra_metadata(
    tmp_path: Path, network: TinyNet
) -> None:
    header = read_header(save_network(tmp_path, "tiny", network, extra_metadata={"seed": "3"}))
    assert json.loads(header["hyperparameters"]) == {"widths": [5, 2], "bias": True}
    assert (header["network"], header["seed"]) == ("TinyNet", "3")


def test_same_network_gives_the_same_bytes(tmp_path: Path, network: TinyNet) -> None:
    metadata = {f"key{n}": str(n) for n in range(9)}
    first = save_network(tmp_path / "a", "tiny", network, extra_metadata=metadata)
    second = save_network(tmp_path / "b", "tiny", network, extra_metadata=metadata)
    assert first.read_bytes() == second.read_bytes()


def test_half_precision_is_stored_as_such_and_loaded_as_single(
    tmp_path: Path, network: TinyNet
) -> None:
    add(tmp_path, save_network(tmp_path, "tiny", network, dtype=torch.float16))
    stored = load_arrays(tmp_path, "tiny")
    assert (stored["linear.weight"].dtype, stored["steps"].dtype) == (np.float16, np.int64)
    weight = load_network(tmp_path, "tiny").state_dict()["linear.weight"]
    assert torch.equal(weight, network.linear.weight.half().float())


def test_arrays_come_back_in_their_own_precision(tmp_path: Path) -> None:
    arrays = {"basis": np.arange(6, dtype=np.float16).reshape(2, 3), "n": np.array([1, 2])}
    add(tmp_path, save_arrays(tmp_path, "tiny", arrays, metadata={}))
    loaded = load_arrays(tmp_path, "tiny")
    assert {key: value.dtype for key, value in loaded.items()} == {
        key: value.dtype for key, value in arrays.items()
    }
    assert all(np.array_equal(loaded[key], arrays[key]) for key in arrays)


def test_array_that_is_a_transposed_view_is_stored_in_its_own_order(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    add(tmp_path, save_arrays(tmp_path, "tiny", {"basis": array}, metadata={}))
    assert np.array_equal(load_arrays(tmp_path, "tiny")["basis"], array)


def test_flipped_byte_is_named_with_both_hashes(root: Path) -> None:
    file, entry = the_file(root), read_manifest(root)["tiny"]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()[:12]
    assert refusal(root) == (
        f"{file}: sha256 is {found}, manifest says {entry.sha256[:12]}; {REMEDY}"
    )


def test_truncated_file_is_named_with_both_sizes_and_hashes(root: Path) -> None:
    file, entry = the_file(root), read_manifest(root)["tiny"]
    file.write_bytes(file.read_bytes()[:-5])
    assert refusal(root) == (
        f"{file}: {entry.bytes - 5} bytes, manifest says {entry.bytes}; sha256 is "
        f"{sha256_of(file)[:12]}, manifest says {entry.sha256[:12]}; {REMEDY}"
    )


def test_missing_file_is_named(root: Path) -> None:
    file = the_file(root)
    file.unlink()
    assert refusal(root) == f"{file}: no such file; {REMEDY}"


def test_unknown_name_lists_the_known_ones(root: Path) -> None:
    expected = f"{root / 'manifest.toml'}: no checkpoint named tinny; it has tiny"
    assert refusal(root, "tinny") == expected


def test_missing_manifest_is_named(tmp_path: Path) -> None:
    expected = f"{tmp_path}: no manifest.toml there; restore it, or give --models FOLDER"
    assert refusal(tmp_path) == expected


def test_file_outside_the_folder_is_refused(root: Path) -> None:
    entry = replace(read_manifest(root)["tiny"], file="../elsewhere.safetensors")
    (root / "manifest.toml").write_text(manifest_text({"tiny": entry}))
    assert refusal(root) == (
        f"{root / 'manifest.toml'}: [tiny] file leaves the folder: ../elsewhere.safetensors"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tiny\n", "not valid TOML"),
        ("tiny = 1\n", "tiny is not a table"),
        ("[tiny]\nfile = 'a'\n", "[tiny] needs sha256 = text"),
        ("[tiny]\nfile = 1\n", "[tiny] needs file = text"),
    ],
)
def test_damaged_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.toml").write_text(text)
    assert message in refusal(tmp_path)


def test_size_in_the_manifest_has_to_be_a_whole_number(root: Path) -> None:
    path = root / "manifest.toml"
    path.write_text(path.read_text().replace("bytes = ", "bytes = true # "))
    assert refusal(root) == f"{path}: [tiny] needs bytes = a whole number; restore the file"


def test_key_we_do_not_know_in_the_manifest_is_refused(root: Path) -> None:
    path = root / "manifest.toml"
    path.write_text(path.read_text() + 'colour = "red"\n')
    assert refusal(root) == f"{path}: [tiny] has unknown keys colour; remove it"


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x08" + b"\0" * 7 + b"notjson!"])
def test_damaged_header_is_refused_even_when_the_hash_is_right(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "tiny" / "tiny-0.safetensors"
    file.parent.mkdir()
    file.write_bytes(content)
    add(tmp_path, file)
    message = refusal(tmp_path)
    assert message.startswith(f"{file}: header is damaged (")
    assert message.endswith(REMEDY)
    with pytest.raises(CheckpointError, match="not readable as safetensors"):
        load_arrays(tmp_path, "tiny")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "header names network nothing, known are "),
        ({"network": "HugeNet"}, "header names network HugeNet, known are "),
        ({"network": "TinyNet"}, "hyperparameters in the header do not fit TinyNet ("),
        ({"network": "TinyNet", "hyperparameters": "{"}, "do not fit TinyNet ("),
        ({"network": "TinyNet", "hyperparameters": "[1]"}, "do not fit TinyNet ("),
        ({"network": "TinyNet", "hyperparameters": '{"depth": 1}'}, "do not fit TinyNet ("),
        ({"network": "TinyNet", "hyperparameters": "{}"}, "does not fit its network: "),
    ],
)
def test_header_that_describes_another_network_is_refused(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    arrays = {"linear.weight": np.zeros((2, 5), np.float32)}
    file = save_arrays(tmp_path, "tiny", arrays, metadata=metadata)
    add(tmp_path, file)
    assert refusal(tmp_path).startswith(f"{file}: ")
    assert message in refusal(tmp_path)


def test_network_without_hyperparameters_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^Linear\.hyper is not a dataclass instance$"):
        save_network(tmp_path, "tiny", nn.Linear(1, 1))


def test_network_that_could_not_be_loaded_again_cannot_be_saved(
    tmp_path: Path, network: TinyNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(checkpoints.REGISTRY, "TinyNet")
    with pytest.raises(ValueError, match=r"^TinyNet is not in checkpoints\.REGISTRY$"):
        save_network(tmp_path, "tiny", network)


def test_recording_a_new_file_removes_the_old_one_and_keeps_other_entries(
    root: Path, network: TinyNet
) -> None:
    other = save_arrays(root, "other", {"a": np.zeros(1)}, metadata={})
    add(root, other, "other")
    old = the_file(root)
    with torch.no_grad():
        network.linear.weight.add_(1)
    new = save_network(root, "tiny", network)
    add(root, new)
    assert not old.exists()
    assert the_file(root) == new
    assert verified_file(root, "other") == other


def test_recording_the_same_file_again_keeps_it(root: Path) -> None:
    file = the_file(root)
    add(root, file)
    assert file.exists()


def test_recording_makes_the_table_in_the_readme_anew(root: Path) -> None:
    readme = root / "README.md"
    readme.write_text("before\n<!-- table: start -->\nold\n<!-- table: end -->\nafter\n")
    add(root, the_file(root))
    lines = readme.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    assert lines[4] == "| tiny | TinyNet | 0.0 | MIT | nothing | [card](tiny/card.md) |"


def test_manifest_text_survives_quotes_and_odd_names(tmp_path: Path) -> None:
    entry = ManifestEntry("a b", "a/b", "0" * 64, 1, "N", "MIT", 'said "é\\"', "a/card.md")
    (tmp_path / "manifest.toml").write_text(manifest_text({"a b": entry}), encoding="utf-8")
    assert read_manifest(tmp_path) == {"a b": entry}


def test_given_folder_comes_first_then_the_environment_then_the_checkout(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path_factory.mktemp("second")
    (second / "manifest.toml").touch()
    monkeypatch.setenv("DUBCLI_MODELS", str(second))
    assert models_root(root) == root
    assert models_root() == second
    monkeypatch.delenv("DUBCLI_MODELS")
    assert models_root() == Path(checkpoints.__file__).parents[1] / "models"


def test_folder_without_a_manifest_names_the_choice_to_correct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=r"no manifest\.toml there; give --models a folder"):
        models_root(tmp_path)
    monkeypatch.setenv("DUBCLI_MODELS", str(tmp_path))
    with pytest.raises(CheckpointError, match="correct or unset DUBCLI_MODELS"):
        models_root()


def test_installed_package_uses_the_copy_it_carries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DUBCLI_MODELS", raising=False)
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "dubcli" / "manifest.py"))
    with pytest.raises(CheckpointError, match="reinstall dubcli, or give --models FOLDER"):
        models_root()
    carried = tmp_path / "dubcli" / "_models"
    carried.mkdir(parents=True)
    (carried / "manifest.toml").touch()
    assert models_root() == carried
