"""Drawing contact sheets: pairs of pictures, source over dub, or people, with labels.

Letters: H, W size of a picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.records import Bytes

TILE_PX = 360  # smaller pictures are enlarged by a whole number until they are this wide
LABEL_PX = 30  # height of a label
GAP_PX = 12  # around pictures
PORTRAIT_PX, PORTRAITS_ACROSS = 240, 6
INK, PAPER = (235, 235, 235), 24  # grey levels
FONT, FONT_SCALE, STROKE = cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One moment."""

    source: Bytes  # [H, W, 3]
    dub: Bytes  # [H, W, 3]
    label: str  # ASCII


def draw_sheet(rows: Sequence[Sequence[Tile]]) -> Bytes:
    """Return a picture of tiles: in each the label, the source's picture, the dub's below it.

    Args:
        rows: Tiles of one size; rows may differ in length, none is empty.

    Returns:
        uint8 RGB. Pictures keep their pixels, or are enlarged by a whole number to at least
        ``TILE_PX``, which the line on top then says.

    Raises:
        ValueError: If there is no tile, or their sizes differ.
    """
    shapes = {picture.shape for row in rows for t in row for picture in (t.source, t.dub)}
    if len(shapes) != 1:
        raise ValueError(f"tiles of one size are needed, these have {sorted(shapes)}")
    height, width = shapes.pop()[:2]
    zoom = max(1, math.ceil(TILE_PX / width))
    high, wide = height * zoom, width * zoom
    down, across = LABEL_PX + 2 * (high + GAP_PX), wide + GAP_PX
    columns = max(len(row) for row in rows)
    sheet = np.full(
        (LABEL_PX + GAP_PX + len(rows) * down, GAP_PX + columns * across, 3), PAPER, dtype=np.uint8
    )
    size = f"enlarged {zoom} times" if zoom > 1 else "in the video's own pixels"
    _write(sheet, f"above: source   below: dub   {size}", GAP_PX, 0)
    for r, row in enumerate(rows):
        for c, tile in enumerate(row):
            top, left = LABEL_PX + r * down, GAP_PX + c * across
            _write(sheet, tile.label, left, top)
            for k, picture in enumerate((tile.source, tile.dub)):
                y = top + LABEL_PX + k * high
                sheet[y : y + high, left : left + wide] = _enlarged(picture, zoom)
    return sheet


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """One person."""

    picture: Bytes  # [H, H, 3]
    lines: tuple[str, ...]  # ASCII


def draw_portraits(people: Sequence[Portrait]) -> Bytes:
    """Return a picture of people in rows of ``PORTRAITS_ACROSS``, with their lines below each.

    Args:
        people: At least one; pictures are resized to ``PORTRAIT_PX``.

    Returns:
        uint8 RGB.
    """
    deep = max(len(person.lines) for person in people)
    across = min(PORTRAITS_ACROSS, len(people))
    down = PORTRAIT_PX + deep * LABEL_PX + GAP_PX
    width = GAP_PX + across * (PORTRAIT_PX + GAP_PX)
    height = GAP_PX + -(-len(people) // across) * down
    sheet = np.full((height, width, 3), PAPER, dtype=np.uint8)
    for k, person in enumerate(people):
        top, left = GAP_PX + k // across * down, GAP_PX + k % across * (PORTRAIT_PX + GAP_PX)
        shrinks = person.picture.shape[0] > PORTRAIT_PX
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        picture = cv2.resize(person.picture, (PORTRAIT_PX, PORTRAIT_PX), interpolation=method)
        sheet[top : top + PORTRAIT_PX, left : left + PORTRAIT_PX] = picture
        for line, text in enumerate(person.lines):
            _write(sheet, text, left, top + PORTRAIT_PX + line * LABEL_PX)
    return sheet


def _enlarged(picture: Bytes, zoom: int) -> Bytes:
    """Return a picture so many times as large; at 1 its own pixels."""
    if zoom == 1:
        return picture
    method = cv2.INTER_CUBIC
    return cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=method).astype(np.uint8)


def _write(sheet: Bytes, text: str, left: int, top: int) -> None:
    """Write a line of text into a strip of ``LABEL_PX``."""
    base = (left, top + LABEL_PX - LABEL_PX // 3)
    cv2.putText(sheet, text, base, FONT, FONT_SCALE, INK, STROKE, cv2.LINE_AA)
