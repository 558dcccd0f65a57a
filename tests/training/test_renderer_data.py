from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dubcli.geometry.crop import CROP_SIZE
from dubcli.geometry.morphable import MorphableModel
from dubcli.records import Analysis, Bytes, Frame
from dubcli.training.crops import (
    MAX_FRAMES,
    CroppedClip,
    analyse_landmarks,
    crop_clip,
    load_crops,
    store_crops,
)
from dubcli.training.data import Landmarks
from dubcli.training.renderer_data import (
    RendererSampling,
    distant_references,
    draw_training_indices,
)

JPEG_LEVELS = 6.0  # mean error of a smooth picture at quality 95
FRAMES = 20
SAMPLING = RendererSampling()


def picture(t: int, height: int = 400, width: int = 640) -> Bytes:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 30 + k + t) * np.cos(columns / (40 + 9 * k)) for k in range(3)]
    return np.rint(127 + 100 * np.stack(waves, -1)).astype(np.uint8)


@pytest.fixture(scope="module")
def clip(small_model: MorphableModel, known_clip) -> CroppedClip:
    found = Landmarks(
        known_clip.landmarks_px[:FRAMES].numpy(),
        (np.arange(FRAMES) / 25).astype(np.float32),
        (400, 640),
    )
    return crop_clip((Frame(t, picture(t)) for t in range(FRAMES + 5)), found, small_model)


def timed(length: int, rate_hz: float = 25.0) -> CroppedClip:
    """Return a clip without pictures, for what only asks about times and turns."""
    rng = np.random.default_rng(0)
    zero = np.zeros((length, 3), np.float32)
    analysis = Analysis(
        alpha=zero,
        beta=zero,
        rotation=rng.normal(scale=0.3, size=(length, 3)).astype(np.float32),
        translation_px=zero[:, :2],
        scale_px=zero[:, 0],
        shot=np.zeros(length, np.int64),
        valid=np.ones(length, np.bool_),
        lip_aperture=zero[:, 0],
    )
    time_s = (np.arange(length) / rate_hz).astype(np.float32)
    aperture = rng.uniform(size=length).astype(np.float32)
    return CroppedClip(
        tuple(np.zeros(1, np.uint8) for _ in range(length)),
        time_s,
        aperture,
        analysis,
        np.zeros((length, 2, 3), np.float32),
    )


def test_crops_show_the_landmarks_where_the_geometry_says(
    clip: CroppedClip, small_model: MorphableModel, known_clip
) -> None:
    assert len(clip) == FRAMES
    for t in (0, 13):
        landmarks = known_clip.landmarks_px[t, :, :2].numpy()
        seen = landmarks @ clip.matrix[t][:, :2].T + clip.matrix[t][:, 2]
        points = clip.points(small_model, t)
        assert np.linalg.norm(points[:, :2] - seen, axis=1).mean() < 1.0
        crop = clip.crop(t)
        assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)
        # A point of the frame has the colour of its place in the crop: red first, not blue.
        x, y = np.round(seen[1]).astype(int)
        column, row = landmarks[1].astype(int)
        assert np.abs(crop[y, x].astype(int) - picture(t)[row, column]).max() < 4 * JPEG_LEVELS


def test_stored_crops_come_back(
    clip: CroppedClip, small_model: MorphableModel, tmp_path: Path
) -> None:
    store_crops(tmp_path / "crops", "one", clip)
    back = load_crops(tmp_path / "crops", "one")
    assert back is not None
    assert len(back) == FRAMES
    for t in (0, FRAMES - 1):
        np.testing.assert_array_equal(back.crop(t), clip.crop(t))
        np.testing.assert_array_equal(back.points(small_model, t), clip.points(small_model, t))
    np.testing.assert_array_equal(back.aperture, clip.aperture)
    np.testing.assert_array_equal(back.time_s, clip.time_s)
    assert [f.name for f in (tmp_path / "crops").iterdir()] == ["one.npz"]
    assert load_crops(tmp_path / "crops", "other") is None


def test_long_clips_are_cut(small_model: MorphableModel, known_clip) -> None:
    count = MAX_FRAMES + 3
    mesh = known_clip.landmarks_px[np.arange(count) % 60].numpy()
    found = Landmarks(mesh, np.arange(count, dtype=np.float32) / 25, (400, 640))
    grey = np.zeros((40, 64, 3), np.uint8)
    made = crop_clip((Frame(t, grey) for t in range(count)), found, small_model)
    assert len(made) == len(made.time_s) == len(made.aperture) == MAX_FRAMES


def test_gaps_are_filled_before_the_fit(small_model: MorphableModel, known_clip) -> None:
    mesh = known_clip.landmarks_px[:10].numpy().copy()
    mesh[4] = np.nan
    found = Landmarks(mesh, np.arange(10, dtype=np.float32) / 25, (400, 640))
    analysis = analyse_landmarks(found, small_model)
    assert analysis.valid.all()
    assert np.isfinite(analysis.beta).all()


@pytest.mark.parametrize("length", [4, 5, 12, 180])
def test_training_references_keep_away_from_their_target(length: int) -> None:
    clip = timed(length)
    for seed in range(60):
        index, other, face, lip = draw_training_indices(clip, np.random.default_rng(seed), SAMPLING)
        assert 0 <= index < length
        assert 0 <= other < length
        assert (len(face), len(lip)) == (3, 5)
        assert (np.abs(lip - index) >= SAMPLING.self_gap).all()  # its own mouth is never shown
        others = face[face != index]
        assert (np.abs(others - index) >= SAMPLING.self_gap).all()
        assert len(others) >= 2  # the target stands among its face references at most once
        for chosen in (face, lip):
            assert (chosen >= 0).all()
            assert (chosen < length).all()


def test_training_target_is_among_its_face_references_in_a_third_of_the_samples() -> None:
    clip = timed(180)
    drawn = [
        draw_training_indices(clip, np.random.default_rng(seed), SAMPLING) for seed in range(400)
    ]
    share = np.mean([index in face for index, _, face, _ in drawn])
    assert share == pytest.approx(SAMPLING.self_share, abs=0.07)


def test_training_references_are_near_for_half_of_the_samples() -> None:
    clip = timed(180)
    drawn = (
        draw_training_indices(clip, np.random.default_rng(seed), SAMPLING) for seed in range(400)
    )
    # Algorithm 1 spreads 3 references over i - 6 .. i + 6; its middle one, i itself, is replaced.
    near = [
        np.isin(face, (index - 6, index + 6)).sum() + np.isin(index, face) >= 2
        for index, _, face, _ in drawn
        if 6 <= index < 174
    ]
    assert np.mean(near) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("index", [0, 60, 119])
def test_references_for_judging_are_a_second_away_and_turned_most_alike(index: int) -> None:
    clip = timed(120)
    face, lip = distant_references(clip, index)
    away = np.abs(np.arange(120) - index)
    allowed = np.flatnonzero(away >= 25)
    assert set(face.tolist()) <= set(allowed.tolist())
    turn = clip.analysis.rotation - clip.analysis.rotation[index]
    expected = sorted(allowed.tolist(), key=lambda t: float((turn[t] ** 2).sum()))[:5]
    assert face.tolist() == expected
    assert len(lip) == 25
    assert set(lip.tolist()) <= set(allowed.tolist())
    assert (np.diff(clip.aperture[lip]) >= 0).all()


def test_clips_shorter_than_the_distance_give_their_farther_half() -> None:
    clip = timed(20)
    face, lip = distant_references(clip, 10)
    assert set(face.tolist()) <= set(lip.tolist())
    away = np.abs(np.arange(20) - 10)
    assert 9 <= len(lip) <= 11
    assert away[lip].min() >= np.delete(away, lip).max()


def test_a_crop_that_cannot_be_decoded_is_named(clip: CroppedClip) -> None:
    broken = replace(clip, pictures=(np.arange(9, dtype=np.uint8),))
    with pytest.raises(ValueError, match="crop 0 cannot be decoded"):
        broken.crop(0)
    assert cv2.imdecode(clip.pictures[0], cv2.IMREAD_COLOR) is not None
