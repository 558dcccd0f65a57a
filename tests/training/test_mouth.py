from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dubcli.networks.mouth import BOX_COLUMNS, BOX_ROWS, CARRIED, MOUTHS, PLAIN, MouthRefiner
from dubcli.networks.precision import mixed
from dubcli.records import Bytes
from dubcli.training import mouth
from dubcli.training.mouth import JudgedMouth, Mouth, MouthPool, MouthTraining, RefinerAndCritic
from dubcli.training.perceptual import CHANNELS, perceptual_loss

LATENT = 4
SEEN = PLAIN + CARRIED * MOUTHS  # channels


def random_mouth(generator: np.random.Generator) -> Mouth:
    def noise(*shape: int) -> torch.Tensor:
        return torch.from_numpy(generator.random(shape)).half()

    return Mouth(
        noise(SEEN, BOX_ROWS, BOX_COLUMNS),
        noise(LATENT, BOX_ROWS // 4, BOX_COLUMNS // 4),
        noise(1, BOX_ROWS, BOX_COLUMNS),
        noise(3, BOX_ROWS, BOX_COLUMNS),
    )


class Features(nn.Module):
    """Stands in for VGG: pictures of as many channels, each half the size of the one before."""

    def forward(self, rgb: torch.Tensor) -> list[torch.Tensor]:
        halves = [rgb, F.avg_pool2d(rgb, 2), F.avg_pool2d(rgb, 4)]
        return [
            half.repeat(1, 1 + count // 3, 1, 1)[:, :count]
            for half, count in zip(halves, CHANNELS, strict=True)
        ]


def difference(made: Bytes, true: Bytes) -> float:
    """Return a distance of pictures that stands in for ST-LPIPS."""
    return float(np.abs(made.astype(float) - true).mean())


@pytest.fixture
def both() -> RefinerAndCritic:
    torch.manual_seed(0)
    refiner = MouthRefiner(LATENT, 4)
    nn.init.normal_(refiner.out.weight, std=0.1)
    return RefinerAndCritic(refiner)


def test_pool_makes_each_sample_once_and_the_same_in_every_run() -> None:
    made: list[int] = []

    def make(generator: np.random.Generator) -> Mouth:
        made.append(int(generator.integers(1 << 30)))
        return random_mouth(generator)

    training = MouthTraining(batch=6, first=3, fresh=0.5)
    pools = [MouthPool(make, 7, training) for _ in range(2)]
    for step in (0, 0, 4, 40):
        batches = [pool.batch(step, np.random.default_rng([7, step])) for pool in pools]
        for one, other in zip(*batches, strict=True):
            assert torch.equal(one.pixels, other.pixels)
    assert len(made) == 2 * len(set(made))


def test_pool_grows_with_the_steps() -> None:
    training = MouthTraining(batch=200, first=2, fresh=1.0)
    pool = MouthPool(random_mouth, 0, training)
    counts = [len({id(m) for m in pool.batch(s, np.random.default_rng(s))}) for s in (0, 3, 8)]
    assert counts == [2, 5, 10]


def test_losses_are_pixels_and_features_until_the_critic_joins(both: RefinerAndCritic) -> None:
    training, features = MouthTraining(critic_after=5), Features()
    both.steps.fill_(4)
    batch = [random_mouth(np.random.default_rng(k)) for k in range(2)]
    early = mouth.losses(both, batch, training, features)  # type: ignore[arg-type]
    both.steps.fill_(5)
    late = mouth.losses(both, batch, training, features)  # type: ignore[arg-type]
    assert early.keys() == {"pixels", "features"}
    assert late.keys() == {"pixels", "features", "adversarial", "critic"}
    pixels, latent, edge, truth = (
        torch.stack([getattr(m, n) for m in batch]).float()
        for n in ("pixels", "latent", "edge", "truth")
    )
    made = pixels[:, :3] + both.refiner(pixels, latent) * edge
    wanted = (edge * (made - truth).abs().sum(1, keepdim=True)).sum() / (3 * edge.sum())
    shown = truth * (1 - edge) + made * edge  # the skin around is the true one
    torch.testing.assert_close(early["pixels"], training.pixel_weight * wanted)
    expected = training.perceptual_weight * perceptual_loss(features, shown, truth)  # type: ignore[arg-type]
    torch.testing.assert_close(early["features"], expected)


def test_scores_count_where_the_refiner_has_a_say() -> None:
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., :4, :4], edge[..., :4, 4:] = 1.0, 0.5
    scores = torch.tensor([[[[3.0, 6.0], [100.0, -100.0]]]])
    torch.testing.assert_close(mouth.at_lips(scores, edge), torch.tensor((3 + 0.5 * 6) / 1.5))


def test_losses_can_be_taken_in_bfloat16(both: RefinerAndCritic) -> None:
    """Mouths are kept in half precision, which autocast on a CPU does not stack."""
    batch = [random_mouth(np.random.default_rng(k)) for k in range(2)]
    training, features = MouthTraining(critic_after=0), Features()
    exact = mouth.losses(both, batch, training, features)  # type: ignore[arg-type]
    with mixed(torch.device("cpu"), bfloat16=True):
        coarse = mouth.losses(both, batch, training, features)  # type: ignore[arg-type]
    assert coarse.keys() == exact.keys()
    for name, value in exact.items():
        torch.testing.assert_close(coarse[name].float(), value, rtol=0.1, atol=0.02)


def test_refiner_learns_from_the_critic_and_the_critic_from_pictures_alone(
    both: RefinerAndCritic,
) -> None:
    training = MouthTraining(critic_after=0)
    batch = [random_mouth(np.random.default_rng(k)) for k in range(2)]

    def gradients(name: str) -> tuple[bool, bool]:
        """Return whether a loss moves the refiner, and whether it moves the critic."""
        both.zero_grad(set_to_none=True)
        mouth.losses(both, batch, training, Features())[name].backward()  # type: ignore[arg-type]
        moved = [
            any(p.grad is not None and bool((p.grad != 0).any()) for p in part.parameters())
            for part in (both.refiner, both.critic)
        ]
        return moved[0], moved[1]

    assert gradients("adversarial") == (True, False)
    assert gradients("critic") == (False, True)


def judged(made: Bytes, true: Bytes, inner: Bytes) -> JudgedMouth:
    pixels = np.zeros((SEEN, BOX_ROWS, BOX_COLUMNS), np.float32)
    for start in (0, *range(PLAIN, SEEN, 4)):  # the rendered picture, and the same in all mouths
        pixels[start : start + 3] = made.transpose(2, 0, 1) / 255
    full = torch.ones(1, BOX_ROWS, BOX_COLUMNS)
    truth = torch.from_numpy(true.transpose(2, 0, 1) / 255).float()
    latent = torch.zeros(LATENT, BOX_ROWS // 4, BOX_COLUMNS // 4)
    return JudgedMouth(
        Mouth(torch.from_numpy(pixels), latent, full, truth),
        np.ones((BOX_ROWS, BOX_COLUMNS), np.uint8),
        inner,
    )


def test_judging_measures_lips_and_the_open_mouth_and_skips_closed_ones() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(20, 230, (BOX_ROWS, BOX_COLUMNS, 3)).astype(np.uint8)
    off = (true + 10).astype(np.uint8)
    open_, closed = np.ones((BOX_ROWS, BOX_COLUMNS), np.uint8), np.zeros((BOX_ROWS, BOX_COLUMNS))
    figures, pictures = mouth.judge(
        None,
        [judged(off, true, open_), judged(off, true, closed.astype(np.uint8))],
        Features(),  # type: ignore[arg-type]
        difference,  # type: ignore[arg-type]
    )
    assert figures.lip_psnr == pytest.approx(10 * np.log10(255**2 / 100), abs=1e-3)
    assert figures.inner_psnr == pytest.approx(figures.lip_psnr)
    assert figures.inner_detail == pytest.approx(1.0, abs=1e-6)
    assert figures.perceptual > 0
    assert figures.st_lpips == pytest.approx(10)
    assert np.array_equal(pictures[0][0], true)
    assert np.array_equal(pictures[0][2], off)


def test_untrained_refiner_is_judged_like_no_refiner_where_all_mouths_agree() -> None:
    rng = np.random.default_rng(1)
    made, true = (rng.integers(0, 255, (BOX_ROWS, BOX_COLUMNS, 3)).astype(np.uint8) for _ in "ab")
    one = judged(made, true, np.ones((BOX_ROWS, BOX_COLUMNS), np.uint8))
    plain, _ = mouth.judge(None, [one], Features(), difference)  # type: ignore[arg-type]
    with_one, _ = mouth.judge(MouthRefiner(LATENT, 4), [one], Features(), difference)  # type: ignore[arg-type]
    for name, value in asdict(plain).items():
        assert asdict(with_one)[name] == pytest.approx(value, rel=1e-4), name
    assert replace(plain, perceptual=0.0) != plain
