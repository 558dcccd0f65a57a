"""Which codec, pixel format and settings an output is encoded with; refused before any work."""

from dataclasses import dataclass

from dubcli.config import CONTAINERS, PCM_CONTAINERS, PICTURE_SUFFIXES, DubOptions
from dubcli.errors import InputError
from dubcli.media.binary import ffmpeg_facts, find_ffmpeg
from dubcli.media.colour import colour_range
from dubcli.media.hdr import HLG, PQ
from dubcli.media.planes import Layout, canvas_for, layer_info, raw_layout
from dubcli.records import VideoInfo

_CHROMAS = ("420", "422", "444")
_LOSSLESS: dict[str, tuple[str, str | int]] = {
    "png": ("pred", "paeth"),
    "tiff": ("compression_algo", "lzw"),  # which every program reads
}
_FFV1_DEPTHS = ("9", "10", "12", "14", "16")
# libavcodec's names of profiles
_PRORES_PROFILES = {"Proxy": 0, "LT": 1, "Standard": 2, "HQ": 3, "4444": 4, "XQ": 5}
_PRORES_HQ, _PRORES_4444 = 3, 4
_DNXHR_PROFILES = {"DNXHR LB": "dnxhr_lb", "DNXHR SQ": "dnxhr_sq", "DNXHR HQ": "dnxhr_hq"}
_DNXHR_SMALLEST = (256, 120)


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec that outputs can have."""

    encoder: str  # ffmpeg's
    containers: frozenset[str]
    formats: tuple[str, ...]  # pixel formats that it takes


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the pictures of an output are encoded."""

    codec: str  # a name of ``CODECS``
    pixel_format: str
    arguments: tuple[tuple[str, str | int], ...]  # output options of ffmpeg and their values
    warnings: tuple[str, ...]  # what of the source is not kept


_CODECS = {
    "h264": Codec(
        "libx264",
        CONTAINERS,
        tuple(f"yuv{c}p{depth}" for c in _CHROMAS for depth in ("", "10le")),
    ),
    "hevc": Codec(
        "libx265",
        CONTAINERS,
        tuple(f"yuv{c}p{depth}" for c in _CHROMAS for depth in ("", "10le", "12le")),
    ),
    "prores": Codec("prores_ks", PCM_CONTAINERS, ("yuv422p10le", "yuv444p10le", "yuva444p10le")),
    "dnxhr": Codec("dnxhd", PCM_CONTAINERS, ("yuv422p", "yuv422p10le", "yuv444p10le", "gbrp10le")),
    "ffv1": Codec(
        "ffv1",
        PCM_CONTAINERS,
        (
            *(f"yuv{c}p" for c in _CHROMAS),
            *(f"yuva{c}p" for c in _CHROMAS),
            *(f"yuv{c}p{depth}le" for c in _CHROMAS for depth in _FFV1_DEPTHS),
            *(f"yuva{c}p{depth}le" for c in _CHROMAS for depth in ("9", "10", "16")),
            *("gray", "gray10le", "gray12le", "gray16le", "bgr0", "bgra"),
            *("gbrp10le", "gbrp12le", "gbrp14le", "gbrp16le"),
            *("gbrap10le", "gbrap12le", "gbrap16le"),
        ),
    ),
    # Of picture sequences; the order matters where nothing else does: colour before grey.
    "png": Codec(
        "png",
        frozenset({".png"}),
        ("rgb24", "rgb48be", "rgba", "rgba64be", "gray", "gray16be"),
    ),
    "tiff": Codec(
        "tiff",
        frozenset({".tif", ".tiff"}),
        ("rgb24", "rgb48le", "rgba", "rgba64le", "gray", "gray16le"),
    ),
}
_FAMILIES = {"h264": "h264", "hevc": "hevc", "prores": "prores", "dnxhd": "dnxhr", "ffv1": "ffv1"}


def encoding_for(info: VideoInfo, extension: str, options: DubOptions) -> Encoding:
    """Return how the pictures of an output are encoded.

    Args:
        info: The source: its codec, size, chroma, depth and light are kept where they can be.
        extension: Of the output, with its dot, lower case.
        options: ``codec``, ``pixel_format``, ``allow_8bit``, ``patch_only``, ``crf`` and
            ``preset`` are read.

    Raises:
        InputError: If the container cannot hold the codec, the codec not the pixel format, this
            ffmpeg lacks the encoder, or a picture of more than 8 bits would get 8.
    """
    warnings: list[str] = []
    if options.patch_only:
        info = layer_info(info)
    layout = canvas_for(info).layout
    name = _codec_name(info, layout, extension, options, warnings)
    codec = _CODECS[name]
    if extension not in codec.containers:
        others = " or ".join(sorted(codec.containers))
        if options.patch_only:
            raise InputError(
                f"--patch-only: {extension} files do not hold pictures with alpha; write {others}"
            )
        raise InputError(
            f"--codec {name}: {extension} files do not hold it; write {others}, "
            "or choose another codec"
        )
    if not _has(codec):
        raise InputError(
            f"--codec {name}: {find_ffmpeg()} has no encoder {codec.encoder}; "
            "install a full build of ffmpeg"
        )
    pixel_format = _pixel_format(info, layout, name, options)
    if options.patch_only and not raw_layout(pixel_format).alpha:
        raise InputError(
            f"--patch-only: {name} does not hold alpha in {pixel_format}; "
            "choose --codec prores or ffv1, and no --pixel-format"
        )
    warnings += _losses(info, layout, raw_layout(pixel_format), name, options)
    arguments = (("c:v", codec.encoder), *_settings(info, name, pixel_format, options, extension))
    return Encoding(name, pixel_format, arguments, tuple(warnings))


def _codec_name(
    info: VideoInfo, layout: Layout, extension: str, options: DubOptions, warnings: list[str]
) -> str:
    """Return the codec asked for, else the one that fits source and output."""
    if extension in PICTURE_SUFFIXES:
        if options.codec != "source":
            raise InputError(
                f"--codec {options.codec}: {extension} pictures have their own; leave it out"
            )
        if info.variable_rate:
            warnings.append(
                "the video's frame rate varies and pictures hold no times: they are its frames one "
                "by one, and do not go with the sound at any even rate"
            )
        return "png" if extension == ".png" else "tiff"
    if options.codec != "source":
        return options.codec
    if options.patch_only:
        return "ffv1" if extension == ".mkv" else "prores"
    return _own_family(info, layout, extension, warnings)


def _has(codec: Codec) -> bool:
    """Return whether ffmpeg has an encoder; x264 is in every build that is of use."""
    return codec.encoder == "libx264" or codec.encoder in ffmpeg_facts().encoders


def _own_family(info: VideoInfo, layout: Layout, extension: str, warnings: list[str]) -> str:
    """Return the codec of the source where it can be written, else H.264."""
    name = _FAMILIES.get(info.codec)
    if layout.alpha and name is None and extension in _CODECS["prores"].containers:
        warnings.append(f"the video's codec {info.codec} is not written: the output is ProRes 4444")
        return "prores"
    if name is None:
        warnings.append(f"the video's codec {info.codec} is not written: the output is H.264")
        return "h264"
    if extension not in _CODECS[name].containers:
        warnings.append(
            f"{extension} files do not hold the video's codec {info.codec}: the output is H.264; "
            "write .mov or .mkv to keep it"
        )
        return "h264"
    if not _has(_CODECS[name]):
        warnings.append(f"this ffmpeg has no encoder {_CODECS[name].encoder}: the output is H.264")
        return "h264"
    return name


def _pixel_format(info: VideoInfo, layout: Layout, name: str, options: DubOptions) -> str:
    """Return the pixel format asked for, else the one that keeps most of the source."""
    formats = _CODECS[name].formats
    fitting = [each for each in formats if _takes_size(each, info)]
    if options.pixel_format is not None:
        if options.pixel_format not in formats:
            raise InputError(
                f"--pixel-format {options.pixel_format}: {name} takes {', '.join(formats)}"
            )
        if options.pixel_format not in fitting:
            raise InputError(
                f"--pixel-format {options.pixel_format}: it cannot hold pictures of "
                f"{info.width} x {info.height}; give one of {', '.join(fitting)}"
            )
        return options.pixel_format
    if name == "dnxhr" and (info.width < _DNXHR_SMALLEST[0] or info.height < _DNXHR_SMALLEST[1]):
        raise InputError(
            f"--codec dnxhr: pictures of {info.width} x {info.height} are too small, it takes "
            f"{_DNXHR_SMALLEST[0]} x {_DNXHR_SMALLEST[1]} and more; choose another codec"
        )
    return min(fitting, key=lambda each: _cost(layout, raw_layout(each)))


def _takes_size(pixel_format: str, info: VideoInfo) -> bool:
    """Return whether pictures come in whole samples of chroma: encoders refuse odd sizes."""
    shift_x, shift_y = raw_layout(pixel_format).chroma_shift
    return info.width % (1 << shift_x) == 0 and info.height % (1 << shift_y) == 0


def _cost(source: Layout, output: Layout) -> tuple[int, ...]:
    """Return what is lost from one layout to another, the worst first, then what is wasted."""
    lost = [max(0, o - s) for s, o in zip(source.chroma_shift, output.chroma_shift, strict=True)]
    spare = [max(0, s - o) for s, o in zip(source.chroma_shift, output.chroma_shift, strict=True)]
    return (
        source.alpha and not output.alpha,
        max(0, source.depth - output.depth),
        sum(lost) if source.family != "gray" else 0,
        source.family != output.family,
        sum(spare) if source.family != "gray" else -sum(output.chroma_shift),
        output.depth - source.depth,
        output.alpha,
    )


def _losses(
    info: VideoInfo, source: Layout, output: Layout, name: str, options: DubOptions
) -> list[str]:
    """Say what of the source a pixel format does not hold; refuse 8 bits for more."""
    said = []
    if source.depth > 8 and output.depth == 8 and not options.allow_8bit:
        light = {PQ: "HDR (PQ)", HLG: "HDR (HLG)"}.get(info.colour_transfer or "", "")
        raise InputError(
            f"{info.path}: the video has {source.depth} bits{' of ' + light if light else ''}, the "
            f"output would have 8 and show bands; choose another --pixel-format or --codec, or "
            "add --allow-8bit"
        )
    if output.depth < source.depth:
        said.append(f"the video has {source.depth} bits, the output has {output.depth}")
    if source.alpha and not output.alpha:
        said.append(
            f"the video's alpha is left out: {name} does not hold it in {output.name}; "
            "--codec prores or ffv1 does, in .mov or .mkv"
        )
    return said


def _settings(
    info: VideoInfo, name: str, pixel_format: str, options: DubOptions, extension: str
) -> list[tuple[str, str | int]]:
    """Return an encoder's options."""
    if name == "ffv1":
        full = colour_range(info) == "pc"  # without being told, the encoder takes the other
        told: list[tuple[str, str | int]] = [("color_range:v", "pc")] if full else []
        return [("level", 3), ("g", 1), ("slicecrc", 1), *told]
    if name in _LOSSLESS:
        return [_LOSSLESS[name]]
    if name == "prores":
        own = _PRORES_PROFILES.get(info.profile or "", _PRORES_HQ)
        if pixel_format == "yuv422p10le":
            return [("profile:v", min(own, _PRORES_HQ)), ("vendor", "apl0")]
        return [("profile:v", max(own, _PRORES_4444)), ("vendor", "apl0")]
    if name == "dnxhr":
        own_profile = _DNXHR_PROFILES.get(info.profile or "", "dnxhr_hq")
        deep = {"yuv422p": own_profile, "yuv422p10le": "dnxhr_hqx"}
        return [("profile:v", deep.get(pixel_format, "dnxhr_444"))]
    settings: list[tuple[str, str | int]] = [("crf", options.crf), ("preset", options.preset)]
    parameters = ["log-level=error"] if name == "hevc" else []
    kept = info.colour_transfer in {PQ, HLG} and raw_layout(pixel_format).depth > 8
    if kept and info.mastering_display is not None:
        key = "master-display" if name == "hevc" else "mastering-display"
        parameters.append(f"{key}={info.mastering_display}")
    if kept and info.content_light is not None:
        key = "max-cll" if name == "hevc" else "cll"
        parameters.append(f"{key}={info.content_light[0]},{info.content_light[1]}")
    if parameters:
        settings.append((f"{'x265' if name == 'hevc' else 'x264'}-params", ":".join(parameters)))
    if name == "hevc" and extension != ".mkv":
        settings.append(("tag:v", "hvc1"))  # Apple's players take no other
    return settings
