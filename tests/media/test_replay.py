from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from dubcli.config import DubOptions
from dubcli.errors import MediaError
from dubcli.media import bounce
from dubcli.media.audio import AudioReader
from dubcli.media.lengths import plan_length
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.replay import replayed_frames
from dubcli.media.writer import FrameWriter
from dubcli.records import Arrangement, Bytes

Make = Callable[..., Path]
MODES = ("bounce", "loop", "cut", "freeze", "remap")
FRAMES = 60  # of the clip "bframes"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("speech_s", [Fraction(1), Fraction(5)])
def test_frames_are_those_of_the_plan(
    bframes: Path, read_all: Callable[..., list[Bytes]], mode: str, speech_s: Fraction
) -> None:
    info = probe_video(bframes)
    source = read_all(info)
    plan = plan_length(mode, FRAMES, speech_s, info.frame_rate)
    for index, frame in zip(plan.indices(), replayed_frames(info, plan), strict=True):
        assert frame.index == index
        np.testing.assert_array_equal(frame.rgb, source[index])
    first = [frame.index for frame in replayed_frames(info, plan, 7)]
    assert first == list(islice(plan.indices(), 7))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("start", [1, 40, 59, 60, 61, 100, 119, 149, 150])
def test_frames_from_one_on_are_the_same_and_earlier_ones_have_no_picture(
    bframes: Path, read_all: Callable[..., list[Bytes]], mode: str, start: int
) -> None:
    info = probe_video(bframes)
    source = read_all(info)
    plan = plan_length(mode, FRAMES, Fraction(5), info.frame_rate)
    start = min(start, plan.frame_count)
    frames = list(replayed_frames(info, plan, start=start))
    assert [frame.index for frame in frames] == list(plan.indices())
    assert all(frame.rgb.size == 0 for frame in frames[:start])
    for frame in frames[start:]:
        np.testing.assert_array_equal(frame.rgb, source[frame.index])


def test_a_frame_that_stays_is_decoded_once(bframes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[int, int | None]] = []

    class Counted(bounce.FrameReader):
        def __init__(self, info, start=0, stop=None) -> None:
            started.append((start, stop))
            super().__init__(info, start, stop)

    monkeypatch.setattr(bounce, "FrameReader", Counted)
    info = probe_video(bframes)
    for mode, readers in (("freeze", 1), ("remap", 1), ("cut", 1), ("loop", 3)):
        started.clear()
        plan = plan_length(mode, FRAMES, Fraction(5), info.frame_rate)
        pictures = {id(frame.rgb): frame for frame in replayed_frames(info, plan)}
        assert started == [(0, FRAMES)] * readers
        assert mode == "loop" or len(pictures) == FRAMES


def test_frames_that_are_not_there_are_an_error(bframes: Path) -> None:
    info = probe_video(bframes)
    plan = plan_length("loop", FRAMES + 10, Fraction(4), info.frame_rate)
    with pytest.raises(MediaError, match="frame 60 cannot be decoded a second time"):
        list(replayed_frames(info, plan))


@pytest.mark.parametrize("extension", ["mkv", "mov", "mp4"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seconds", [1.2345, 2.51])
def test_output_has_the_planned_frames_and_the_speech_to_the_sample(
    bframes: Path,
    speech: Make,
    samples: Callable[[Path], np.ndarray],
    tmp_path: Path,
    *,
    extension: str,
    mode: str,
    seconds: float,
) -> None:
    info, sound = probe_video(bframes), probe_audio(speech(s=seconds))
    plan = plan_length(mode, FRAMES, sound.duration_s, info.frame_rate)
    output = tmp_path / f"out.{extension}"
    with FrameWriter(
        output,
        info,
        speech=sound,
        arrangement=Arrangement(plan.sound_s),
        frame_count=plan.frame_count,
        options=DubOptions(preset="ultrafast"),
    ) as writer:
        for frame in replayed_frames(info, plan):
            writer.write(frame.rgb)
    made, given = samples(output)[:, 0], samples(sound.path)[:, 0]
    assert probe_video(output).frame_count == plan.frame_count
    wanted = int(plan.sound_s * sound.rate_hz)
    assert 0 <= len(made) - wanted < (1024 if extension == "mp4" else 1)
    if extension != "mp4":
        kept = min(wanted, len(given))
        np.testing.assert_array_equal(made[:kept], given[:kept])
        assert not made[kept:].any()


def test_the_networks_hear_what_the_output_sounds_like(speech: Make) -> None:
    sound = probe_audio(speech(rate=44100))

    def heard(duration_s: Fraction | None) -> np.ndarray:
        with AudioReader(sound, duration_s=duration_s) as reader:
            return np.concatenate([window.samples for window in reader])

    whole, cut, padded = heard(None), heard(Fraction(1)), heard(Fraction(2))
    assert (len(cut), len(padded)) == (16000, 32000)
    edge = 50  # samples at which the resampling filter meets the end
    np.testing.assert_array_equal(cut[: 16000 - edge], whole[: 16000 - edge])
    np.testing.assert_array_equal(padded[: len(whole) - edge], whole[: len(whole) - edge])
    assert not padded[len(whole) + edge :].any()
    np.testing.assert_array_equal(heard(sound.duration_s), whole)
