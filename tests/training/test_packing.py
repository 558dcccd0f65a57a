"""Packs of real pictures: what they keep, and that training from them needs nothing else."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dubcli.checkpoints import load_as, load_network, read_header, verified_file
from dubcli.config import TrainingOptions
from dubcli.errors import InputError
from dubcli.geometry.window import COLUMNS, ROWS
from dubcli.loading import load_basis
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.metrics.image import psnr
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.stages.track import Tracker
from dubcli.training.crops import CroppedClip, crop_clip, store_crops
from dubcli.training.data import Clip, Landmarks, read_clips, store_landmarks
from dubcli.training.pack import clips_of, open_pack
from dubcli.training.packing import at_frames, make_pack
from dubcli.training.prepare import landmarks_of
from dubcli.training.speech import SpokenClip, store_speech
from dubcli.training.train_geometry import train_geometry
from dubcli.training.train_renderer import RendererRecipe, cropped_clips, wanted

ROOT = Path(__file__).parents[2]
COLUMN_NAMES = (
    "clip", "split", "kind", "speaker", "set", "seconds", "face_px", "sync", "sync_lag_ms"
)  # fmt: skip
FRAMES = 30
KEPT_DB = 35.0  # of a real face; the renderer itself reaches 27
BLOCKED = ("mediapipe", "av", "imageio_ffmpeg", "ffmpeg")
CHILD = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # importing it raises ImportError
import torch
torch.set_num_threads(1)
from pathlib import Path
from dubcli.config import TrainingOptions
from dubcli.training.train_{kind} import train_{kind} as train
pack, cache, models, recipe = map(Path, sys.argv[1:])
print(train(pack, cache, models, TrainingOptions(recipe, device="cpu")))
"""
TWO_STEPS = "[loop]\nsteps = 2\njudge_steps = 2\n"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "models"
    shutil.copytree(ROOT / "models", folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that lists clips; all that is computed of them is in the cache."""
    folder = tmp_path_factory.mktemp("data")
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMN_NAMES)
        for name, split, speaker, face in (
            ("aa", "train", "s1", 140),
            ("bb", "val", "s2", 90),
            ("small", "train", "s3", 90),
        ):
            table.writerow(
                (f"{name}.mp4", split, "speech", speaker, "wild", 1.2, face, "confirmed", "")
            )
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, data: Path, models: Path) -> Path:
    """Return a cache of a real face's crops, and of made-up speech."""
    folder = tmp_path_factory.mktemp("cache")
    model = load_basis(models)
    video = ROOT / "tests/media_files/carphone.mp4"
    with Tracker(verified_file(models, "face-landmarker")) as tracker:
        found = landmarks_of(video, tracker)
    short = Landmarks(found.landmarks_px[:FRAMES], found.time_s[:FRAMES], found.size_px)
    with FrameReader(probe_video(video)) as reader:
        crops = crop_clip(iter(reader), short, model)
    rng = np.random.default_rng(0)
    for clip in read_clips(data):
        store_landmarks(folder, clip, short)
        store_crops(folder / "crops", clip.name, crops)
        beta = crops.analysis.beta
        versions = [
            SpokenClip(
                rng.normal(size=(2 * len(beta), 384)).astype(np.float16),
                beta,
                np.zeros(len(beta), np.float32),
            )
            for _ in range(3)
        ]
        store_speech(folder / "speech", clip.name, versions)
    return folder


@pytest.fixture(scope="module")
def crops(data: Path, cache: Path, models: Path) -> CroppedClip:
    """Return the training clip from the cache."""
    found = cropped_clips(data, cache, models, load_basis(models), RendererRecipe().data)
    return next(c.content for c in found if c.clip.name == "aa")


def run_blocked(kind: str, pack: Path, folder: Path, models: Path) -> Path:
    """Train from a pack in a process that cannot import what opens videos and finds faces."""
    recipe = folder / "two.toml"
    recipe.write_text(TWO_STEPS)
    script = CHILD.format(blocked=BLOCKED, kind=kind)
    paths = [str(p) for p in (pack, folder / "cache", models, recipe)]
    command = [sys.executable, "-c", script, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.mark.slow
def test_renderer_trains_from_a_pack_without_mediapipe_and_av(
    data: Path, cache: Path, models: Path, crops: CroppedClip, tmp_path: Path
) -> None:
    output = tmp_path / "small.dubpack"
    report = make_pack(data, cache, models, output, faces=15, max_mb=1)
    assert (report.clips, report.shards, report.pictures) == (2, 1, 30)  # "small" is left out
    assert report.psnr_db is not None
    assert report.psnr_db > KEPT_DB
    packed = list(
        cropped_clips(output, tmp_path, models, load_basis(models), RendererRecipe().data)
    )
    assert [(p.clip.name, p.clip.split, len(p.content)) for p in packed] == [
        ("aa", "train", 15),
        ("bb", "val", 15),
    ]
    first, last = packed[0].content.crop(0), packed[0].content.crop(14)
    for made, t in ((first, 0), (last, FRAMES - 1)):
        true = crops.crop(t)
        assert psnr(made[ROWS, COLUMNS], true[ROWS, COLUMNS]) > KEPT_DB
        assert abs(int(made[0].mean()) - 128) <= 1  # outside the window nothing is kept
    np.testing.assert_array_equal(packed[0].content.analysis.beta[14], crops.analysis.beta[-1])

    made = run_blocked("renderer", output, tmp_path, models)

    assert verified_file(models, "renderer") == made
    load_network(models, "renderer")
    header = read_header(made)
    assert "steps = 2" in header["recipe"]
    assert header["recipe"] == (tmp_path / "cache/runs/renderer/recipe.toml").read_text()
    sheets = [p.name for p in (tmp_path / "cache/runs/renderer/sheets").iterdir()]
    assert sheets == ["step-0000002.png"]


@pytest.mark.slow
def test_geometry_trains_from_a_pack_as_from_the_cache(
    data: Path, cache: Path, models: Path, tmp_path: Path
) -> None:
    output = tmp_path / "speech.dubpack"
    report = make_pack(data, cache, models, output, kind="geometry", max_mb=1)
    assert (report.clips, report.psnr_db) == (3, None)
    made = run_blocked("geometry", output, tmp_path, models)
    assert load_as(models, "geometry", LipSyncNet).hyper.audio_width == 384
    again = train_geometry(
        data, cache, models, TrainingOptions(recipe=tmp_path / "two.toml", device="cpu")
    )
    assert again.name == made.name  # the file is named after its hash: the same weights


def test_pack_of_other_speech_features_is_refused(
    data: Path, cache: Path, models: Path, tmp_path: Path
) -> None:
    output = tmp_path / "speech.dubpack"
    make_pack(data, cache, models, output, kind="geometry")
    with pytest.raises(InputError, match="holds features of whisper-tiny-en-enc3, not of hubert"):
        train_geometry(output, tmp_path, models, audio_encoder="hubert")
    pack = open_pack(output, "geometry", models)
    assert {c.clip.name for c in clips_of(pack)} == {"aa", "bb", "small"}


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"kind": "basis"}, "--for basis: give one of: renderer, geometry"),
        ({"output": Path("a.zip")}, r"a\.zip: the name of a pack ends in \.dubpack"),
        ({"data": Path("b.dubpack")}, r"b\.dubpack: is a pack already"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    models: Path, tmp_path: Path, named: dict[str, object], sentence: str
) -> None:
    given: dict[str, object] = {"data": tmp_path, "output": tmp_path / "a.dubpack"} | named
    with pytest.raises(InputError, match=sentence):
        make_pack(cache=tmp_path, models=models, **given)  # type: ignore[arg-type]


def test_frames_keep_what_belongs_to_them(crops: CroppedClip) -> None:
    chosen = np.array([0, 4, 29])
    few = at_frames(crops, chosen)
    assert len(few) == 3
    for k, t in enumerate(chosen):
        np.testing.assert_array_equal(few.crop(k), crops.crop(t))
        assert few.time_s[k] == crops.time_s[t]
        for name in ("alpha", "beta", "rotation", "translation_px", "scale_px"):
            assert (getattr(few.analysis, name)[k] == getattr(crops.analysis, name)[t]).all()


def test_only_sharp_faces_of_the_recipes_sets_teach_the_renderer() -> None:
    def clip_of(which: str, face_px: float, split: str = "train") -> Clip:
        return Clip(Path("a.mp4"), split, "speech", "a", which, 3.0, face_px, "good", 0.0)

    recipe = RendererRecipe().data
    assert wanted(clip_of("wild", 150), recipe)
    assert not wanted(clip_of("wild", 120), recipe)
    assert not wanted(clip_of("grid", 150), recipe)
    assert wanted(clip_of("wild", 90, "val"), recipe)
