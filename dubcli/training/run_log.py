"""What a run leaves for people to read: a table of its judgements and pictures of validation clips.

Both go back when a run does: a run killed after a judgement but before the next save repeats the
steps in between, and must not leave the same judgement twice.
"""

import csv
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from dubcli.records import Bytes

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Means:
    """Running means by name; a name may come later than others."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, values: Mapping[str, float]) -> None:
        """Take one more value of each name."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def values(self) -> dict[str, float]:
        """Return the means."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}


class RunLog:
    """The table ``log.csv``: a row a judgement, a column a figure.

    The file is small (a row every few minutes) and is written as a whole, beside its place and
    renamed. So the columns may change from one judgement to the next, as they do when a loss is
    added on resume: the header always names all of them, and a row that lacks a figure has an empty
    cell.

    Args:
        path: The file; rows that it has are kept.
        last_step: Where the run goes on; later rows are dropped.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        """Read the rows that stay."""
        self._path = path
        self._rows: list[dict[str, str]] = []
        if not path.exists():
            return
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if None in row or None in row.values():  # more or fewer cells than the header
                    log.warning("%s: a row does not fit the header and is dropped", path)
                elif int(float(row["step"])) <= last_step:
                    self._rows.append(row)

    def add(self, row: Mapping[str, float]) -> None:
        """Write one more row; it has the column ``step``."""
        self._rows.append({name: _cell(value) for name, value in row.items()})
        columns = list(dict.fromkeys(name for one in self._rows for name in one))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows)
        partial = self._path.with_name("." + self._path.name)
        partial.write_text(text.getvalue(), encoding="utf-8")
        partial.replace(self._path)


def keep_sheet(folder: Path, step: int, picture: Bytes, *, keep: int) -> None:
    """Write the picture of a judgement, and remove the oldest beyond ``keep``.

    Args:
        folder: Of the pictures, ``step-0001200.png`` each.
        step: Of the judgement.
        picture: RGB, [H, W, 3].
        keep: How many pictures stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = _sheet(folder, step)
    partial = target.with_name("." + target.name)
    cv2.imwrite(str(partial), picture[:, :, ::-1])
    partial.replace(target)
    for old in sorted(folder.glob("step-*.png"))[:-keep]:
        old.unlink()


def drop_sheets(folder: Path, last_step: int) -> None:
    """Remove the pictures of judgements after ``last_step``."""
    for sheet in folder.glob("step-*.png"):
        if sheet.name > _sheet(folder, last_step).name:
            sheet.unlink()


def _sheet(folder: Path, step: int) -> Path:
    """Return where the picture of a step's judgement lies; the names sort by step."""
    return folder / f"step-{step:07d}.png"


def _cell(value: float) -> str:
    """Return a number as text: whole ones in full."""
    return str(value) if isinstance(value, int) else f"{value:.5g}"
