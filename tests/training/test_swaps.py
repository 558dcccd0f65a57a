"""Mouths that are swapped within a clip, and what is said of them."""

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.training.swaps import Swap, summary

ROOT = Path(__file__).parents[2]
COLUMNS = ("clip", "split", "kind", "speaker", "set", "seconds", "face_px", "sync", "sync_lag_ms")


def swap(closing: bool, wanted: float, tracked: float | None) -> Swap:
    return Swap("a", closing, 8.0 if closing else 0.5, wanted, tracked)


def test_summary_counts_mouths_that_did_what_was_wanted() -> None:
    closing, opening = summary(
        [
            swap(True, 0.4, 0.6),
            swap(True, 0.4, 1.5),
            swap(True, 0.4, 2.0),
            swap(True, 0.4, None),
            swap(False, 8.0, 4.0),
            swap(False, 8.0, 3.9),
        ]
    )
    assert (closing.closing, closing.swaps, closing.source_mm) == (True, 4, 8.0)
    assert (closing.tracked_mm, closing.reached) == (1.5, 0.5)
    assert (opening.closing, opening.swaps, opening.reached) == (False, 2, 0.5)
    assert opening.tracked_mm == pytest.approx(3.95)
    (none,) = summary([swap(True, 0.4, None)])
    assert math.isnan(none.tracked_mm)


@pytest.mark.slow
def test_command_draws_and_measures_both_swaps_of_a_real_clip(tmp_path: Path) -> None:
    source = ROOT / "tests/media_files/carphone.mp4"
    (tmp_path / "bb.mp4").write_bytes(source.read_bytes())
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerow(("bb.mp4", "val", "silent", "s2", "wild", 4, 60, "", ""))
    sheet = tmp_path / "swaps.png"
    done = CliRunner().invoke(
        app,
        ["train", "swaps", "--data", str(tmp_path), "--cache", str(tmp_path / "cache"),
         "-o", str(sheet), "--models", str(ROOT / "models")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    heading, closing, opening = done.stdout.splitlines()[-3:]
    assert heading.split() == ["swaps", "source", "mm", "wanted", "mm", "tracked", "mm", "reached"]
    figures = [[float(x) for x in line.split()[3:]] for line in (closing, opening)]
    (_, wide, shut, closed, _), (_, shut_too, wide_too, opened, _) = figures
    assert (wide, shut) == (wide_too, shut_too)
    assert shut < 2 < wide
    assert closed < opened  # the mouth that was closed stands less open than the one opened
    picture = cv2.imread(str(sheet))
    assert picture.shape[1] > 2 * 256
    assert np.ptp(picture) > 200
