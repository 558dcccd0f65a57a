"""PURE: which colour conversion a video needs, so that yuv -> rgb24 -> yuv comes back the same.

ffmpeg's default is bt601 whatever the file says unless the frame is tagged; we always name the
matrix and the range, in both directions, and take both from the source.
"""

from dubcli.records import VideoInfo

# Chroma is repeated on the way in and averaged on the way out: exact inverses, so pixels that
# nobody touched come back. Measured on 4:2:0, 640x480, in-gamut (chroma PSNR): 67 dB and 63 dB,
# against 48 dB and 62 dB for bicubic both ways. The other flags: full-resolution chroma, and
# rounding without bias.
_EXACT = "+accurate_rnd+full_chroma_int+full_chroma_inp"
DECODE_FLAGS = "neighbor" + _EXACT
ENCODE_FLAGS = "area" + _EXACT
HD_HEIGHT_PX = 720

# Names of AVColorSpace that the scale filter can convert, and what it calls them.
_MATRICES = {
    "bt709": "bt709",
    "fcc": "fcc",
    "bt470bg": "smpte170m",  # the same numbers; ffmpeg 7.0 does not know the other name
    "smpte170m": "smpte170m",
    "smpte240m": "smpte240m",
    "bt2020nc": "bt2020",
    "bt2020c": "bt2020",
}
_RGB_PREFIXES = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "bayer", "x2")
_FULL_PREFIXES = (*_RGB_PREFIXES, "gray")


def is_rgb(pixel_format: str) -> bool:
    """Return whether a pixel format of ffmpeg's stores red, green and blue.

    Args:
        pixel_format: ffmpeg's name.

    Example:
        >>> is_rgb("gbrp"), is_rgb("yuv420p")
        (True, False)
    """
    return pixel_format.startswith(_RGB_PREFIXES)


def colour_matrix(info: VideoInfo) -> str:
    """Return the scale filter's name of the matrix between this video's yuv and rgb.

    Untagged video, and tags that the filter cannot convert (rgb, ycgco), take what players
    take: bt709 from 720 lines up, bt601 (smpte170m) below.

    Args:
        info: The video.
    """
    named = _MATRICES.get(info.colour_space or "")
    if named is not None:
        return named
    return "bt709" if info.height >= HD_HEIGHT_PX else "smpte170m"


def colour_range(info: VideoInfo) -> str:
    """Return the range of the yuv values: "pc" (0 to 255) where the file says so, else "tv".

    Args:
        info: The video.
    """
    return "pc" if info.colour_range == "pc" and not is_rgb(info.pixel_format) else "tv"


def conversion(info: VideoInfo, source: str, output: str) -> dict[str, str]:
    """Return the arguments of the scale filter between two pixel formats of a video.

    Args:
        info: The video: matrix and range of yuv.
        source: ffmpeg's name of the one format.
        output: ffmpeg's name of the other.
    """
    finer = _sharing(output) < _sharing(source)
    made = {"flags": DECODE_FLAGS if finer else ENCODE_FLAGS}
    for side, pixel_format in (("in", source), ("out", output)):
        full = pixel_format.startswith(_FULL_PREFIXES)
        made[f"{side}_range"] = "pc" if full else colour_range(info)
        if not full:
            made[f"{side}_color_matrix"] = colour_matrix(info)
    return made


def _sharing(pixel_format: str) -> int:
    """Return how many pixels share a sample of chroma, by a format's name."""
    return next((n for part, n in (("420", 4), ("422", 2)) if part in pixel_format), 1)


def output_tags(info: VideoInfo, pixel_format: str) -> dict[str, str]:
    """Return the colour tags of the output, as arguments of the setparams filter.

    What the source does not say stays unsaid, so a player guesses the same for both files. The
    exceptions: full range is always said; a matrix that we could not keep is not claimed.

    Args:
        info: The source video.
        pixel_format: Of the output.
    """
    kept = info.colour_space in _MATRICES and not is_rgb(pixel_format)
    full = colour_range(info) == "pc" or is_rgb(pixel_format)
    return {
        "range": "pc" if full else ("tv" if info.colour_range == "tv" else "unknown"),
        "color_primaries": info.colour_primaries or "unknown",
        "color_trc": info.colour_transfer or "unknown",
        "colorspace": str(info.colour_space) if kept else "unknown",
    }
