"""Loudness against a meter of its own: BS.1770-4 written down with scipy's filters."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter, resample_poly

from dubcli.config import DubOptions
from dubcli.media.loudness import (
    HIGHEST_DBTP,
    Loudness,
    arrange,
    at_loudness,
    gain_db,
    measure_loudness,
)
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.media.writer import FrameWriter
from dubcli.records import Arrangement, AudioInfo

Make = Callable[..., Path]
Samples = Callable[[Path], NDArray[np.float64]]
RATE = 48000
# BS.1770-4, tables 1 and 2: the coefficients at 48 kHz.
SHELF = (
    [1.53512485958697, -2.69169618940638, 1.19839281085285],
    [1.0, -1.69065929318241, 0.73248077421585],
)
HIGH_PASS = ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621])
METER_LU = 0.05  # ffmpeg computes its K filter for each rate; the last block may be cut off
PEAK_DB = 0.3  # of a true peak: oversampling filters differ (BS.1770-4, annex 2)
TARGETS = (-23.0, -30.0, -16.0)


def integrated(sound: NDArray[np.float64]) -> float:
    """Return LUFS of [N, channels] at 48 kHz, mono or stereo."""
    weighted = lfilter(*HIGH_PASS, lfilter(*SHELF, sound, axis=0), axis=0)
    block, step = int(0.4 * RATE), int(0.1 * RATE)
    starts = range(0, len(sound) - block + 1, step)
    power = np.array([(weighted[at : at + block] ** 2).mean(axis=0).sum() for at in starts])
    level = -0.691 + 10 * np.log10(power + 1e-30)
    kept = power[level > -70]
    gate = -0.691 + 10 * np.log10(kept.mean()) - 10
    return float(-0.691 + 10 * np.log10(power[(level > -70) & (level > gate)].mean()))


def true_peak(sound: NDArray[np.float64]) -> float:
    return float(20 * np.log10(np.abs(resample_poly(sound, 8, 1, axis=0)).max()))


@pytest.fixture(scope="session")
def talk(make: Make) -> Make:
    """Return a function that makes bursts of noise with pauses: 6 s at 48 kHz."""

    def build(name: str = "talk.wav", channels: int = 1, volume: float = 0.2) -> Path:
        noise = f"anoisesrc=r={RATE}:d=6:a={volume}:seed=3,lowpass=f=4000"
        bursts = f"{noise},volume='0.02+lt(mod(t,1.5),0.9)':eval=frame"
        if channels == 2:
            bursts += ",asplit[a][b];[b]volume=-0.5[c];[a][c]amerge"
        return make(name, "-f", "lavfi", "-i", bursts)

    return build


@pytest.fixture
def written(bframes: Path, tmp_path: Path) -> Callable[[AudioInfo, Arrangement], Path]:
    """Return a function that writes a short video with a sound."""

    def write(speech: AudioInfo, arrangement: Arrangement) -> Path:
        output = tmp_path / "out.mkv"
        info = probe_video(bframes)
        with (
            FrameReader(info, 0, 3) as reader,
            FrameWriter(
                output,
                info,
                speech=speech,
                frame_count=3,
                options=DubOptions(preset="ultrafast"),
                arrangement=arrangement,
            ) as writer,
        ):
            for frame in reader:
                writer.write(frame.rgb)
        return output

    return write


def test_the_independent_meter_reads_what_the_standard_says() -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(5 * RATE) / RATE)[:, None]
    assert integrated(sine) == pytest.approx(-3.01, abs=0.01)  # BS.1770-4, annex 1


@pytest.mark.parametrize("channels", [1, 2])
def test_measured_as_an_independent_meter_does(talk: Make, samples: Samples, channels: int) -> None:
    sound = probe_audio(talk(channels=channels))
    found = measure_loudness(sound, Arrangement())
    assert found.integrated_lufs == pytest.approx(integrated(samples(sound.path)), abs=METER_LU)
    assert found.true_peak_dbtp == pytest.approx(true_peak(samples(sound.path)), abs=PEAK_DB)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("channels", [1, 2])
def test_output_is_as_loud_as_asked_by_one_gain(
    talk: Make,
    samples: Samples,
    written: Callable[[AudioInfo, Arrangement], Path],
    channels: int,
    target: float,
) -> None:
    sound = probe_audio(talk(channels=channels))
    arrangement, warnings = at_loudness(sound, Arrangement(), target)
    made, given = samples(written(sound, arrangement)), samples(sound.path)
    assert warnings == []
    assert integrated(made) == pytest.approx(target, abs=METER_LU)
    # Linear: nothing but one factor, and rounding to 16 bits.
    np.testing.assert_allclose(made, given * 10 ** (arrangement.gain_db / 20), atol=1.01 / 2**15)


def test_silence_that_is_added_does_not_count(talk: Make) -> None:
    sound = probe_audio(talk())
    alone, padded = (
        measure_loudness(sound, Arrangement(duration_s)) for duration_s in (None, Fraction(12))
    )
    assert padded.integrated_lufs == pytest.approx(alone.integrated_lufs, abs=METER_LU)


def test_peaks_limit_the_gain_and_the_warning_says_what_was_reached(
    make: Make, samples: Samples, written: Callable[[AudioInfo, Arrangement], Path]
) -> None:
    clicks = f"aevalsrc=0.01*sin(2500*t)+0.5*lt(mod(t\\,1)\\,0.001):s={RATE}:d=4"
    sound = probe_audio(make("clicks.wav", "-f", "lavfi", "-i", clicks))
    arrangement, (warning,) = at_loudness(sound, Arrangement(), -14.0)
    made = samples(written(sound, arrangement))
    assert true_peak(made) == pytest.approx(HIGHEST_DBTP, abs=PEAK_DB)
    assert warning == (
        f"the loudness is {integrated(made):.1f} LUFS, not -14: more gain would lift true peaks "
        "above -1 dBTP; compress the speech's dynamics first"
    )


def test_silence_stays_silence_and_is_said(make: Make) -> None:
    silence = make("silence.wav", "-f", "lavfi", "-i", f"anullsrc=r={RATE}:cl=mono", "-t", "1")
    arrangement, (warning,) = at_loudness(probe_audio(silence), Arrangement(), -23.0)
    assert arrangement == Arrangement()
    assert warning == "the sound is silent or shorter than 0.4 s: its loudness is not set"


def test_without_the_option_nothing_is_done(talk: Make) -> None:
    sound = probe_audio(talk())
    assert arrange(sound, sound.duration_s, DubOptions()) == (Arrangement(sound.duration_s), [])


def test_gain_is_the_smaller_of_what_is_wanted_and_what_peaks_allow() -> None:
    assert gain_db(-23.0, Loudness(-20.0, -3.0)) == -3.0
    assert gain_db(-10.0, Loudness(-20.0, -3.0)) == 2.0
