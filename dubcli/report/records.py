"""What a QC report holds, and which frames it points at.

Letters: T frames of the output. Ranges are half open, as Python's are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dubcli.checkpoints import ManifestEntry
from dubcli.config import DubOptions
from dubcli.media.lengths import LengthPlan
from dubcli.pace import Pace
from dubcli.records import (
    NO_FACE,
    OTHERS,
    OUTSIDE,
    TURNED_AWAY,
    Facts,
    Float,
    Integers,
    VideoInfo,
)

# A head turned further than this is rare in what the renderer learned from: 1 frame in 100 of its
# 53893 training crops. From 0.95 on the effect is partial anyway.
TURNED_RAD = 0.7
FULL = 1 - 1e-6  # amounts of effect below this are partial
CLOSED_SHARE = 0.15  # of the real mouth's range from its 2nd to its 98th percentile: closed

# The state of a frame: dubbed, dubbed with low confidence, or why it passed through.
DUBBED, PARTIAL, TURNED = 0, 10, 11
PASSED = frozenset({NO_FACE, OTHERS, TURNED_AWAY, OUTSIDE})
DOUBTFUL = frozenset({PARTIAL, TURNED})
REASONS = {
    DUBBED: "dubbed",
    NO_FACE: "no face",
    OTHERS: "only other faces",
    TURNED_AWAY: "head turned too far",
    OUTSIDE: "outside the range",
    PARTIAL: "partial effect",
    TURNED: "head turned over 40 degrees",
}


class NumberLike(Protocol):
    """One measured figure beside the real video's."""

    @property
    def metric(self) -> str:
        """What was measured."""
        ...

    @property
    def region(self) -> str:
        """Where: "frame", "face", "lower", "mouth"."""
        ...

    @property
    def value(self) -> float | None:
        """The dub's; None where it cannot be said."""
        ...

    @property
    def real(self) -> float | None:
        """The real video's; None where it has none."""
        ...

    @property
    def unit(self) -> str:
        """Of both."""
        ...

    @property
    def better(self) -> str:
        """Which way is better: "higher", "lower", or "real": as the real video's."""
        ...

    @property
    def note(self) -> str | None:
        """What a reader should know."""
        ...


@dataclass(frozen=True, slots=True)
class Number:
    """A ``NumberLike``."""

    metric: str
    region: str
    value: float | None
    real: float | None
    unit: str
    better: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Consecutive frames of the output that share a state."""

    start: int
    stop: int  # one past the last
    state: int


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """What was seen while dubbing, a row an output frame."""

    source: Integers  # [T] index of the source frame
    shot: Integers  # [T] shot of that source frame
    dubbed: Facts  # [T] whether any pixel was rendered
    reason: Integers  # [T] where none was: why, one of ``PASSED``
    amount: Float  # [T] 0 to 1: how much of the effect
    turn_rad: Float  # [T] how far the head is turned from the camera; nan: no face
    opening_cm: Float  # [T] between the inner lips, as asked of the renderer; nan: not dubbed
    source_opening_cm: Float  # [T] the source's own, of the same head; nan: no face

    def __len__(self) -> int:
        """Return the number of frames T."""
        return len(self.source)


@dataclass(frozen=True, slots=True)
class SaidLine:
    """One of several lines of a dub."""

    speech: Path
    face: str  # whom it was given to
    start_s: Fraction  # of the output
    stop_s: Fraction


@dataclass(frozen=True, slots=True, eq=False)
class QcReport:
    """A finished dub, for those who have to pass it."""

    video: Path
    speech: Path
    output: Path
    info: VideoInfo  # of the source video; the output has its size and rate
    plan: LengthPlan  # which source frame each frame of the dub is
    curves: Curves
    numbers: tuple[NumberLike, ...]
    options: DubOptions
    device: str
    models: tuple[ManifestEntry, ...]
    seconds: dict[str, float]  # wall-clock per stage
    warnings: tuple[str, ...]
    made: str  # ISO 8601
    lines: tuple[SaidLine, ...] = ()  # where there are several, all of them

    @property
    def frame_rate(self) -> Fraction:
        """Frames a second, exact; the average where it varies."""
        return self.info.frame_rate

    @property
    def pace(self) -> Pace:
        """When the frames of the dub are shown."""
        return self.plan.pace()


def settings_fields(report: QcReport) -> dict[str, Any]:
    """Return the options by name, with the device that was used."""
    chosen = asdict(report.options)
    del chosen["cache"]  # changes nothing in the dub
    chosen["models"] = None if report.options.models is None else str(report.options.models)
    return {**chosen, "device_used": report.device}


def foremost(faces: Sequence[Curves]) -> Curves:
    """Return one set of curves: in each frame those of the face that shows most of the effect.

    Args:
        faces: Curves of the same frames, at least one; among equals, the first.
    """
    if len(faces) == 1:
        return faces[0]
    whose = np.argmax([np.where(face.dubbed, face.amount, 0) for face in faces], axis=0)
    frames = np.arange(len(whose))
    return Curves(
        **{
            field.name: np.stack([getattr(face, field.name) for face in faces])[whose, frames]
            for field in fields(Curves)
        }
    )


def states(curves: Curves) -> Integers:
    """Return the state of every frame, [T]: ``DUBBED``, ``NO_FACE``, ...

    Example:
        >>> import numpy as np
        >>> frames = np.arange(4)
        >>> turn = np.float32([np.nan, 0.1, 0.1, 0.8])
        >>> amount = np.float32([0, 0.5, 1, 1])
        >>> reason = np.array([NO_FACE, 0, 0, 0])
        >>> curves = Curves(frames, frames * 0, amount > 0, reason, amount, turn, turn, turn)
        >>> [REASONS[int(state)] for state in states(curves)][:3]
        ['no face', 'partial effect', 'dubbed']
    """
    with np.errstate(invalid="ignore"):
        turned = curves.turn_rad > TURNED_RAD
    found: Integers = np.select(
        [~curves.dubbed, curves.amount < FULL, turned],
        [curves.reason, PARTIAL, TURNED],
        default=DUBBED,
    ).astype(np.int64)
    return found


def ranges(state: Integers, wanted: frozenset[int]) -> tuple[Range, ...]:
    """Return the runs of equal state among those wanted, in order.

    Args:
        state: Of every frame, [T].
        wanted: Such as ``PASSED`` or ``DOUBTFUL``.

    Example:
        >>> import numpy as np
        >>> ranges(np.array([0, 1, 1, 2, 0, 1]), PASSED)
        (Range(start=1, stop=3, state=1), Range(start=3, stop=4, state=2), Range(start=5, stop=6, \
state=1))
    """
    edges = [0, *(np.flatnonzero(np.diff(state)) + 1).tolist(), len(state)]
    return tuple(
        Range(start, stop, int(state[start]))
        for start, stop in pairwise(edges)
        if stop > start and int(state[start]) in wanted
    )


def cuts(curves: Curves) -> tuple[int, ...]:
    """Return the output frames that begin another shot than the frame before, or a loop again."""
    jumps = np.diff(curves.source) < -1  # bouncing goes back by one
    return tuple((np.flatnonzero(np.diff(curves.shot).astype(bool) | jumps) + 1).tolist())


def numbers_of(curves: Curves, frame_rate: Fraction) -> tuple[Number, ...]:
    """Return what can be said of a dub without looking at its pixels again.

    The openings are those that the renderer was asked for, beside the source's in the same frames.

    Args:
        curves: Of the dub.
        frame_rate: Frames a second.
    """
    state, dubbed = states(curves), curves.dubbed
    total = max(1, len(curves))
    share = 100 * int(dubbed.sum()) / total
    doubtful = 100 * int(np.isin(state, list(DOUBTFUL)).sum()) / total
    effect = 100 * float(curves.amount[dubbed].mean()) if dubbed.any() else None
    return (
        Number("Frames dubbed", "frame", share, None, "%", "higher", "the rest passed through"),
        Number("Frames of low confidence", "frame", doubtful, None, "%", "lower", None),
        Number("Mean effect", "mouth", effect, None, "%", "higher", "over the dubbed frames"),
        *_opening_numbers(curves, float(frame_rate)),
    )


def _opening_numbers(curves: Curves, rate_hz: float) -> tuple[Number, ...]:
    """Return the rows about the mouth's opening; none where fewer than two frames are dubbed."""
    where = curves.dubbed
    if int(where.sum()) < 2:
        return ()
    made, real = curves.opening_cm[where], curves.source_opening_cm[where]
    low, high = np.percentile(real, [2, 98])
    closed_cm = low + CLOSED_SHARE * (high - low)
    minutes = len(made) / rate_hz / 60
    beside = where[1:] & where[:-1] & (np.diff(curves.shot) == 0)
    spread = float(real.std())
    ratio = f"{float(made.std()) / spread:.2f} times the real one" if spread > 0 else None

    def closures(curve: Float) -> float:
        closed = where.copy()
        closed[where] = curve <= closed_cm
        return float(np.diff(closed.astype(np.int8), prepend=0).clip(0).sum() / minutes)

    def change(curve: Float) -> float | None:
        return float(np.abs(np.diff(curve))[beside].mean()) if beside.any() else None

    return (
        Number("Opening, mean", "mouth", float(made.mean()), float(real.mean()), "cm", "real"),
        Number("Opening, deviation", "mouth", float(made.std()), spread, "cm", "real", ratio),
        Number(
            "Closures",
            "mouth",
            closures(made),
            closures(real),
            "/ min",
            "real",
            f"opening at or below {closed_cm:.2f} cm; other words close at other times",
        ),
        Number(
            "Opening, change from frame to frame",
            "mouth",
            change(curves.opening_cm),
            change(curves.source_opening_cm),
            "cm",
            "real",
            "where the source speaks too: far above trembles, far below is too smooth",
        ),
    )
