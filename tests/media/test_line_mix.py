"""Several speeches in one track, sample by sample, against sums written out by hand."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.media.lengths import LengthPlan, plan_output
from dubcli.media.line_mix import Placed, mix_lines, mix_warnings
from dubcli.media.loudness import measure_loudness
from dubcli.media.mixing import lines_path, mix, output_sound
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.soundtrack import soundtrack_for

Make = Callable[..., Path]
Samples = Callable[[Path], NDArray[np.float64]]
HZ = 16000
RESAMPLED = 0.02


def tone(
    make: Make, name: str, *options: str, s: float = 1.0, rate: int = HZ, hz: int = 300
) -> Path:
    return make(name, "-f", "lavfi", "-i", f"sine={hz}:r={rate}:d={s}", *options)


def at(path: Path, start_s: str) -> Placed:
    return Placed(probe_audio(path), Fraction(start_s))


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le"])
def test_samples_of_a_line_that_sounds_alone_are_stored_as_they_are(
    make: Make, samples: Samples, tmp_path: Path, codec: str
) -> None:
    one = tone(make, "one.wav", "-c:a", codec, s=1.3)
    two = tone(make, "two.wav", "-c:a", codec, s=1.2, hz=470)
    lines = [at(two, "2.50003"), at(one, "0.25"), at(one, "3")]
    mixed, peak = mix_lines(lines, Fraction(4), tmp_path / "mix.w64")
    expected = np.zeros((4 * HZ, 1))
    for path, first in ((one, 4000), (two, 40000), (one, 48000)):
        sound = samples(path)[: len(expected) - first]
        expected[first : first + len(sound)] += sound
    np.testing.assert_array_equal(samples(mixed.path), expected)
    assert peak == pytest.approx(np.abs(expected).max())
    assert mixed.sample_count == 4 * HZ
    assert soundtrack_for(".mkv", mixed).codec == codec
    assert list(mix_warnings(lines)) == []


def test_the_track_has_the_highest_rate_and_most_channels_and_that_is_said(
    make: Make, samples: Samples, tmp_path: Path
) -> None:
    high = make("high.wav", "-f", "lavfi", "-i", "aevalsrc='0.1*sin(900*t)|0.2':s=48000:d=0.5")
    low = tone(make, "low.wav", s=0.5)
    lines = [at(high, "0"), at(low, "0.5")]
    mixed, _ = mix_lines(lines, Fraction(5), tmp_path / "mix.w64")
    heard = samples(mixed.path)
    assert (mixed.rate_hz, mixed.channels, heard.shape) == (48000, 2, (48000, 2))
    np.testing.assert_array_equal(heard[:24000], samples(high))
    difference = heard[24000::3] - samples(low)
    assert np.abs(difference[100:-100]).max() < RESAMPLED
    assert list(mix_warnings(lines)) == [
        f"{low}: beside the other lines, 16000 Hz became 48000 Hz and mono became stereo"
    ]


def test_formats_that_differ_are_stored_as_floats(make: Make, tmp_path: Path) -> None:
    lines = [at(tone(make, "a.wav"), "0"), at(tone(make, "b.wav", "-c:a", "pcm_s24le"), "1")]
    mixed, _ = mix_lines(lines, Fraction(2), tmp_path / "mix.w64")
    assert soundtrack_for(".mkv", mixed).codec == "pcm_f32le"
    wide = [at(tone(make, "w.wav", "-c:a", "pcm_s32le"), "0")]
    assert list(mix_warnings(wide)) == [
        f"{wide[0].info.path}: beside the other lines, s32 samples became 32-bit floats"
    ]


def test_channels_that_have_no_place_are_refused(make: Make, tmp_path: Path) -> None:
    six = make("six.wav", "-f", "lavfi", "-i", "aevalsrc='0|0|0|0|0|0':d=0.2:c=5.1")
    five = make("five.wav", "-f", "lavfi", "-i", "aevalsrc='0|0|0|0|0':d=0.2:c=5.0(side)")
    with pytest.raises(
        InputError, match=r"five\.wav: its channels have no place in those of .*six"
    ):
        mix_lines([at(six, "0"), at(five, "1")], Fraction(2), tmp_path / "mix.w64")
    assert not (tmp_path / "mix.w64").exists()


def planned(video: Path, end: Fraction) -> LengthPlan:
    """Return the plan of an output of 100 frames whose lines end then."""
    rate = probe_video(video).frame_rate
    return plan_output(100, end, rate, DubOptions(speech_at="0"))


@pytest.mark.parametrize("loudness", [None, -23.0])
def test_lines_that_are_too_loud_together_are_lowered(
    clip: Make, make: Make, tmp_path: Path, loudness: float | None
) -> None:
    video = clip("mute.mp4", s=4)
    loud = tone(make, "loud.wav", "-af", "volume=17dB", s=2)
    lines, output = [at(loud, "0"), at(loud, "1")], tmp_path / "o.mkv"
    options = DubOptions(loudness=loudness)
    info, plan = probe_video(video), planned(video, Fraction(3))
    with output_sound(info, lines, plan, output, options) as sound:
        assert sound.info.path == lines_path(output)
        found = measure_loudness(sound.info, sound.arrangement)
        if loudness is None:
            assert found.true_peak_dbtp == pytest.approx(-1, abs=0.5)
            assert "lines that sound together are too loud: lowered by" in sound.warnings[-1]
        else:
            assert found.integrated_lufs == pytest.approx(-23, abs=0.1)
    assert list(tmp_path.iterdir()) == []


def test_the_bed_makes_room_for_each_line_however_quiet(
    make: Make, samples: Samples, tmp_path: Path
) -> None:
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=4")
    bed = ("-f", "lavfi", "-i", f"sine=400:r={HZ}:d=4", "-c:a", "pcm_s16le")
    video = make("bed.mkv", *picture, *bed, "-preset", "ultrafast")
    loud = tone(make, "loud.wav", "-af", "volume=17dB", s=0.5)
    quiet = tone(make, "quiet.wav", "-af", "volume=-30dB", s=0.5)
    lines, options = (
        [at(loud, "0.5"), at(quiet, "2.5")],
        DubOptions(audio="keep-bed", bed_level=-20, bed_fade=0.5),
    )
    info, plan = probe_video(video), planned(video, Fraction(3))
    spoken, _ = mix_lines(lines, plan.sound_s, tmp_path / "lines.w64")
    mixed, _ = mix(info, Placed(spoken), plan, tmp_path / "mix.w64", options, lines=lines)
    own, heard = samples(video)[:, 0], samples(mixed.path)[:, 0].copy()
    heard[: len(samples(spoken.path))] -= samples(spoken.path)[:, 0]
    for start_s, stop_s, level in ((0, 0.35, 1), (0.5, 1, 0.1), (1.55, 2.35, 1), (2.5, 3, 0.1)):
        inside = slice(int(start_s * HZ), int(stop_s * HZ))
        np.testing.assert_allclose(heard[inside], level * own[inside], atol=1e-3)
