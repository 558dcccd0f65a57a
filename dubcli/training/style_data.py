"""Clips as StyleSim's encoder sees them: expression at 25 Hz, in stretches, cached.

Letters: N frames of a clip at 25 Hz, E expression coefficients.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.geometry.morphable import MorphableModel
from dubcli.records import Float
from dubcli.stages.style import MIN_STRETCH_S, RATE_HZ, at_25_hz
from dubcli.training.crops import analyse_landmarks
from dubcli.training.data import Clip, Landmarks, load_landmarks, store_arrays
from dubcli.training.prepare import each_missing

MIN_FRAMES = int(MIN_STRETCH_S * RATE_HZ)
HELD_OUT = 6  # one wild speaker in so many chooses the weights instead of training them
RATE_DENOMINATOR = 1001  # of 30000/1001 and its kin


@dataclass(frozen=True, slots=True, eq=False)
class StyleClip:
    """A clip's expression in stretches that do not overlap in time."""

    name: str
    speaker: str
    set: str
    parts: tuple[Float, ...]  # [N, E] each, at 25 Hz

    @property
    def halves(self) -> tuple[Float, ...]:
        """Two stretches to compare, or one where the clip is too short for two."""
        first = self.parts[0]
        if len(self.parts) > 1 or len(first) < 2 * MIN_FRAMES:
            return self.parts
        return first[: len(first) // 2], first[len(first) // 2 :]


def store_style(folder: Path, name: str, parts: Sequence[Float]) -> None:
    """Put a clip's stretches into a folder of the cache."""
    store_arrays(folder, name, {f"beta{k}": beta for k, beta in enumerate(parts)})


def load_style(folder: Path, clip: Clip) -> StyleClip | None:
    """Return a clip's cached stretches, None if there are none."""
    file = folder / f"{clip.name}.npz"
    if not file.exists():
        return None
    with np.load(file) as stored:
        parts = tuple(stored[f"beta{k}"] for k in range(len(stored.files)))
    return StyleClip(clip.name, clip.speaker, clip.set, parts)


def held_out(speaker: str) -> bool:
    """Return whether a wild speaker of the split train chooses the weights; always the same."""
    return zlib.crc32(speaker.encode()) % HELD_OUT == 0


def by_person(clips: Sequence[StyleClip]) -> dict[str, list[StyleClip]]:
    """Group clips by speaker."""
    groups: dict[str, list[StyleClip]] = {}
    for clip in clips:
        groups.setdefault(clip.speaker, []).append(clip)
    return groups


def fit_styles(clips: Sequence[Clip], cache: Path, model: MorphableModel) -> list[StyleClip]:
    """Return the clips' expression, fitted unless it is in the cache; clips too short are left out.

    Clips of the split ``val`` are fitted in two halves that share nothing, identity neither, as two
    videos would be. The others are fitted whole.
    """
    folder = cache / "style"

    def work(clip: Clip) -> None:
        """Fit one clip."""
        found = load_landmarks(cache, clip)
        if found is None:
            raise ValueError("too few frames show a face")
        whole = slice(0, len(found.time_s))
        middle = len(found.time_s) // 2
        halves = [slice(0, middle), slice(middle, whole.stop)]
        parts = [_expression(found, h, model) for h in halves] if clip.split == "val" else []
        if not parts or min(map(len, parts)) < MIN_FRAMES:
            parts = [_expression(found, whole, model)]
        if len(parts[0]) < MIN_FRAMES:
            raise ValueError("too short")
        store_style(folder, clip.name, parts)

    each_missing(clips, folder, work, "fitting")
    return [style for clip in clips if (style := load_style(folder, clip)) is not None]


def _expression(found: Landmarks, frames: slice, model: MorphableModel) -> Float:
    """Fit some of a clip's frames, [N, E] at 25 Hz."""
    landmarks, times = found.landmarks_px[frames], found.time_s[frames]
    if len(landmarks) < 2:
        return np.zeros((0, len(model.expression)), dtype=np.float32)
    analysis = analyse_landmarks(Landmarks(landmarks, times, found.size_px), model)
    return at_25_hz(analysis.beta, Fraction(found.rate_hz).limit_denominator(RATE_DENOMINATOR))
