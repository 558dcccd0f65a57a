import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.geometry.morphable import INNER_LIP_RING, OUTER_LIP_RING, MorphableModel, lip_aperture
from dubcli.networks.lip_sync import LipSyncHyper, LipSyncNet
from dubcli.networks.sync_expert import SyncExpert
from dubcli.training.geometry import (
    GeometryProblem,
    GeometryTraining,
    StoredSpeech,
    concordance,
    judge,
    styles_of,
    unclosed,
    unsynced,
)
from dubcli.training.speech import SpokenClip

LOSS_TOLERANCE = 1e-4  # relative, float32
DAMPING = 1e-4  # cm squared: what concordance adds below, so that still curves have a gradient
TRAINING = GeometryTraining(batch=4, frames=12)


@pytest.fixture(scope="module")
def problem(small_model: MorphableModel) -> GeometryProblem:
    return GeometryProblem(small_model, TRAINING)


def spoken(frames: int, seed: int) -> SpokenClip:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2 * frames, 6)).astype(np.float16)
    beta = np.cumsum(rng.normal(scale=0.3, size=(frames, 4)), axis=0).astype(np.float32)
    return SpokenClip(features, beta, np.zeros(frames, np.float32))


def stored(frames: int, seed: int, speaker: str = "a") -> StoredSpeech:
    return StoredSpeech(f"clip{seed}", speaker, "wild", (spoken(frames, seed),))


def motions(problem: GeometryProblem, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    made, true = (problem.motion(rng.normal(size=(9, 4)).astype(np.float32)) for _ in range(2))
    return made[None].repeat(2, 1, 1, 1) * torch.tensor([1.0, 0.3])[:, None, None, None], true[
        None
    ].repeat(2, 1, 1, 1)


def test_concordance_is_lins_formula() -> None:
    rng = np.random.default_rng(0)
    made, true = rng.normal(size=(3, 40)), rng.normal(size=(3, 40))
    made = 0.6 * true + 0.3 * made + 0.2
    got = concordance(torch.from_numpy(made), torch.from_numpy(true))
    for b in range(3):
        covariance = np.cov(made[b], true[b], bias=True)
        expected = (
            2
            * covariance[0, 1]
            / (covariance[0, 0] + covariance[1, 1] + (made[b].mean() - true[b].mean()) ** 2)
        )
        assert float(got[b]) == pytest.approx(expected, rel=1e-3)


def test_concordance_is_one_only_for_equal_curves_and_falls_with_shift_and_size() -> None:
    true = torch.sin(torch.arange(50) / 4)
    assert float(concordance(true, true)) == pytest.approx(1, abs=DAMPING * 2)
    assert float(concordance(-true, true)) == pytest.approx(-1, abs=0.1)
    assert float(concordance(0.5 * true, true)) < 0.85
    assert float(concordance(true + 1, true)) < 0.6
    assert float(concordance(torch.zeros(50), torch.zeros(50))) == 0


def test_losses_are_those_written_out_in_numpy(problem: GeometryProblem) -> None:
    made, true = motions(problem)
    got = problem.loss(made, true)

    m, t = made.numpy().astype(np.float64), true.numpy().astype(np.float64)
    lips = set(INNER_LIP_RING) | set(OUTER_LIP_RING)
    weight = np.array([TRAINING.lip_weight if v in lips else 1.0 for v in problem.lower])
    weight /= weight.mean()
    vertex = (np.abs(m - t).mean(-1) * weight).mean()
    velocity = (np.abs((m[:, 1:] - m[:, :-1]) - (t[:, 1:] - t[:, :-1])).mean(-1) * weight).mean()
    openings = [problem.opening(x) for x in (made, true)]
    agreement = float((1 - concordance(*openings)).mean())
    assert got.keys() == {"vertex", "velocity", "agreement", "unclosed"}
    expected = TRAINING.closure * float(unclosed(*openings))
    assert float(got["unclosed"]) == pytest.approx(expected, rel=LOSS_TOLERANCE)
    assert float(got["vertex"]) == pytest.approx(vertex, rel=LOSS_TOLERANCE)
    assert float(got["velocity"]) == pytest.approx(TRAINING.velocity * velocity, rel=LOSS_TOLERANCE)
    assert float(got["agreement"]) == pytest.approx(
        TRAINING.agreement * agreement, rel=LOSS_TOLERANCE
    )


def test_open_where_the_true_mouth_closes_costs_what_it_is_open_by() -> None:
    true = torch.full((1, 40), 1.0)
    true[0, 10:20] = 0.0  # closed for ten frames
    for change, expected in ((0.3, 0.3), (-0.3, 0.0)):  # closing more costs nothing
        assert float(unclosed(true + change, true)) == pytest.approx(expected, abs=1e-4)
    elsewhere = true.clone()
    elsewhere[0, 20:] += 0.5  # open frames may be wider
    assert float(unclosed(elsewhere, true)) == pytest.approx(0, abs=1e-4)


def test_mouth_that_hardly_moves_has_no_closures() -> None:
    still = 0.4 + 0.05 * torch.sin(torch.arange(40) / 3)[None]
    assert float(unclosed(still + 0.3, still)) == 0


def test_losses_of_the_truth_are_nothing(problem: GeometryProblem) -> None:
    _, true = motions(problem)
    for name, value in problem.loss(true, true).items():
        assert float(value) == pytest.approx(0, abs=2e-3), name


def test_opening_is_that_of_the_displaced_mean_face(
    problem: GeometryProblem, small_model: MorphableModel
) -> None:
    motion, _ = motions(problem)
    got = problem.opening(motion)
    assert got.shape == (2, 9)
    mesh = small_model.mean.clone()
    mesh[torch.from_numpy(problem.lower)] += motion[1, 4]
    torch.testing.assert_close(got[1, 4], lip_aperture(mesh))


def test_mirrored_motion_opens_the_mouth_alike_and_mirroring_twice_restores_it(
    problem: GeometryProblem,
) -> None:
    motion, _ = motions(problem)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    mirrored = motion[:, :, problem.mirror] * flip
    torch.testing.assert_close(
        problem.opening(mirrored), problem.opening(motion), rtol=0, atol=0.05
    )
    assert (mirrored[:, :, problem.mirror] * flip == motion).float().mean() > 0.95


def test_batch_cuts_sound_and_motion_at_the_same_place(
    small_model: MorphableModel,
) -> None:
    quiet = GeometryTraining(batch=8, frames=12, feature_noise=0.0)
    problem = GeometryProblem(small_model, quiet)
    frames = 50
    clip = spoken(frames, 1)
    clip.features[:, 0] = np.repeat(np.arange(frames), 2)  # names the frame
    speech = {"wild": {"a": [StoredSpeech("x", "a", "wild", (clip,))]}}

    features, motion, styles = problem.batch(speech, np.random.default_rng(0))

    assert features.shape == (8, 24, 6)
    assert motion.shape == (8, 12, len(problem.lower), 3)
    assert len(styles) == 8
    whole, flip = problem.motion(clip.beta), torch.tensor([-1.0, 1.0, 1.0])
    for sound, cut in zip(features, motion, strict=True):
        start = int(sound[0, 0])
        assert sound[::2, 0].tolist() == list(range(start, start + 12))
        wanted = whole[start : start + 12]
        turned = wanted[:, problem.mirror] * flip
        assert torch.equal(cut, wanted) or torch.equal(cut, turned)


def test_batch_repeats_with_its_generator_and_skips_sets_that_are_missing(
    problem: GeometryProblem,
) -> None:
    speech = {"wild": {"a": [stored(40, 1)], "b": [stored(30, 2, "b"), stored(3, 3, "b")]}}
    first, again = (problem.batch(speech, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_a_clip_a_little_too_short_is_held_at_its_end(problem: GeometryProblem) -> None:
    clip = spoken(7, 4)
    audio, motion = problem._window(clip, np.random.default_rng(0)) or (None, None)
    assert audio is not None
    assert motion is not None
    assert audio.shape[0] == 24
    assert motion.shape[0] == 12
    assert torch.equal(motion[7:], motion[6:7].expand(5, -1, -1))
    assert (audio[14:] == audio[13]).all()
    assert problem._window(spoken(3, 4), np.random.default_rng(0)) is None


def test_silence_closes_the_mouth_of_the_target(problem: GeometryProblem) -> None:
    clip = spoken(12, 5)
    closed = SpokenClip(clip.features, clip.beta, np.ones(12, np.float32))
    made = problem._window(closed, np.random.default_rng(0))
    assert made is not None
    assert not made[1].any()


def test_judge_gives_a_perfect_score_to_the_truth(
    problem: GeometryProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    hyper = LipSyncHyper(
        audio_width=6,
        lower_vertices=len(problem.lower),
        components=4,
        width=8,
        heads=2,
        layers=1,
        reach=3,
    )
    torch.manual_seed(0)
    network = LipSyncNet(hyper).eval()
    clips = [stored(40, 1), stored(44, 2), stored(50, 3)]
    figures = judge(network, problem, clips)
    assert set(figures) == {
        "correlation",
        "deviation",
        "closure",
        "precision",
        "swapped",
        "error_cm",
    }
    assert all(np.isfinite(value) for value in figures.values())

    class Told(LipSyncNet):
        def forward(self, audio: Tensor, style: Tensor):  # type: ignore[no-untyped-def,override]
            made = super().forward(audio, style)
            for clip in clips:
                known = torch.from_numpy(clip.versions[0].features.astype(np.float32))
                if known.shape == audio[0].shape and torch.equal(known, audio[0]):
                    displacement = problem.motion(clip.versions[0].beta)[None]
                    return type(made)(made.coefficients, displacement)
            raise AssertionError("unknown sound")

    perfect = judge(Told(hyper).eval(), problem, clips)
    assert perfect["correlation"] == pytest.approx(1, abs=1e-5)
    assert perfect["deviation"] == pytest.approx(1, abs=1e-5)
    assert perfect["closure"] == 1
    assert perfect["error_cm"] == 0
    assert abs(perfect["swapped"]) < 0.9


def test_styles_of_different_lengths_are_stacked(problem: GeometryProblem) -> None:
    hyper = LipSyncHyper(audio_width=6, lower_vertices=len(problem.lower), width=8, heads=2)
    network = LipSyncNet(hyper).eval()
    parts = [problem.motion(spoken(n, n).beta) for n in (5, 9)]
    got = styles_of(network, parts)
    assert got.shape == (2, 8)
    torch.testing.assert_close(got[1:], network.style(parts[1][None]))


class Angles(SyncExpert):
    """An expert that takes the first feature and the first coordinate for angles."""

    def embed_sound(self, features: Tensor) -> Tensor:
        angle = features[:, ::2, 0]
        return torch.stack([angle.cos(), angle.sin()], -1)

    def embed_mouth(self, x: Tensor) -> Tensor:
        angle = x[:, :, 0, 0]
        return torch.stack([angle.cos(), angle.sin()], -1)


def test_mouth_less_in_time_than_the_true_one_costs_the_difference_and_no_other() -> None:
    heard = torch.zeros(3, 8, 2)
    true, made = torch.zeros(2, 3, 4, 5, 3)
    true[:, :, 0, 0] = 0.5
    made[0, :, 0, 0] = 1.0  # worse than the true mouth
    made[1, :, 0, 0] = 0.1  # better
    made[2, :, 0, 0] = torch.tensor([0.5, 0.5, 1.5, -0.5])
    made.requires_grad_()
    cost = unsynced(Angles(), heard, made, true)
    worse = [math.cos(0.5) - math.cos(1.0), 0.0, (math.cos(0.5) - math.cos(1.5)) / 4]
    assert float(cost.detach()) == pytest.approx(sum(worse) / 3, rel=1e-5)
    cost.backward()
    assert made.grad is not None
    assert (made.grad.abs().sum((1, 2, 3)) > 0).tolist() == [True, False, True]
