"""Reading a picture, and writing one that appears only when it is whole."""

from pathlib import Path

import cv2
import numpy as np

from dubcli.errors import InputError, MediaError
from dubcli.records import Bytes


def read_picture(path: Path) -> Bytes:
    """Return a picture as uint8 RGB, [H, W, 3].

    Args:
        path: PNG, JPEG, TIFF, WebP or BMP.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: the picture could not be read ({error.strerror}); check the path"
        ) from error
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if found is None:
        raise InputError(f"{path}: is no picture that can be read; give a PNG or a JPEG")
    return np.ascontiguousarray(found[:, :, ::-1]).astype(np.uint8)


def write_png(output: Path, rgb: Bytes) -> None:
    """Write a picture beside ``output``, then put it there.

    Args:
        output: The file to make or replace, .png.
        rgb: uint8, [H, W, 3].

    Raises:
        MediaError: If it cannot be written.
    """
    _, content = cv2.imencode(".png", rgb[:, :, ::-1])
    partial = output.with_name(f".{output.stem}.partial{output.suffix}")
    try:
        partial.write_bytes(content.tobytes())
        partial.replace(output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MediaError(
            f"{output}: could not be written ({error.strerror}); "
            "check the folder's permissions and the space left"
        ) from error
