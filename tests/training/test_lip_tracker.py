"""A tracker of lips that can be descended: what it is taught, and what it does to the renderer."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dubcli.checkpoints import load_network, verified_file
from dubcli.config import TrainingOptions
from dubcli.geometry.crop import CROP_SIZE, crop_for_head
from dubcli.geometry.morphable import INNER_LIP_RING, OUTER_LIP_RING, MorphableModel
from dubcli.geometry.window import HEIGHT, WIDTH
from dubcli.loading import load_basis
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.networks.precision import mixed
from dubcli.networks.renderer import Rendered
from dubcli.records import Analysis
from dubcli.stages.samples import ReferenceBatch, Sample
from dubcli.stages.track import Tracker
from dubcli.training import lip_tracker
from dubcli.training.crops import CroppedClip, crop_clip, store_crops
from dubcli.training.data import Landmarks, read_clips, store_landmarks
from dubcli.training.lip_tracker import (
    MIRRORED,
    RING,
    LipTracker,
    LipTrackerRun,
    LipTrackerTraining,
    apart,
    compare,
    landmark_loss,
    mouth_and_lips,
    spoilt,
)
from dubcli.training.loop import LoopProgress
from dubcli.training.perceptual import MOUTH_COLUMNS, MOUTH_ROWS, mouth_of
from dubcli.training.prepare import landmarks_of
from dubcli.training.renderer import RendererTraining, sample_losses
from dubcli.training.train_renderer import train_renderer
from tests.conftest import KnownClip

ROOT = Path(__file__).parents[2]
FRAMES = 24
COLUMN_NAMES = (
    "clip", "split", "kind", "speaker", "set", "seconds", "face_px", "sync", "sync_lag_ms"
)  # fmt: skip
PAINTED = {  # landmark of the ring: the right corner, the left one, top and bottom -> colour
    RING.index(78): (250, 0, 0),
    RING.index(308): (0, 250, 0),
    RING.index(0): (0, 0, 250),
    RING.index(17): (250, 250, 0),
}
SWAPPED = {RING.index(78): RING.index(308), RING.index(308): RING.index(78)}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def painted(small_model: MorphableModel, known_clip: KnownClip) -> CroppedClip:
    """Return a clip whose pictures show four of the mesh's lip landmarks, and nothing else."""
    frames = len(known_clip.beta)
    analysis = Analysis(
        alpha=known_clip.alpha.expand(frames, -1).numpy(),
        beta=known_clip.beta.numpy(),
        rotation=known_clip.rotation.numpy(),
        translation_px=known_clip.translation_px.numpy(),
        scale_px=known_clip.scale_px.numpy(),
        shot=np.zeros(frames, np.int64),
        valid=np.ones(frames, np.bool_),
        lip_aperture=np.zeros(frames, np.float32),
    )
    matrix = np.stack(
        [
            crop_for_head(
                analysis.rotation[t], analysis.translation_px[t], float(analysis.scale_px[t])
            ).matrix
            for t in range(frames)
        ]
    )
    time_s = np.arange(frames, dtype=np.float32) / 25
    blank = CroppedClip((np.zeros(0, np.uint8),) * frames, time_s, time_s, analysis, matrix)
    pictures = []
    for t in range(frames):
        landmarks = blank.points(small_model, t)[list(RING), :2]
        picture = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)
        for k, colour in PAINTED.items():
            x, y = np.floor(landmarks[k]).astype(int)
            picture[y - 1 : y + 2, x - 1 : x + 2] = colour
        pictures.append(cv2.imencode(".png", picture[:, :, ::-1])[1].reshape(-1))
    return CroppedClip(tuple(pictures), time_s, time_s, analysis, matrix)


def test_mirroring_gives_each_landmark_the_place_of_its_partner(
    small_model: MorphableModel,
) -> None:
    lips = small_model.mean[list(INNER_LIP_RING + OUTER_LIP_RING)]  # symmetric in x
    flipped = lips * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(flipped[MIRRORED], lips, atol=0.02, rtol=0)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (9.0, -11.0)])
def test_labels_lie_where_the_mesh_is_drawn(
    painted: CroppedClip,
    small_model: MorphableModel,
    shift: tuple[float, float],
    mirrored: bool,
) -> None:
    for t in (0, 31):
        box, lips = mouth_and_lips(painted, small_model, t, np.array(shift), mirrored=mirrored)
        assert box.shape == (MOUTH_ROWS, MOUTH_COLUMNS, 3)
        assert lips.shape == (len(RING), 2)
        for k, colour in PAINTED.items():
            colour = PAINTED[SWAPPED.get(k, k)] if mirrored else colour
            rows, columns = np.nonzero((box == colour).all(axis=2))
            centre = np.array([columns.mean(), rows.mean()]) + 0.5
            assert np.abs(lips[k] - centre).max() <= 0.5


def test_box_moves_by_the_shift(painted: CroppedClip, small_model: MorphableModel) -> None:
    _, still = mouth_and_lips(painted, small_model, 5, np.zeros(2))
    _, moved = mouth_and_lips(painted, small_model, 5, np.array([7.0, -10.0]))
    np.testing.assert_allclose(moved - still, np.tile([-7.0, 10.0], (len(RING), 1)), atol=1e-4)


def test_spoilt_mouths_stay_pictures_and_the_plain_one_is_kept_without_spoiling() -> None:
    generator = np.random.default_rng(0)
    box = generator.integers(0, 256, (MOUTH_ROWS, MOUTH_COLUMNS, 3)).astype(np.uint8)
    worst = LipTrackerTraining(brightness=1.0, blur_px=3.0, noise=0.5)
    for _ in range(5):
        made = spoilt(box, generator, worst)
        assert made.dtype == np.float32
        assert 0 <= made.min() <= made.max() <= 1
    plain = LipTrackerTraining(brightness=0.0, blur_px=0.0, noise=0.0)
    np.testing.assert_allclose(spoilt(box, generator, plain), box / 255, atol=1e-6)


def test_an_inner_landmark_weighs_three_times_an_outer_one() -> None:
    still = torch.zeros(2, len(RING), 2)
    inner, outer = still.clone(), still.clone()
    inner[0, 3], outer[0, 30] = 1.0, 1.0
    assert float(apart(inner, still)) == pytest.approx(3 * float(apart(outer, still)))
    assert float(apart(still + 2.0, still)) == pytest.approx(2.0)


def test_figures_say_how_the_found_opening_follows_the_true_one() -> None:
    generator = np.random.default_rng(0)
    true = np.zeros((30, len(RING), 2), np.float32)
    true[:, 11:20, 1] = generator.uniform(0, 12, (30, 1))  # the lower inner lip
    found = true * np.float32(0.75)
    got = compare(found, true)
    assert got.opening_slope == pytest.approx(0.75)
    assert got.opening_correlation == pytest.approx(1)
    shifted = compare(true + np.array([3, -4], np.float32), true)
    assert (shifted.error_px, shifted.opening_slope) == (pytest.approx(5), pytest.approx(1))


def test_tracker_finds_places_in_pixels_whatever_the_precision() -> None:
    torch.manual_seed(0)
    tracker = LipTracker()
    torch.nn.init.zeros_(tracker.heat.weight)  # no place is preferred: the mean is the middle
    pictures = torch.rand(2, 3, MOUTH_ROWS, MOUTH_COLUMNS)
    middle = torch.tensor([MOUTH_COLUMNS / 2, MOUTH_ROWS / 2]).expand(2, len(RING), 2)
    with mixed(torch.device("cpu"), bfloat16=True):
        found = tracker(pictures.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, middle)


def test_tracker_learns_where_painted_lips_are(
    painted: CroppedClip, small_model: MorphableModel
) -> None:
    torch.manual_seed(0)
    tracker = LipTracker(8)
    training = LipTrackerTraining(batch=4, blur_px=0.0, noise=0.0)
    run = LipTrackerRun(tracker, {"a": [painted]}, [painted], small_model, training)
    optimiser = torch.optim.Adam(tracker.parameters(), lr=1e-2)
    before = run.judge(tracker)[1]["error_px"]
    for step in range(40):
        loss = run.loss(np.random.default_rng(step))["apart_px"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    score, figures = run.judge(tracker)
    assert figures["error_px"] < before / 3
    assert score == -figures["error_px"]


def window_sample() -> Sample:
    """Return a sample of the window's size, its lips in the middle."""
    generator = torch.Generator().manual_seed(0)

    def pictures(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, HEIGHT, WIDTH, generator=generator)

    lips = torch.zeros(HEIGHT, WIDTH)
    lips[70:100, 90:140] = 1
    none = ReferenceBatch(pictures(0, 3), pictures(0, 3), pictures(0))
    return Sample(
        pictures(3), pictures(3), torch.ones_like(lips), lips, none, none, torch.zeros(0), lips[:0]
    )


def test_loss_is_zero_on_the_truth_and_moves_only_the_rendered_mouth() -> None:
    torch.manual_seed(0)
    tracker = LipTracker().requires_grad_(False)
    sample = window_sample()
    image = (sample.picture * 0.5).requires_grad_()
    rendered = Rendered(image, image.detach(), torch.zeros(8, HEIGHT // 4, WIDTH // 4))
    training = RendererTraining(landmark_weight=0.25)
    loss = sample_losses(rendered, sample, training, lips=tracker)["landmarks"]
    made, true = (mouth_of(x, sample.lip_mask) for x in (image, sample.picture))
    torch.testing.assert_close(loss, 0.25 * apart(tracker(made), tracker(true)))
    loss.backward()
    assert image.grad is not None
    moved = mouth_of(image.grad, sample.lip_mask).abs().sum()
    assert moved > 0
    assert float(image.grad.abs().sum()) == pytest.approx(float(moved), rel=1e-5)
    assert float(landmark_loss(tracker, true, true)) == 0


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return data, cache and models: a real face, cropped, to learn from and to judge by."""
    folder = tmp_path_factory.mktemp("real")
    models, cache = folder / "models", folder / "cache"
    shutil.copytree(ROOT / "models", models)
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMN_NAMES)
        for name, split in (("aa", "train"), ("bb", "val")):
            table.writerow((f"{name}.mp4", split, "speech", name, "wild", 1, 140, "confirmed", ""))
    video = ROOT / "tests/media_files/carphone.mp4"
    with Tracker(verified_file(models, "face-landmarker")) as tracker:
        found = landmarks_of(video, tracker)
    short = Landmarks(found.landmarks_px[:FRAMES], found.time_s[:FRAMES], found.size_px)
    with FrameReader(probe_video(video)) as reader:
        crops = crop_clip(iter(reader), short, load_basis(models))
    for clip in read_clips(folder):
        store_landmarks(cache, clip, short)
        store_crops(cache / "crops", clip.name, crops)
    return folder, cache, models


RECIPE = """
[training]
landmark_weight = {weight}
[lip_tracker]
steps = 3
batch = 2
[data]
judged_frames = 1
[loop]
steps = 2
judge_steps = 2
"""


@pytest.mark.slow
def test_a_run_trains_its_tracker_first_and_keeps_a_finished_one(
    real: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache, models = real
    recipe = tmp_path / "lips.toml"
    recipe.write_text(RECIPE.format(weight=0.1))
    seen: list[LoopProgress] = []
    train_renderer(data, cache, models, TrainingOptions(recipe), observer=seen.append)
    load_network(models, "renderer")
    tracked = [p for p in seen if "apart_px" in p.losses and not p.judged]
    rendered = [p for p in seen if "landmarks" in p.losses and not p.judged]
    assert [len(tracked), len(rendered)] == [3, 2]
    assert seen.index(tracked[-1]) < seen.index(rendered[0])
    best = cache / "runs/lip-tracker/best.safetensors"
    first = best.stat().st_mtime_ns

    def refuse(*_: object) -> dict[str, torch.Tensor]:
        raise AssertionError("a finished tracker was trained again")

    monkeypatch.setattr(lip_tracker.LipTrackerRun, "loss", refuse)
    recipe.write_text(RECIPE.format(weight=0.1).replace("steps = 2\nj", "steps = 3\nj"))
    train_renderer(data, cache, models, TrainingOptions(recipe, resume=True))
    assert best.stat().st_mtime_ns == first


@pytest.mark.slow
def test_weight_zero_needs_no_tracker(real: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, cache, models = real
    recipe = tmp_path / "plain.toml"
    recipe.write_text(RECIPE.format(weight=0.0))
    shutil.rmtree(cache / "runs", ignore_errors=True)
    seen: list[LoopProgress] = []
    train_renderer(data, cache, models, TrainingOptions(recipe), observer=seen.append)
    assert {name for p in seen for name in p.losses} == {"image", "warp"}
    assert [p.name for p in (cache / "runs").iterdir()] == ["renderer"]
