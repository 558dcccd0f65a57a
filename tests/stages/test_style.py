from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dubcli.geometry.morphable import MorphableModel, lower_face_indices, vertices
from dubcli.networks.style_encoder import StyleSimEncoder, StyleSimHyper
from dubcli.records import Analysis, Float
from dubcli.stages.style import (
    HOP,
    WINDOW,
    at_25_hz,
    encode_style,
    lower_face_motion,
    movement,
    plan_style_windows,
    stretches,
)


def analysis(pattern: str) -> Analysis:
    """Return a frame for every character: a digit is its shot, a dot has no face."""
    count = len(pattern)
    zero: Float = np.zeros((count, 3), dtype=np.float32)
    return Analysis(
        alpha=zero,
        beta=np.tile(np.arange(count, dtype=np.float32)[:, None], (1, 4)),
        rotation=zero,
        translation_px=zero[:, :2],
        scale_px=zero[:, 0],
        shot=np.array([int(mark) if mark != "." else 0 for mark in pattern], dtype=np.int64),
        valid=np.array([mark != "." for mark in pattern]),
        lip_aperture=zero[:, 0],
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", []),
        ("." * 40, []),
        ("0" * 24, []),
        ("0" * 25, [(0, 25)]),
        ("0" * 20 + "1" * 30, [(20, 50)]),  # a cut
        ("0" * 30 + "." * 3 + "0" * 26, [(0, 30), (33, 59)]),  # a gap
        ("0" * 30 + "." + "0" * 10 + "1" * 30, [(0, 30), (41, 71)]),
    ],
)
def test_stretches_end_at_cuts_and_gaps_and_last_a_second(
    pattern: str, expected: list[tuple[int, int]]
) -> None:
    found = stretches(analysis(pattern), Fraction(25))
    assert [(s.start, s.stop) for s in found] == expected


def test_a_second_has_as_many_frames_as_the_video_says() -> None:
    assert stretches(analysis("0" * 30), Fraction(30))
    assert not stretches(analysis("0" * 30), Fraction(31))


@pytest.mark.parametrize("rate", [Fraction(15), Fraction(24000, 1001), Fraction(25), Fraction(60)])
def test_expression_at_25_hz_is_that_of_the_same_moment(rate: Fraction) -> None:
    time_s = np.arange(90) / float(rate)
    beta = np.stack([time_s, 3 - 2 * time_s], axis=1).astype(np.float32)
    found = at_25_hz(beta, rate)
    wanted = np.arange(len(found)) / 25
    np.testing.assert_allclose(found, np.stack([wanted, 3 - 2 * wanted], axis=1), atol=1e-5)
    assert wanted[-1] <= time_s[-1] + 1e-9 < wanted[-1] + 1 / 25 + 2e-9


def test_expression_of_a_variable_rate_is_that_of_the_same_moment() -> None:
    time_s = 3 + np.cumsum(np.random.default_rng(4).uniform(0.01, 0.1, 60))
    beta = np.stack([time_s, 3 - 2 * time_s], axis=1).astype(np.float32)
    found = at_25_hz(beta, Fraction(20), time_s)
    wanted = time_s[0] + np.arange(len(found)) / 25
    np.testing.assert_allclose(found, np.stack([wanted, 3 - 2 * wanted], axis=1), atol=1e-5)
    assert wanted[-1] <= time_s[-1] < wanted[-1] + 1 / 25


@given(st.integers(1, 2000))
def test_windows_cover_every_frame_evenly(count: int) -> None:
    windows = plan_style_windows(count)
    assert (windows[0].start, windows[-1].stop) == (0, count)
    assert {w.stop - w.start for w in windows} == {min(count, WINDOW)}
    steps = [b.start - a.start for a, b in pairwise(windows)]
    assert all(0 < step <= HOP for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


def test_lower_face_motion_is_what_expression_alone_moves(small_model: MorphableModel) -> None:
    beta = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    still = vertices(small_model, torch.zeros(5, 3), torch.zeros(5, 4))
    moved = vertices(small_model, torch.zeros(5, 3), beta) - still
    np.testing.assert_allclose(
        lower_face_motion(small_model, beta.numpy()),
        moved[:, lower_face_indices(small_model.mean)],
        atol=1e-5,
    )


def test_movement_is_the_deviation_about_the_mean(small_model: MorphableModel) -> None:
    wave = np.sin(np.linspace(0, 4 * np.pi, 64, endpoint=False)).astype(np.float32)
    beta = np.zeros((64, 4), dtype=np.float32)
    beta[:, 1] = 2 + 3 * wave
    lower = lower_face_indices(small_model.mean)
    size = small_model.expression[1, lower].square().mean().sqrt()
    expected = 3 * np.sqrt(0.5) * float(size)
    assert movement(small_model, [beta]) == pytest.approx(expected, rel=1e-4)


def test_style_is_the_mean_over_windows_of_all_stretches(small_model: MorphableModel) -> None:
    torch.manual_seed(3)
    lower = len(lower_face_indices(small_model.mean))
    network = StyleSimEncoder(StyleSimHyper(lower_vertices=lower, components=4)).eval()
    network.start_from_components(torch.randn(3 * lower, 4) * 0.1)
    generator = np.random.default_rng(4)
    betas = [generator.normal(size=(n, 4)).astype(np.float32) for n in (WINDOW + 20, 30)]
    windows = [betas[0][:WINDOW], betas[0][20:], betas[1]]
    with torch.no_grad():
        each = [
            network(torch.from_numpy(lower_face_motion(small_model, w))[None])[0] for w in windows
        ]
    mean = torch.stack(each).mean(0)
    style = encode_style(network, small_model, betas)
    np.testing.assert_allclose(style, mean / mean.norm(), atol=1e-5)
