"""PURE: ffmpeg's argument lists for sound in all of its channels: [N samples, C channels]."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from dubcli.media.command import PROTOCOLS, command_line, file_input, file_url
from dubcli.records import AudioInfo

SLOWEST_STEP = Fraction(1, 2)  # that one atempo filter takes


def _channels_out(sound: Any, rate_hz: int, ffmpeg_binary: str) -> list[str]:
    sound = sound.filter("aresample", rate_hz).filter("aformat", sample_fmts="flt")
    written = ffmpeg.output(sound, "pipe:1", format="f32le", acodec="pcm_f32le")
    return command_line(written, ffmpeg_binary)


def decode_speech_channels(ffmpeg_binary: str, info: AudioInfo, rate_hz: int) -> list[str]:
    """Return the arguments that write a speech's samples as float32, channels interleaved.

    Args:
        ffmpeg_binary: Path of ffmpeg.
        info: The speech; sample n plays at n / its rate, whatever its timestamps say.
        rate_hz: Sample rate to give out.
    """
    sound = file_input(info.path)["a:0"].filter("asetpts", "N/SR/TB")
    return _channels_out(sound, rate_hz, ffmpeg_binary)


def decode_bed(
    ffmpeg_binary: str, info: AudioInfo, rate_hz: int, *, start_s: Fraction, tempo: Fraction
) -> list[str]:
    """Return the arguments that write a video's own sound as float32, channels interleaved.

    The first sample is the one that plays with the first picture: sound that begins later is
    preceded by silence, what lies before is dropped, gaps are filled.

    Args:
        ffmpeg_binary: Path of ffmpeg.
        info: The sound.
        rate_hz: Sample rate to give out.
        start_s: When the first picture is shown, by the container's clock.
        tempo: How many times as fast as recorded, the pitch kept.
    """
    as_stamped: dict[str, Any] = {"copyts": None}
    sound = file_input(info.path, **as_stamped)["a:0"]
    sound = sound.filter("asetpts", f"PTS-({float(start_s):.6f})/TB")
    sound = sound.filter("aresample", info.rate_hz, first_pts=0, **{"async": 1})
    while tempo < SLOWEST_STEP:
        sound, tempo = sound.filter("atempo", float(SLOWEST_STEP)), tempo / SLOWEST_STEP
    if tempo != 1:
        sound = sound.filter("atempo", f"{float(tempo):.9f}")
    return _channels_out(sound, rate_hz, ffmpeg_binary)


def store_channels(ffmpeg_binary: str, target: Path, rate_hz: int, layout: str) -> list[str]:
    """Return the arguments that store float32 samples from standard input as they are, in Wave64.

    Args:
        ffmpeg_binary: Path of ffmpeg.
        target: The file to write.
        rate_hz: Sample rate.
        layout: Of the channels, ffmpeg's name.
    """
    sound = ffmpeg.input(
        "pipe:0", format="f32le", ar=rate_hz, ch_layout=layout, protocol_whitelist=PROTOCOLS
    )
    written = ffmpeg.output(sound["a:0"], file_url(target), format="w64", acodec="pcm_f32le")
    return [*command_line(written, ffmpeg_binary), "-y"]
