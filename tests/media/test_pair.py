from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dubcli.errors import MediaError
from dubcli.media.command import PAIR_BITS_PER_S, PAIR_SOUND_BITS_PER_S
from dubcli.media.pair import PairWriter, pair_size
from dubcli.media.probe import probe_video
from dubcli.records import Bytes, Stamps, VideoInfo

Make = Callable[..., Path]
FRAMES = 20


def flat(info: VideoInfo, colour: tuple[int, int, int]) -> Bytes:
    return np.full((info.height, info.width, 3), colour, np.uint8)


def written(info: VideoInfo, sound: Path, target: Path, frames: int = FRAMES) -> Path:
    with PairWriter(target, info, sound=sound, frame_count=frames) as writer:
        for t in range(frames):
            writer.write(flat(info, (8 * t, 0, 0)), flat(info, (0, 0, 255 - 8 * t)))
    return target


@pytest.mark.parametrize("rate", ["24000/1001", "25", "60"])
def test_both_pictures_of_each_frame_are_in_one_frame_at_its_exact_time(
    clip: Make, speech: Make, tmp_path: Path, rate: str
) -> None:
    info = probe_video(clip("a.mp4", rate))
    width, height = pair_size(info)
    target = written(info, speech(), tmp_path / "pair.mp4")
    with av.open(str(target)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == (width, 2 * height)
        frames = list(container.decode(video))
    assert [frame.pts * frame.time_base for frame in frames] == [
        t / Fraction(rate) for t in range(FRAMES)
    ]
    for t, frame in enumerate(frames):
        rgb = frame.to_ndarray(format="rgb24").astype(int)
        upper, lower = rgb[: height - 4].mean((0, 1)), rgb[height + 4 :].mean((0, 1))
        np.testing.assert_allclose(upper, [8 * t, 0, 0], atol=8)
        np.testing.assert_allclose(lower, [0, 0, 255 - 8 * t], atol=8)


def test_pictures_of_a_variable_rate_are_shown_at_their_times(
    clip: Make, speech: Make, tmp_path: Path
) -> None:
    info = probe_video(clip("a.mp4", "25"))
    ticks = np.cumsum(np.random.default_rng(2).integers(2, 90, FRAMES + 9))
    stamps = Stamps(ticks - ticks[0], int(ticks[-1]), Fraction(1, 1000))
    target = tmp_path / "pair.mp4"
    with PairWriter(target, info, sound=speech(), frame_count=FRAMES, stamps=stamps) as writer:
        for t in range(FRAMES):
            writer.write(flat(info, (8 * t, 0, 0)), flat(info, (0, 0, 255 - 8 * t)))
    assert list(tmp_path.iterdir()) == [target]
    with av.open(str(target)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        length_s = float(sound.duration * sound.time_base)
        frames = list(container.decode(video))
    assert [frame.pts * frame.time_base for frame in frames] == [
        Fraction(int(tick), 1000) for tick in stamps.ticks[:FRAMES]
    ]
    for t, frame in enumerate(frames):
        upper = frame.to_ndarray(format="rgb24")[: info.height - 4].mean((0, 1))
        np.testing.assert_allclose(upper, [8 * t, 0, 0], atol=8)
    assert length_s == pytest.approx(stamps.ticks[FRAMES] / 1000, abs=1 / 25)


def test_sound_is_as_long_as_the_pictures(clip: Make, speech: Make, tmp_path: Path) -> None:
    info = probe_video(clip("a.mp4", "25"))
    with av.open(str(written(info, speech(), tmp_path / "pair.mp4"))) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(FRAMES / 25, abs=1 / 25)


def test_noise_does_not_exceed_the_bits_that_are_allowed(
    clip: Make, speech: Make, tmp_path: Path
) -> None:
    info = probe_video(clip("a.mp4", "25"))
    generator = np.random.default_rng(3)
    target, frames = tmp_path / "pair.mp4", 50
    with PairWriter(target, info, sound=speech(), frame_count=frames) as writer:
        for _ in range(frames):
            noise = generator.integers(0, 256, (2, info.height, info.width, 3), dtype=np.uint8)
            writer.write(*noise)
    buffer = 2 * PAIR_BITS_PER_S  # may be spent at once
    allowed = buffer + (PAIR_BITS_PER_S + PAIR_SOUND_BITS_PER_S) * frames / 25
    assert 8 * target.stat().st_size < 1.05 * allowed


def test_missing_frames_and_interruption_leave_no_file(
    clip: Make, speech: Make, tmp_path: Path
) -> None:
    info, target = probe_video(clip("a.mp4", "25")), tmp_path / "pair.mp4"
    with (
        pytest.raises(MediaError, match=r"ffmpeg encoded 1 of 2 frames$"),
        PairWriter(target, info, sound=speech(), frame_count=2) as writer,
    ):
        writer.write(flat(info, (0, 0, 0)), flat(info, (0, 0, 0)))
    with (
        pytest.raises(KeyboardInterrupt),
        PairWriter(target, info, sound=speech(), frame_count=2) as writer,
    ):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_picture_of_another_size_is_refused(clip: Make, speech: Make, tmp_path: Path) -> None:
    info = probe_video(clip("a.mp4", "25"))
    writer = PairWriter(tmp_path / "pair.mp4", info, sound=speech(), frame_count=1)
    small = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="outside its with block"):
        writer.write(small, small)
    with pytest.raises(ValueError, match=r"^frame is uint8 \(2, 2, 3\)"), writer:
        writer.write(small, small)
