"""Any sound goes in; .mov and .mkv hold every sample that decoding it gives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.media.probe import probe_audio

Make = Callable[..., Path]
FORMATS = {
    "u8.wav": ("pcm_u8", "-c:a", "pcm_u8"),
    "s32.wav": ("pcm_s32le", "-c:a", "pcm_s32le"),
    "f64.wav": ("pcm_f64le", "-c:a", "pcm_f64le"),
    "alaw.wav": ("pcm_s16le", "-c:a", "pcm_alaw"),
    "s24.aiff": ("pcm_s24le", "-c:a", "pcm_s24be"),
    "s16.caf": ("pcm_s16le", "-c:a", "pcm_s16be"),
    "s24.flac": ("pcm_s32le", "-c:a", "flac", "-sample_fmt", "s32"),
    "alac.m4a": ("pcm_s32le", "-c:a", "alac", "-sample_fmt", "s32p"),
    "aac.m4a": ("pcm_f32le", "-c:a", "aac"),
    "a.opus": ("pcm_f32le", "-c:a", "libopus", "-ar", "48000"),
    "a.ogg": ("pcm_f32le", "-c:a", "libvorbis"),
    "a.ac3": ("pcm_f32le", "-c:a", "ac3"),
    "film.mkv": (
        "pcm_s16le", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:d=1", "-c:a", "pcm_s16le",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_samples_are_those_of_the_speech(
    clip: Make,
    speech: Make,
    copy: Callable[..., tuple[str, ...]],
    samples: Callable[[Path], NDArray[np.float64]],
    tmp_path: Path,
    name: str,
) -> None:
    codec, *how = FORMATS[name]
    sound = speech(name, *how, rate=44100, s=0.5)
    output = tmp_path / ("out.mov" if list(FORMATS).index(name) % 2 else "out.mkv")
    assert copy(clip("a.mp4", s=0.2), sound, output) == ()
    assert probe_audio(output).codec == codec
    np.testing.assert_array_equal(samples(output), samples(sound))
