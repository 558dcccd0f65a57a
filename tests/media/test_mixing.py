"""The sound of outputs, sample by sample, against sums written out by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.media.bed import layout_of
from dubcli.media.lengths import plan_length, plan_output
from dubcli.media.line_mix import Placed
from dubcli.media.loudness import measure_loudness
from dubcli.media.mixing import BLEND_S, mix, mixed_path, output_sound
from dubcli.media.probe import probe_audio, probe_video
from dubcli.records import Arrangement

Make = Callable[..., Path]
Samples = Callable[[Path], NDArray[np.float64]]
RATE = 48000
EXACT = 2e-6  # float32 sums of 16-bit samples
RESAMPLED = 0.02
NOISE = f"anoisesrc=r={RATE}:d=2:a=0.2:seed=3,lowpass=f=3000"
STEREO = NOISE + ",asplit[a][b];[b]volume=-0.5[c];[a][c]amerge"
MIX = DubOptions(audio="mix", bed_level=-12)
GAIN = 10 ** (-12 / 20)


@pytest.fixture(scope="session")
def filmed(make: Make) -> Make:
    """Return a function that makes 20 frames at 25 a second with sound of its own."""

    def build(name: str, *options: str, sound: str = STEREO, s: float = 0.8) -> Path:
        picture = f"testsrc2=size=64x48:rate=25:duration={s}"
        inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound)
        return make(name, *inputs, "-t", str(s), "-preset", "ultrafast", *options)

    return build


PCM = ("-c:a", "pcm_s16le")


def mixed(
    video: Path, speech: Path, tmp_path: Path, options: DubOptions, samples: Samples
) -> NDArray[np.float64]:
    info, spoken = probe_video(video), probe_audio(speech)
    plan = plan_length(options.length, info.frame_count or 0, spoken.duration_s, info.frame_rate)
    found, peak = mix(
        info, Placed(spoken, plan.speech_start_s), plan, tmp_path / "mix.w64", options
    )
    decoded = samples(found.path)
    assert (found.sample_count, found.channels) == decoded.shape
    assert found.sample_count == int(plan.sound_s * found.rate_hz)
    assert layout_of(probe_audio(found.path)) == found.layout
    assert peak == pytest.approx(np.abs(decoded).max())
    return decoded


def own_sound(video: Path, samples: Samples, frames: int) -> NDArray[np.float64]:
    """Return the sound that plays while so many frames are shown."""
    count = frames * RATE // 25
    sound = samples(video)[:count]
    return np.pad(sound, ((0, count - len(sound)), (0, 0)))


def blended(sound: NDArray[np.float64], *, start: bool, stop: bool) -> NDArray[np.float64]:
    ramp = np.arange(len(sound)) / (BLEND_S * RATE)
    gain = np.ones(len(sound))
    if start:
        gain = np.minimum(gain, ramp)
    if stop:
        gain = np.minimum(gain, (len(sound) - np.arange(len(sound))) / (BLEND_S * RATE))
    return sound * gain[:, None]


@pytest.mark.parametrize(
    ("length", "runs"),
    [("bounce", (20, 18, 12)), ("loop", (20, 20, 10)), ("freeze", (20, -30)), ("cut", (20,))],
)
def test_bed_runs_forward_and_begins_again_with_the_picture(
    filmed: Make,
    speech: Make,
    samples: Samples,
    tmp_path: Path,
    length: str,
    runs: tuple[int, ...],
) -> None:
    video, spoken = filmed("a.mkv", *PCM), speech("s.wav", rate=RATE, s=2)
    parts = []
    for number, frames in enumerate(runs):
        part = own_sound(video, samples, abs(frames)) * (frames > 0)
        parts.append(blended(part, start=number > 0, stop=number + 1 < len(runs)))
    bed = np.concatenate(parts)
    found = mixed(
        video, spoken, tmp_path, DubOptions(audio="mix", bed_level=-12, length=length), samples
    )
    # Mono speech goes to both sides at its own level.
    np.testing.assert_allclose(found, samples(spoken)[: len(bed)] + GAIN * bed, atol=EXACT)


def test_remap_stretches_the_bed_with_the_picture(
    filmed: Make, speech: Make, samples: Samples, tmp_path: Path
) -> None:
    video = filmed("beep.mkv", *PCM, sound=f"sine=1000:r={RATE}:d=0.4,apad=whole_dur=0.8")
    options = DubOptions(audio="mix", bed_level=0, length="remap")
    silence = speech("quiet.wav", "-af", "volume=0", rate=RATE, s=2)
    found = mixed(video, silence, tmp_path, options, samples)[:, 0]
    spectrum = np.abs(np.fft.rfft(found[: RATE * 9 // 10]))
    assert np.argmax(spectrum) / 0.9 == pytest.approx(1000, abs=5)  # the pitch stays
    loud = np.flatnonzero(np.abs(found) > 0.02)
    assert (loud[0] / RATE, loud[-1] / RATE) == pytest.approx((0, 1.0), abs=0.05)


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.mov", "late.ts"])
def test_bed_stays_in_time_with_the_first_picture(
    filmed: Make, make: Make, speech: Make, samples: Samples, tmp_path: Path, name: str
) -> None:
    beep = "aevalsrc='0.3*sin(2*PI*1000*t)*between(t,0.1,0.2)':s=48000:d=0.5:c=mono"
    picture = "testsrc2=size=64x48:rate=25:duration=0.8"
    video = make(name, "-f", "lavfi", "-i", picture, "-itsoffset", "0.24", "-f", "lavfi", "-i",
                 beep, "-preset", "ultrafast", "-c:a", "aac", "-b:a", "128k")  # fmt: skip
    silence = speech("quiet.wav", "-af", "volume=0", rate=RATE, s=0.8)
    found = mixed(video, silence, tmp_path, DubOptions(audio="mix", bed_level=0), samples)
    loud = np.flatnonzero(np.abs(found[:, 0]) > 0.1)
    assert (loud[0] / RATE, loud[-1] / RATE) == pytest.approx((0.34, 0.44), abs=0.004)


def test_bed_is_ducked_only_while_the_speech_sounds(
    filmed: Make, make: Make, samples: Samples, tmp_path: Path
) -> None:
    video = filmed("long.mkv", *PCM, sound=f"sine=400:r={RATE}:d=4", s=4)
    word = "aevalsrc='0.3*sin(2*PI*3000*t)*between(t,1.5,2)':s=48000:d=4:c=mono"
    spoken = make("word.wav", "-f", "lavfi", "-i", word)
    options = DubOptions(audio="keep-bed", bed_level=-20, bed_fade=0.5)
    found = mixed(video, spoken, tmp_path, options, samples)[:, 0]
    bed = (found - samples(spoken)[:, 0]) / samples(video)[: len(found), 0].clip(1e-9)
    audible = samples(video)[: len(found), 0] > 0.05
    level = 20 * np.log10(np.abs(bed[audible]).clip(1e-9))
    at = np.flatnonzero(audible) / RATE
    for start, stop, low, high in (
        (0, 1.39, 0, 0),
        (1.44, 1.46, -12.5, -7.5),  # half-way down
        (1.5, 2.0, -20, -20),
        (2.24, 2.26, -10.5, -9.5),  # half-way up
        (2.52, 4, 0, 0),
    ):
        inside = level[(at >= start) & (at < stop)]
        assert inside.min() >= low - 0.5, (start, inside.min())
        assert inside.max() <= high + 0.5, (start, inside.max())


@pytest.mark.parametrize("audio", ["mix", "keep-bed"])
def test_speech_that_is_placed_is_heard_and_ducks_there(
    filmed: Make, speech: Make, samples: Samples, tmp_path: Path, audio: str
) -> None:
    video = filmed("long.mkv", *PCM, sound=f"sine=400:r={RATE}:d=4", s=4)
    spoken = probe_audio(speech("s.wav", rate=RATE, s=1))
    info = probe_video(video)
    options = DubOptions(audio=audio, bed_level=-20, bed_fade=0.5, speech_at="2.5")
    plan = plan_output(100, spoken.duration_s, info.frame_rate, options)
    found, _ = mix(info, Placed(spoken, plan.speech_start_s), plan, tmp_path / "mix.w64", options)
    bed, heard = samples(video)[: 4 * RATE, 0], samples(found.path)[:, 0]
    start, stop = int(2.5 * RATE), int(3.5 * RATE)
    expected = samples(spoken.path)[:, 0] + 0.1 * bed[start:stop]
    np.testing.assert_allclose(heard[start:stop], expected, atol=EXACT)
    before = bed[: int(2.35 * RATE)] * (0.1 if audio == "mix" else 1)
    np.testing.assert_allclose(heard[: len(before)], before, atol=EXACT)


def test_higher_rate_and_wider_layout_hold_both(
    filmed: Make, speech: Make, samples: Samples, tmp_path: Path
) -> None:
    tones = "|".join(f"0.1*sin(2*PI*{200 + 100 * k}*t)" for k in range(6))
    video = filmed("six.mkv", *PCM, sound=f"aevalsrc='{tones}':s={RATE}:d=0.8:c=5.1")
    spoken = speech("s.wav", s=0.8)  # 16 kHz, mono
    found = mixed(video, spoken, tmp_path, MIX, samples)
    assert found.shape == (int(0.8 * RATE), 6)
    bed = own_sound(video, samples, 20)
    for channel in (0, 1, 3, 4, 5):
        np.testing.assert_allclose(found[:, channel], GAIN * bed[:, channel], atol=EXACT)
    heard = found[::3, 2] - GAIN * bed[::3, 2]
    assert np.abs(heard - samples(spoken)[:, 0])[100:-100].max() < RESAMPLED


def test_channels_that_have_no_place_are_refused(filmed: Make, make: Make, tmp_path: Path) -> None:
    six = filmed("six.mkv", *PCM, sound="aevalsrc='0|0|0|0|0|0':d=0.8:c=5.1(side)")
    five = make("five.wav", "-f", "lavfi", "-i", "aevalsrc='0|0|0|0|0':d=0.8:c=5.0(side)")
    info, spoken = probe_video(six), probe_audio(five)
    plan = plan_length("bounce", 20, spoken.duration_s, info.frame_rate)
    with pytest.raises(InputError, match="give mono or stereo speech"):
        mix(info, Placed(spoken, plan.speech_start_s), plan, tmp_path / "mix.w64", MIX)


def test_video_without_sound_gives_the_speech_itself(
    clip: Make, speech: Make, tmp_path: Path
) -> None:
    info, spoken = probe_video(clip("mute.mp4", s=0.8)), probe_audio(speech(s=0.8))
    plan = plan_length("bounce", 20, spoken.duration_s, info.frame_rate)
    with output_sound(info, [Placed(spoken)], plan, tmp_path / "o.mp4", MIX) as sound:
        assert sound.info is spoken
        assert sound.arrangement == Arrangement(plan.sound_s)
        assert sound.warnings == (
            f"{info.path}: has no sound of its own; the output has the speech alone",
        )


@pytest.mark.parametrize("loudness", [None, -23.0])
def test_mix_is_never_too_loud_and_leaves_no_file(
    filmed: Make, speech: Make, tmp_path: Path, loudness: float | None
) -> None:
    video = filmed("loud.mkv", *PCM, "-af", "volume=15dB")
    spoken = probe_audio(speech("loud.wav", "-af", "volume=15dB", rate=RATE, s=0.8))
    info = probe_video(video)
    plan = plan_length("bounce", 20, spoken.duration_s, info.frame_rate)
    options = DubOptions(audio="mix", bed_level=0, loudness=loudness)
    output = tmp_path / "o.mp4"
    with output_sound(info, [Placed(spoken)], plan, output, options) as sound:
        assert sound.info.path == mixed_path(output)
        found = measure_loudness(sound.info, sound.arrangement)
        if loudness is None:
            assert found.true_peak_dbtp == pytest.approx(-1, abs=0.5)
            assert "too loud: lowered by" in sound.warnings[-1]
        else:
            assert found.integrated_lufs == pytest.approx(-23, abs=0.1)
    assert list(tmp_path.iterdir()) == []
