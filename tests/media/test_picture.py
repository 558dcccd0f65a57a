"""Writing pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dubcli.errors import MediaError
from dubcli.media.picture import write_png


def test_picture_is_written_without_loss_and_alone(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    write_png(tmp_path / "sheet.png", rgb)
    again = cv2.imread(str(tmp_path / "sheet.png"))[:, :, ::-1]
    np.testing.assert_array_equal(again, rgb)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_picture_that_cannot_be_put_in_place_is_one_sentence(tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    target.mkdir()
    with pytest.raises(MediaError, match=r"sheet\.png: could not be written \(.*\); check"):
        write_png(target, np.zeros((2, 2, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
