from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.checkpoints import load_arrays, read_manifest
from dubcli.networks.mobilenet_v2 import MobileNetV2
from dubcli.networks.st_lpips import SCALE, SHIFT, WIDTHS, StLpips
from dubcli.training.convert_measures import (
    SLICES,
    convert_mobilenet,
    convert_st_lpips,
    rename_st_lpips,
)


@pytest.fixture
def package() -> dict[str, Tensor]:
    """Return weights as the package names and stores them."""
    network, taps = StLpips(), torch.tensor([1.0, 2, 1])
    source = {
        "scaling_layer.shift": torch.tensor(SHIFT)[None, :, None, None],
        "scaling_layer.scale": torch.tensor(SCALE)[None, :, None, None],
        "net.slice2.4.filt": (torch.outer(taps, taps) / 16).repeat(64, 1, 1, 1),
    }
    for layer, (old, width) in enumerate(zip(SLICES, WIDTHS, strict=True)):
        source[f"lin{layer}.model.1.weight"] = torch.rand(1, width, 1, 1)
        for part, value in network.convolutions[layer].state_dict().items():
            source[f"net.{old}.{part}"] = value
    return source


def test_st_lpips_is_written_as_half_floats_that_fit_the_network(
    package: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(package, tmp_path / "source.pth")
    file = convert_st_lpips(tmp_path / "source.pth", tmp_path)
    entry = read_manifest(tmp_path)["st-lpips"]
    assert (tmp_path / entry.file, entry.licence) == (file, "BSD-2-Clause")
    stored = load_arrays(tmp_path, "st-lpips")
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float16)}
    assert {key: array.shape for key, array in stored.items()} == {
        key: tuple(value.shape) for key, value in StLpips().state_dict().items()
    }
    expected = package["net.slice3.9.weight"].half().numpy()
    np.testing.assert_array_equal(stored["convolutions.2.weight"], expected)


def test_mobilenet_loses_its_classifier_and_nothing_else(tmp_path: Path) -> None:
    source = MobileNetV2().state_dict() | {"classifier.1.weight": torch.rand(4, 1280)}
    torch.save(source, tmp_path / "source.pth")
    convert_mobilenet(tmp_path / "source.pth", tmp_path)
    stored = load_arrays(tmp_path, "mobilenet-v2")
    MobileNetV2().load_state_dict({k: torch.from_numpy(v) for k, v in stored.items()}, strict=True)
    assert set(source) - set(stored) == {
        key for key in source if key.startswith("classifier") or key.endswith("batches_tracked")
    }


def test_another_blur_or_normalisation_is_refused(package: dict[str, Tensor]) -> None:
    for key in ("net.slice2.4.filt", "scaling_layer.scale"):
        with pytest.raises(ValueError, match=f"^{key} is not"):
            rename_st_lpips(package | {key: package[key] * 1.01})


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    source = MobileNetV2().state_dict()
    del source["features.0.0.weight"]
    torch.save(source, tmp_path / "source.pth")
    with pytest.raises(ValueError, match=r"^missing or left over: features\.0\.0\.weight$"):
        convert_mobilenet(tmp_path / "source.pth", tmp_path)
