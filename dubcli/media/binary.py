"""Where the ffmpeg program is, and what it can do."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache

import imageio_ffmpeg

from dubcli.errors import MediaError

ANSWER_S = 60.0  # within which ffmpeg says what it is


@dataclass(frozen=True, slots=True)
class FfmpegFacts:
    """What an ffmpeg says about itself."""

    path: str
    version: str  # "7.0.2-static", "N-12345-g0123abc"
    encoders: frozenset[str]  # "libx264", "aac"


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


def ffmpeg_facts() -> FfmpegFacts:
    """Return what the ffmpeg that dubcli would use says about itself.

    Raises:
        MediaError: If there is none, or it does not answer as ffmpeg does.
    """
    return _facts(find_ffmpeg())


@lru_cache(maxsize=2)  # a dub asks several times, and each answer takes two runs of ffmpeg
def _facts(path: str) -> FfmpegFacts:
    version = re.search(r"^ffmpeg version (\S+)", _said(path, "-version"))
    if version is None:
        raise MediaError(f"{path}: does not say that it is ffmpeg; install ffmpeg 5.1 or newer")
    listed = re.findall(r"^ [VAS][.A-Z]{5} (\S+)", _said(path, "-encoders"), flags=re.MULTILINE)
    return FfmpegFacts(path, version[1], frozenset(listed))


def _said(path: str, question: str) -> str:
    """Return what ffmpeg prints to standard output when asked."""
    try:
        done = subprocess.run(
            [path, "-nostdin", "-hide_banner", question],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MediaError(f"{path}: does not run ({error}); install ffmpeg 5.1 or newer") from error
    return done.stdout.decode(errors="replace")
