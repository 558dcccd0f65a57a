"""StyleSim on real clips with the shipped weights, and what it refuses."""

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from dubcli.checkpoints import models_root
from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.evaluation.style import StyleMatrix, embed_style, style_matrix, style_sim
from dubcli.loading import StyleEncoder, load_style_encoder
from dubcli.media.binary import find_ffmpeg
from dubcli.records import Analysis

ROOT = Path(__file__).parents[2]
FRANCK = ROOT / "examples/media/franck.mp4"
CARPHONE = ROOT / "tests/media_files/carphone.mp4"
OPTIONS = DubOptions(threads=1)


def cut(source: Path, target: Path, start_s: float, seconds: float) -> None:
    """Write a part of a clip."""
    command = [find_ffmpeg(), "-v", "error", "-ss", str(start_s), "-i", str(source)]
    command += ["-t", str(seconds), "-an", "-c:v", "libx264", "-crf", "18", str(target)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two halves of one man's clip, another man, and a broken file."""
    made = tmp_path_factory.mktemp("videos")
    cut(FRANCK, made / "franck-1.mp4", 0, 3)
    cut(FRANCK, made / "franck-2.mp4", 4, 3)
    cut(CARPHONE, made / "carphone.mp4", 0, 3)
    (made / "broken.mp4").write_bytes(b"no video")
    (made / "notes.txt").write_text("not looked at")
    return made


@pytest.fixture(scope="module")
def matrix(folder: Path) -> StyleMatrix:
    return style_matrix(folder, options=OPTIONS)


@pytest.fixture(scope="module")
def encoder() -> StyleEncoder:
    return load_style_encoder(models_root())


def moving(count: int, amount: float = 1.0) -> Analysis:
    """Return the analysis of a mouth that opens and closes at 3 Hz."""
    beta = np.zeros((count, 32), dtype=np.float32)
    beta[:, 0] = amount * np.sin(np.arange(count) / 25 * 2 * np.pi * 3)
    beta[:, 1] = amount * np.sin(np.arange(count) / 25 * 2 * np.pi * 2)
    zero = np.zeros((count, 3), dtype=np.float32)
    return Analysis(
        alpha=zero,
        beta=beta,
        rotation=zero,
        translation_px=zero[:, :2],
        scale_px=zero[:, 0],
        shot=np.zeros(count, dtype=np.int64),
        valid=np.ones(count, dtype=np.bool_),
        lip_aperture=zero[:, 0],
    )


def test_every_video_is_compared_with_every_other_and_a_bad_one_is_named(
    matrix: StyleMatrix,
) -> None:
    assert [v.name for v in matrix.videos] == ["carphone.mp4", "franck-1.mp4", "franck-2.mp4"]
    assert matrix.frames == (90, 72, 72)
    np.testing.assert_allclose(np.diag(matrix.similarity), 1, atol=1e-5)
    np.testing.assert_array_equal(matrix.similarity, matrix.similarity.T)
    assert ((matrix.similarity >= 0) & (matrix.similarity <= 1)).all()
    assert [f.video.name for f in matrix.failures] == ["broken.mp4"]
    assert "broken.mp4: not a video" in matrix.failures[0].reason


def test_halves_of_one_clip_are_more_alike_than_two_people(matrix: StyleMatrix) -> None:
    carphone, first, second = 0, 1, 2
    assert matrix.similarity[first, second] > matrix.similarity[carphone, [first, second]].max()


def test_two_videos_alone_give_what_the_table_says(folder: Path, matrix: StyleMatrix) -> None:
    found = style_sim(folder / "carphone.mp4", folder / "franck-1.mp4", options=OPTIONS)
    assert found.similarity == pytest.approx(matrix.similarity[0, 1], abs=1e-5)
    assert (found.frames_a, found.frames_b) == (90, 72)
    assert (found.encoder, found.sha256) == (matrix.encoder, matrix.sha256)
    assert len(found.sha256) == 64


@pytest.mark.parametrize(
    ("analysis", "rate", "why"),
    [
        (replace(moving(50), valid=np.zeros(50, dtype=np.bool_)), 25, "no face in any frame"),
        (moving(20), 25, r"too short: .* 1 s in one piece \(0.80 s in all\)"),
        (moving(50, 0.0), 25, "the mouth does not move"),
        (moving(50), 8, "8.0 frames a second show too little"),
    ],
)
def test_video_without_a_style_is_refused(
    encoder: StyleEncoder, analysis: Analysis, rate: int, why: str
) -> None:
    with pytest.raises(InputError, match=f"^a.mp4: {why}"):
        embed_style(analysis, Fraction(rate), encoder, name="a.mp4")


def test_frames_without_a_face_do_not_count(encoder: StyleEncoder) -> None:
    whole = moving(150)
    valid = whole.valid.copy()
    valid[75:] = False
    beta = whole.beta.copy()
    beta[75:] = 100
    torch.testing.assert_close(
        embed_style(replace(whole, valid=valid, beta=beta), Fraction(25), encoder),
        embed_style(moving(75), Fraction(25), encoder),
    )


def test_folder_without_two_usable_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        style_matrix(tmp_path / "no")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="holds 1 videos"):
        style_matrix(tmp_path)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"0 of 2 videos can be compared; .*a\.mp4: not a video"):
        style_matrix(tmp_path, options=OPTIONS)
