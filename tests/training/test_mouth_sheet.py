import numpy as np
import pytest
import torch

from dubcli.geometry.morphable import MorphableModel
from dubcli.training.geometry import GeometryProblem, GeometryTraining, MadeAndTrue
from dubcli.training.mouth_sheet import CURVE, FRAMES, HEIGHT, MADE, MOUTH, TRUE, mouth_sheet


@pytest.fixture
def problem(small_model: MorphableModel) -> GeometryProblem:
    return GeometryProblem(small_model, GeometryTraining())


def mean_row(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Return where a colour is drawn, in rows from the top."""
    rows, _ = (np.abs(picture.astype(int) - colour).max(-1) < 40).nonzero()
    return float(rows.mean())


def test_sheet_has_a_row_a_clip_and_a_wider_mouth_is_drawn_higher_and_lower(
    problem: GeometryProblem,
) -> None:
    rng = np.random.default_rng(0)
    rest = torch.zeros(20, len(problem.lower), 3)
    # Whatever of these motions opens the mouth most is "made"; the truth stays closed.
    motions = [problem.motion(np.tile(b, (20, 1))) for b in rng.normal(size=(30, 4)) * 2]
    wide = max(motions, key=lambda motion: float(problem.opening(motion)[0]))
    assert float(problem.opening(wide)[0]) > float(problem.opening(rest)[0]) + 0.3

    sheet = mouth_sheet([MadeAndTrue(wide, rest), MadeAndTrue(rest, wide)], problem)

    assert sheet.shape == (2 * HEIGHT, CURVE + FRAMES * MOUTH, 3)
    curves = sheet[:HEIGHT, :CURVE], sheet[HEIGHT:, :CURVE]
    assert mean_row(curves[0], MADE) < mean_row(curves[0], TRUE)
    assert mean_row(curves[1], MADE) > mean_row(curves[1], TRUE)
    mouths = sheet[:HEIGHT, CURVE:]
    assert (mouths < 128).any(axis=-1).mean() > 0.01
