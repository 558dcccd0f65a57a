import math

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from dubcli.geometry.camera import project
from dubcli.geometry.crop import (
    CROP_ANCHOR,
    CROP_PX_PER_CM,
    CROP_SIZE,
    FEATHER,
    LIP_DILATION,
    MAX_COLOUR_SHIFT,
    Detail,
    FineDetail,
    chained,
    colour_shift,
    crop_for_head,
    cut_out,
    detail_share,
    dilate,
    face_mask,
    feather,
    finer,
    hull_mask,
    lay_over,
    lip_mask,
    placed,
    transform,
)
from dubcli.geometry.morphable import OUTER_LIP_RING
from dubcli.records import Bytes, Crop, Float

HALF_A_PIXEL = 0.5
SMOOTH_LEVELS = 3.0  # grey levels lost by two resamplings of a smooth picture, at most
HEADS = {
    "coarse": ([0.1, -0.2, 0.15], [150.0, 110.0], 9.0),
    "same size": ([0.0, 0.0, 0.0], [180.0, 120.0], CROP_PX_PER_CM),
    "fine": ([-0.1, 0.3, -0.2], [350.0, 300.0], 22.0),
    "averaged": ([0.05, 0.1, 0.1], [700.0, 560.0], 45.0),
}


def paste_back(
    rgb: Bytes, patch: Float, weight: Float, crop: Crop, detail: Detail | None = None
) -> Bytes:
    return lay_over(rgb, placed(rgb, patch, weight, crop, detail))


def head(name: str) -> tuple[Crop, tuple[int, int]]:
    rotation, translation, scale = HEADS[name]
    size = int(2 * translation[1] + 30 * scale / 12.8), int(2 * translation[0])
    return crop_for_head(np.array(rotation), np.array(translation), scale), size


def smooth_picture(height: int, width: int) -> Bytes:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / height * 5 + k) * np.cos(columns / width * (4 + k)) for k in range(3)]
    return np.rint(127 + 100 * np.stack(waves, -1)).astype(np.uint8)


def inner_weight() -> Float:
    weight = np.zeros((CROP_SIZE, CROP_SIZE), np.float32)
    weight[60:200, 50:190] = 1
    return cv2.GaussianBlur(weight, (21, 21), 5)


@pytest.mark.parametrize("name", HEADS)
def test_head_of_any_size_and_roll_has_its_anchor_in_the_middle_and_the_crops_scale(
    name: str,
) -> None:
    rotation, translation, scale = HEADS[name]
    crop, _ = head(name)
    down = [0.0, -1.0, 0.0]
    mesh = torch.tensor([CROP_ANCHOR, [a + b for a, b in zip(CROP_ANCHOR, down, strict=True)]])
    points = project(mesh, torch.tensor(rotation), torch.tensor(translation), torch.tensor(scale))

    anchor, below = transform(crop, points.numpy())

    np.testing.assert_allclose(anchor[:2], CROP_SIZE / 2, atol=1e-2)
    assert below[0] == pytest.approx(anchor[0], abs=1e-2)  # the head's downward axis points down
    assert below[1] > anchor[1]
    linear = crop.matrix[:, :2].astype(np.float64)
    np.testing.assert_allclose(
        linear @ linear.T, np.eye(2) * (CROP_PX_PER_CM / scale) ** 2, atol=1e-5
    )
    assert np.linalg.det(linear) > 0


def test_depth_takes_the_crops_scale_and_the_points_given_stay_as_they_were() -> None:
    crop, _ = head("fine")
    points = np.array([[1, 2, 3], [4, 5, -6]], dtype=np.float32)
    before = points.copy()
    moved = transform(crop, points)
    np.testing.assert_allclose(moved[:, 2], before[:, 2] * CROP_PX_PER_CM / 22, rtol=1e-4)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(transform(crop, points[:, :2]), moved[:, :2])


@pytest.mark.parametrize("name", HEADS)
def test_a_dot_in_the_frame_lands_at_its_transformed_place(name: str) -> None:
    crop, (height, width) = head(name)
    fineness = 1 / math.sqrt(np.linalg.det(crop.matrix[:, :2]))
    inverse = cv2.invertAffineTransform(crop.matrix)
    for wanted in ([70.0, 90.0], [128.0, 128.0], [190.0, 160.0]):
        place = inverse[:, :2] @ wanted + inverse[:, 2]
        rows, columns = np.mgrid[:height, :width] + 0.5  # centres are at halves
        radius = 2.5 * max(fineness, 1)
        distance = np.hypot(columns - place[0], rows - place[1])
        dot = np.exp(-((distance / radius) ** 2)) * 250
        picture = np.repeat(dot[:, :, None], 3, 2).astype(np.uint8)

        cut = cut_out(picture, crop)[:, :, 0].astype(np.float64)

        rows, columns = np.mgrid[:CROP_SIZE, :CROP_SIZE] + 0.5
        found = np.array([(columns * cut).sum(), (rows * cut).sum()]) / cut.sum()
        expected = transform(crop, place[None].astype(np.float32))[0]
        assert np.linalg.norm(found - expected) < HALF_A_PIXEL / 5  # no bias, whatever the size
        assert cut.max() > 150


def crop_places(crop: Crop, height: int, width: int) -> tuple[Float, Float]:
    """Return where each pixel centre of the frame falls in the crop, x [H, W] and y [H, W]."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    places = np.stack([columns.ravel(), rows.ravel()], 1).astype(np.float32)
    x, y = transform(crop, places).T.reshape(2, height, width)
    return x, y


def well_inside(crop: Crop, height: int, width: int) -> np.ndarray:
    """Return the frame's pixels where ``inner_weight`` is 1."""
    x, y = crop_places(crop, height, width)
    return (x > 70) & (x < 170) & (y > 80) & (y < 180)


@pytest.mark.parametrize("name", ["coarse", "same size", "fine"])
def test_a_crop_pasted_onto_another_frame_shows_the_first_one(name: str) -> None:
    crop, (height, width) = head(name)
    picture = smooth_picture(height, width)
    black = np.zeros_like(picture)

    pasted = paste_back(black, cut_out(picture, crop).astype(np.float32), inner_weight(), crop)

    inside = well_inside(crop, height, width)
    assert pasted.dtype == np.uint8
    assert inside.sum() > 1000
    assert np.abs(pasted.astype(int) - picture)[inside].max() <= SMOOTH_LEVELS


@pytest.mark.parametrize("name", HEADS)
def test_pixels_that_the_weight_does_not_reach_are_the_sources_bit_for_bit(name: str) -> None:
    crop, (height, width) = head(name)
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = picture.copy()
    mask = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    mask[100:180, 80:170] = 1
    patch = np.full((CROP_SIZE, CROP_SIZE, 3), 255, np.float32)

    pasted = paste_back(picture, patch, feather(mask), crop)

    x, y = crop_places(crop, height, width)
    outside = (x < 79) | (x > 171) | (y < 99) | (y > 181)
    np.testing.assert_array_equal(pasted[outside], before[outside])
    middle = (np.abs(x - 125) < 20) & (np.abs(y - 140) < 20)
    assert (pasted[middle] == 255).all()
    np.testing.assert_array_equal(picture, before)


def test_no_weight_changes_nothing() -> None:
    crop, (height, width) = head("coarse")
    picture = smooth_picture(height, width)
    patch = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.float32)
    weight = np.zeros((CROP_SIZE, CROP_SIZE), np.float32)
    np.testing.assert_array_equal(paste_back(picture, patch, weight, crop), picture)


@pytest.mark.parametrize("place", [(-500.0, 60.0), (60.0, -500.0), (900.0, 60.0), (60.0, 900.0)])
def test_a_face_outside_the_frame_changes_nothing(place: tuple[float, float]) -> None:
    crop = crop_for_head(np.zeros(3), np.array(place), 12.0)
    picture = smooth_picture(90, 121)
    patch = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.float32)
    np.testing.assert_array_equal(paste_back(picture, patch, inner_weight(), crop), picture)


@pytest.mark.parametrize("place", [(5.0, 40.0), (118.0, 40.0), (60.0, 0.0), (60.0, 88.0)])
def test_a_face_half_outside_an_odd_sized_frame_is_pasted_where_it_belongs(
    place: tuple[float, float],
) -> None:
    crop = crop_for_head(np.array([0.0, 0.0, 0.2]), np.array(place), 9.0)
    picture = smooth_picture(91, 121)
    black = np.zeros_like(picture)

    pasted = paste_back(black, cut_out(picture, crop).astype(np.float32), inner_weight(), crop)

    inside = well_inside(crop, 91, 121)
    border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    assert border.any()  # the very last row or column of the frame is pasted, too
    assert np.abs(pasted.astype(int) - picture)[inside].max() <= SMOOTH_LEVELS


def test_outside_the_frame_the_crop_repeats_its_edge() -> None:
    picture = np.full((60, 60, 3), 200, np.uint8)
    crop = crop_for_head(np.zeros(3), np.array([0.0, 0.0]), 8.0)
    assert (cut_out(picture, crop) == 200).all()


def test_values_beyond_grey_levels_are_limited_when_pasted() -> None:
    crop, (height, width) = head("same size")
    picture = smooth_picture(height, width)
    patch = np.full((CROP_SIZE, CROP_SIZE, 3), 400, np.float32)
    patch[:, :128] = -90
    pasted = paste_back(picture, patch, np.clip(inner_weight() * 2, 0, 1), crop)
    assert pasted.max() == 255
    assert pasted.min() == 0


def test_hull_mask_holds_its_points_and_a_margin_of_the_dilation() -> None:
    points = np.array([[100, 90], [150, 95], [130, 160.0]], dtype=np.float32)
    plain, wide = hull_mask(points, 0), hull_mask(points, 9)
    assert set(np.unique(wide)) == {0, 1}
    assert plain[115, 127] == 1
    assert plain[155, 105] == 0
    # The disc is digital: its own rounding is below a pixel and a half.
    distance = distance_transform_edt(plain == 0)
    assert (wide[distance <= 7.5] == 1).all()
    assert (wide[distance > 9.5] == 0).all()


def test_dilation_is_the_union_of_discs() -> None:
    mask = np.zeros((40, 50), np.uint8)
    mask[20, 20] = mask[12, 33] = 1
    wide = dilate(mask, 6)
    rows, columns = np.mgrid[:40, :50]
    near = np.minimum(np.hypot(rows - 20, columns - 20), np.hypot(rows - 12, columns - 33))
    assert (wide[near <= 5] == 1).all()
    assert (wide[near > 6.5] == 0).all()


def test_masks_are_the_hulls_of_their_vertices() -> None:
    points = np.random.default_rng(1).uniform(80, 170, (468, 3)).astype(np.float32)
    lower = np.array([3, 50, 99, 200])
    np.testing.assert_array_equal(face_mask(points, lower, 4), hull_mask(points[lower], 4))
    np.testing.assert_array_equal(
        lip_mask(points), hull_mask(points[list(OUTER_LIP_RING)], LIP_DILATION)
    )


def test_feather_is_zero_on_the_masks_edge_and_one_well_inside() -> None:
    mask = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    cv2.ellipse(mask, (120, 140), (70, 50), 20, 0, 360, 1, -1)
    weight = feather(mask)
    assert weight.dtype == np.float32
    edge = (mask > 0) & (cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) == 0)
    assert edge.any()
    assert not weight[edge].any()
    assert not weight[mask == 0].any()
    depth = distance_transform_edt(mask)
    assert (weight[depth > 2 * FEATHER + 2] == 1).all()
    assert (weight[depth > 2] > 0).all()
    steepest = 1.5 / (2 * FEATHER)  # of a cubic ramp over two standard deviations
    assert np.abs(np.diff(weight, axis=0)).max() < 1.1 * steepest  # no jump


def test_feather_is_zero_along_the_crops_edge_too() -> None:
    weight = feather(np.ones((64, 64), np.uint8))
    border = np.concatenate([weight[0], weight[-1], weight[:, 0], weight[:, -1]])
    assert not border.any()
    assert weight[32, 32] == 1


def test_feather_of_nothing_is_nothing() -> None:
    assert not feather(np.zeros((32, 32), np.uint8)).any()


def ring_and_patch(shift: Float) -> tuple[Float, Float, Bytes]:
    rng = np.random.default_rng(2)
    source = rng.uniform(60, 190, (CROP_SIZE, CROP_SIZE, 3)).astype(np.float32)
    mask = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    mask[80:200, 60:180] = 1
    patch = source - np.asarray(shift, np.float32)
    patch[92:188, 72:168] = 0  # another mouth: what lies inside must not count
    return patch, source, mask


def test_known_colour_shift_is_recovered_from_the_ring_alone() -> None:
    shift = np.array([5.0, -7.0, 2.5], np.float32)
    patch, source, mask = ring_and_patch(shift)
    found = colour_shift(patch, source, mask)
    np.testing.assert_allclose(found, shift, atol=1e-3)
    assert found.dtype == np.float32


def test_colour_shift_is_limited() -> None:
    patch, source, mask = ring_and_patch(np.array([40.0, -40.0, 0.0], np.float32))
    moved = colour_shift(patch, source, mask)
    np.testing.assert_allclose(moved, [MAX_COLOUR_SHIFT, -MAX_COLOUR_SHIFT, 0], atol=1e-3)


def test_empty_mask_leaves_the_patch_alone() -> None:
    patch, source, mask = ring_and_patch(np.array([5.0, 5.0, 5.0], np.float32))
    np.testing.assert_array_equal(colour_shift(patch, source, mask * 0), 0)


def moved_square(left: int) -> np.ndarray:
    """Return a textured frame whose square begins at a column."""
    rng = np.random.default_rng(0)
    frame = np.full((CROP_SIZE, CROP_SIZE, 3), 120, np.uint8)
    frame[100:160, left : left + 60] = rng.integers(60, 200, (60, 60, 3))
    return frame


IDENTITY_CROP = Crop(np.array([[1, 0, 0], [0, 1, 0]], np.float32), CROP_SIZE)


def test_detail_without_motion_gives_the_source_back_bit_for_bit() -> None:
    frame = moved_square(80)
    base = np.full((CROP_SIZE, CROP_SIZE, 3), 99.0, np.float32)  # a renderer that knows nothing
    ones = np.ones((CROP_SIZE, CROP_SIZE), np.float32)
    still = np.zeros((CROP_SIZE, CROP_SIZE, 2), np.float32)
    weight = inner_weight()
    pasted = paste_back(frame, base, weight, IDENTITY_CROP, Detail(base, ones, still))
    np.testing.assert_array_equal(pasted, frame)


def test_detail_is_carried_along_by_the_motion() -> None:
    frame = moved_square(80)
    base = np.full((CROP_SIZE, CROP_SIZE, 3), 120.0, np.float32)
    motion = np.zeros((CROP_SIZE, CROP_SIZE, 2), np.float32)
    motion[:, :, 0] = -7  # each pixel's texture lies seven columns to its left
    ones = np.ones((CROP_SIZE, CROP_SIZE), np.float32)
    pasted = paste_back(frame, base, ones, IDENTITY_CROP, Detail(base, ones, motion))
    np.testing.assert_array_equal(pasted[100:160, 87:147], frame[100:160, 80:140])


def test_detail_of_a_close_up_is_kept_at_the_frames_own_resolution() -> None:
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 255, (3 * CROP_SIZE, 3 * CROP_SIZE, 3)).astype(np.uint8)
    crop = Crop(np.array([[1 / 3, 0, 0], [0, 1 / 3, 0]], np.float32), CROP_SIZE)
    base = cut_out(frame, crop).astype(np.float32)
    ones = np.ones((CROP_SIZE, CROP_SIZE), np.float32)
    still = np.zeros((CROP_SIZE, CROP_SIZE, 2), np.float32)
    pasted = paste_back(frame, base, inner_weight(), crop, Detail(base, ones, still))
    np.testing.assert_array_equal(pasted, frame)


def test_detail_is_left_out_inside_the_mouth_and_where_the_jaw_uncovers_the_neck() -> None:
    here, there, mouth = (np.zeros((CROP_SIZE, CROP_SIZE), np.uint8) for _ in range(3))
    here[50:200, 50:200] = 1  # the source's jaw is lower
    there[50:170, 50:200] = 1
    mouth[100:120, 100:150] = 1
    share = detail_share(there, here, mouth, ramp_px=4.0)
    assert not share[mouth > 0].any()
    assert not share[170:200, 50:200].any()
    assert share[70, 70] == 1  # on both faces
    assert share[20, 20] == 1  # outside both
    assert 0 < share[122, 125] < 1  # it rises beside the mouth


@pytest.mark.parametrize(("raised_px", "least", "most"), [(30, 0.0, 0.15), (1, 0.7, 0.95)])
def test_outline_of_a_chin_that_has_gone_far_does_not_stay_behind(
    raised_px: int, least: float, most: float
) -> None:
    here, there, mouth = np.zeros((3, 256, 256), np.uint8)
    here[50:200, 50:200] = 1
    there[50 : 200 - raised_px, 50:200] = 1
    share = detail_share(there, here, mouth)
    assert least <= share[205, 125] <= most  # five pixels below where the chin was
    assert share[225, 125] > 0.99
    assert share[100, 125] == 1
    outside = detail_share(here, here, mouth)
    assert outside[200:].min() == outside[:50].min() == 1  # what does not move keeps everything


def test_finer_is_what_the_crop_lacks_and_none_where_it_lacks_nothing() -> None:
    """Enlarged crop + what it lacks is the frame; the map leads from the box to the crop."""
    rgb = np.random.default_rng(3).integers(0, 256, (400, 500, 3), np.uint8)
    points = np.array([[100.0, 120.0, 0.0], [150.0, 140.0, 5.0]], np.float32)
    half = Crop(np.array([[0.5, 0, 3.0], [0, 0.5, -8.0]], np.float32), CROP_SIZE)
    found = finer(rgb, half, cut_out(rgb, half), points)
    assert found is not None
    lacking, to_crop = found
    assert to_crop[:, :2] == pytest.approx(half.matrix[:, :2])
    left, top = np.linalg.solve(half.matrix[:, :2], to_crop[:, 2] - half.matrix[:, 2]).round()
    height, width = lacking.shape[:2]
    assert width >= 100 and height >= 40  # the points' box, twice as large in the frame
    corner = (points[0, :2] - half.matrix[:, 2]) / 0.5
    assert left <= corner[0] <= left + width
    assert top <= corner[1] <= top + height
    box = np.s_[int(top) : int(top) + height, int(left) : int(left) + width]
    enlarged = rgb[box] - lacking
    assert 0 <= enlarged.mean() <= 255
    assert lacking.std() > 20  # noise is finer than half its pixels
    for same in (1.0, 1.5):  # as fine as the frame, or finer
        crop = Crop(np.array([[same, 0, 0], [0, same, 0]], np.float32), CROP_SIZE)
        assert finer(rgb, crop, cut_out(rgb, crop), points) is None
    outside = np.array([[-900.0, 10.0, 0.0], [-800.0, 20.0, 0.0]], np.float32)
    assert finer(rgb, half, cut_out(rgb, half), outside) is None


def test_chained_maps_do_one_after_the_other() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.normal(size=(2, 2, 3))
    points = generator.normal(size=(5, 2))
    between = points @ first[:, :2].T + first[:, 2]
    wanted = between @ second[:, :2].T + second[:, 2]
    made = chained(first, second)
    assert points @ made[:, :2].T + made[:, 2] == pytest.approx(wanted)


def test_finer_details_lie_where_they_belong_and_not_over_the_frames_own() -> None:
    """A dot of another frame lands where its map says, at its share; detail of our own is kept."""
    rgb = np.full((300, 300, 3), 100, np.uint8)
    crop = Crop(np.array([[0.5, 0, 40.0], [0, 0.5, 40.0]], np.float32), CROP_SIZE)
    dot = np.zeros((21, 21, 3), np.float32)
    dot[10, 10] = 60
    to_crop = np.array([[0.5, 0, 95.0], [0, 0.5, 105.0]], np.float32)
    at = (120, 140)  # whose centre, (100.25, 110.25) in the crop, is where the dot's middle goes
    patch = np.full((CROP_SIZE, CROP_SIZE, 3), 100, np.float32)
    weight = np.zeros((CROP_SIZE, CROP_SIZE), np.float32)
    weight[60:180, 60:150] = 1

    def shown(share: float, own: float) -> int:
        """Return the dot's red where our own detail has a share of its own."""
        whole = np.full((CROP_SIZE, CROP_SIZE), share, np.float32)
        detail = Detail(patch, np.full_like(whole, own), np.zeros((*whole.shape, 2), np.float32))
        laid = placed(rgb, patch, weight, crop, detail, [FineDetail(dot, to_crop, whole)])
        return int(lay_over(rgb, laid)[at[1], at[0], 0])

    assert shown(1.0, 0.0) == pytest.approx(160, abs=1)
    assert shown(0.5, 0.0) == pytest.approx(130, abs=1)
    assert shown(1.0, 1.0) == 100
