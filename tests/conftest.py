"""A small linear face on MediaPipe's canonical mesh, and clips drawn from it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dubcli.geometry.camera import project
from dubcli.geometry.morphable import (
    MorphableModel,
    lower_face_weight,
    vertices,
    without_mouth_opening,
)
from dubcli.training.canonical import CanonicalFace, read_canonical_face

ROOT = Path(__file__).parents[1]
IDENTITY, EXPRESSION = 3, 4
SMOOTHNESS_CM = 3.0  # how far apart two vertices must be to move on their own
SIZE_CM = 0.4  # root mean square of one basis shape


@dataclass(frozen=True)
class KnownClip:
    """Landmarks and the coefficients they were made from."""

    landmarks_px: Tensor  # [T, V, 3]
    alpha: Tensor  # [I]
    beta: Tensor  # [T, E]
    rotation: Tensor  # [T, 3]
    translation_px: Tensor  # [T, 2]
    scale_px: Tensor  # [T]


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep analyses out of the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUBCLI_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(autouse=True)
def _cache_of_the_test(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let no test find what another one has kept: many put stand-ins in the tracker's place."""
    folder = tmp_path_factory.getbasetemp() / "caches" / str(id(request.node))
    monkeypatch.setenv("DUBCLI_CACHE", str(folder))


@pytest.fixture(scope="session")
def task_file() -> Path:
    return ROOT / "models" / "face-landmarker" / "face_landmarker.task"


@pytest.fixture(scope="session")
def canonical_face(task_file: Path) -> CanonicalFace:
    return read_canonical_face(task_file)


def smooth_basis(mean: Tensor, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.exp(-torch.cdist(mean, mean).square() / (2 * SMOOTHNESS_CM**2))
    shapes = kernel @ torch.randn(count, len(mean), 3, generator=generator)
    return shapes / shapes.square().mean((1, 2), keepdim=True).sqrt() * SIZE_CM


@pytest.fixture(scope="session")
def small_model(canonical_face: CanonicalFace) -> MorphableModel:
    """Return a face with 3 identity and 4 expression coefficients; expression moves the mouth."""
    mean = torch.from_numpy(canonical_face.vertices)
    identity = smooth_basis(mean, IDENTITY, seed=1)
    expression = smooth_basis(mean, EXPRESSION, seed=2) * lower_face_weight(mean)[:, None]
    return MorphableModel(
        mean,
        identity,
        expression,
        without_mouth_opening(canonical_face.triangles),
        torch.from_numpy(canonical_face.weight),
    )


@pytest.fixture(scope="session")
def known_clip(small_model: MorphableModel) -> KnownClip:
    """Return 60 frames of a nodding, speaking head; its expression is 0 on average."""
    frames = 60
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(frames) / 25
    phase = torch.rand(EXPRESSION, generator=generator) * 2 * math.pi
    beta = torch.sin(2 * math.pi * torch.tensor([1.25, 1.5, 2.5, 3.5]) * time[:, None] + phase)
    beta = beta - beta.mean(0)
    alpha = torch.tensor([0.6, -0.8, 0.4])
    rotation = torch.stack([0.1 * torch.sin(time), 0.25 * torch.cos(time), 0.05 * time], 1)
    translation_px = torch.stack([310 + 9 * time, 200 - 6 * torch.sin(time)], 1)
    scale_px = 14 + 0.5 * torch.cos(time)
    mesh = vertices(small_model, alpha.expand(frames, -1), beta)
    landmarks_px = project(mesh, rotation, translation_px, scale_px)
    return KnownClip(landmarks_px, alpha, beta, rotation, translation_px, scale_px)
