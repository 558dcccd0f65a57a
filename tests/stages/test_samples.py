import numpy as np
import pytest
import torch

from dubcli.geometry.morphable import MorphableModel
from dubcli.geometry.window import COLUMNS, HEIGHT, ROWS, WIDTH
from dubcli.records import Bytes, Frame
from dubcli.stages.samples import ReferenceBatch, Sample, SampleMaker, expose
from dubcli.training.crops import CroppedClip, crop_clip
from dubcli.training.data import Landmarks

FRAMES = 20


def picture(t: int, height: int = 400, width: int = 640) -> Bytes:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 30 + k + t) * np.cos(columns / (40 + 9 * k)) for k in range(3)]
    return np.rint(127 + 100 * np.stack(waves, -1)).astype(np.uint8)


@pytest.fixture(scope="module")
def clip(small_model: MorphableModel, known_clip) -> CroppedClip:
    found = Landmarks(
        known_clip.landmarks_px[:FRAMES].numpy(),
        (np.arange(FRAMES) / 25).astype(np.float32),
        (400, 640),
    )
    return crop_clip((Frame(t, picture(t)) for t in range(FRAMES + 5)), found, small_model)


def test_sample_holds_the_target_and_its_references_in_the_window(
    clip: CroppedClip, small_model: MorphableModel
) -> None:
    face, lip = np.array([3, 9]), np.array([5, 7, 11])
    sample = SampleMaker(small_model).make(clip, 2, 2, face, lip)
    assert sample.picture.shape == sample.pncc.shape == (3, HEIGHT, WIDTH)
    assert sample.face_mask.shape == sample.lip_mask.shape == (HEIGHT, WIDTH)
    assert sample.face.frames.shape == sample.face.pncc.shape == (2, 3, HEIGHT, WIDTH)
    assert sample.lip.frames.shape == (3, 3, HEIGHT, WIDTH)
    assert sample.lip.masks.shape == (3, HEIGHT, WIDTH)
    for tensor, t in [
        (sample.picture, 2),
        *zip(sample.face.frames, face, strict=True),
        *zip(sample.lip.frames, lip, strict=True),
    ]:
        window = clip.crop(int(t))[ROWS, COLUMNS]
        np.testing.assert_allclose(tensor.permute(1, 2, 0) * 255, window, atol=1e-3)
    assert set(sample.face_mask.unique().tolist()) == {0.0, 1.0}
    assert 0 <= float(sample.pncc.min()) < float(sample.pncc.max()) <= 1


def test_another_frames_mouth_widens_the_masks(
    clip: CroppedClip, small_model: MorphableModel
) -> None:
    maker, none = SampleMaker(small_model), np.array([0])
    plain = maker.make(clip, 2, 2, none, none)
    widened = maker.make(clip, 2, int(clip.aperture.argmax()), none, none)
    for name in ("face_mask", "lip_mask"):
        assert (getattr(widened, name) >= getattr(plain, name)).all()
    assert widened.lip_mask.sum() > plain.lip_mask.sum()
    assert torch.equal(widened.pncc, plain.pncc)


def test_mirrored_sample_is_the_sample_of_a_mirrored_person(
    clip: CroppedClip, small_model: MorphableModel
) -> None:
    maker, some = SampleMaker(small_model), np.array([1, 6])
    plain = maker.make(clip, 2, 4, some, some)
    mirrored = maker.make(clip, 2, 4, some, some, mirrored=True)
    assert torch.equal(mirrored.picture, plain.picture.flip(-1))
    assert torch.equal(mirrored.lip.masks, plain.lip.masks.flip(-1))
    # A mirrored left cheek looks like a right cheek, and its code says so: x becomes 1 - x.
    on_face = plain.pncc.amax(0) > 0
    expected = plain.pncc.clone()
    expected[0, on_face] = 1 - expected[0, on_face]
    torch.testing.assert_close(mirrored.pncc, expected.flip(-1))
    assert not mirrored.pncc[:, ~on_face.flip(-1)].any()


def sample(seed: int = 0) -> Sample:
    generator = torch.Generator().manual_seed(seed)

    def pictures(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, 16, 16, generator=generator)

    masks = (pictures(2) > 0.5).float()
    face, lip = (
        ReferenceBatch(pictures(n, 3), pictures(n, 3), (pictures(n) > 0.5).float()) for n in (2, 3)
    )
    return Sample(
        pictures(3), pictures(3), masks[0], masks[1], face, lip, torch.zeros(3), pictures(8)
    )


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.15])
def test_exposure_changes_every_picture_alike_and_no_geometry(factor: float) -> None:
    before, after = sample(), expose(sample(), factor)
    for old, new in (
        (before.picture, after.picture),
        (before.face.frames, after.face.frames),
        (before.lip.frames, after.lip.frames),
        (before.mouths[:3], after.mouths[:3]),
        (before.mouths[4:7], after.mouths[4:7]),
    ):
        torch.testing.assert_close(new, (old * factor).clamp(0, 1))
    assert torch.equal(after.pncc, before.pncc)
    assert torch.equal(after.face.pncc, before.face.pncc)
    assert torch.equal(after.lip.masks, before.lip.masks)
    for inside in (3, 7):  # where a mouth is open is no colour
        assert torch.equal(after.mouths[inside], before.mouths[inside])


def test_sample_shows_the_mouths_most_like_its_own_first(
    clip: CroppedClip, small_model: MorphableModel
) -> None:
    maker, some = SampleMaker(small_model), np.array([0, 2, 6, 9])
    made = maker.make(clip, 2, 2, some, some)
    assert made.lip_distance[1] == 0  # the frame itself is among its references
    for half in (made.mouths[:3], made.mouths[4:7]):  # both ways of moving leave it in its place
        torch.testing.assert_close(half, made.picture, atol=1e-6, rtol=0)
    assert (made.mouths[8:11] - made.picture).abs().max() > 0.1
    mirrored = maker.make(clip, 2, 2, some, some, mirrored=True)
    assert torch.equal(mirrored.mouths, made.mouths.flip(-1))
