"""Sound that a speech encoder learns from: speech of any kind, and what is done to it.

Letters: N samples, F frames of 20 ms.
"""

import csv
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, resample_poly

from dubcli.errors import InputError
from dubcli.networks.audio_encoder import HOP, SAMPLE_RATE_HZ
from dubcli.records import Float
from dubcli.training.data import Clip, store_arrays
from dubcli.training.prepare import waveform_of
from dubcli.training.speech import noisy, normalised

log = logging.getLogger(__name__)

Samples = NDArray[np.int16]
Visemes = NDArray[np.int8]

FULL_SCALE = 32767
SHORTEST_S = 1.0
SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"})
UNLABELLED = -1
VISEMES = 16  # classes of labelled sound; 0 is silence, 1 the closed lips of p, b and m
NOTES_HZ = (110.0, 880.0)  # of imagined music
OVERTONES = 5
ECHO_S = (0.1, 0.5)  # time in which a room's echo falls by 60 dB
FALL = 6.9  # ln(1000)


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A recording."""

    name: str
    group: str  # sounds of a group are drawn with equal odds
    samples: Samples  # [N], 16 kHz mono, at the level of ``training.speech.normalised``
    visemes: Visemes | None = None  # [F] class of each frame, -1: unlabelled; None: no labels


def clip_sounds(clips: Iterable[Clip], cache: Path) -> list[Sound]:
    """Return the sound of clips, decoded once; their set is the group. Bad clips are left out."""
    made = (_of_file(clip.path, clip.set, cache / "sound" / f"{clip.name}.npz") for clip in clips)
    return [sound for sound in made if sound is not None]


def folder_sounds(folder: Path, cache: Path) -> list[Sound]:
    """Return all sound files of a folder, decoded once.

    The group is the name of the folder.

    Raises:
        InputError: If it holds none.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(
            f"{folder}: no sound files; give a folder of {', '.join(sorted(SUFFIXES))}"
        )
    place = cache / f"sound-{folder.name}"
    made = (_of_file(path, folder.name, place / f"{path.stem}.npz") for path in files)
    return [sound for sound in made if sound is not None]


def labelled_sounds(folder: Path, cache: Path) -> list[Sound]:
    """Return the sounds of a viseme probe on which it trains; those it tests on are not touched.

    Args:
        folder: With ``sets.csv`` (clip, voice, set), ``labels.npz`` (clip -> class of each 20 ms)
            and ``clips/CLIP.ogg``.
        cache: Where decoded sound is kept.

    Raises:
        InputError: If the folder is not so.
    """
    try:
        with (folder / "sets.csv").open(newline="", encoding="utf-8") as file:
            wanted = [row["clip"] for row in csv.DictReader(file) if row["set"] == "train"]
        with np.load(folder / "labels.npz") as labels:
            visemes = {name: labels[name].astype(np.int8) for name in wanted}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{folder}: no viseme probe ({error}); it needs sets.csv, labels.npz and clips/"
        ) from error
    made = []
    for name in wanted:
        path = folder / "clips" / f"{name}.ogg"
        sound = _of_file(path, "labelled", cache / "sound-labelled" / f"{name}.npz")
        if sound is not None:
            made.append(Sound(name, sound.group, sound.samples, visemes[name]))
    return made


def _of_file(path: Path, group: str, stored: Path) -> Sound | None:
    """Return a file's sound, decoded unless it is stored; None if it cannot be used."""
    if not stored.exists():
        try:
            waveform = normalised(waveform_of(path))
        except InputError as error:
            log.warning("%s left out: %s", path.name, error)
            return None
        rounded = np.round(waveform * FULL_SCALE).astype(np.int16)
        store_arrays(stored.parent, stored.stem, {"samples": rounded})
    with np.load(stored) as found:
        samples: Samples = found["samples"]
    return Sound(path.stem, group, samples) if len(samples) >= SHORTEST_S * SAMPLE_RATE_HZ else None


def by_group(sounds: Iterable[Sound]) -> dict[str, list[Sound]]:
    """Return the sounds of each group."""
    groups: dict[str, list[Sound]] = {}
    for sound in sounds:
        groups.setdefault(sound.group, []).append(sound)
    return groups


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A piece of speech: as it is, as it is heard, and what is said."""

    clean: Float  # [N]
    heard: Float  # [N] with noise, music, echo; at another level
    visemes: Visemes  # [F]


@dataclass(frozen=True, slots=True)
class Hearing:
    """What is done to training sound; the table [hearing] of a recipe."""

    noise: float = 0.4  # share of the pieces with coloured noise, 5 to 25 dB below
    music: float = 0.15  # with chords, 5 to 20 dB below
    echo: float = 0.15  # in a room
    speed: float = 0.8  # of the unlabelled pieces: up to 15 % faster and higher, or slower, deeper
    level: tuple[float, ...] = (0.4, 1.3)  # loudness, times the normal one


def draw_stretch(
    groups: Mapping[str, Sequence[Sound]],
    shares: Mapping[str, float],
    length: int,
    hearing: Hearing,
    generator: np.random.Generator,
) -> Stretch:
    """Return a random piece of a random sound.

    Args:
        groups: Group -> sounds.
        shares: Group -> odds; groups without are drawn like one of 1.
        length: Samples, a multiple of 320.
        hearing: What is done to it.
        generator: Of all choices.
    """
    names = sorted(groups)
    odds = np.array([shares.get(name, 1.0) for name in names])
    chosen = groups[names[int(generator.choice(len(names), p=odds / odds.sum()))]]
    sound = chosen[int(generator.integers(len(chosen)))]
    start = int(generator.integers(max(len(sound.samples) - length, 0) // HOP + 1)) * HOP
    clean = _piece(sound.samples[start:], length)
    visemes = np.full(length // HOP, UNLABELLED, np.int8)
    if sound.visemes is not None:
        said = sound.visemes[start // HOP :][: len(visemes)]
        visemes[: len(said)] = said
    elif generator.random() < hearing.speed:
        percent = int(generator.integers(85, 116))
        source = _piece(sound.samples[start:], length * percent // 100 + 1)
        clean = _fitted(resample_poly(source, 100, percent).astype(np.float32), length)
    return Stretch(clean, heard(clean, hearing, generator), visemes)


def as_waveform(samples: Samples) -> Float:
    """Return samples as floats, -1 to 1, [N]."""
    return np.asarray(samples / FULL_SCALE, dtype=np.float32)


def _piece(samples: Samples, length: int) -> Float:
    """Return the beginning of samples as floats, silence after their end, [length]."""
    return _fitted(as_waveform(samples[:length]), length)


def _fitted(waveform: Float, length: int) -> Float:
    """Return a waveform cut or followed by silence, [length]."""
    whole = np.zeros(length, np.float32)
    whole[: len(waveform)] = waveform[:length]
    return whole


def heard(clean: Float, hearing: Hearing, generator: np.random.Generator) -> Float:
    """Return speech as it might be recorded, [N] -> [N]."""
    sound = clean
    if generator.random() < hearing.echo:
        sound = _fitted(with_echo(sound, generator), len(sound))
    if generator.random() < hearing.noise:
        sound = noisy(sound, generator)
    if generator.random() < hearing.music:
        chords = music(len(sound), generator)
        ratio = 10 ** (-generator.uniform(5, 20) / 20)
        sound = sound + chords * (ratio * sound.std() / max(float(chords.std()), 1e-9))
    return (sound * generator.uniform(hearing.level[0], hearing.level[1])).astype(np.float32)


def with_echo(sound: Float, generator: np.random.Generator) -> Float:
    """Return sound in a room: noise that falls by 60 dB in 0.1 to 0.5 s, 3 to 15 dB below."""
    length = int(generator.uniform(*ECHO_S) * SAMPLE_RATE_HZ)
    tail = generator.normal(size=length) * np.exp(-FALL * np.arange(length) / length)
    tail[0] = 0
    tail *= 10 ** (-generator.uniform(3, 15) / 20) / np.sqrt(np.square(tail).sum())
    tail[0] = 1
    return np.asarray(fftconvolve(sound, tail), dtype=np.float32)


def music(length: int, generator: np.random.Generator) -> Float:
    """Return chords of three notes with overtones, a new one each half second to second, [N]."""
    made = np.zeros(length, np.float32)
    for start, stop in _bars(length, generator):
        time = np.arange(stop - start) / SAMPLE_RATE_HZ
        notes = np.exp(generator.uniform(math.log(NOTES_HZ[0]), math.log(NOTES_HZ[1]), size=3))
        for note in notes:
            for overtone in range(1, OVERTONES + 1):
                wave = np.sin(2 * np.pi * note * overtone * time + generator.uniform(0, 6.3))
                made[start:stop] += (wave / overtone * np.exp(-2 * time)).astype(np.float32)
    return made


def _bars(length: int, generator: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Yield where chords begin and end."""
    start = 0
    while start < length:
        stop = min(start + int(generator.uniform(0.5, 1.0) * SAMPLE_RATE_HZ), length)
        yield start, stop
        start = stop
