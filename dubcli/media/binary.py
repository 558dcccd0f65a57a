"""Where the ffmpeg program is."""

import shutil

import imageio_ffmpeg

from dubcli.errors import MediaError


def find_ffmpeg() -> str:
    """Return the path of ffmpeg: the one on PATH, else the one that imageio-ffmpeg carries.

    Raises:
        MediaError: If there is neither.
    """
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise MediaError(
            "ffmpeg was not found: install ffmpeg 5.1 or newer, or reinstall imageio-ffmpeg"
        ) from error
