import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dubcli.errors import InputError
from dubcli.media.stills import (
    PNG_MARK,
    ColourTags,
    Still,
    colour_tags,
    read_still,
    tagged_png,
    tagged_tiff,
)

SHAPES = {"grey": (7, 5), "RGB": (7, 5, 3), "RGBA": (7, 5, 4)}
PROFILE = bytes(range(256)) * 3
TAGS = ColourTags(((b"gAMA", struct.pack(">I", 45455)), (b"cICP", b"\1\1\0\1")), PROFILE)
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"


def picture(path: Path, colour: str = "RGB", depth: int = 8) -> np.ndarray:
    """Write random pixels with OpenCV, whose encoders are not ours."""
    kind = np.uint8 if depth == 8 else np.uint16
    pixels = np.random.default_rng(0).integers(0, 1 << depth, SHAPES[colour]).astype(kind)
    assert cv2.imwrite(str(path), pixels)
    return pixels


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", SHAPES)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_header_says_what_was_written(tmp_path: Path, kind: str, colour: str, depth: int) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    picture(path, colour, depth)
    assert read_still(path) == Still(kind, 5, 7, depth, colour)
    assert str(read_still(path)) == f"{kind}, 5 x 7, {depth} bits, {colour}"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_shorter_file_is_refused_in_a_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    picture(path, "RGBA", 16)
    data = path.read_bytes()
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"is cut short|is neither PNG nor TIFF|its colours"):
            read_still(path)


def test_text_under_a_pictures_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(InputError, match="is neither PNG nor TIFF"):
        read_still(path)


def test_floating_point_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert cv2.imwrite(str(path), np.zeros((4, 4, 3), np.float32))
    with pytest.raises(InputError, match="not whole numbers of 8 or 16 bits"):
        read_still(path)


@pytest.mark.parametrize("colour", SHAPES)
@pytest.mark.parametrize("depth", [8, 16])
def test_tagged_picture_has_the_same_pixels_and_says_the_rest(
    tmp_path: Path, colour: str, depth: int
) -> None:
    for suffix, tag, kept in ((".png", tagged_png, TAGS), (".tif", tagged_tiff, None)):
        path = tmp_path / f"a{suffix}"
        pixels = picture(path, colour, depth)
        path.write_bytes(tag(path.read_bytes(), TAGS, XMP))
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), pixels)
        assert colour_tags(path) == (kept or ColourTags(profile=PROFILE))
        assert path.read_bytes().count(XMP) == 1
        assert read_still(path).colour == colour


def test_chunks_of_a_tagged_png_have_their_checksums_and_places(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(path)
    data = tagged_png(path.read_bytes(), TAGS, XMP)
    names, at = [], len(PNG_MARK)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name = data[at + 4 : at + 8]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(
            data[at + 4 : at + 8 + length]
        )
        names.append(name)
        at += 12 + length
    assert names[0] == b"IHDR"
    assert set(names[1 : names.index(b"IDAT")]) == {b"gAMA", b"cICP", b"iCCP", b"iTXt"}
    assert names[-1] == b"IEND"


def test_encoders_own_tags_give_way_to_those_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(path)
    ours = ColourTags(((b"gAMA", struct.pack(">I", 100000)), (b"sRGB", b"\0")))
    path.write_bytes(tagged_png(tagged_png(path.read_bytes(), ours, b""), TAGS, b""))
    assert colour_tags(path) == TAGS


def test_premultiplied_alpha_of_a_tiff_is_seen_and_said_again(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    straight = make(
        "a.tif", "-f", "lavfi", "-i", "color=red@0.5:s=8x8,format=rgba", "-frames:v", "1"
    )
    assert not read_still(straight).premultiplied
    path = tmp_path / "b.tif"
    path.write_bytes(tagged_tiff(straight.read_bytes(), ColourTags(premultiplied=True), XMP))
    assert read_still(path).premultiplied
    assert colour_tags(path).premultiplied
