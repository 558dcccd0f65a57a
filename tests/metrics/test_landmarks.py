import numpy as np
import pytest
from skimage.transform import SimilarityTransform

from dubcli.metrics.landmarks import CHIN, FACE, FOREHEAD, LIPS, UPPER_FACE, LandmarkDistance
from dubcli.records import Float
from dubcli.training.canonical import CanonicalFace

EXACT = 1e-4  # float32 pixels


@pytest.fixture
def true(canonical_face: CanonicalFace) -> Float:
    return (canonical_face.vertices * [10, -10, -10] + [300, 200, 0]).astype(np.float32)


def moved(points: Float, transform: SimilarityTransform) -> Float:
    return np.column_stack([transform(points[:, :2]), points[:, 2]]).astype(np.float32)


def distance(made: Float, true: Float, indices: tuple[int, ...], align: bool = False) -> float:
    metric = LandmarkDistance(indices, align)
    metric.update(made, true)
    return metric.compute()


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("indices", [LIPS, FACE])
def test_a_face_beside_itself_has_distance_zero(
    true: Float, indices: tuple[int, ...], align: bool
) -> None:
    assert distance(true, true, indices, align) == pytest.approx(0, abs=1e-9)


def test_distance_is_a_percentage_of_the_true_faces_height(true: Float) -> None:
    height = np.sqrt(((true[FOREHEAD] - true[CHIN]) ** 2).sum())
    made = true + np.array([3, 4, 50], np.float32)  # depth does not count
    assert distance(made, true, LIPS) == pytest.approx(100 * 5 / height, rel=EXACT)
    assert distance(2 * made, 2 * true, FACE) == pytest.approx(100 * 5 / height, rel=EXACT)


def test_lmd_counts_lips_only_and_f_lmd_the_whole_face(true: Float) -> None:
    made = true.copy()
    made[list(LIPS), 1] += 8
    lips, face = distance(made, true, LIPS), distance(made, true, FACE)
    assert face == pytest.approx(lips * len(LIPS) / len(FACE), rel=EXACT)
    assert len(set(LIPS)) == len(LIPS) == 40


def test_m_lmd_sees_no_turn_size_or_shift_but_sees_the_mouth_move(true: Float) -> None:
    transform = SimilarityTransform(scale=1.2, rotation=0.2, translation=(30, -12))
    assert distance(moved(true, transform), true, LIPS, align=True) < EXACT
    spoken = true.copy()
    spoken[list(LIPS), 1] += 8
    alone = distance(spoken, true, LIPS)
    assert distance(moved(spoken, transform), true, LIPS, True) == pytest.approx(alone, rel=EXACT)


def test_alignment_is_scikit_images_least_squares_similarity(true: Float) -> None:
    noise = np.random.default_rng(0).normal(scale=4, size=true.shape)
    made = (true @ np.diag([1.1, 0.9, 1]) + noise + [9, 5, 0]).astype(np.float32)
    by, lips = list(UPPER_FACE), list(LIPS)
    fitted = SimilarityTransform.from_estimate(made[by, :2], true[by, :2])
    apart = np.linalg.norm(fitted(made[lips, :2]) - true[lips, :2], axis=1).mean()
    height = np.linalg.norm(true[FOREHEAD] - true[CHIN])
    got = distance(made, true, LIPS, align=True)
    assert got == pytest.approx(100 * apart / height, rel=1e-6)


def test_video_is_the_mean_of_its_frames(true: Float) -> None:
    metric, made = LandmarkDistance(LIPS), true + np.float32([6, 0, 0])
    metric.update(true, true)
    metric.update(made, true)
    assert metric.compute() == pytest.approx(distance(made, true, LIPS) / 2)


def test_nothing_and_nonsense_are_errors(true: Float) -> None:
    with pytest.raises(ValueError, match="nothing was measured yet"):
        LandmarkDistance(LIPS).compute()
    with pytest.raises(ValueError, match="made is"):
        LandmarkDistance(LIPS).update(true[1:], true)
    with pytest.raises(ValueError, match="no height"):
        LandmarkDistance(LIPS).update(true, true * 0)
