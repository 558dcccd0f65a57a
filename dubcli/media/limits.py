"""Refusing what is larger than a user allows, before the work begins."""

from fractions import Fraction

from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.records import AudioInfo, VideoInfo


def refuse_too_large(info: VideoInfo, speech: AudioInfo, options: DubOptions) -> None:
    """Refuse pictures or durations beyond the limits.

    Durations are those of the packets and samples that are there, not what a header claims.

    Args:
        info: The video.
        speech: The speech.
        options: ``max_pixels`` and ``max_seconds``.

    Raises:
        InputError: If something is too large.
    """
    pixels = info.width * info.height
    if pixels > options.max_pixels:
        raise InputError(
            f"{info.path}: its pictures have {info.width} x {info.height} = {pixels} pixels, "
            f"--max-pixels allows {options.max_pixels}; raise it, or make the video smaller"
        )
    for path, duration_s in ((info.path, info.duration_s), (speech.path, speech.duration_s)):
        if (duration_s or Fraction(0)) > options.max_seconds:
            raise InputError(
                f"{path}: lasts {float(duration_s or 0):.1f} s, --max-seconds allows "
                f"{options.max_seconds}; raise it, or cut the file"
            )
