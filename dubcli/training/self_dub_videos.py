"""The files of a self-dub: a clip's sound in time with its mouth, and crops as lossless video."""

import wave
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.config import DubOptions
from dubcli.geometry.crop import CROP_SIZE
from dubcli.media.probe import probe_audio
from dubcli.media.writer import FrameWriter
from dubcli.records import Arrangement, Bytes, Float, VideoInfo
from dubcli.training.speech import RATE_HZ

SAMPLE_BYTES, FULL_SCALE = 2, 32_767
LOSSLESS = DubOptions(codec="ffv1", pixel_format="bgr0")


def in_time(waveform: Float, lag_s: float, count: int) -> Float:
    """Return a sound moved to where the mouth is, ``count`` samples of it.

    Args:
        waveform: Mono, 16 kHz, [N].
        lag_s: How much later than the sound the mouth moves; below 0: sooner.
        count: How many samples; silence is added, or the end cut off.

    Returns:
        [count].

    Example:
        >>> in_time(np.array([1, 2, 3], np.float32), 1 / 16000, 3).tolist()
        [0.0, 1.0, 2.0]
        >>> in_time(np.array([1, 2, 3], np.float32), -1 / 16000, 4).tolist()
        [2.0, 3.0, 0.0, 0.0]
    """
    shift = round(lag_s * RATE_HZ)
    moved = np.concatenate([np.zeros(max(shift, 0), np.float32), waveform[max(-shift, 0) :]])
    return np.pad(moved[:count], (0, max(0, count - len(moved))))


def write_sound(waveform: Float, target: Path) -> None:
    """Write a sound as 16-bit WAV.

    Args:
        waveform: Mono, 16 kHz, [N], -1 to 1.
        target: The file.
    """
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(RATE_HZ)
        file.writeframes(np.rint(np.clip(waveform, -1, 1) * FULL_SCALE).astype("<i2").tobytes())


def write_crops(
    crops: Iterable[Bytes], count: int, rate: Fraction, sound: Path, target: Path
) -> None:
    """Write crops as FFV1 in RGB with the beginning of a sound: what is read again is the same.

    Args:
        crops: ``count`` pictures, uint8 RGB, [S, S, 3] each.
        count: How many.
        rate: Frames a second.
        sound: The sound file.
        target: The .mkv to write.

    Raises:
        MediaError: If ffmpeg fails.
    """
    info = VideoInfo(
        path=target.with_suffix(".crops"),  # they come from no file
        width=CROP_SIZE,
        height=CROP_SIZE,
        frame_rate=rate,
        frame_count=count,
        duration_s=count / rate,
        rotation_deg=0,
        variable_rate=False,
        has_audio=True,
        codec="ffv1",
        pixel_format="bgr0",
        colour_space=None,
        colour_primaries=None,
        colour_transfer=None,
        colour_range="pc",
    )
    with FrameWriter(
        target,
        info,
        speech=probe_audio(sound),
        frame_count=count,
        options=LOSSLESS,
        arrangement=Arrangement(duration_s=count / rate),
    ) as writer:
        for crop in crops:
            writer.write(crop)
