"""What an evaluation says: rows, each with its unit, its direction and the real video's value."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Better = Literal["higher", "lower", "real"]  # "real": the nearer to the real video's value
Region = Literal["frame", "face", "lower", "lips"]

NEEDS_REFERENCE = "needs --reference"
NO_FRAME = "no frame could be measured"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    metric: str
    region: str  # "frame", "face", "lower" (the lower face, as it is rendered) or "lips"
    value: float | None  # of the video; None: not measured, and the note says why
    real: float | None  # of the reference; of a distance between the two: what equal videos give
    unit: str  # "" for shares and scores
    better: Better
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a row measures: everything but the numbers."""

    metric: str
    region: Region
    unit: str
    better: Better
    ideal: float | None = None  # what a video gives beside itself; None: the real has its own value
    remark: str | None = None  # how to read the number

    def row(
        self,
        value: float,
        real: float | None = None,
        *,
        note: str | None = None,
        why_not: str = NO_FRAME,
    ) -> Row:
        """Return the row of a measured value.

        Args:
            value: Of the video; nan: it could not be measured.
            real: Of the reference, where that has a value of its own; nan: as above.
            note: Joined to the remark.
            why_not: The note of a value that is nan.
        """
        if math.isnan(value):
            return self.missing(why_not)
        known = real if real is None or not math.isnan(real) else None
        notes = "; ".join(text for text in (note, self.remark) if text)
        shown = self.ideal if self.ideal is not None else known
        return Row(self.metric, self.region, value, shown, self.unit, self.better, notes or None)

    def missing(self, why: str) -> Row:
        """Return the row of something that could not be measured."""
        return Row(self.metric, self.region, None, None, self.unit, self.better, why)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was measured of one video."""

    video: Path
    reference: Path | None
    frames: int  # that were compared, or measured where there is no reference
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]

    def row(self, metric: str, region: str | None = None) -> Row:
        """Return a row by its name.

        Args:
            metric: As in the table.
            region: Of the row; None: the first there is.

        Raises:
            KeyError: If there is no such row.
        """
        for row in self.rows:
            if row.metric == metric and region in {None, row.region}:
                return row
        raise KeyError(f"no row {metric!r} of region {region!r}")


@dataclass(frozen=True, slots=True)
class Failure:
    """A video that could not be evaluated."""

    video: Path
    message: str
    exit_code: int


def mean_rows(evaluations: list[Evaluation]) -> tuple[Row, ...]:
    """Return the mean of every row over several videos.

    Args:
        evaluations: Of the same kind, so with the same rows in the same order.

    Returns:
        Rows that say in their notes of how many videos they are the mean, where that is not all;
        those that no video has keep the first note.

    Raises:
        ValueError: If there is none, or their rows differ.
    """
    if not evaluations:
        raise ValueError("there is no evaluation to take the mean of")
    return tuple(
        _mean(list(rows)) for rows in zip(*(each.rows for each in evaluations), strict=True)
    )


def _mean(rows: list[Row]) -> Row:
    """Return the mean of one row over several videos."""
    first = rows[0]
    if any((row.metric, row.region) != (first.metric, first.region) for row in rows):
        raise ValueError(f"{first.metric} stands beside other rows: take the mean of equal tables")
    values = [row.value for row in rows if row.value is not None]
    reals = [row.real for row in rows if row.real is not None]
    if not values:
        return first
    note = None if len(values) == len(rows) else f"of {len(values)} of {len(rows)} videos"
    return Row(
        first.metric,
        first.region,
        sum(values) / len(values),
        sum(reals) / len(reals) if reals else None,
        first.unit,
        first.better,
        note,
    )
