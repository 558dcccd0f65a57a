import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from dubcli.training.run_log import RunLog, drop_sheets, keep_sheet


def test_columns_are_the_union_and_rows_after_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    first = RunLog(path, 0)
    first.add({"step": 100000, "image": 0.25})
    first.add({"step": 200001, "image": 1 / 3})
    assert path.read_text() == "step,image\n100000,0.25\n200001,0.33333\n"
    again = RunLog(path, 100000)
    assert path.read_text().count("\n") == 3  # nothing is written before there is news
    again.add({"step": 150000, "warp": 2.0})
    assert path.read_text() == "step,image,warp\n100000,0.25,\n150000,,2\n"
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"]


def test_rows_that_do_not_fit_their_header_are_dropped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,image\n1,0.5\n2,0.4,0.3\n3\n")
    with caplog.at_level(logging.WARNING):
        log = RunLog(path, 10)
    log.add({"step": 4, "image": 0.1})
    assert path.read_text() == "step,image\n1,0.5\n4,0.1\n"
    assert len(caplog.records) == 2


def test_sheets_are_numbered_bounded_and_go_back_with_the_run(tmp_path: Path) -> None:
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[..., 0] = 200  # red
    for step in (5, 40, 300):
        keep_sheet(tmp_path, step, picture, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000040.png", "step-0000300.png"]
    read = cv2.imread(str(tmp_path / "step-0000300.png"))
    assert read is not None
    assert read[0, 0].tolist() == [0, 0, 200]  # OpenCV has blue first
    drop_sheets(tmp_path, 40)
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000040.png"]
