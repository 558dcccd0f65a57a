"""Writing a picture that appears only when it is whole."""

from pathlib import Path

import cv2

from dubcli.errors import MediaError
from dubcli.records import Bytes


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
