"""PURE: pictures as their file holds them, what the networks see of them, and the way back.

A dub changes the pixels under the face's mask and no others. So the frames of a video are read in
their own pixel format, of which an 8-bit RGB picture is made for the networks; what they change of
that picture is added to the original planes, in their depth. A sample that nothing was added to is
the source's, to the bit, whatever its depth, its chroma, or its place outside the colours of RGB.

Letters: H, W frame size; h, w size of the patched rectangle; d bits of a sample.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.media.colour import colour_matrix, colour_range
from dubcli.media.hdr import PQ, pq_from_shown, shown_codes, shown_from_pq
from dubcli.records import Bytes, Float, Frame, Patch, VideoInfo

Samples = NDArray[Any]  # uint8, or uint16 where there are more than 8 bits

# Weights of red and blue in luma: ITU-R BT.709, BT.601, FCC 1953, SMPTE 240M, BT.2020.
_LUMA = {
    "bt709": (0.2126, 0.0722),
    "smpte170m": (0.299, 0.114),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
    "bt2020": (0.2627, 0.0593),
}
# Formats that store the very samples of a planar one in another order, by how their name begins.
_PLANAR = {
    "yuvj420p": "yuv420p",
    "yuvj422p": "yuv422p",
    "yuvj444p": "yuv444p",
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "nv42": "yuv444p",
    "nv20": "yuv422p10",
    "p010": "yuv420p10",
    "p012": "yuv420p12",
    "p016": "yuv420p16",
    "p210": "yuv422p10",
    "p212": "yuv422p12",
    "p216": "yuv422p16",
    "p410": "yuv444p10",
    "p412": "yuv444p12",
    "p416": "yuv444p16",
    "yuyv422": "yuv422p",
    "yvyu422": "yuv422p",
    "uyvy422": "yuv422p",
    "y210": "yuv422p10",
    "y212": "yuv422p12",
    "xv30": "yuv444p10",
    "xv36": "yuv444p12",
    "vuyx": "yuv444p",
    "vuya": "yuva444p",
    "ayuv64": "yuva444p16",
    "ayuv": "yuva444p",
    # No pictures of people come in these; 4:4:4 holds their chroma, repeated.
    "yuv410p": "yuv444p",
    "yuv411p": "yuv444p",
    "uyyvyy411": "yuv444p",
    "yuvj411p": "yuv444p",
    "yuv440p10": "yuv444p10",
    "yuv440p12": "yuv444p12",
    "yuv440p": "yuv444p",
    "yuvj440p": "yuv444p",
    "mono": "gray",
    "ya16": "gbrap16",  # grey with alpha: exact as three equal colours
    "ya8": "gbrap",
    "x2rgb10": "gbrp10",
    "x2bgr10": "gbrp10",
    "rgb48": "gbrp16",
    "bgr48": "gbrp16",
    "rgba64": "gbrap16",
    "bgra64": "gbrap16",
    "gbrpf32": "gbrp16",
    "gbrapf32": "gbrap16",
    "grayf32": "gray16",
    "rgba": "gbrap",
    "bgra": "gbrap",
    "argb": "gbrap",
    "abgr": "gbrap",
}
_NAME = re.compile(r"(yuv|yuva)(420|422|444)p(\d*)|(gray|gbrp|gbrap)(\d*)")
_SHIFTS = {"420": (1, 1), "422": (1, 0), "444": (0, 0)}


@dataclass(frozen=True, slots=True)
class Layout:
    """A planar pixel format: all of one plane after all of another, samples little-endian."""

    name: str  # ffmpeg's
    family: str  # "yuv", "gray" or "gbr": the order of the planes
    depth: int  # bits of a sample, 8 to 16; more than 8 take two bytes
    chroma_shift: tuple[int, int]  # powers of two by which chroma is narrower and lower
    alpha: bool  # whether a plane of opacity follows

    def shapes(self, width: int, height: int) -> list[tuple[int, int]]:
        """Return the rows and columns of each plane of a picture."""
        shift_x, shift_y = self.chroma_shift
        whole, chroma = (height, width), (-(-height >> shift_y), -(-width >> shift_x))
        planes = {"yuv": [whole, chroma, chroma], "gray": [whole], "gbr": [whole] * 3}
        return planes[self.family] + [whole] * self.alpha

    def frame_bytes(self, width: int, height: int) -> int:
        """Return how many bytes a picture takes."""
        samples = sum(rows * columns for rows, columns in self.shapes(width, height))
        return samples * (1 if self.depth == 8 else 2)

    def split(self, data: Bytes, width: int, height: int) -> list[Samples]:
        """Return views of the planes in a picture's bytes, [H, W] or the size of chroma."""
        samples: Samples = data if self.depth == 8 else data.view("<u2")
        planes, start = [], 0
        for rows, columns in self.shapes(width, height):
            planes.append(samples[start : start + rows * columns].reshape(rows, columns))
            start += rows * columns
        return planes


def layout_of(name: str) -> Layout:
    """Return what a planar pixel format looks like in memory.

    Args:
        name: ffmpeg's: yuv or yuva with 420, 422 or 444, gray, gbrp or gbrap; 8 to 16 bits.

    Raises:
        ValueError: If it is another.

    Example:
        >>> layout_of("yuv422p10le")
        Layout(name='yuv422p10le', family='yuv', depth=10, chroma_shift=(1, 0), alpha=False)
    """
    found = _NAME.fullmatch(name.removesuffix("le"))
    if found is None:
        raise ValueError(f"{name} is no planar format of yuv, gray or gbr")
    yuv, chroma, yuv_depth, other, other_depth = found.groups()
    if yuv:
        return Layout(name, "yuv", int(yuv_depth or 8), _SHIFTS[chroma], yuv == "yuva")
    family = "gray" if other == "gray" else "gbr"
    return Layout(name, family, int(other_depth or 8), (0, 0), other == "gbrap")


def raw_layout(pixel_format: str) -> Layout:
    """Return the planar format that holds the samples of any pixel format.

    Args:
        pixel_format: ffmpeg's name; one that is not known becomes 8-bit RGB.

    Example:
        >>> [raw_layout(name).name for name in ("yuvj420p", "p010le", "rgb24", "gray10be")]
        ['yuv420p', 'yuv420p10le', 'gbrp', 'gray10le']
    """
    name = pixel_format.removesuffix("le").removesuffix("be")
    name = next((planar for start, planar in _PLANAR.items() if name.startswith(start)), name)
    if _NAME.fullmatch(name) is None:
        name = "gbrp"
    return layout_of(name if not name[-1].isdigit() else f"{name}le")


LAYER = layout_of("gbrap10le")


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """How the pictures of one video are shown to the networks, and how patches are laid over them.

    Yuv samples are linear in gamma-coded red, green and blue, so what a patch adds to those is
    converted by the same matrix and added to the samples, whatever they are.
    """

    width: int
    height: int
    layout: Layout
    pq: bool  # whether samples are coded by SMPTE ST 2084; the networks see it toned down
    to_rgb: NDArray[np.float64] = field(repr=False)  # [3, 4] samples and 1 to RGB from 0 to 1
    from_rgb: NDArray[np.float64] = field(repr=False)  # [planes, 3] change of RGB to samples

    @property
    def frame_bytes(self) -> int:
        """How many bytes a picture takes."""
        return self.layout.frame_bytes(self.width, self.height)

    def show(self, data: Bytes) -> Bytes:
        """Return a picture as the networks see it, [H, W, 3].

        Args:
            data: The planes, one-dimensional, ``frame_bytes`` long.
        """
        joined = self._joined(self.layout.split(data, self.width, self.height))
        if self.pq:
            wide = np.asarray(cv2.transform(joined.astype(np.uint16), self.to_rgb * 65535))
            return shown_codes()[wide.astype(np.uint16)]
        if joined.dtype == np.uint8 and self.layout.family == "gbr":
            return joined.astype(np.uint8)
        made = np.asarray(cv2.transform(joined, self.to_rgb * 255))
        if made.dtype != np.uint8:
            np.minimum(made, 255, out=made)
        return made.astype(np.uint8, copy=False)

    def _joined(self, planes: list[Samples]) -> Samples:
        """Return planes as one picture, [H, W, 3], chroma repeated; red, green, blue of gbr."""
        if self.layout.family == "gray":
            return np.asarray(cv2.merge([planes[0]] * 3))
        if self.layout.family == "gbr":
            return np.asarray(cv2.merge([planes[2], planes[0], planes[1]]))
        height, width = planes[0].shape
        shift_x, shift_y = self.layout.chroma_shift
        whole = [planes[0]]
        for plane in planes[1:3]:
            if shift_x or shift_y:
                size = (plane.shape[1] << shift_x, plane.shape[0] << shift_y)
                plane = cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST)
            whole.append(plane[:height, :width])
        return np.asarray(cv2.merge(whole))

    def lay_over(self, frame: Frame, patch: Patch | None) -> Bytes:
        """Return the planes of a frame with a patch laid over it.

        Samples of chroma take the mean of what is added to the pixels that share them.

        Args:
            frame: With its planes; not changed.
            patch: What is shown where; None: nothing.

        Returns:
            One-dimensional, ``frame_bytes`` long. Samples that the patch does not reach are the
            frame's, bit for bit; so are those where it shows the frame's own picture.

        Raises:
            ValueError: If the frame came without its planes.
        """
        if frame.planes is None:
            raise ValueError(f"frame {frame.index} has no planes to lay a patch over")
        result = frame.planes.copy()
        if patch is None:
            return result
        planes = self.layout.split(result, self.width, self.height)
        height, width = patch.share.shape
        top, left = patch.top, patch.left
        shown = frame.rgb[top : top + height, left : left + width]
        added = (patch.share[:, :, None] * (patch.picture - shown) / 255).astype(np.float32)
        if self.pq:
            added = self._added_to_pq(planes, patch, added)
        changes: Float = added @ self.from_rgb.T.astype(np.float32)
        for index, plane in enumerate(planes[: len(self.from_rgb)]):
            change: Float = changes[:, :, index]
            y, x = top, left
            if self.layout.family == "yuv" and index > 0:
                change, y, x = _shared(change, y, x, self.layout.chroma_shift)
            rows, columns = plane[y : y + change.shape[0], x : x + change.shape[1]].shape
            region = plane[y : y + rows, x : x + columns]
            mixed = np.rint(region + change[:rows, :columns])
            region[:] = np.clip(mixed, 0, (1 << self.layout.depth) - 1).astype(plane.dtype)
        return result

    def layer(self, patch: Patch | None) -> Bytes:
        """Return a patch alone, as straight RGB and alpha in the format of ``layer_info``.

        Laid over the frame in the frame's own coding, it gives the dubbed one.

        Args:
            patch: What is shown where; None: nothing.
        """
        most = (1 << LAYER.depth) - 1
        planes = np.zeros((4, self.height, self.width), "<u2")
        if patch is not None:
            height, width = patch.share.shape
            rows = slice(patch.top, patch.top + height)
            columns = slice(patch.left, patch.left + width)
            shown = patch.picture / 255
            coded = pq_from_shown(shown) if self.pq else shown
            visible = np.where(patch.share[:, :, None] > 0, coded, 0)
            together = np.dstack([visible[:, :, [1, 2, 0]], patch.share])
            planes[:, rows, columns] = np.rint(most * together).transpose(2, 0, 1)
        return planes.reshape(-1).view(np.uint8)

    def _added_to_pq(self, planes: list[Samples], patch: Patch, added: Float) -> Float:
        """Return what is added to RGB coded by PQ so that what is shown changes by ``added``."""
        height, width = patch.share.shape
        step_x, step_y = 1 << self.layout.chroma_shift[0], 1 << self.layout.chroma_shift[1]
        before_y, before_x = patch.top % step_y, patch.left % step_x
        rows = patch.top - before_y, -(-(patch.top + height) // step_y) * step_y
        columns = patch.left - before_x, -(-(patch.left + width) // step_x) * step_x
        around = [planes[0][slice(*rows), slice(*columns)]]
        for plane in planes[1:3]:  # whole samples of chroma
            shared = slice(rows[0] // step_y, rows[1] // step_y)
            around.append(plane[shared, columns[0] // step_x : columns[1] // step_x])
        joined = self._joined(around)
        region = joined[before_y : before_y + height, before_x : before_x + width]
        shown = shown_from_pq(np.clip(region @ self.to_rgb[:, :3].T + self.to_rgb[:, 3], 0, 1))
        change = pq_from_shown(shown + added) - pq_from_shown(shown)
        seen = np.where(patch.share[:, :, None] > 0, change, 0)
        return np.asarray(seen, np.float32)


def layer_info(info: VideoInfo) -> VideoInfo:
    """Return what a layer of patches is, as a video of its own.

    Args:
        info: The video that it is to be laid over.
    """
    return replace(info, codec="", profile=None, pixel_format=LAYER.name, colour_range=None)


def canvas_for(info: VideoInfo) -> Canvas:
    """Return the canvas of a video's pictures, as ``FrameReader`` gives them.

    Args:
        info: The video.
    """
    layout = raw_layout(info.pixel_format)
    if layout.chroma_shift == (1, 0) and info.rotation_deg in {90, 270}:
        # 4:2:2 lying on its side is 4:4:0, which no encoder takes.
        layout = layout_of(layout.name.replace("422", "444"))
    unit, most = float(1 << (layout.depth - 8)), float((1 << layout.depth) - 1)
    full = layout.family != "yuv" or colour_range(info) == "pc"
    spans = np.array([most] * 3 if full else [219 * unit, 224 * unit, 224 * unit])
    offsets = np.array([0.0 if full else 16 * unit, 128 * unit, 128 * unit])
    mix = _yuv_of_rgb(colour_matrix(info))
    if layout.family == "yuv":
        linear, from_rgb = np.linalg.inv(mix) / spans, spans[:, None] * mix
    else:
        linear, offsets = np.eye(3) / most, np.zeros(3)
        from_rgb = most * (mix[:1] if layout.family == "gray" else np.roll(np.eye(3), 1, 1))
    return Canvas(
        width=info.width,
        height=info.height,
        layout=layout,
        pq=info.colour_transfer == PQ,
        to_rgb=np.hstack([linear, -(linear @ offsets)[:, None]]),
        from_rgb=from_rgb,
    )


def _yuv_of_rgb(matrix: str) -> NDArray[np.float64]:
    """Return the matrix from RGB to luma and the differences of colour, [3, 3]."""
    red, blue = _LUMA[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    return np.array(
        [
            luma,
            (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)),
            (np.array([1, 0, 0]) - luma) / (2 * (1 - red)),
        ]
    )


def _shared(
    change: Float, top: int, left: int, chroma_shift: tuple[int, int]
) -> tuple[Float, int, int]:
    """Return the mean change of the pixels that share a sample of chroma, and where it starts."""
    step_x, step_y = 1 << chroma_shift[0], 1 << chroma_shift[1]
    height, width = change.shape
    before_y, before_x = top % step_y, left % step_x
    after_y, after_x = -(top + height) % step_y, -(left + width) % step_x
    whole = np.pad(change, ((before_y, after_y), (before_x, after_x)))
    blocks = whole.reshape(whole.shape[0] // step_y, step_y, whole.shape[1] // step_x, step_x)
    return blocks.mean(axis=(1, 3), dtype=np.float32), top // step_y, left // step_x
