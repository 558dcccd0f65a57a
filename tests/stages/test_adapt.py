import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from dubcli.geometry.crop import cut_out
from dubcli.geometry.morphable import MorphableModel
from dubcli.networks.renderer import DualAttentionRenderer, RendererHyper
from dubcli.records import Analysis, Bytes, Frame
from dubcli.stages import adapt as module
from dubcli.stages.adapt import (
    FACES,
    GAP,
    LEAST_FRAMES,
    LIP_GAP,
    LIPS,
    SELF_SHARE,
    OwnFrames,
    adapt,
    draw_references,
    frames_to_learn,
    gather,
    samples,
)
from dubcli.stages.render import crop_of

FRAMES = 14
SMALL = RendererHyper(  # keys and values of one width, 56, as in the real one: attention is quick
    channels=8,
    geometry_channels=4,
    decoder_channels=4,
    half_channels=4,
    full_channels=4,
    key_channels=24,
    pncc_frequencies=8,
    position_frequencies=8,
)
STEPS = 8
PIXELS = 1e-3  # float32


def picture(t: int) -> Bytes:
    rows, columns = np.mgrid[:400, :640]
    waves = [np.sin(rows / 30 + k + t) * np.cos(columns / (40 + 9 * k)) for k in range(3)]
    return np.rint(127 + 100 * np.stack(waves, -1)).astype(np.uint8)


@pytest.fixture(scope="module")
def analysis(known_clip) -> Analysis:
    return Analysis(
        alpha=known_clip.alpha.expand(FRAMES, -1).numpy(),
        beta=known_clip.beta[:FRAMES].numpy(),
        rotation=known_clip.rotation[:FRAMES].numpy(),
        translation_px=known_clip.translation_px[:FRAMES].numpy(),
        scale_px=known_clip.scale_px[:FRAMES].numpy(),
        shot=np.zeros(FRAMES, np.int64),
        valid=np.ones(FRAMES, np.bool_),
        lip_aperture=np.linspace(0, 1, FRAMES, dtype=np.float32),
    )


@pytest.fixture(scope="module")
def own(analysis: Analysis) -> OwnFrames:
    frames = (Frame(t, picture(t)) for t in range(FRAMES))
    return gather(frames, np.arange(1, FRAMES), analysis, np.zeros(FRAMES, np.int64))


def among(index: Sequence[int], shot: Sequence[int], person: Sequence[int]) -> OwnFrames:
    """Return frames without pictures, for what only asks where they are from."""
    zero = np.zeros((len(index), 3), np.float32)
    rows = Analysis(
        *(zero, zero, zero, zero[:, :2], zero[:, 0]),
        shot=np.array(shot),
        valid=np.ones(len(index), np.bool_),
        lip_aperture=zero[:, 0],
    )
    return OwnFrames(rows, np.array(person), np.array(index), (np.zeros(0, np.uint8),) * len(index))


def test_frames_are_gathered_as_crops_with_their_rows(
    own: OwnFrames, analysis: Analysis, small_model: MorphableModel, known_clip
) -> None:
    assert own.index.tolist() == list(range(1, FRAMES))
    for t in (0, len(own) - 1):
        expected = cut_out(picture(t + 1), crop_of(analysis, t + 1))
        np.testing.assert_array_equal(own.crop(t), expected)
        np.testing.assert_array_equal(own.analysis.beta[t], analysis.beta[t + 1])
        matrix = crop_of(analysis, t + 1).matrix
        seen = known_clip.landmarks_px[t + 1, :, :2].numpy() @ matrix[:, :2].T + matrix[:, 2]
        np.testing.assert_allclose(own.points(small_model, t)[:, :2], seen, atol=PIXELS)


def test_a_person_who_is_hardly_seen_is_not_learned_from() -> None:
    person = np.repeat([0, 1], [LEAST_FRAMES, LEAST_FRAMES - 1])
    usable = np.ones(len(person), np.bool_)
    assert frames_to_learn(usable, person).tolist() == list(range(LEAST_FRAMES))
    assert frames_to_learn(usable & (person == 1), person).tolist() == []
    assert frames_to_learn(usable & False, person).tolist() == []


def test_references_are_another_moment_of_the_same_person_and_shot() -> None:
    index = [0, 1, 2, 3, 10, 11, 12, 30, 32, 34, 50, 60]
    shot = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    person = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0]
    frames = among(index, shot, person)
    drawn_self = []
    for seed in range(240):
        target = seed % 12
        face, lip = draw_references(frames, target, np.random.default_rng(seed))
        assert len(face) == FACES
        drawn_self.append(target in face)
        others = face[face != target]
        assert len(others) >= FACES - 1
        assert (np.abs(frames.index[others] - index[target]) >= GAP).all()
        for chosen in (others, lip):
            assert (frames.person[chosen] == person[target]).all()
        if target != 5:  # whose two neighbours in the shot are too near
            assert (frames.analysis.shot[others] == shot[target]).all()
        if target in {0, 10, 11}:  # five others or more are far away
            assert len(lip) == LIPS
            assert (np.abs(frames.index[lip] - index[target]) >= LIP_GAP).all()
        else:
            assert (np.abs(frames.index[lip] - index[target]) >= GAP).all()
    assert np.mean(drawn_self) == pytest.approx(SELF_SHARE, abs=0.1)


def test_lip_references_have_the_mouth_most_like_the_targets() -> None:
    count, target = 40, 3
    frames = among(range(0, 20 * count, 20), [0] * count, [0] * count)
    frames.analysis.beta[:, 1] = np.random.default_rng(0).permutation(count)
    for seed in range(10):
        _, lip = draw_references(frames, target, np.random.default_rng(seed))
        unlike = np.abs(frames.analysis.beta[:, 1] - frames.analysis.beta[target, 1])
        assert target not in lip
        assert (np.diff(unlike[lip]) >= 0).all()
        assert (unlike[lip] <= np.sort(unlike)[14 + LIPS]).all()  # 14 of 39 were not drawn


def adapted(own: OwnFrames, model: MorphableModel) -> tuple[DualAttentionRenderer, list[float]]:
    torch.manual_seed(0)
    network = DualAttentionRenderer(SMALL).eval().requires_grad_(False)
    losses = list(adapt(network, own, model, STEPS))
    return network, losses


def test_adapting_learns_what_it_sees_and_repeats_to_the_bit(
    own: OwnFrames, small_model: MorphableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = next(samples(own, small_model, np.random.default_rng(0)))
    monkeypatch.setattr(module, "RATE", 3e-3)  # an untrained network has far to go
    monkeypatch.setattr(module, "samples", lambda *given: itertools.repeat(one))
    first, losses = adapted(own, small_model)
    again, repeated = adapted(own, small_model)
    assert len(losses) == STEPS
    assert losses == repeated
    assert losses[-1] < losses[0]
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())
    torch.manual_seed(0)
    before = DualAttentionRenderer(SMALL).state_dict()
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        learns = name.startswith(("decoder", "texture_encoder"))
        assert torch.equal(value, before[name]) == (not learns)


def test_the_same_seed_draws_the_same_samples(own: OwnFrames, small_model: MorphableModel) -> None:
    drawn = [next(samples(own, small_model, np.random.default_rng(seed))) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0].picture, drawn[1].picture)
    assert torch.equal(drawn[0].lip.frames, drawn[1].lip.frames)
    assert not torch.equal(drawn[0].picture, drawn[2].picture)


def test_the_refiner_is_left_as_it_is(own: OwnFrames, small_model: MorphableModel) -> None:
    network = DualAttentionRenderer(RendererHyper(refiner_channels=4)).eval()
    refiner = network.refiner
    assert refiner is not None
    kept = {name: value.clone() for name, value in refiner.state_dict().items()}
    list(adapt(network, own, small_model, 1))
    assert network.refiner is refiner
    assert all(torch.equal(value, kept[name]) for name, value in refiner.state_dict().items())
