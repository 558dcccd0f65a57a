"""What a speech encoder is taught from, and what is done to it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dubcli.errors import InputError
from dubcli.training.sounds import (
    Hearing,
    Sound,
    by_group,
    draw_stretch,
    folder_sounds,
    labelled_sounds,
    music,
    with_echo,
)

RATE_HZ = 16_000
PLAIN = Hearing(noise=0, music=0, echo=0, speed=0, level=(1.0, 1.0))


def ramp(name: str, group: str, frames: int, visemes: bool = False) -> Sound:
    """Return a sound whose every frame says which it is."""
    samples = np.repeat(np.arange(frames, dtype=np.int16), 320)
    return Sound(name, group, samples, np.arange(frames, dtype=np.int8) if visemes else None)


def write_tone(path: Path, seconds: float, hz: int = RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.2 * np.sin(np.arange(int(seconds * hz)) / 5), hz)


def test_labels_are_those_of_the_piece_that_is_drawn() -> None:
    groups = by_group([ramp("a", "labelled", 100, visemes=True)])
    generator = np.random.default_rng(0)
    starts = set()
    for _ in range(20):
        piece = draw_stretch(groups, {}, 40 * 320, PLAIN, generator)
        said = np.round(piece.clean[::320] * 32767).astype(int)
        assert piece.visemes.tolist() == said.tolist()
        np.testing.assert_array_equal(piece.heard, piece.clean)
        starts.add(said[0])
    assert len(starts) > 5


def test_short_sound_is_followed_by_silence_without_labels() -> None:
    groups = by_group([ramp("a", "x", 60, visemes=True)])
    piece = draw_stretch(groups, {}, 100 * 320, PLAIN, np.random.default_rng(0))
    assert piece.visemes[60:].tolist() == [-1] * 40
    assert not piece.clean[60 * 320 :].any()


def test_groups_are_drawn_by_their_odds_and_not_by_their_size() -> None:
    many = [Sound(str(k), "large", np.full(320, 1, np.int16)) for k in range(99)]
    groups = by_group([*many, Sound("z", "small", np.full(320, 2, np.int16))])
    generator = np.random.default_rng(1)
    drawn = [draw_stretch(groups, {"small": 3.0}, 320, PLAIN, generator) for _ in range(400)]
    share = np.mean([piece.clean[0] > 1.5 / 32767 for piece in drawn])
    assert share == pytest.approx(0.75, abs=0.07)


def test_faster_speech_is_higher() -> None:
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    tone = Sound("a", "x", (10_000 * np.sin(2 * np.pi * 500 * time)).astype(np.int16))
    heights = set()
    for seed in range(12):
        generator = np.random.default_rng(seed)
        hearing = Hearing(noise=0, music=0, echo=0, speed=1)
        piece = draw_stretch({"x": [tone]}, {}, RATE_HZ, hearing, generator)
        assert len(piece.clean) == RATE_HZ
        heights.add(int(np.abs(np.fft.rfft(piece.clean)).argmax()))
    assert min(heights) < 470
    assert max(heights) > 530
    assert all(420 <= height <= 580 for height in heights)


def test_echo_follows_the_sound_and_is_softer() -> None:
    click = np.zeros(RATE_HZ, np.float32)
    click[100] = 1
    heard = with_echo(click, np.random.default_rng(0))
    assert np.abs(heard[:100]).max() < 1e-6
    assert heard[100] == pytest.approx(1, abs=1e-6)
    echo = np.square(heard[101:])
    assert 10 * np.log10(echo.sum()) == pytest.approx(-9, abs=6.01)
    assert echo[:400].sum() > 100 * echo[-400:].sum()


def test_music_fills_the_time_with_harmonics() -> None:
    made = music(2 * RATE_HZ, np.random.default_rng(0))
    assert made.shape == (2 * RATE_HZ,)
    assert np.abs(made.reshape(20, -1)).max(axis=1).min() > 0
    spectrum = np.sort(np.square(np.abs(np.fft.rfft(made))))
    assert spectrum[-400:].sum() > 0.9 * spectrum.sum()  # of 16001: tones, no noise


def test_folder_is_decoded_once_and_short_or_broken_files_are_left_out(tmp_path: Path) -> None:
    folder, cache = tmp_path / "more", tmp_path / "cache"
    write_tone(folder / "long.wav", 1.5, hz=44_100)
    write_tone(folder / "short.wav", 0.5)
    (folder / "broken.wav").write_bytes(b"RIFF????")
    (folder / "notes.txt").write_text("no sound")
    (sound,) = folder_sounds(folder, cache)
    assert (sound.name, sound.group) == ("long", "more")
    assert len(sound.samples) == pytest.approx(1.5 * RATE_HZ, abs=2)
    assert np.abs(sound.samples).max() == pytest.approx(0.7 * 32767, rel=0.02)
    (folder / "long.wav").unlink()
    write_tone(folder / "long.wav", 3.0)  # another sound of that name is not looked at
    (again,) = folder_sounds(folder, cache)
    np.testing.assert_array_equal(again.samples, sound.samples)


def test_folder_without_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sound files; give a folder of"):
        folder_sounds(tmp_path, tmp_path)


def test_probe_gives_what_it_trains_on_and_nothing_that_it_tests_on(tmp_path: Path) -> None:
    write_tone(tmp_path / "clips/a.ogg", 1.2)
    write_tone(tmp_path / "clips/b.ogg", 1.2)
    np.savez(tmp_path / "labels.npz", a=np.arange(60) % 16, b=np.arange(60) % 16)
    with (tmp_path / "sets.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("clip", "voice", "set"), ("a", "kal", "train"), ("b", "ked", "new-voice")]
        )
    (sound,) = labelled_sounds(tmp_path, tmp_path / "cache")
    assert (sound.name, sound.group) == ("a", "labelled")
    assert sound.visemes is not None
    assert sound.visemes.tolist() == [k % 16 for k in range(60)]
    with pytest.raises(InputError, match="no viseme probe"):
        labelled_sounds(tmp_path / "clips", tmp_path / "cache")
