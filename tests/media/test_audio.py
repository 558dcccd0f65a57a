from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.errors import MediaError
from dubcli.media.audio import AudioReader
from dubcli.media.probe import probe_audio

Make = Callable[..., Path]
Samples = Callable[[Path], NDArray[np.float64]]
FLOAT32 = 1e-6


def test_windows_follow_each_other_and_hold_the_samples(speech: Make, samples: Samples) -> None:
    path = speech("a.wav", rate=16000)
    with AudioReader(probe_audio(path), chunk=5000) as reader:
        windows = list(reader)
    assert [window.start for window in windows] == [0, 5000, 10000, 15000]
    assert [len(window.samples) for window in windows] == [5000, 5000, 5000, 4752]
    assert {(w.samples.dtype.name, w.rate_hz) for w in windows} == {("float32", 16000)}
    whole = np.concatenate([window.samples for window in windows])
    np.testing.assert_allclose(whole, samples(path)[:, 0], atol=FLOAT32)


def test_mono_is_the_mean_of_the_channels(speech: Make, samples: Samples) -> None:
    path = speech("a.wav", "-c:a", "pcm_f32le", channels=2)
    with AudioReader(probe_audio(path)) as reader:
        whole = np.concatenate([window.samples for window in reader])
    np.testing.assert_allclose(whole, samples(path).mean(1), atol=FLOAT32)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_rates_are_resampled_in_time(speech: Make, samples: Samples, rate: int) -> None:
    path = speech("a.wav", "-c:a", "pcm_f32le", rate=rate)
    with AudioReader(probe_audio(path)) as reader:
        whole = np.concatenate([window.samples for window in reader])
    source = samples(path)[:, 0]
    assert abs(len(whole) - len(source) * 16000 / rate) <= 1
    # The noise ends at 1.5 kHz, so linear interpolation of the source is a fair oracle.
    times = np.arange(len(whole) - 200) / 16000 * rate
    expected = np.interp(times, np.arange(len(source)), source)
    error = whole[:-200] - expected
    assert np.sqrt((error**2).mean()) < 0.1 * np.sqrt((source**2).mean())


def test_a_full_last_window_is_followed_by_none(speech: Make) -> None:
    path = speech("a.wav", rate=16000, s=1)
    with AudioReader(probe_audio(path), chunk=8000) as reader:
        assert [len(window.samples) for window in reader] == [8000, 8000]


def test_sound_that_cannot_be_decoded_is_an_error(speech: Make, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"nothing")
    info = replace(probe_audio(speech("a.wav")), path=broken)
    with (
        pytest.raises(MediaError, match=r"broken.wav: ffmpeg could not decode the sound \(.+\);"),
        AudioReader(info) as reader,
    ):
        list(reader)


def test_wrong_sizes_are_refused(speech: Make) -> None:
    info = probe_audio(speech("a.wav"))
    with pytest.raises(ValueError, match="rate 0 Hz and chunk 5 must be at least 1"):
        AudioReader(info, 0, 5)
    with pytest.raises(ValueError, match="outside its with block"):
        list(AudioReader(info))
