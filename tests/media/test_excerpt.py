"""Cutting and scaling what is measured."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from dubcli.media.audio import AudioReader
from dubcli.media.excerpt import RATE_HZ, cut_speech, scale_clip
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader

MEDIA = Path(__file__).parents[2] / "examples/media"
HALF_STEP = 1.0 / 32_767  # of 16-bit samples, with the other half for the scale


def test_speech_is_cut_to_the_sample(tmp_path: Path) -> None:
    speech = probe_audio(MEDIA / "speech.wav")
    cut = cut_speech(speech, Fraction(1, 3), tmp_path / "cut.wav")
    assert (cut.sample_count, cut.rate_hz, cut.channels) == (RATE_HZ // 3, RATE_HZ, 1)
    with AudioReader(cut) as made, AudioReader(speech) as true:
        whole = next(iter(true)).samples[: RATE_HZ // 3]
        assert np.abs(next(iter(made)).samples - whole).max() <= HALF_STEP


def test_clip_is_scaled_and_cut_to_the_frame(tmp_path: Path) -> None:
    info, target = probe_video(MEDIA / "franck.mp4"), tmp_path / "small.mp4"
    speech = cut_speech(probe_audio(MEDIA / "speech.wav"), Fraction(1, 4), tmp_path / "cut.wav")
    scale_clip(info, 144, 6, speech=speech, target=target)
    made = probe_video(target)
    assert (made.width, made.height, made.frame_count) == (180, 144, 6)
    assert made.frame_rate == info.frame_rate
    with FrameReader(made) as small, FrameReader(info, 0, 6) as large:
        for one, other in zip(small, large, strict=True):
            expected = cv2.resize(other.rgb, (180, 144), interpolation=cv2.INTER_AREA)
            assert np.abs(one.rgb.astype(float) - expected).mean() < 4  # x264's own loss
