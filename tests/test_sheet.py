"""Drawing a contact sheet."""

import numpy as np
import pytest

from dubcli.records import Bytes
from dubcli.sheet import LABEL_PX, PAPER, TILE_PX, Tile, draw_sheet


def noise(seed: int, height: int, width: int) -> Bytes:
    return np.random.default_rng(seed).integers(60, 256, (height, width, 3), np.uint8)


def holds(sheet: Bytes, picture: Bytes) -> tuple[int, int]:
    """Return where a picture is, pixel for pixel: top, left."""
    corner = (sheet[: -len(picture) + 1] == picture[0, 0]).all(-1)
    for top, left in np.argwhere(corner):
        part = sheet[top : top + picture.shape[0], left : left + picture.shape[1]]
        if part.shape == picture.shape and (part == picture).all():
            return int(top), int(left)
    raise AssertionError("not there")


def test_large_tiles_keep_their_pixels_source_over_dub_in_reading_order() -> None:
    height, width = 40, TILE_PX
    pairs = [(noise(k, height, width), noise(k + 10, height, width)) for k in range(3)]
    tiles = [Tile(*pair, "00:00:00.000  open") for pair in pairs]
    sheet = draw_sheet([tiles[:2], tiles[2:]])
    at = [[holds(sheet, picture) for picture in pair] for pair in pairs]
    for (top, left), (below, same_left) in at:
        assert (below - top, same_left) == (height, left)
    (first, second, third) = (where[0] for where in at)
    assert first[0] == second[0] < third[0]
    assert first[1] == third[1] < second[1]


def test_small_tiles_are_enlarged_by_a_whole_number() -> None:
    flat = np.full((50, 100, 3), 200, np.uint8)
    sheet = draw_sheet([[Tile(flat, flat, "closed")]])
    inside = (sheet == 200).all(-1)
    assert inside.sum() >= 2 * (4 * 50) * (4 * 100)
    assert inside.any(0).sum() == 4 * 100


def test_labels_are_written_above_their_tile() -> None:
    flat = np.full((TILE_PX, TILE_PX, 3), 100, np.uint8)
    said, silent = (draw_sheet([[Tile(flat, flat, text)]]) for text in ("00:00:01.500  open", ""))
    changed = np.argwhere((said != silent).any(-1))
    assert changed[:, 0].min() >= LABEL_PX
    assert changed[:, 0].max() < 2 * LABEL_PX
    assert said[changed[:, 0], changed[:, 1]].max() > PAPER + 100


def test_tiles_of_several_sizes_or_none_are_refused() -> None:
    small, large = noise(0, 10, 10), noise(0, 10, 12)
    with pytest.raises(ValueError, match="tiles of one size"):
        draw_sheet([[Tile(small, large, "")]])
    with pytest.raises(ValueError, match="tiles of one size"):
        draw_sheet([])
