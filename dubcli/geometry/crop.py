"""Face crops, the masks in them, and the way back into the frame.

Letters: H, W frame size; S crop size (256); V vertices.

A crop is upright and fixed to the head: the same point of the head falls on its middle and a
centimetre has the same number of pixels in every crop, so references and targets differ by
expression and turn alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dubcli.geometry.camera import HEAD_TO_IMAGE, rotation_matrix
from dubcli.geometry.morphable import OUTER_LIP_RING
from dubcli.records import Bytes, Crop, Float, Integers, Patch

Real = NDArray[np.floating[Any]]

CROP_SIZE = 256
CROP_PX_PER_CM = 12.8  # 20 cm across the crop: from the brow to a wide open chin
CROP_ANCHOR = (0.0, -2.8, 4.0)  # cm, head space: just below the nose, falls on the crop's middle

FACE_DILATION = 5  # pixels of the crop beyond the hull of the lower face
LIP_DILATION = 11
FEATHER = 2.0  # pixels: the ramp is twice as wide and ends before the jaw line
RING_WIDTH = 7  # pixels inside the mask's edge, where patch and frame should agree
PASTE_MARGIN = 2.0  # pixels of the crop that interpolation reads beside the weight
TINT, TINT_SHARE, EDGE = (255, 0, 255), 0.35, (0, 255, 0)  # colours that no face has
DETAIL_RAMP = 4.0  # pixels over which the frame's own texture fades in beside the inner mouth
GHOST_SIGMA = 8.0  # pixels beside an uncovered strip in which the old outline is looked for
GHOST_GAIN = 4.0  # beside a wide strip half of a Gaussian lies on it: no texture is left there
MAX_COLOUR_SHIFT = 12.0  # grey levels; more is a wrong patch, not a wrong colour
LEAST_FINER = 1.15  # pixels of a frame in one of its crop below which nothing finer is looked for
FINE_MARGIN = 4.0  # pixels of the crop around a mouth whose finer picture is kept
LEAST_SHARE = 0.03  # of another frame's finer picture that is worth laying
SUPERSAMPLE = 2.0  # frames more than this much finer than the crop are averaged first


def crop_for_head(rotation: Float, translation_px: Float, scale_px: float) -> Crop:
    """Return the crop of a head.

    Args:
        rotation: Axis-angle, [3] radians.
        translation_px: Where the head's origin falls in the frame, [2] pixels.
        scale_px: Pixels per centimetre in the frame.

    Returns:
        The similarity from frame pixels to crop pixels: ``CROP_ANCHOR`` falls on the middle, the
        head's downward axis points down.
    """
    turn = rotation_matrix(torch.from_numpy(np.asarray(rotation, dtype=np.float32))).numpy()
    anchor = turn @ (np.array(CROP_ANCHOR) * HEAD_TO_IMAGE) * scale_px
    roll = math.atan2(-turn[0, 1], turn[1, 1])
    factor = CROP_PX_PER_CM / scale_px
    cosine, sine = factor * math.cos(roll), factor * math.sin(roll)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    shift = CROP_SIZE / 2 - linear @ (anchor[:2] + translation_px)
    matrix = np.concatenate([linear, shift[:, None]], axis=1).astype(np.float32)
    return Crop(matrix, CROP_SIZE)


def transform(crop: Crop, points_px: Float) -> Float:
    """Return frame points in the crop, [V, 2 or 3] -> the same shape; z keeps the crop's scale."""
    linear, shift = crop.matrix[:, :2], crop.matrix[:, 2]
    moved = points_px.copy()
    moved[:, :2] = points_px[:, :2] @ linear.T + shift
    if points_px.shape[1] == 3:
        moved[:, 2] *= np.sqrt(abs(np.linalg.det(linear)))
    return moved


def _for_opencv(matrix: Float) -> NDArray[np.float64]:
    """Move a matrix from pixel centres at halves (ours) to pixel centres at integers (OpenCV's)."""
    linear, shift = matrix[:, :2].astype(np.float64), matrix[:, 2].astype(np.float64)
    shift = linear @ np.array([0.5, 0.5]) + shift - 0.5
    return np.concatenate([linear, shift[:, None]], axis=1)


def cut_out(rgb: Bytes, crop: Crop) -> Bytes:
    """Return the crop of a frame, [H, W, 3] -> [S, S, 3]; beyond the frame its edge is repeated."""
    matrix = crop.matrix
    fineness = 1 / math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    if fineness > SUPERSAMPLE:
        step = int(fineness)
        height, width = rgb.shape[0] // step, rgb.shape[1] // step
        rgb = cv2.resize(
            rgb[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA
        ).astype(np.uint8)
        matrix = np.concatenate([matrix[:, :2] * step, matrix[:, 2:]], axis=1)
    return cv2.warpAffine(
        rgb,
        _for_opencv(matrix),
        (crop.size_px, crop.size_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.uint8)


def hull_mask(points_px: Float, dilation: int, size_px: int = CROP_SIZE) -> Bytes:
    """Return 1 inside the convex hull of points widened by ``dilation`` pixels, [S, S].

    A negative one narrows it.
    """
    if dilation < 0:
        widened = hull_mask(points_px, 0, size_px)
        return 1 - dilate(1 - widened, -dilation)
    mask = np.zeros((size_px, size_px), dtype=np.uint8)
    hull = cv2.convexHull(np.round(points_px[:, :2]).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 1)
    return dilate(mask, dilation)


def dilate(mask: Bytes, pixels: int) -> Bytes:
    """Widen a mask by a disc, [S, S] -> [S, S]."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask, disc).astype(np.uint8)


def face_mask(points_px: Float, lower: Integers, dilation: int = FACE_DILATION) -> Bytes:
    """Return the lower face's mask: the hull of the vertices ``lower``, [V, 3] pixels -> [S, S]."""
    return hull_mask(points_px[lower], dilation)


def lip_mask(points_px: Float, dilation: int = LIP_DILATION) -> Bytes:
    """Return the lips' mask: inside the outer contour, widened, [V, 3] pixels -> [S, S]."""
    return hull_mask(points_px[list(OUTER_LIP_RING)], dilation)


def feather(mask: Bytes, sigma: float = FEATHER) -> Float:
    """Return soft weights that are 0 on and outside the mask's edge, [S, S] in [0, 1].

    They rise over two standard deviations inside the mask, from 0 on its outermost pixels: what
    the network did not render never shows, not even mixed in by the interpolation of pasting.
    """
    return _rise(np.pad(mask, 1), 2 * sigma)[1:-1, 1:-1]


def tinted(patch: Patch) -> Patch:
    """Return a patch that shows where it lies: tinted as far as it shows, its edge drawn."""
    inside = (patch.share > 0).astype(np.uint8)
    edge = inside > cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=0)
    picture = patch.picture + TINT_SHARE * (np.array(TINT, np.float32) - patch.picture)
    return replace(
        patch,
        picture=np.where(edge[:, :, None], np.array(EDGE, np.float32), picture),
        share=np.where(edge, np.float32(1), patch.share),
    )


def _rise(mask: Bytes, ramp_px: float) -> Float:
    """Return a smooth rise from 0 on the mask's outermost pixels to 1 inside it, [S, S]."""
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    ramp = np.clip((inside - 1) / ramp_px, 0, 1)
    smooth: Float = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return smooth


def colour_shift(patch: Float, source: Float, mask: Bytes) -> Float:
    """Return the colour, [3], that a patch lacks beside the source along the mask's edge.

    The median difference on the ring just inside the mask, at most ``MAX_COLOUR_SHIFT`` levels per
    channel: where the jaw moved, ring and frame show different things, and more than that is a
    wrong patch, not a wrong colour.

    Args:
        patch: Rendered crop, [S, S, 3], 0 to 255.
        source: The frame's own crop, [S, S, 3], 0 to 255.
        mask: Where the patch was rendered, [S, S].
    """
    ring = (mask > 0) & (cv2.erode(mask, np.ones((2 * RING_WIDTH + 1,) * 2, np.uint8)) == 0)
    if not ring.any():
        return np.zeros(3, dtype=np.float32)
    shift = np.median(source[ring] - patch[ring], axis=0)
    limited: Float = np.clip(shift, -MAX_COLOUR_SHIFT, MAX_COLOUR_SHIFT).astype(np.float32)
    return limited


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """What a rendering lacks of the frame's own texture, and where that texture has moved.

    The renderer works at 256 px and is smooth. Asked for the source's own geometry, it gives
    ``base``; frame - base is what it cannot reproduce: pores, beard, grain, the pixels of a
    close-up. Skin keeps that detail and carries it along when the jaw moves.
    """

    base: Float  # [S, S, 3] the rendering of the source's own geometry, 0 to 255
    share: Float  # [S, S] how much detail shows, 0 to 1; 0 inside the mouth and on uncovered neck
    motion_px: Float  # [S, S, 2] from each crop pixel to where its texture lies in the source


@dataclass(frozen=True, slots=True, eq=False)
class FineDetail:
    """What another frame shows beyond its crop, and where it is to lie: teeth of a reference."""

    lacking: Float  # [h, w, 3] that frame - its enlarged crop, grey levels, at its own resolution
    to_crop: Float  # [2, 3] from its pixels to those of the crop in which it is to lie
    share: Float  # [S, S] how much of it shows, 0 to 1


def chained(first: Float, second: Float) -> Float:
    """Return the affine map that does one and then the other, [2, 3] each."""
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack([linear, second[:, :2] @ first[:, 2] + second[:, 2]])


def _frame_of(crop: Crop) -> NDArray[np.float64]:
    """Return the map from a crop to its frame, [2, 3]."""
    linear = np.linalg.inv(crop.matrix[:, :2].astype(np.float64))
    return np.column_stack([linear, -linear @ crop.matrix[:, 2]])


def _box(low: Real, high: Real, matrix: Real, picture: Bytes | Float) -> list[int] | None:
    """Return the pixels of a picture, [h, w, 3], that a mapped rectangle can touch.

    Args:
        low: The rectangle's upper left corner, [2].
        high: Its lower right one, [2].
        matrix: From its pixels to the picture's, [2, 3].
        picture: Its size counts.

    Returns:
        Left, top, right, bottom; None where it lies outside.
    """
    corners = np.array([low, [high[0], low[1]], [low[0], high[1]], high])
    reached = corners @ matrix[:, :2].T + matrix[:, 2]
    first = np.maximum(np.floor(reached.min(0)), 0).astype(int)
    last = np.minimum(np.ceil(reached.max(0)), picture.shape[1::-1]).astype(int)
    return [*first.tolist(), *last.tolist()] if (first < last).all() else None


def finer(rgb: Bytes, crop: Crop, picture: Bytes, around_px: Float) -> tuple[Float, Float] | None:
    """Return what a frame shows around some points beyond its crop.

    Args:
        rgb: The frame, [H, W, 3].
        crop: A crop of it.
        picture: The crop's pixels, [S, S, 3].
        around_px: Points in the crop, [N, 2 or 3].

    Returns:
        Frame - enlarged crop in the box that the points span, [h, w, 3] grey levels, and the map
        from that box to the crop, [2, 3]. None where the frame is hardly finer than the crop, or
        the box lies outside.
    """
    frame_px = 1 / math.sqrt(abs(float(np.linalg.det(crop.matrix[:, :2]))))  # in one of the crop
    if frame_px < LEAST_FINER:
        return None
    inverse = _frame_of(crop)
    low, high = (f(around_px[:, :2], axis=0) for f in (np.min, np.max))
    box = _box(low - FINE_MARGIN, high + FINE_MARGIN, inverse, rgb)
    if box is None:
        return None
    left, top, right, bottom = box
    shift = np.array([[0, 0, left], [0, 0, top]])
    enlarged = cv2.warpAffine(
        picture.astype(np.float32),
        _for_opencv(inverse - shift),
        (right - left, bottom - top),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    to_crop = chained(np.column_stack([np.eye(2), [left, top]]), crop.matrix)
    lacking: Float = (rgb[top:bottom, left:right] - enlarged).astype(np.float32)
    return lacking, to_crop.astype(np.float32)


def lay_over(rgb: Bytes, patch: Patch | None) -> Bytes:
    """Return a new frame with a patch laid over it, [H, W, 3]; None: with nothing.

    Pixels that it does not reach are the frame's, bit for bit.
    """
    result = rgb.copy()
    if patch is not None:
        height, width = patch.share.shape
        region = result[patch.top : patch.top + height, patch.left : patch.left + width]
        share = patch.share[:, :, None]
        mixed = region + share * (patch.picture - region)
        region[:] = np.where(share > 0, np.rint(mixed).astype(np.uint8), region)
    return result


def placed(
    rgb: Bytes,
    patch: Float,
    weight: Float,
    crop: Crop,
    detail: Detail | None = None,
    fine: Sequence[FineDetail] = (),
) -> Patch | None:
    """Return a crop's patch as it lies in the frame; None where it lies outside.

    Args:
        rgb: The frame, [H, W, 3]; not changed.
        patch: [S, S, 3], 0 to 255.
        weight: How much of the patch shows, [S, S], 0 to 1, 0 along the crop's edge.
        crop: Where the patch belongs.
        detail: The frame's own texture, added at the frame's resolution; None: none.
        fine: What other frames add where ``detail`` has nothing to carry.

    Returns:
        What is shown where. It is the frame's own picture, bit for bit, where the patch is the
        detail's base, at full share and without motion.
    """
    rows, columns = np.nonzero(weight)
    if not len(rows):
        return None
    # Only what the weight reaches is touched; detail is read from as far beside it as it moved.
    reach = PASTE_MARGIN + (0.0 if detail is None else float(np.abs(detail.motion_px).max()))
    low = np.array([columns.min(), rows.min()]) - reach
    high = np.array([columns.max(), rows.max()]) + 1 + reach
    inverse = _frame_of(crop)
    box = _box(low, high, inverse, rgb)
    if box is None:
        return None
    left, top, right, bottom = box
    to_region = inverse - np.array([[0, 0, left], [0, 0, top]])
    matrix = _for_opencv(to_region)
    size = (right - left, bottom - top)

    def enlarge(picture: Float, method: int) -> Float:
        """Bring a crop-sized picture to the frame's pixels."""
        border = cv2.BORDER_REPLICATE if method == cv2.INTER_CUBIC else cv2.BORDER_CONSTANT
        made = cv2.warpAffine(picture, matrix, size, flags=method, borderMode=border)
        return np.asarray(made, dtype=np.float32)

    region = rgb[top:bottom, left:right]
    enlarged = enlarge(patch, cv2.INTER_CUBIC)
    for one in fine:
        share = one.share if detail is None else one.share * (1 - detail.share)
        _add_finer(enlarged, replace(one, share=share), to_region)
    if detail is not None:
        lacking = region - enlarge(detail.base, cv2.INTER_CUBIC)
        motion = enlarge(detail.motion_px, cv2.INTER_LINEAR) @ inverse[:, :2].T
        x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
        moved = cv2.remap(
            lacking,
            (x + motion[:, :, 0]).astype(np.float32),
            (y + motion[:, :, 1]).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        enlarged = enlarged + enlarge(detail.share, cv2.INTER_LINEAR)[:, :, None] * moved
    share = enlarge(weight, cv2.INTER_LINEAR)
    return Patch(top, left, np.clip(enlarged, 0, 255), share)


def _add_finer(region: Float, fine: FineDetail, to_region: Float) -> None:
    """Add what another frame shows to an enlarged crop, [h, w, 3], where it has a share."""
    rows, columns = np.nonzero(fine.share > 0)
    if not len(rows):
        return
    low, high = (np.array([f(columns), f(rows)]) for f in (np.min, np.max))
    box = _box(low - PASTE_MARGIN, high + 1 + PASTE_MARGIN, to_region, region)
    if box is None:
        return
    left, top, right, bottom = box
    to_box = to_region - np.array([[0, 0, left], [0, 0, top]])
    size, method = (right - left, bottom - top), cv2.INTER_LINEAR
    placing = _for_opencv(chained(fine.to_crop, to_box))
    laid = cv2.warpAffine(fine.lacking, placing, size, flags=method)
    share = cv2.warpAffine(fine.share, _for_opencv(to_box), size, flags=method)
    region[top:bottom, left:right] += share[:, :, None] * laid


def detail_share(
    there: Bytes, here: Bytes, hidden: Bytes, *, ramp_px: float = DETAIL_RAMP
) -> Float:
    """Return where the frame's own texture may be carried over, [S, S], 0 to 1.

    On the target's face, and outside both faces, where nothing moves; not on the strip that the
    source's face covered and the target's uncovers, and not where ``hidden``. Beside that strip it
    fades, the more the wider the strip is: a chin's outline lies a little outside its mesh, and
    would stay behind as a line where the chin was.

    Args:
        there: 1 on the target's face, [S, S].
        here: 1 on the source's face, [S, S].
        hidden: 1 inside the mouth, [S, S].
        ramp_px: Over which the share rises from 0 to 1.
    """
    allowed = ((there > 0) | (here == 0)) & (hidden == 0)
    share = _rise(allowed.astype(np.uint8), ramp_px)
    uncovered = ((here > 0) & (there == 0)).astype(np.float32)
    if not uncovered.any():
        return share
    beside = cv2.GaussianBlur(uncovered, (0, 0), GHOST_SIGMA)
    outline = 1 - np.clip(GHOST_GAIN * beside, 0, 1)
    return np.asarray(np.where(there > 0, share, share * outline), dtype=np.float32)
