from pathlib import Path

import numpy as np
import pytest
import torch

from dubcli.geometry.morphable import MorphableModel, vertices
from dubcli.training.basis import BasisTraining, align_clip, learn_basis, principal_components
from dubcli.training.canonical import CanonicalFace
from dubcli.training.data import Clip, Landmarks, store_landmarks

ALIGNED_CM = 0.1  # mean; the canonical face aligns a face of another identity


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    rng = np.random.default_rng(0)
    meshes = rng.normal(size=(50, 4, 3)) * rng.uniform(0.2, 3, (4, 3))
    importance = rng.uniform(0.3, 4, (4, 3))
    weighted = meshes.reshape(50, 12) * np.sqrt(importance.reshape(-1))
    _, singular, rows = np.linalg.svd(weighted)

    found, share = principal_components(
        torch.from_numpy(meshes).float(), torch.from_numpy(importance).float(), 3
    )

    np.testing.assert_allclose(share, (singular**2 / (singular**2).sum())[:3], rtol=1e-4)
    for k in range(3):
        expected = rows[k] * singular[k] / np.sqrt(50) / np.sqrt(importance.reshape(-1))
        got = found[k].reshape(-1).numpy()
        np.testing.assert_allclose(got * np.sign(got @ expected), expected, atol=1e-3)


def test_coefficients_of_the_training_meshes_have_unit_deviation() -> None:
    generator = torch.Generator().manual_seed(1)
    meshes = torch.randn(400, 5, 3, generator=generator) * torch.rand(5, 3, generator=generator)
    found, _ = principal_components(meshes, torch.ones(5, 3), 4)
    flat = found.reshape(4, -1)
    coefficients = meshes.reshape(400, -1) @ flat.t() / flat.square().sum(1)
    torch.testing.assert_close(coefficients.square().mean(0), torch.ones(4), rtol=1e-3, atol=0)


def test_aligned_clip_has_a_closed_neutral_face_and_differences_from_it(
    small_model: MorphableModel, canonical_face: CanonicalFace, known_clip
) -> None:
    aligned = align_clip(known_clip.landmarks_px, canonical_face, BasisTraining())

    assert aligned is not None
    truth = vertices(small_model, known_clip.alpha.expand(60, -1), known_clip.beta)
    # Up to the similarity that aligns this person with the canonical face, differences are known.
    made = aligned.neutral + aligned.difference
    assert made.shape == truth.shape
    upper = small_model.expression.abs().amax((0, 2)) == 0
    still = made[:, upper].std(0).mean()
    moving = made[:, ~upper].std(0).mean()
    assert float(still) < 0.05 < float(moving)
    assert float((made - truth).mean(0).norm(dim=-1).median()) < 1.0


def test_clips_that_hardly_look_forward_are_left_out(
    canonical_face: CanonicalFace, known_clip
) -> None:
    assert align_clip(known_clip.landmarks_px[:9], canonical_face, BasisTraining()) is None


def test_basis_of_too_few_clips_is_refused(tmp_path: Path, task_file: Path, known_clip) -> None:
    clip = Clip(Path("a.mp4"), "train", "speech", "a", "wild", 2.4, 150.0, "good", 0.0)
    time_s = np.arange(60, dtype=np.float32) / 25
    store_landmarks(tmp_path, clip, Landmarks(known_clip.landmarks_px.numpy(), time_s, (400, 600)))
    other = Clip(Path("b.mp4"), "train", "speech", "b", "wild", 2.4, 150.0, "good", 0.0)
    with pytest.raises(ValueError, match="1 usable clips; 49 are needed"):
        learn_basis([clip, other], tmp_path, task_file, BasisTraining())


def test_learned_basis_explains_new_faces_of_the_same_kind(
    tmp_path: Path,
    task_file: Path,
    small_model: MorphableModel,
    known_clip,
) -> None:
    rng = np.random.default_rng(2)
    clips = []
    for k in range(14):
        alpha = torch.from_numpy(rng.normal(size=3)).float()
        mesh = vertices(small_model, alpha.expand(60, -1), known_clip.beta)
        seen = mesh * torch.tensor([10.0, -10.0, -10.0]) + torch.tensor([200.0, 180.0, 0.0])
        clip = Clip(Path(f"{k}.mp4"), "train", "speech", str(k), "wild", 2.4, 150.0, "good", 0.0)
        time_s = np.arange(60, dtype=np.float32) / 25
        store_landmarks(tmp_path, clip, Landmarks(seen.numpy(), time_s, (400, 600)))
        clips.append(clip)

    model = learn_basis(clips, tmp_path, task_file, BasisTraining(identities=3, expressions=4))

    assert model.identity.shape == (3, 468, 3)
    assert model.expression.shape == (4, 468, 3)
    assert model.triangles.shape == (898 - 18, 3)
    # The learned expressions span the true ones (in one head space, scaled by the alignment).
    learned = model.expression.reshape(4, -1)
    true = small_model.expression.reshape(4, -1)
    left = true - torch.linalg.lstsq(learned.t(), true.t()).solution.t() @ learned
    assert float(left.norm() / true.norm()) < 0.25
