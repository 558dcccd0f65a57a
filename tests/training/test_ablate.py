"""What a part is worth: that switching it off switches off that part, and no other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.checkpoints import load_as
from dubcli.geometry.morphable import MorphableModel
from dubcli.loading import load_basis, load_style_encoder
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.networks.renderer import DualAttentionRenderer
from dubcli.stages.samples import Sample, SampleMaker, render_sample
from dubcli.stages.track import Tracker
from dubcli.training.ablate import (
    anywhere,
    at_random,
    generated_rows,
    rendered_rows,
    without_face,
    without_lips,
    without_preference,
)
from dubcli.training.crops import CroppedClip, crop_clip
from dubcli.training.data import Landmarks
from dubcli.training.geometry import GeometryProblem, GeometryTraining, StoredSpeech
from dubcli.training.renderer import Seen
from dubcli.training.renderer_data import RendererSampling, draw_training_indices
from dubcli.training.speech import SpokenClip

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
FRAMES = 30


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_basis(MODELS)


@pytest.fixture(scope="module")
def clip(model: MorphableModel) -> CroppedClip:
    """Return the beginning of the example clip, cropped."""
    info = probe_video(ROOT / "examples/media/franck.mp4")
    with FrameReader(info, 48, 48 + FRAMES) as reader:
        frames = [replace(frame, index=k) for k, frame in enumerate(reader)]
    with Tracker(MODELS / "face-landmarker/face_landmarker.task") as tracker:
        found = [tracker.landmarks_px(frame.rgb) for frame in frames]
    marks = np.stack([points for points in found if points is not None])
    assert len(marks) == FRAMES
    time_s = (np.arange(FRAMES) / 24).astype(np.float32)
    return crop_clip(iter(frames), Landmarks(marks, time_s, (info.height, info.width)), model)


@pytest.fixture(scope="module")
def network() -> DualAttentionRenderer:
    return load_as(MODELS, "renderer", DualAttentionRenderer)


@pytest.fixture(scope="module")
def sample(clip: CroppedClip, model: MorphableModel) -> Sample:
    face, lip = np.array([2, 20]), np.array([4, 12, 25])
    return SampleMaker(model).make(clip, 15, 15, face, lip)


def change(sample: Sample, branch: str) -> Sample:
    """Return the sample with the pictures of one branch's references turned grey."""
    references = getattr(sample, branch)
    grey = replace(references, frames=torch.full_like(references.frames, 0.5))
    return replace(sample, **{branch: grey})


@pytest.mark.parametrize(("seen", "unused"), [(without_lips, "lip"), (without_face, "face")])
def test_references_of_the_branch_that_is_off_do_not_matter(
    network: DualAttentionRenderer, sample: Sample, seen: Seen, unused: str
) -> None:
    def render(one: Sample) -> Tensor:
        return render_sample(network, seen(one)).image

    other = ({"lip", "face"} - {unused}).pop()
    with torch.no_grad():
        before = render(sample)
        torch.testing.assert_close(render(change(sample, unused)), before)
        assert not torch.allclose(render(change(sample, other)), before, atol=0.05)
        assert not torch.allclose(render_sample(network, sample).image, before, atol=0.01)


def test_mouths_that_are_all_alike_are_not_preferred(
    network: DualAttentionRenderer, sample: Sample
) -> None:
    alike = replace(sample, lip_distance=torch.full_like(sample.lip_distance, 0.1))
    with torch.no_grad():
        plain = render_sample(network, without_preference(sample)).image
        torch.testing.assert_close(plain, render_sample(network, alike).image, atol=1e-3, rtol=0)
        assert not torch.allclose(plain, render_sample(network, sample).image, atol=0.01)


def test_random_references_keep_away_and_repeat(clip: CroppedClip) -> None:
    long = replace(clip, time_s=np.arange(FRAMES, dtype=np.float32) / 10)
    face, lip = at_random(long, 3)
    assert len(set(face.tolist())) == 5
    assert (np.abs(long.time_s[np.concatenate([face, lip])] - 0.3) >= 1).all()
    np.testing.assert_array_equal(at_random(long, 3)[1], lip)


def test_training_without_frame_selection_draws_face_references_from_the_whole_clip() -> None:
    def near_and_own(sampling: RendererSampling) -> tuple[float, float]:
        """Return the share of face references within the window, and of targets among them."""
        near, own = [], []
        for seed in range(300):
            frames = range(200)  # of the clip only its length counts
            index, _, face, lip = draw_training_indices(
                frames, np.random.default_rng(seed), sampling
            )
            near += [abs(frame - index) <= 2 * len(face) for frame in face]
            own.append(index in face)
            assert (np.abs(lip - index) >= sampling.self_gap).all()
        return float(np.mean(near)), float(np.mean(own))

    near, own = near_and_own(anywhere(RendererSampling()))
    assert near < 0.1  # 13 of 200 frames
    assert own == 0
    assert min(near_and_own(RendererSampling())) > 0.3


def test_every_part_has_a_row(
    network: DualAttentionRenderer, clip: CroppedClip, model: MorphableModel
) -> None:
    rows = list(rendered_rows(network, [clip], SampleMaker(model)))
    assert [row.without for row in rows] == [
        "nothing",
        "Lip-Attention",
        "Face-Attention",
        "preference of like mouths",
        "frame selection",
    ]
    assert len({row.lip_psnr_db for row in rows}) == 5  # each makes a difference
    assert all(20 < row.psnr_db < 45 for row in rows)


def test_motion_in_ones_own_style_is_most_alike(model: MorphableModel) -> None:
    problem = GeometryProblem(model, GeometryTraining())
    lip_sync = load_as(MODELS, "geometry", LipSyncNet)
    generator = np.random.default_rng(0)
    clips = []
    for amount in (0.3, 1.5, 0.7):
        sound = generator.normal(size=(160, 384)).astype(np.float16)
        beta = amount * np.cumsum(generator.normal(size=(80, 32)), axis=0) / 4
        spoken = SpokenClip(sound, beta.astype(np.float32), np.zeros(80, np.float32))
        clips.append(StoredSpeech(str(amount), str(amount), "wild", (spoken,)))
    rows = list(generated_rows(lip_sync, clips, problem, load_style_encoder(MODELS).network))
    assert [row.without.split(" (")[0] for row in rows] == ["nothing", "style", "style"]
    assert all(0 <= row.style_similarity <= 1 for row in rows)
    assert len({round(row.deviation_ratio, 6) for row in rows}) == 3
