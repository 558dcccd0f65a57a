"""The clips that networks learn from, and their tracked landmarks, cached.

Letters: T frames, V vertices (468).

``clips.csv`` names each clip, its split, its speaker and how sound and picture stand to each other;
a row needs the columns clip, split, kind, speaker, set, seconds, fps, face_px, sync, sync_lag_ms.
"""

import csv
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dubcli.errors import InputError
from dubcli.records import Float

log = logging.getLogger(__name__)

Content = TypeVar("Content")

MIN_TRACKED = 0.9  # share of a clip's frames that must show a face


@dataclass(frozen=True, slots=True)
class Clip:
    """A row of ``clips.csv``."""

    path: Path
    split: str  # "train" or "val"
    kind: str  # "speech" or "silent"
    speaker: str
    set: str
    seconds: float
    face_px: float
    sync: str
    sync_lag_s: float  # positive: the mouth comes after the sound

    @property
    def name(self) -> str:
        """The file's name without its suffix: the clip's key in every cache."""
        return self.path.stem


@dataclass(frozen=True, slots=True, eq=False)
class Prepared(Generic[Content]):
    """A clip, and what was computed of it: crops, or speech features."""

    clip: Clip
    content: Content


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """A tracked clip; rows without a face are NaN."""

    landmarks_px: Float  # [T, V, 3]
    time_s: Float  # [T]
    size_px: tuple[int, int]  # height, width

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return float((len(self.time_s) - 1) / (self.time_s[-1] - self.time_s[0]))


def read_clips(data: Path) -> list[Clip]:
    """Return the clips that ``data/clips.csv`` lists.

    Raises:
        InputError: If the list is missing or lacks a column.
    """
    listing = data / "clips.csv"
    try:
        with listing.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [
            Clip(
                path=data / row["clip"],
                split=row["split"],
                kind=row["kind"],
                speaker=row["speaker"],
                set=row["set"],
                seconds=float(row["seconds"]),
                face_px=float(row["face_px"]),
                sync=row["sync"],
                sync_lag_s=float(row["sync_lag_ms"] or 0) / 1000,
            )
            for row in rows
        ]
    except FileNotFoundError as error:
        raise InputError(
            f"{listing}: no such file; give the folder that holds clips.csv"
        ) from error
    except KeyError as error:
        raise InputError(f"{listing}: no column {error}; see dubcli/training/data.py") from error


def store_arrays(folder: Path, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a clip's arrays to ``folder/name.npz``.

    They are written beside their place, then renamed: no half file is ever read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.npz"
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(folder / f"{name}.npz")


def load_landmarks(cache: Path, clip: Clip) -> Landmarks | None:
    """Return a clip's cached landmarks, or None where too few frames show a face."""
    file = cache / "landmarks" / f"{clip.name}.npz"
    if not file.exists():
        return None
    with np.load(file) as stored:
        landmarks, time_s, size = stored["landmarks"], stored["pts"], stored["size"]
    tracked = ~np.isnan(landmarks[:, 0, 0])
    if len(landmarks) < 3 or tracked.mean() < MIN_TRACKED:
        return None
    return Landmarks(
        landmarks.astype(np.float32), time_s.astype(np.float32), (int(size[0]), int(size[1]))
    )


def store_landmarks(cache: Path, clip: Clip, found: Landmarks) -> None:
    """Put a clip's landmarks into the cache."""
    arrays = {
        "landmarks": found.landmarks_px,
        "pts": found.time_s,
        "size": np.array(found.size_px),
    }
    store_arrays(cache / "landmarks", clip.name, arrays)


class SpeakerDraw(Generic[Content]):
    """Draws what belongs to a random speaker of a random set: speakers of a set equally often.

    Args:
        sets: Set -> speaker -> what belongs to the speaker.
        share: Set -> odds; sets without are never drawn.
    """

    def __init__(
        self, sets: Mapping[str, Mapping[str, Content]], share: Mapping[str, float]
    ) -> None:
        """Order sets and speakers, so that a seed always means the same."""
        self._names = [name for name in share if name in sets]
        odds = np.array([share[name] for name in self._names])
        self._odds = odds / odds.sum()
        self._sets = {name: (sets[name], sorted(sets[name])) for name in self._names}

    def draw(self, generator: np.random.Generator) -> Content:
        """Return what belongs to the speaker drawn."""
        of_set, speakers = self._sets[self._names[generator.choice(len(self._names), p=self._odds)]]
        return of_set[speakers[generator.integers(len(speakers))]]


def interpolate_gaps(landmarks_px: Float) -> Float:
    """Fill NaN rows linearly from their neighbours in time, [T, V, 3]; the ends are held."""
    tracked = ~np.isnan(landmarks_px[:, 0, 0])
    if tracked.all():
        return landmarks_px
    flat = landmarks_px.reshape(len(landmarks_px), -1)
    steps = np.arange(len(flat))
    filled = np.stack(
        [np.interp(steps, steps[tracked], column[tracked]) for column in flat.T], axis=1
    )
    return filled.reshape(landmarks_px.shape).astype(np.float32)


def by_speaker(prepared: Iterable[Prepared[Content]]) -> dict[str, list[Content]]:
    """Group clips by speaker, so that sampling can weigh people equally."""
    groups: dict[str, list[Content]] = {}
    for one in prepared:
        groups.setdefault(one.clip.speaker, []).append(one.content)
    return groups
