"""PURE: ffmpeg's argument lists.

Files are always ``file:`` and an absolute path, so a name such as ``-x.mp4``, ``concat:a`` or
``http://x`` is a name and nothing else; ``-protocol_whitelist`` and ``-format_whitelist`` keep
what is inside a file from reaching out.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from dubcli.media.codecs import Encoding
from dubcli.media.colour import (
    DECODE_FLAGS,
    ENCODE_FLAGS,
    colour_range,
    conversion,
    output_tags,
)
from dubcli.media.planes import canvas_for, raw_layout
from dubcli.media.soundtrack import Soundtrack
from dubcli.records import Arrangement, AudioInfo, Carried, Numbering, Pictures, VideoInfo

PROTOCOLS = "file,pipe"
# Demuxers whose files hold their own pictures and sound. Not among them, on purpose: hls, dash,
# concat, imf, sdp, rtsp and other lists of places; image2 and *_pipe (pictures); tty, lavfi.
FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,av1,caf,dts,dv,eac3,flac,flv,gif,h264,hevc,ivf,m4v,"
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mjpeg,mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,"
    "rm,tta,vvc,w64,wav,wtv,wv,yuv4mpegpipe"
)
# Of a picture sequence: its numbered files, found and checked by ``media.sequence``.
PICTURE_FORMATS = "image2"
PICTURE_CODECS = "png,tiff"
LOUDNESS_KEY = "lavfi.r128.I"
MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own leave alpha out
PAIR_CRF = 20
PAIR_BITS_PER_S = 1_600_000  # both pictures together, at most
PAIR_SOUND_BITS_PER_S = 96_000
_QUIET = ["-nostdin", "-hide_banner", "-loglevel", "error"]
_TOLD = ["-y", "-nostats", "-progress", "pipe:1"]


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Which frames ffmpeg is asked for, and how it gets there."""

    count: int | None = None  # how many; None: to the end
    seek_s: Fraction | None = None  # start decoding here, seconds after the container's start
    skip: int = 0  # frames to drop first, of those decoded
    picture: int = 0  # number of the first file to read, of a picture sequence


@dataclass(frozen=True, slots=True)
class Carrier:
    """In what encoded pictures come on standard input."""

    format: str  # "mov" or "matroska"
    display_aspect: Fraction | None = None  # where the format's own word is not to be trusted


def file_url(path: Path) -> str:
    """Return how ffmpeg is told a file: ``file:`` and the absolute path.

    Args:
        path: The file; symbolic links stay as they are.

    Example:
        >>> file_url(Path("/clips/-x.mp4"))
        'file:/clips/-x.mp4'
    """
    return f"file:{os.path.abspath(path)}"  # noqa: PTH100 - Path.resolve() would follow links


def rate_text(rate: Fraction) -> str:
    """Return a frame rate as ffmpeg reads it without rounding.

    Args:
        rate: Frames per second.

    Example:
        >>> rate_text(Fraction(30000, 1001))
        '30000/1001'
    """
    return f"{rate.numerator}/{rate.denominator}"


def file_input(path: Path, **options: str) -> Any:
    """Return ffmpeg-python's input of a file, which can reach nothing but that file.

    Args:
        path: The file.
        options: Of the input, ffmpeg's names.
    """
    return ffmpeg.input(
        file_url(path), protocol_whitelist=PROTOCOLS, format_whitelist=FORMATS, **options
    )


def pictures_url(names: Numbering) -> str:
    """Return how ffmpeg's image2 is told a picture sequence: only the number is a pattern.

    Args:
        names: How the files are named.

    Example:
        >>> pictures_url(Numbering(Path("/50%d off"), "a%s.", 4, ".png"))
        'file:/50%%d off/a%%s.%04d.png'
    """
    around = [file_url(names.folder) + "/" + names.before, names.after]
    before, after = (text.replace("%", "%%") for text in around)
    return f"{before}%0{names.digits}d{after}"


def pictures_input(info: VideoInfo, pictures: Pictures, first: int) -> Any:
    """Return ffmpeg-python's input of a picture sequence, read as the pixels are stored.

    Args:
        info: The sequence as a video.
        pictures: Its files.
        first: Number of the first one to read.
    """
    return ffmpeg.input(
        pictures_url(pictures.names),
        format=PICTURE_FORMATS,
        pattern_type="sequence",
        start_number=first,
        framerate=rate_text(info.frame_rate),
        noautorotate=None,
        protocol_whitelist=PROTOCOLS,
        format_whitelist=PICTURE_FORMATS,
        codec_whitelist=PICTURE_CODECS,
    )


def command_line(stream: Any, ffmpeg_binary: str) -> list[str]:
    """Return the arguments of an ffmpeg-python graph; ffmpeg then tells errors only.

    Args:
        stream: The graph's output.
        ffmpeg_binary: Path of ffmpeg.
    """
    return [str(argument) for argument in stream.compile(cmd=[ffmpeg_binary, *_QUIET])]


def _seeking(wanted: FrameRange) -> dict[str, Any]:
    """Return the options of an input that is read from a certain frame."""
    return {} if wanted.seek_s is None else {"ss": f"{float(wanted.seek_s):.6f}"}


def decode_video(ffmpeg_binary: str, info: VideoInfo, wanted: FrameRange) -> list[str]:
    """Return the arguments that write frames to standard output, as ``canvas_for`` has them.

    Every coded frame comes out once, in order, whatever its timestamp.

    Args:
        ffmpeg_binary: Path of ffmpeg.
        info: The video; its width and height are those after the rotation.
        wanted: Which frames.
    """
    layout = canvas_for(info).layout
    turned = raw_layout(info.pixel_format) != layout
    options: dict[str, Any] = {"noautorotate": None} if turned else {}
    if layout.alpha and info.codec in ALPHA_DECODERS:
        options["c:v"] = ALPHA_DECODERS[info.codec]
    if info.pictures is not None:
        video = pictures_input(info, info.pictures, wanted.picture)["v:0"]
    else:
        video = file_input(info.path, **options, **_seeking(wanted))["V:0"]
    if turned:  # ffmpeg would average chroma on the way
        video = video.filter("scale", flags=DECODE_FLAGS).filter("format", layout.name)
        video = video.filter("transpose", "cclock" if info.rotation_deg == 90 else "clock")
    if info.interlaced:
        video = video.filter("bwdif", mode="send_frame", deint="interlaced")
    if wanted.skip:
        video = video.filter("trim", start_frame=wanted.skip)
    scale = {"flags": DECODE_FLAGS}
    if layout.family == "yuv":  # a range stays as it is
        scale |= {"in_range": colour_range(info), "out_range": colour_range(info)}
    video = video.filter("scale", info.width, info.height, **scale).filter("format", layout.name)
    output: dict[str, Any] = {"format": "rawvideo", "fps_mode": "passthrough"}
    if info.variable_rate:
        # Raw frames have no times, but ffmpeg counts them in 1 / frame_rate by default and
        # complains where two of them fall together.
        video = video.filter("settb", "1/1000").filter("setpts", "N")
        output["enc_time_base"] = "1:1000"
    if wanted.count is not None:
        output["frames:v"] = wanted.count
    return command_line(ffmpeg.output(video, "pipe:1", **output), ffmpeg_binary)


def _lasting(
    sound: Any, info: AudioInfo, duration_s: Fraction | None, start_s: Fraction = Fraction(0)
) -> Any:
    """Let silence come before and after decoded sound, or cut it off; samples are not touched.

    A duration within a sample of the sound's own leaves it as it is.
    """
    lead = round(start_s * info.rate_hz)
    if lead:
        sound = sound.filter("adelay", f"{lead}S", all=1)
    if duration_s is None:
        return sound
    count = int(duration_s * info.rate_hz)
    if count < lead + info.sample_count:
        return sound.filter("atrim", end_sample=count)
    if count > lead + info.sample_count:
        return sound.filter("apad", whole_len=count)
    return sound


def decode_audio(
    ffmpeg_binary: str, info: AudioInfo, rate_hz: int, duration_s: Fraction | None = None
) -> list[str]:
    """Return the arguments that write the mean of the channels as float32 to standard output.

    Args:
        ffmpeg_binary: Path of ffmpeg.
        info: The sound.
        rate_hz: Sample rate to give out.
        duration_s: Where the sound is cut off, or until when silence follows it; None: as it is.
    """
    audio = _lasting(file_input(info.path)["a:0"].filter("asetpts", "N/SR/TB"), info, duration_s)
    audio = audio.filter("aformat", sample_fmts="fltp")
    if info.channels > 1:
        # Not pan: ffmpeg-python escapes the "=" that its argument needs once too often.
        total = "+".join(f"val({channel})" for channel in range(info.channels))
        audio = audio.filter("aeval", f"({total})/{info.channels}", channel_layout="mono")
    audio = audio.filter("aresample", rate_hz)
    return command_line(
        ffmpeg.output(audio, "pipe:1", format="f32le", acodec="pcm_f32le"), ffmpeg_binary
    )


def count_audio(ffmpeg_binary: str, path: Path) -> list[str]:
    """Return the arguments that write one byte per decoded sample to standard output.

    Args:
        ffmpeg_binary: Path of ffmpeg.
        path: The sound file.
    """
    audio = (
        file_input(path)["a:0"]
        .filter("asetpts", "N/SR/TB")
        .filter("aformat", channel_layouts="mono", sample_fmts="u8")
    )
    return command_line(ffmpeg.output(audio, "pipe:1", format="u8", acodec="pcm_u8"), ffmpeg_binary)


def _arranged(speech: AudioInfo, arrangement: Arrangement) -> Any:
    """Return the sound of an output; filters only where something is to be done."""
    # Sample n plays at n / rate: the file's own timestamps may start late or have gaps.
    sound = file_input(speech.path)["a:0"].filter("asetpts", "N/SR/TB")
    sound = _lasting(sound, speech, arrangement.duration_s, arrangement.start_s)
    if arrangement.gain_db:
        sound = sound.filter("volume", f"{arrangement.gain_db:.4f}dB", precision="double")
    return sound


def measure_loudness(ffmpeg_binary: str, speech: AudioInfo, arrangement: Arrangement) -> list[str]:
    """Return the arguments that write the loudness so far to standard output, ten times a second.

    The true peak is in the summary at the end of standard error. Not loudnorm's own figures: they
    were 0.08 LU off on six seconds of noise, these 0.005.

    Args:
        ffmpeg_binary: Path of ffmpeg.
        speech: The speech file.
        arrangement: What is done to it.
    """
    sound = _arranged(speech, arrangement).filter("ebur128", peak="true", metadata=1)
    sound = sound.filter("ametadata", mode="print", key=LOUDNESS_KEY, file="pipe:1")
    arguments = command_line(ffmpeg.output(sound, os.devnull, format="null"), ffmpeg_binary)
    return ["info" if argument == "error" else argument for argument in arguments]


def _pictures_to_encode(info: VideoInfo, encoding: Encoding, raw: str) -> Any:
    pictures = ffmpeg.input(
        "pipe:0",
        format="rawvideo",
        pixel_format=raw,
        video_size=(info.width, info.height),
        framerate=rate_text(info.frame_rate),
        protocol_whitelist=PROTOCOLS,
    )["v:0"]
    if encoding.codec == "dnxhr":
        # Its encoder reads beyond the picture and crashes on bytes as they come from a pipe
        # (ffmpeg 9.0.2, 360 x 288); a copy is padded.
        pictures = pictures.filter("copy")
    return (
        pictures.filter("scale", **conversion(info, raw, encoding.pixel_format))
        .filter("format", encoding.pixel_format)
        .filter("setsar", rate_text(info.pixel_aspect))
        .filter("setparams", **output_tags(info, encoding.pixel_format))
    )


def encode(
    ffmpeg_binary: str, part: Path, info: VideoInfo, encoding: Encoding, raw: str
) -> list[str]:
    """Return the arguments that encode raw frames from standard input, without sound.

    ffmpeg reports the number of frames it wrote to standard output (``-progress``).

    Args:
        ffmpeg_binary: Path of ffmpeg.
        part: The QuickTime file to write: it holds any codec, and time exactly.
        info: The source video: size, rate and colour of the output.
        encoding: How the pictures are encoded.
        raw: The pixel format of the frames that come.
    """
    output: dict[str, Any] = {
        "format": "mov",
        **dict(encoding.arguments),
        "r": rate_text(info.frame_rate),
        "fps_mode": "cfr",
    }
    written = ffmpeg.output(_pictures_to_encode(info, encoding, raw), file_url(part), **output)
    return [*command_line(written, ffmpeg_binary), *_TOLD]


def finish(
    ffmpeg_binary: str,
    partial: Path,
    carrier: Carrier,
    *,
    speech: AudioInfo,
    soundtrack: Soundtrack,
    arrangement: Arrangement,
    carried: Carried | None = None,
    notes: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the arguments that put an output together: encoded pictures, the speech, and more.

    The pictures come on standard input and are not encoded again. ffmpeg reports the number of
    frames it wrote to standard output (``-progress``).

    Args:
        ffmpeg_binary: Path of ffmpeg.
        partial: The file to write, with the extension of the output.
        carrier: In what the pictures come.
        speech: The speech file.
        soundtrack: How the speech is encoded.
        arrangement: What is done to the speech.
        carried: What comes along from the source.
        notes: Metadata to write, by name.
    """
    pictures = ffmpeg.input(
        "pipe:0", format=carrier.format, protocol_whitelist=PROTOCOLS, format_whitelist=FORMATS
    )
    sound = _arranged(speech, arrangement)
    if soundtrack.resampled:
        sound = sound.filter("aresample", soundtrack.rate_hz)
    output: dict[str, Any] = {
        "format": MUXERS[partial.suffix.lower()],
        "c:v:0": "copy",
        "c:a:0": soundtrack.codec,
    }
    if carrier.display_aspect is not None:
        output["aspect"] = rate_text(carrier.display_aspect).replace("/", ":")
    if soundtrack.resampled:
        output["ac:a:0"] = soundtrack.channels
    if soundtrack.bits_per_s is not None:
        output["b:a:0"] = soundtrack.bits_per_s
    if output["format"] != "matroska":
        # Edit lists count in this unit; the default millisecond would cut or add samples.
        output["movie_timescale"] = soundtrack.rate_hz
    if output["format"] == "mp4":
        output["movflags"] = "+faststart"
    written = ffmpeg.output(pictures["v:0"], sound, file_url(partial), **output)
    arguments = _carrying(command_line(written, ffmpeg_binary), carried)
    for name, text in (notes or {}).items():
        arguments[-1:-1] = ["-metadata", f"{name}={text}"]
    return [*arguments, *_TOLD]


def finish_sound(
    ffmpeg_binary: str,
    target: Path,
    speech: AudioInfo,
    *,
    codec: str,
    arrangement: Arrangement,
    notes: Mapping[str, str],
) -> list[str]:
    """Return the arguments that write an output's sound alone, as WAV.

    Args:
        ffmpeg_binary: Path of ffmpeg.
        target: The file to write; one of more than 4 GB becomes RF64.
        speech: The speech file.
        codec: ffmpeg's encoder.
        arrangement: What is done to the speech.
        notes: Metadata to write, by name.
    """
    output = {"format": "wav", "c:a": codec, "rf64": "auto", "map_metadata": "-1"}
    written = ffmpeg.output(_arranged(speech, arrangement), file_url(target), **output)
    arguments = command_line(written, ffmpeg_binary)
    for name, text in notes.items():
        arguments[-1:-1] = ["-metadata", f"{name}={text}"]
    return [*arguments, "-y"]


def _carrying(arguments: list[str], carried: Carried | None) -> list[str]:
    """Return a finishing command with one more input, whose streams and notes are copied."""
    if carried is None:
        notes = ["-map_metadata", "-1", "-map_chapters", "-1"]
        return [*arguments[:-1], *notes, arguments[-1]]
    count = arguments.count("-i")
    inputs = len(arguments) - arguments[::-1].index("-i") + 1  # up to the last one's name
    source = ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS]
    source += ["-i", file_url(carried.path)]
    copied = ["-map_metadata", str(count), "-map_chapters", str(count)]
    for place, stream in enumerate(carried.streams, 2):  # after pictures and speech
        copied += ["-map", f"{count}:{stream.index}", f"-c:{place}", stream.codec]
    if carried.timecode is not None:
        copied += ["-metadata", f"timecode={carried.timecode}"]
        if "mp4" in arguments:  # the other muxers do it unasked
            copied += ["-write_tmcd", "1"]
    if carried.until_s is not None:
        copied += ["-t", f"{float(carried.until_s):.6f}"]
    return [*arguments[:inputs], *source, *arguments[inputs:-1], *copied, arguments[-1]]


def encode_pair(
    ffmpeg_binary: str,
    target: Path,
    info: VideoInfo,
    *,
    size: tuple[int, int],
    sound: Path,
    duration_s: Fraction,
) -> list[str]:
    """Return the arguments that encode two pictures as one, the first above the second.

    Standard input holds rgb24 pictures of ``info``'s size, one of each in turn. There are no
    B-frames: frame k is shown at k / frame_rate, and half a second at most is decoded to reach it.

    Args:
        ffmpeg_binary: Path of ffmpeg.
        target: The .mp4 to write.
        info: Size, rate and colour of the pictures.
        size: Width and height of each picture in the file, even.
        sound: The file whose first audio stream is heard.
        duration_s: How much of the sound.
    """
    pictures = ffmpeg.input(
        "pipe:0",
        format="rawvideo",
        pixel_format="rgb24",
        video_size=(info.width, 2 * info.height),
        framerate=rate_text(info.frame_rate),
        protocol_whitelist=PROTOCOLS,
    )["v:0"].split()
    halves = [
        pictures[half]
        .filter("crop", info.width, info.height, 0, half * info.height)
        .filter("scale", *size, flags=ENCODE_FLAGS, out_color_matrix="bt709", out_range="tv")
        .filter("format", "yuv420p")
        for half in (0, 1)
    ]
    tags = {
        "range": "tv",
        "colorspace": "bt709",
        "color_primaries": info.colour_primaries or "bt709",
        "color_trc": info.colour_transfer or "bt709",
    }
    stacked = ffmpeg.filter(halves, "vstack").filter("setsar", "1").filter("setparams", **tags)
    heard = (
        file_input(sound)["a:0"]
        .filter("asetpts", "N/SR/TB")
        .filter("atrim", duration=f"{float(duration_s):.6f}")
    )
    output = {
        "format": "mp4",
        "c:v": "libx264",
        "preset": "veryfast",
        "crf": PAIR_CRF,
        "maxrate": PAIR_BITS_PER_S,
        "bufsize": 2 * PAIR_BITS_PER_S,
        "bf": 0,
        "g": max(1, round(info.frame_rate / 2)),
        "r": rate_text(info.frame_rate),
        "fps_mode": "cfr",
        "c:a": "aac",
        "ar": 48000,
        "ac": 2,
        "b:a": PAIR_SOUND_BITS_PER_S,
        "map_metadata": -1,
        "map_chapters": -1,
        "movflags": "+faststart",
    }
    arguments = command_line(
        ffmpeg.output(stacked, heard, file_url(target), **output), ffmpeg_binary
    )
    return [*arguments, *_TOLD]
