import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.networks.sync_expert import SyncExpert, SyncHyper
from dubcli.training.data import Clip
from dubcli.training.geometry import GeometryProblem, GeometryTraining
from dubcli.training.mouths import MOUTH_MARGIN, store_mouths
from dubcli.training.speech import SpokenClip, store_speech
from dubcli.training.sync_expert import (
    HALVES,
    Batch,
    PairedClip,
    SyncProblem,
    SyncTraining,
    changed,
    frame_contrast,
    half_of,
    load_pairs,
    stretch_contrast,
    windows_of,
    within,
)

WIDTH, EXPRESSION = 6, 4
SHOWN = (48 + 2 * MOUTH_MARGIN, 64 + 2 * MOUTH_MARGIN)


def clip_named(name: str, lag_s: float) -> Clip:
    path = Path(f"{name}.mp4")
    return Clip(path, "train", "speech", "s1", "wild", 2.0, 150.0, "confirmed", lag_s)


def counted(frames: int, closed: float = 0.0) -> SpokenClip:
    """Return a version whose every number says which frame it is."""
    time = np.arange(frames, dtype=np.float32)
    features = np.repeat(time, 2)[:, None] * np.ones(WIDTH)
    beta = time[:, None] * np.ones(EXPRESSION, np.float32)
    return SpokenClip(features.astype(np.float16), beta, np.full(frames, closed, np.float32))


def unit(*shape: int, seed: int) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(x, dim=-1)


def small_batch(valid: Tensor, clip: list[int]) -> Batch:
    nothing = torch.zeros(len(clip), 0)
    return Batch(nothing, nothing, nothing, valid, torch.tensor(clip))


def test_each_speaker_teaches_one_half() -> None:
    halves = [half_of(f"s{k:03d}") for k in range(300)]
    assert set(halves) == set(HALVES)
    assert 110 < halves.count("losses") < 190
    assert half_of("s000") == half_of("s000")


@pytest.mark.parametrize(("lag_s", "first"), [(0.0, 0), (0.08, 0), (-0.04, 2), (-0.12, 4)])
def test_frames_before_the_videos_start_are_left_out(
    tmp_path: Path, lag_s: float, first: int
) -> None:
    store_speech(tmp_path / "speech", "a", [counted(50), counted(50), counted(50, closed=1.0)])
    pictures = np.broadcast_to(np.arange(48, dtype=np.uint8)[:, None, None], (48, *SHOWN))
    store_mouths(tmp_path / "mouths", "a", np.ascontiguousarray(pictures))
    vertices = load_pairs(clip_named("a", lag_s), tmp_path / "speech", None)
    pixels = load_pairs(clip_named("a", lag_s), tmp_path / "speech", tmp_path / "mouths")
    assert len(vertices) == len(pixels) == 2  # the version with silences is no pair
    assert [len(p) for p in (*vertices, *pixels)] == [50 - first] * 2 + [48 - first] * 2
    for pair in pixels:
        np.testing.assert_array_equal(pair.beta[:, 0], np.arange(first, 48))
        np.testing.assert_array_equal(pair.features[::2, 0], np.arange(first, 48))
        np.testing.assert_array_equal(pair.features[1::2, 0], np.arange(first, 48))
        np.testing.assert_array_equal(pair.pictures[:, 0, 0], np.arange(first, 48))


def test_clips_that_are_short_or_not_cached_give_no_pairs(tmp_path: Path) -> None:
    store_speech(tmp_path, "a", [counted(15)])
    store_speech(tmp_path, "b", [counted(40)])
    assert load_pairs(clip_named("a", 0.0), tmp_path, None) == []
    assert load_pairs(clip_named("b", 0.0), tmp_path, tmp_path / "mouths") == []
    assert load_pairs(clip_named("c", 0.0), tmp_path, None) == []


def test_frame_contrast_is_the_cross_entropy_counted_one_by_one() -> None:
    anchor, other = unit(3, 6, 4, seed=1), unit(3, 6, 4, seed=2)
    valid = torch.ones(3, 6, dtype=torch.bool)
    valid[1, 4:] = False
    batch = small_batch(valid, [7, 7, 9])  # the first two windows are of one clip
    made = frame_contrast(anchor, other, batch, torch.tensor(3.0), 5, np.random.default_rng(0))
    places = [(b, t) for b in range(3) for t in range(6) if valid[b, t]]
    drawn = [places[k] for k in np.random.default_rng(0).integers(len(places), size=5)]
    losses = []
    for b, t in places:
        partners = [(b, s) for s in range(6) if valid[b, s] and abs(s - t) != 1]
        partners += [p for p in drawn if batch.clip[p[0]] != batch.clip[b]]
        scores = [3.0 * float(anchor[b, t] @ other[p]) for p in partners]
        right = 3.0 * float(anchor[b, t] @ other[b, t])
        losses.append(math.log(sum(math.exp(s) for s in scores)) - right)
    assert float(made) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_stretch_contrast_is_the_cross_entropy_counted_one_by_one() -> None:
    sound, mouth = unit(2, 30, 4, seed=3), unit(2, 30, 4, seed=4)
    valid = torch.ones(2, 30, dtype=torch.bool)
    valid[1, 14:] = False
    made = stretch_contrast(sound, mouth, valid, torch.tensor(5.0), reach=12)
    losses = []
    for b, length in enumerate((30, 14)):
        scores = {}
        for k in range(-12, 13):
            pairs = [(t, t + k) for t in range(length) if 0 <= t + k < length]
            if len(pairs) >= 10 and abs(k) != 1:
                mean = sum(float(sound[b, t] @ mouth[b, s]) for t, s in pairs) / len(pairs)
                scores[k] = 5.0 * mean
        losses.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[0])
    assert float(made) == pytest.approx(sum(losses) / 2, rel=1e-5)


class Still:
    """A generator that changes nothing."""

    def normal(self, *_: float, size: object = ()) -> object:
        return np.zeros(size) if size != () else 0.0  # type: ignore[call-overload]

    def random(self) -> float:
        return 1.0

    def uniform(self, *_: float) -> float:
        return 0.0


def test_pictures_that_are_not_changed_are_those_without_the_margin() -> None:
    shown = torch.rand(3, 1, *SHOWN, generator=torch.Generator().manual_seed(0))
    made = changed(shown, Still())  # type: ignore[arg-type]
    inner = shown[..., MOUTH_MARGIN:-MOUTH_MARGIN, MOUTH_MARGIN:-MOUTH_MARGIN]
    torch.testing.assert_close(made, inner, atol=2e-3, rtol=0)  # black is lifted by 1e-3


def test_pictures_of_a_window_are_changed_alike() -> None:
    one = torch.rand(1, 1, *SHOWN, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1)
    one = torch.nn.functional.avg_pool2d(one, 9, 1, 4)
    inner = one[..., MOUTH_MARGIN:-MOUTH_MARGIN, MOUTH_MARGIN:-MOUTH_MARGIN]
    moved = 0
    for seed in range(10):
        made = changed(one, np.random.default_rng(seed))
        assert (made - made[:1]).std() < 0.05  # noise only
        moved += bool((made - inner).abs().mean() > 0.02)
    assert moved >= 8


def test_windows_find_the_offset_and_are_counted() -> None:
    said = unit(100, 16, seed=5).numpy()
    sound, mouth = said[10:90], said[8:88]  # two frames late
    scores = windows_of(sound, mouth, 25)
    assert len(scores) == 6
    assert {s.offset_frames for s in scores} == {2}
    assert within(scores) == 0
    assert within([*scores[:3], *windows_of(sound, sound, 60)]) == pytest.approx(0.5)
    assert windows_of(sound, mouth, 81) == []


def test_both_encoders_learn_from_a_batch(small_model) -> None:  # type: ignore[no-untyped-def]
    faces = GeometryProblem(small_model, GeometryTraining())
    generator = np.random.default_rng(0)

    def pair(frames: int) -> PairedClip:
        """Return noise as a clip."""
        features = generator.normal(size=(2 * frames, WIDTH)).astype(np.float16)
        beta = generator.normal(size=(frames, EXPRESSION)).astype(np.float32)
        return PairedClip(features, beta, generator.integers(0, 255, (frames, *SHOWN), np.uint8))

    clips = {"wild": {"s1": [[pair(60)], [pair(22), pair(22)]], "s2": [[pair(30)]]}}
    for kind in ("vertices", "pixels"):
        problem = SyncProblem(faces, kind, SyncTraining(batch=4, frames=40))
        hyper = SyncHyper(kind, WIDTH, lower_vertices=len(faces.lower), expression=EXPRESSION)
        network = SyncExpert(hyper)
        batch = problem.batch(clips, generator)
        assert batch.features.shape == (4, 80, WIDTH)
        assert batch.mouth.shape[:2] == batch.valid.shape == (4, 40)
        assert set(batch.valid.sum(1).tolist()) <= {22, 30, 40}
        losses = problem.loss(network, batch, generator)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        assert all((p.grad != 0).any() for p in network.sound.parameters() if p.grad is not None)
