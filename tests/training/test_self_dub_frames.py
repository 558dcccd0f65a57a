"""Frames of a self-dub: what is pasted, what the renderer may see, and which mouth it is given."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dubcli.checkpoints import load_as
from dubcli.geometry.morphable import MorphableModel
from dubcli.geometry.window import COLUMNS, ROWS, WindowDrawer
from dubcli.loading import Models, load_basis
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.networks.renderer import DualAttentionRenderer
from dubcli.stages.samples import SampleMaker, render_sample
from dubcli.stages.track import Tracker
from dubcli.training.crops import CroppedClip, crop_clip
from dubcli.training.data import Landmarks
from dubcli.training.renderer_data import FAR_S, distant_references
from dubcli.training.self_dub_frames import (
    OtherMouth,
    RememberingRenderer,
    SelfDubber,
    expression_of,
    keeps_away,
)

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
FRAMES, FPS = 30, 10  # three seconds, so that there are references a second away
SAME = 1.0  # grey levels: rounding


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_basis(MODELS)


@pytest.fixture(scope="module")
def clip(model: MorphableModel) -> CroppedClip:
    """Return a piece of the example clip, every other frame, told to last three seconds."""
    info = probe_video(ROOT / "examples/media/franck.mp4")
    with FrameReader(info, 48, 48 + 2 * FRAMES) as reader:
        frames = [replace(f, index=k) for k, f in enumerate(list(reader)[::2])]
    with Tracker(MODELS / "face-landmarker/face_landmarker.task") as tracker:
        found = [tracker.landmarks_px(frame.rgb) for frame in frames]
    marks = np.stack([points for points in found if points is not None])
    assert len(marks) == FRAMES
    time_s = (np.arange(FRAMES) / FPS).astype(np.float32)
    return crop_clip(iter(frames), Landmarks(marks, time_s, (info.height, info.width)), model)


@pytest.fixture(scope="module")
def models(model: MorphableModel) -> Models:
    network = load_as(MODELS, "renderer", DualAttentionRenderer)
    nothing = Path("none")
    return Models(nothing, model, nothing, None, None, network, torch.device("cpu"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def dubber(clip: CroppedClip, model: MorphableModel) -> SelfDubber:
    return SelfDubber(clip, SampleMaker(model))


def mask_of(clip: CroppedClip, model: MorphableModel, t: int) -> np.ndarray:
    """Return what is replaced in frame t's crop, drawn without the sample."""
    mask = WindowDrawer(model).face_mask(clip.points(model, t)) > 0
    inside = np.zeros_like(mask)
    inside[ROWS, COLUMNS] = mask[ROWS, COLUMNS]
    return inside


def test_copy_is_the_references_pixels_inside_the_mask_and_the_frames_own_outside(
    dubber: SelfDubber, clip: CroppedClip, model: MorphableModel
) -> None:
    for t in (0, 14, 29):
        away = np.abs(clip.time_s - clip.time_s[t]) >= FAR_S
        turn = np.linalg.norm(clip.analysis.rotation - clip.analysis.rotation[t], axis=1)
        nearest = int(np.flatnonzero(away)[turn[away].argmin()])
        mask, made = mask_of(clip, model, t), dubber.copied(t)
        np.testing.assert_array_equal(made[mask], clip.crop(nearest)[mask])
        np.testing.assert_array_equal(made[~mask], clip.crop(t)[~mask])
        assert 2000 < mask.sum() < mask.size / 2
        assert (made[mask] != clip.crop(t)[mask]).any()


def test_frames_lower_face_is_not_seen_by_what_renders_it(
    dubber: SelfDubber, clip: CroppedClip, model: MorphableModel, models: Models
) -> None:
    t = 14
    made = dubber.rendered(t, models)
    mask = mask_of(clip, model, t)
    np.testing.assert_array_equal(made[~mask], clip.crop(t)[~mask])
    painted = clip.crop(t)
    painted[mask] = 255 - painted[mask]
    _, encoded = cv2.imencode(".png", painted[:, :, ::-1])
    pictures = (*clip.pictures[:t], encoded.reshape(-1), *clip.pictures[t + 1 :])
    blind = SelfDubber(replace(clip, pictures=pictures), SampleMaker(model))
    np.testing.assert_array_equal(blind.rendered(t, models)[mask], made[mask])
    assert 0.5 < np.abs(made[mask].astype(int) - clip.crop(t)[mask]).mean() < 20


def test_own_mouth_given_as_a_displacement_is_the_own_geometry(
    dubber: SelfDubber, clip: CroppedClip, model: MorphableModel, models: Models
) -> None:
    t = 14
    own = WindowDrawer(model).own_displacement(clip.analysis.beta[t])
    plain, given = dubber.rendered(t, models), dubber.rendered(t, models, own)
    assert np.abs(plain.astype(float) - given).max() <= SAME


def test_other_mouth_moves_the_target_alone_and_hides_both_mouths(
    dubber: SelfDubber, clip: CroppedClip, model: MorphableModel
) -> None:
    draw, order = WindowDrawer(model), clip.aperture.argsort()
    t, wide = int(order[0]), int(order[-1])
    mouth = draw.own_displacement(clip.analysis.beta[wide])
    other = OtherMouth(dubber, t, mouth, draw)
    face, lip = distant_references(clip, t)
    maker = SampleMaker(model)
    plain, made = maker.make(dubber, t, t, face, lip), maker.make(other, t, t, face, lip)
    torch.testing.assert_close(made.face.pncc, plain.face.pncc)
    torch.testing.assert_close(made.lip.pncc, plain.lip.pncc)
    assert (made.pncc - plain.pncc).abs().max() > 0.1
    assert bool((made.face_mask >= plain.face_mask).all())
    assert made.face_mask.sum() > plain.face_mask.sum()  # the chin went down
    shapes = draw.own_displacement(clip.analysis.beta[lip])
    np.testing.assert_allclose(
        made.lip_distance.numpy(), draw.mouth_distance(mouth, shapes), atol=1e-3
    )
    opening = [p[14, 1] - p[13, 1] for p in (clip.points(model, t), other.points(model, t))]
    assert opening[1] > opening[0] + 3  # pixels between the inner lips


def test_expression_has_the_inner_lips_of_the_mouth(model: MorphableModel) -> None:
    draw = WindowDrawer(model)
    beta = np.random.default_rng(0).normal(size=len(model.expression)).astype(np.float32)
    mouth = draw.own_displacement(beta)
    found = draw.own_displacement(expression_of(mouth, draw))
    assert draw.mouth_distance(mouth, found[None])[0] < 1e-3
    assert draw.mouth_distance(mouth, np.zeros_like(mouth)[None])[0] > 0.05


def test_reference_is_encoded_once_and_renders_the_same(
    clip: CroppedClip, model: MorphableModel, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    plain = DualAttentionRenderer.encode

    def counted(self: DualAttentionRenderer, branch: str, *inputs: torch.Tensor) -> object:
        encoded.append(len(inputs[0]))
        return plain(self, branch, *inputs)

    monkeypatch.setattr(DualAttentionRenderer, "encode", counted)
    remembering = RememberingRenderer(models.renderer)
    maker = SampleMaker(model)
    face, lip = np.array([2, 25, 25]), np.array([2, 3, 27])
    with torch.no_grad():
        sample = maker.make(clip, 14, 14, face, lip)
        first = render_sample(remembering, sample).image
        assert encoded == [3, 3]
        torch.testing.assert_close(render_sample(remembering, sample).image, first)
        assert encoded == [3, 3]
        render_sample(remembering, maker.make(clip, 15, 15, face, np.array([2, 4])))
        assert encoded == [3, 3, 1]
        torch.testing.assert_close(first, render_sample(models.renderer, sample).image)


def test_clip_keeps_away_if_five_frames_are_a_second_away_from_each(clip: CroppedClip) -> None:
    assert keeps_away(clip)
    middle = replace(clip, time_s=np.arange(FRAMES, dtype=np.float32) / 13)
    for each in (clip, middle):
        fewest = min(
            sum(abs(float(a) - float(b)) >= FAR_S for a in each.time_s) for b in each.time_s
        )
        assert keeps_away(each) == (fewest >= 5)
    assert not keeps_away(middle)
