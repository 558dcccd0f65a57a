"""What single pictures say of themselves, PNG and TIFF, read from their headers alone.

PNG: the W3C's Portable Network Graphics specification, third edition. TIFF: Adobe's revision 6.0.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dubcli.errors import InputError

PNG_MARK = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
# What colours and pixels mean; the same for every picture of a sequence.
_PNG_TAGS = frozenset({b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"pHYs"})
_TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}  # bytes of BYTE, ASCII, SHORT, LONG, UNDEFINED
_TIFF_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette"}
_MOST_VALUES = 1 << 24  # bytes of one field; strips of the largest pictures have fewer
WIDTH, HEIGHT, BITS, PHOTOMETRIC = 256, 257, 258, 262
STRIPS, SAMPLES, STRIP_BYTES, TILES, TILE_BYTES = 273, 277, 279, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
XMP, ICC_PROFILE = 700, 34675
_PREMULTIPLIED, _FLOAT = 1, 3
_DEPTHS = (8, 16)
_TAIL_BYTES = 4096
_LARGEST_PROFILE = 1 << 24  # bytes
_UNDEFINED_TYPE = 7

Fields = dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Still:
    """What all pictures of a sequence have in common."""

    kind: str  # "PNG" or "TIFF"
    width: int
    height: int
    depth: int  # bits of a sample
    colour: str  # "grey", "RGB", "RGBA"
    premultiplied: bool = False  # whether colours are stored times alpha

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.kind}, {self.width} x {self.height}, {self.depth} bits, {self.colour}"


@dataclass(frozen=True, slots=True)
class ColourTags:
    """What pictures say their colours mean."""

    chunks: tuple[tuple[bytes, bytes], ...] = ()  # of PNG: name and content, the profile apart
    profile: bytes = b""  # ICC
    premultiplied: bool = False  # of TIFF; PNG's are not


def read_still(path: Path) -> Still:
    """Return what a picture is; its pixels are not decoded, but all of them must be there.

    Args:
        path: A regular file.

    Raises:
        InputError: If it is neither PNG nor TIFF, cut short, or of a kind that is not kept.
    """
    try:
        with path.open("rb") as file:
            mark = file.read(8)
            if mark == PNG_MARK:
                return _read_png(path, file)
            if mark[:4] in _TIFF_ORDERS:
                return _read_tiff(path, file)
    except OSError as error:
        raise InputError(f"{path}: could not be read ({error.strerror})") from error
    except struct.error as error:
        raise InputError(f"{path}: the picture is cut short; make it again") from error
    raise InputError(f"{path}: is neither PNG nor TIFF; convert it to one of them")


def _read_png(path: Path, file: BinaryIO) -> Still:
    length, name = struct.unpack(">I4s", file.read(8))
    width, height, depth, colour = struct.unpack(">IIBB", file.read(10))
    if (length, name) != (13, b"IHDR") or colour not in _PNG_COLOURS:
        raise InputError(f"{path}: the PNG is damaged; make it again")
    file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
    if PNG_END not in file.read():  # some programs write more after it
        raise InputError(f"{path}: the picture is cut short; make it again")
    return Still("PNG", width, height, depth, _PNG_COLOURS[colour])


def _read_tiff(path: Path, file: BinaryIO) -> Still:
    fields = _tiff_fields(file)
    for offsets, sizes in ((STRIPS, STRIP_BYTES), (TILES, TILE_BYTES)):
        ends = [a + b for a, b in zip(fields.get(offsets, ()), fields.get(sizes, ()), strict=False)]
        if max(ends, default=0) > file.seek(0, 2):
            raise InputError(f"{path}: the picture is cut short; make it again")
    depths = set(fields.get(BITS, (1,)))
    if _FLOAT in fields.get(SAMPLE_FORMAT, ()) or not depths <= set(_DEPTHS) or len(depths) > 1:
        raise InputError(f"{path}: its samples are not whole numbers of 8 or 16 bits; convert it")
    photometric = fields.get(PHOTOMETRIC, (-1,))[0]
    if photometric not in _TIFF_COLOURS or not {WIDTH, HEIGHT} <= set(fields):
        raise InputError(f"{path}: its colours are neither RGB nor grey; convert it to RGB")
    colour, extra = _TIFF_COLOURS[photometric], fields.get(EXTRA_SAMPLES, ())
    if fields.get(SAMPLES, (1,))[0] in {2, 4}:
        colour = {"RGB": "RGBA"}.get(colour, f"{colour} with alpha")
    return Still(
        "TIFF",
        fields[WIDTH][0],
        fields[HEIGHT][0],
        depths.pop(),
        colour,
        _PREMULTIPLIED in extra,
    )


def _tiff_fields(file: BinaryIO) -> Fields:
    """Return the whole numbers of a TIFF's first directory, by tag.

    Raises:
        struct.error: If it is cut short.
    """
    file.seek(0)
    order = _TIFF_ORDERS[file.read(4)]
    file.seek(*struct.unpack(f"{order}I", file.read(4)))
    (count,) = struct.unpack(f"{order}H", file.read(2))
    listed = file.read(12 * count)
    fields: Fields = {}
    for place in range(count):
        tag, kind, number = struct.unpack_from(f"{order}HHI", listed, 12 * place)
        size = _TIFF_SIZES.get(kind, 0)
        if not 0 < number * size <= _MOST_VALUES:
            continue
        raw = listed[12 * place + 8 : 12 * place + 12]
        if number * size > len(raw):
            file.seek(*struct.unpack(f"{order}I", raw))
            raw = file.read(number * size)
        letter = {1: "B", 2: "H", 4: "I"}[size]
        fields[tag] = struct.unpack_from(f"{order}{number}{letter}", raw)
    return fields


def colour_tags(path: Path) -> ColourTags:
    """Return what a picture says its colours mean.

    Args:
        path: One that ``read_still`` took.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(8) != PNG_MARK:
                fields = _tiff_fields(file)
                return ColourTags(
                    profile=bytes(fields.get(ICC_PROFILE, ())),
                    premultiplied=_PREMULTIPLIED in fields.get(EXTRA_SAMPLES, ()),
                )
            chunks = {name: data for name, data in _chunks_before_pixels(file) if name in _PNG_TAGS}
    except (OSError, struct.error) as error:
        raise InputError(f"{path}: could not be read a second time ({error})") from error
    packed = chunks.pop(b"iCCP", b"").partition(b"\0")[2][1:]
    try:
        profile = zlib.decompressobj().decompress(packed, _LARGEST_PROFILE)
    except zlib.error:
        profile = b""  # damaged: viewers ignore it too
    return ColourTags(tuple(chunks.items()), profile)


def _chunks_before_pixels(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of a PNG's chunks, from the second to the first of pixels."""
    file.seek(len(PNG_MARK))
    while True:
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"IDAT":
            return
        if name in _PNG_TAGS and length <= _LARGEST_PROFILE:
            yield name, file.read(length)
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)


def tagged_png(picture: bytes, tags: ColourTags | None, xmp: bytes) -> bytes:
    """Return a PNG that says what its colours mean and how it was made.

    Args:
        picture: The PNG.
        tags: They take the place of its own; None: its own stay.
        xmp: An XMP packet; empty: none.
    """
    head, place = [picture[: len(PNG_MARK) + 25]], len(PNG_MARK) + 25  # the header is first
    if tags is not None:
        head += [_chunk(name, data) for name, data in tags.chunks]
        if tags.profile:
            head.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(tags.profile)))
    if xmp:
        head.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    while picture[place + 4 : place + 8] != b"IDAT":
        end = place + 12 + int.from_bytes(picture[place : place + 4], "big")
        if tags is None or picture[place + 4 : place + 8] not in _replaced(tags):
            head.append(picture[place:end])
        place = end
    return b"".join([*head, picture[place:]])


def _replaced(tags: ColourTags) -> frozenset[bytes]:
    """Return the chunks of an encoder that source pictures' tags take the place of."""
    said = {name for name, _ in tags.chunks}
    return _PNG_TAGS if b"pHYs" in said else _PNG_TAGS - {b"pHYs"}


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tagged_tiff(picture: bytes, tags: ColourTags | None, xmp: bytes) -> bytes:
    """Return a TIFF with an ICC profile and an XMP packet; its directory is written anew.

    Args:
        picture: The TIFF, little-endian, with one directory.
        tags: Its profile is stored, there is no place for the rest; None: no profile.
        xmp: An XMP packet; empty: none.
    """
    (at,) = struct.unpack_from("<I", picture, 4)
    (count,) = struct.unpack_from("<H", picture, at)
    entries = {
        struct.unpack_from("<H", picture, place)[0]: picture[place : place + 12]
        for place in range(at + 2, at + 2 + 12 * count, 12)
    }
    body = bytearray(picture)
    profile = b"" if tags is None else tags.profile
    for tag, kind, data in ((ICC_PROFILE, _UNDEFINED_TYPE, profile), (XMP, 1, xmp)):
        if data:
            body += bytes(len(body) % 2)
            entries[tag] = struct.pack("<HHII", tag, kind, len(data), len(body))
            body += data
    if tags is not None and tags.premultiplied and EXTRA_SAMPLES in entries:
        entries[EXTRA_SAMPLES] = struct.pack("<HHII", EXTRA_SAMPLES, 3, 1, _PREMULTIPLIED)
    body += bytes(len(body) % 2)
    struct.pack_into("<I", body, 4, len(body))
    listed = b"".join(entries[tag] for tag in sorted(entries))
    return bytes(body) + struct.pack("<H", len(entries)) + listed + bytes(4)
