"""Cutting and scaling a clip and a speech, to measure with: made to be dubbed, not to be kept."""

import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from dubcli.config import DubOptions
from dubcli.media.audio import AudioReader
from dubcli.media.probe import probe_audio
from dubcli.media.reader import FrameReader
from dubcli.media.writer import FrameWriter
from dubcli.records import AudioInfo, Bytes, VideoInfo

RATE_HZ = 16_000
SAMPLE_BYTES = 2
FULL_SCALE = 32_767
QUICK = DubOptions(preset="veryfast")


def cut_speech(speech: AudioInfo, duration_s: Fraction, target: Path) -> AudioInfo:
    """Write the beginning of a speech as 16 kHz mono 16-bit WAV.

    Args:
        speech: The speech.
        duration_s: How much of it, rounded down to a sample.
        target: The file to write.

    Returns:
        What was written.
    """
    left = int(duration_s * RATE_HZ)
    with AudioReader(speech, RATE_HZ) as reader, wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(RATE_HZ)
        for window in reader:
            samples = np.clip(window.samples[:left], -1, 1) * FULL_SCALE
            file.writeframes(np.rint(samples).astype("<i2").tobytes())
            left -= len(samples)
            if left <= 0:
                break
    return probe_audio(target)


def scale_clip(
    info: VideoInfo, height: int, frames: int, *, speech: AudioInfo, target: Path
) -> None:
    """Write the beginning of a video at another height, its width in proportion and even.

    Args:
        info: The video.
        height: Of the result, pixels.
        frames: How many frames; the video has as many.
        speech: The sound of the result.
        target: The file to write.
    """
    width = 2 * round(height * info.width / info.height / 2)
    sized = replace(info, width=width, height=height)
    method = cv2.INTER_AREA if height < info.height else cv2.INTER_CUBIC

    def scaled(rgb: Bytes) -> Bytes:
        return cv2.resize(rgb, (width, height), interpolation=method).astype(np.uint8)

    with (
        FrameReader(info, 0, frames) as reader,
        FrameWriter(target, sized, speech=speech, frame_count=frames, options=QUICK) as writer,
    ):
        for frame in reader:
            writer.write(scaled(frame.rgb))
