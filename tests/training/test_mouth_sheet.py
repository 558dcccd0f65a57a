import numpy as np
import pytest
import torch

from dubcli.geometry.morphable import MorphableModel
from dubcli.training.geometry import GeometryProblem, GeometryTraining, MadeAndTrue
from dubcli.training.mouth_sheet import CURVE, FRAMES, HEIGHT, MOUTH, mouth_sheet


@pytest.fixture
def problem(small_model: MorphableModel) -> GeometryProblem:
    return GeometryProblem(small_model, GeometryTraining())


def rows_of(picture: np.ndarray) -> tuple[float, float]:
    """Return the mean rows, from the top, of what is red (generated) and what is grey (true)."""
    red, green = picture[..., 0].astype(int), picture[..., 1].astype(int)
    places = red - green > 40, (abs(red - green) < 10) & (red < 225)
    return float(places[0].nonzero()[0].mean()), float(places[1].nonzero()[0].mean())


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
    made, true = rows_of(curves[0])
    assert made < true - 10
    made, true = rows_of(curves[1])
    assert made > true + 10
    mouths = sheet[:HEIGHT, CURVE:]
    assert (mouths < 128).any(axis=-1).mean() > 0.01
