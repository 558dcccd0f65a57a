"""Files of a self-dub: crops come back as they were, the sound where the mouth is."""

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.training.self_dub_videos import in_time, write_crops, write_sound


def test_crops_are_read_as_they_were_written_with_as_much_sound(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    crops = generator.integers(0, 256, size=(3, 256, 256, 3), dtype=np.uint8)
    sound, target = tmp_path / "sound.wav", tmp_path / "crops.mkv"
    write_sound(generator.uniform(-0.5, 0.5, 16000).astype(np.float32), sound)
    for pictures in (crops, crops[::-1]):  # the second replaces the first
        write_crops(iter(pictures), 3, Fraction(25), sound, target)
        info = probe_video(target)
        assert (info.frame_rate, info.frame_count) == (Fraction(25), 3)
        with FrameReader(info) as reader:
            np.testing.assert_array_equal(np.stack([frame.rgb for frame in reader]), pictures)
    assert float(probe_audio(target).duration_s) == pytest.approx(3 / 25, abs=0.001)


@pytest.mark.parametrize("lag_s", [0.0, 0.08, -0.12])
def test_sound_comes_later_where_the_mouth_does(lag_s: float) -> None:
    click = np.zeros(16000, dtype=np.float32)
    click[8000] = 1
    moved = in_time(click, lag_s, 20000)
    assert len(moved) == 20000
    assert np.flatnonzero(moved).tolist() == [8000 + round(16000 * lag_s)]
    assert len(in_time(click, lag_s, 9000)) == 9000


def test_sound_is_written_as_it_is_but_for_rounding_and_clipped(tmp_path: Path) -> None:
    sound = np.array([0.0, 0.25, -1.0, 1.5], dtype=np.float32)
    write_sound(sound, tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels()) == (16000, 1)
        stored = np.frombuffer(file.readframes(4), "<i2")
    assert stored.tolist() == [0, round(0.25 * 32767), -32767, 32767]
