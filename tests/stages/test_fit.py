from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.geometry.camera import rotation_matrix
from dubcli.geometry.fitting import FittedClip, fit_clip
from dubcli.geometry.morphable import MorphableModel, lip_aperture
from dubcli.records import TrackedFace, TrackedFrame
from dubcli.stages import fit as stage
from dubcli.stages.fit import BLOCK, CONTEXT, fit, fit_faces, runs
from dubcli.stages.portraits import Portraits

BORDERS = sorted(
    {
        max(0, base + step)
        for base in (0, CONTEXT, BLOCK, BLOCK + CONTEXT, 2 * BLOCK, 2 * BLOCK + CONTEXT)
        for step in (-1, 0, 1)
    }
    | {3 * BLOCK + 2 * CONTEXT, 1201}
)
BLOCK_TOLERANCE_CM = 0.03  # mean difference of the mesh between block by block and all at once


def face(index: int, shot: int = 0) -> TrackedFace:
    return TrackedFace(index, shot, np.full((468, 3), index, dtype=np.float32))


def video(pattern: str) -> list[TrackedFace | None]:
    """Return a face for every digit, of that shot, and none for a dot."""
    return [None if mark == "." else face(t, int(mark)) for t, mark in enumerate(pattern)]


@pytest.fixture
def indices_as_beta(monkeypatch: pytest.MonkeyPatch, small_model: MorphableModel) -> MorphableModel:
    """Replace the fit by one whose first beta is the frame's index and whose alpha is 1."""

    def fake(_: MorphableModel, landmarks_px: Tensor, *, alpha: Tensor | None, **__: object):
        count = len(landmarks_px)
        beta = torch.zeros(count, 4)
        beta[:, 0] = landmarks_px[:, 0, 0]
        known = torch.full((3,), float(landmarks_px[0, 0, 0])) if alpha is None else alpha
        zero = torch.zeros(count, 3)
        return FittedClip(known, beta, zero, zero[:, :2], torch.ones(count))

    monkeypatch.setattr(stage, "fit_clip", fake)
    return small_model


def covered(faces: Sequence[TrackedFace | None], model: MorphableModel) -> None:
    """Check that every frame with a face has its own row, every other one an empty row."""
    analysis = fit(faces, model)
    assert len(analysis) == len(faces)
    for t, item in enumerate(faces):
        assert analysis.valid[t] == (item is not None)
        if item is not None:
            assert analysis.beta[t, 0] == t
            assert analysis.shot[t] == item.shot
            assert analysis.scale_px[t] == 1
        else:
            assert analysis.scale_px[t] == 0
            assert not analysis.beta[t].any()


@pytest.mark.parametrize("count", BORDERS)
def test_every_frame_is_fitted_exactly_once_whatever_the_length(
    indices_as_beta: MorphableModel, count: int
) -> None:
    covered(video("0" * count), indices_as_beta)


@pytest.mark.parametrize("seed", range(6))
def test_every_frame_is_fitted_exactly_once_with_gaps_and_cuts(
    indices_as_beta: MorphableModel, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pattern, shot = "", 0
    while len(pattern) < 900:
        length = int(rng.choice([1, 2, CONTEXT, BLOCK - 1, BLOCK, BLOCK + CONTEXT, 300]))
        pattern += (str(shot % 10) if rng.random() < 0.7 else ".") * length
        shot += int(rng.random() < 0.5)
    covered(video(pattern), indices_as_beta)


@pytest.mark.parametrize("pattern", ["", ".", "...", ".0", "0.", "0.0", "..01..1.", "0123"])
def test_short_videos_and_those_without_a_face_have_a_row_a_frame(
    indices_as_beta: MorphableModel, pattern: str
) -> None:
    covered(video(pattern), indices_as_beta)


def test_shots_are_never_fitted_together_and_gaps_stand_alone() -> None:
    got = [[None if f is None else f.index for f in run] for run, _ in runs(video("00.11122..2"))]
    assert got == [[0, 1], [None], [3, 4, 5], [6, 7], [None], [None], [10]]


def test_frames_inside_a_long_shot_have_context_on_both_sides() -> None:
    total = 3 * BLOCK
    kept: list[int] = []
    for run, past in runs(video("0" * total)):
        indices = [f.index for f in run if f is not None]
        stop = past + BLOCK if len(run) == past + BLOCK + CONTEXT else len(run)
        for k in range(past, stop):
            t = indices[k]
            kept.append(t)
            assert indices[0] <= max(0, t - CONTEXT)
            assert indices[-1] >= min(total - 1, t + CONTEXT)
        assert len(run) <= BLOCK + 2 * CONTEXT  # memory stays bounded
    assert kept == list(range(total))


def test_identity_is_that_of_the_first_block_throughout_a_shot(
    indices_as_beta: MorphableModel,
) -> None:
    pattern = "0" * (2 * BLOCK + 40) + "." + "0" * 5 + "1" * 4
    alpha = fit(video(pattern), indices_as_beta).alpha[:, 0]
    present = np.array([mark != "." for mark in pattern])
    assert (alpha[: 2 * BLOCK + 46][present[: 2 * BLOCK + 46]] == 0).all()
    assert (alpha[-4:] == len(pattern) - 4).all()


def test_analysis_of_nothing_is_empty_and_has_its_shapes(small_model: MorphableModel) -> None:
    analysis = fit([], small_model)
    assert len(analysis) == 0
    assert analysis.shot.dtype == np.int64
    assert analysis.valid.dtype == np.bool_
    for name in ("alpha", "beta", "rotation", "translation_px", "scale_px", "lip_aperture"):
        assert getattr(analysis, name).dtype == np.float32
        assert len(getattr(analysis, name)) == 0


def test_rows_are_the_coefficients_of_the_fit(small_model: MorphableModel, known_clip) -> None:
    landmarks = known_clip.landmarks_px[:12]
    faces = [TrackedFace(t, 0, mesh.numpy()) for t, mesh in enumerate(landmarks)]
    expected = fit_clip(small_model, landmarks)

    got = fit([None, *faces, None], small_model)

    assert got.valid.tolist() == [False] + [True] * 12 + [False]
    for name in ("beta", "rotation", "translation_px", "scale_px"):
        np.testing.assert_array_equal(getattr(got, name)[1:-1], getattr(expected, name).numpy())
    np.testing.assert_array_equal(got.alpha[1:-1], expected.alpha.expand(12, -1).numpy())
    opening = lip_aperture(expected.mesh(small_model)).numpy()
    np.testing.assert_array_equal(got.lip_aperture[1:-1], opening)


def test_blocks_join_without_a_jump(
    small_model: MorphableModel, known_clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = [TrackedFace(t, 0, mesh.numpy()) for t, mesh in enumerate(known_clip.landmarks_px)]
    whole = fit(faces, small_model)
    monkeypatch.setattr(stage, "BLOCK", 20)
    monkeypatch.setattr(stage, "CONTEXT", 8)

    blocks = fit(faces, small_model)

    def meshes(analysis) -> Tensor:
        beta = torch.from_numpy(analysis.beta)
        mesh = torch.einsum("te,evc->tvc", beta, small_model.expression)
        return mesh + torch.einsum(
            "ti,ivc->tvc", torch.from_numpy(analysis.alpha), small_model.identity
        )

    apart = (meshes(blocks) - meshes(whole)).norm(dim=-1).mean(-1)
    assert float(apart.max()) < BLOCK_TOLERANCE_CM
    step = (meshes(blocks) - meshes(whole)).diff(dim=0).norm(dim=-1).mean(-1)
    assert float(step.max()) < BLOCK_TOLERANCE_CM / 2
    turned = rotation_matrix(torch.from_numpy(blocks.rotation - whole.rotation))
    assert float((turned - torch.eye(3)).abs().max()) < 0.01


def test_each_of_several_faces_is_fitted_as_if_it_were_alone(small_model, known_clip) -> None:
    meshes = [mesh.numpy() for mesh in known_clip.landmarks_px[:40]]
    pattern = {0: range(10), 1: range(4, 10), 2: [*range(10, 14), *range(16, 20)]}
    frames = []
    for t in range(22):
        faces = [TrackedFace(t, t // 10, meshes[t + 5 * k], k) for k in pattern if t in pattern[k]]
        frames.append(TrackedFrame(t, t // 10, tuple(faces)))

    got = fit_faces(frames, small_model, Portraits())

    assert len(got) == 22
    assert got.shot.tolist() == [t // 10 for t in range(22)]
    expected = sorted((t, k) for k, at in pattern.items() for t in at)
    assert list(zip(got.frame.tolist(), got.track.tolist(), strict=True)) == expected
    for track, at in pattern.items():
        alone = fit(
            (
                TrackedFace(t, t // 10, meshes[t + 5 * track]) if t in at else None
                for t in range(22)
            ),
            small_model,
        )
        rows = got.track == track
        for name in ("alpha", "beta", "rotation", "translation_px", "scale_px", "lip_aperture"):
            np.testing.assert_array_equal(getattr(got, name)[rows], getattr(alone, name)[list(at)])


def test_no_faces_have_their_shapes(small_model: MorphableModel) -> None:
    got = fit_faces([TrackedFrame(0, 0, ())], small_model, Portraits())
    assert (len(got), got.alpha.shape, got.frame.dtype) == (1, (0, 3), np.int64)
    assert got.portrait.shape[0] == 0
