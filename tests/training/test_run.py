"""The training commands on two real clips: what they cache, learn, record and measure."""

import csv
import hashlib
import json
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch

from dubcli.checkpoints import load_as, read_header, read_manifest, verified_file
from dubcli.config import TrainingOptions
from dubcli.errors import InputError
from dubcli.media.binary import find_ffmpeg
from dubcli.networks.lip_sync import LipSyncHyper, LipSyncNet
from dubcli.networks.renderer import DualAttentionRenderer
from dubcli.training.judge import Validation, judge_models
from dubcli.training.loop import LoopOptions
from dubcli.training.run import train
from dubcli.training.train_geometry import train_geometry
from dubcli.training.train_renderer import train_renderer

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "examples/media/speech.wav"
COLUMNS = ("clip", "split", "kind", "speaker", "set", "seconds", "face_px", "sync", "sync_lag_ms")
SECONDS = 2.0
A_MOMENT = 0.02  # minutes: a step or two
A_MOMENT_ON_THE_CPU = TrainingOptions(minutes=A_MOMENT, device="cpu")


@dataclass(frozen=True)
class LoopRecipe:
    loop: LoopOptions


def cut(source: Path, target: Path, start_s: float) -> None:
    """Write two seconds of a clip with two seconds of speech."""
    command = [find_ffmpeg(), "-v", "error", "-ss", str(start_s), "-i", str(source)]
    command += ["-i", str(SPEECH), "-t", str(SECONDS), "-map", "0:v:0", "-map", "1:a:0"]
    subprocess.run([*command, "-c:v", "libx264", "-crf", "20", str(target)], check=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a training clip and a validation clip with ``clips.csv``."""
    folder = tmp_path_factory.mktemp("data")
    cut(ROOT / "examples/media/franck.mp4", folder / "aa.mp4", 1.0)
    cut(ROOT / "tests/media_files/carphone.mp4", folder / "bb.mp4", 0.0)
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerow(("aa.mp4", "train", "speech", "s1", "wild", SECONDS, 140, "confirmed", ""))
        table.writerow(("bb.mp4", "val", "speech", "s2", "wild", SECONDS, 90, "confirmed", "40"))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the shipped models that training may overwrite."""
    folder = tmp_path_factory.mktemp("work") / "models"
    shutil.copytree(ROOT / "models", folder)
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.slow
def test_geometry_training_records_a_checkpoint_and_resumes(
    data: Path, cache: Path, models: Path, tmp_path: Path
) -> None:
    def recipe(steps: int) -> Path:
        file = tmp_path / f"{steps}.toml"
        file.write_text(f"[loop]\nsteps = {steps}\njudge_steps = 1\n")
        return file

    before = read_manifest(models)["geometry"]
    first = train_geometry(data, cache, models, TrainingOptions(recipe=recipe(2), device="cpu"))
    assert read_manifest(models)["geometry"].sha256 != before.sha256
    assert not (models / before.file).exists()
    assert verified_file(models, "geometry") == first
    assert load_as(models, "geometry", LipSyncNet).hyper.audio_encoder == "whisper-tiny-en-enc3"
    log = (cache / "runs/geometry/log.csv").read_text().splitlines()
    going_on = TrainingOptions(recipe=recipe(4), resume=True, device="cpu")
    train_geometry(data, cache, models, going_on)
    again = (cache / "runs/geometry/log.csv").read_text().splitlines()
    assert again[: len(log)] == log
    assert [int(float(line.split(",")[0])) for line in again[1:]] == [1, 2, 3, 4]
    assert {p.stem for p in (cache / "speech").glob("*.npz")} == {"aa", "bb"}
    assert any((cache / "runs/geometry/sheets").iterdir())


@pytest.mark.slow
def test_renderer_training_records_a_checkpoint_and_leaves_a_sheet(
    data: Path, cache: Path, models: Path
) -> None:
    file = train_renderer(data, cache, models, A_MOMENT_ON_THE_CPU)
    assert verified_file(models, "renderer") == file
    load_as(models, "renderer", DualAttentionRenderer)
    sheets = list((cache / "runs/renderer/sheets").glob("step-*.png"))
    assert sheets
    assert all(sheet.stat().st_size > 1000 for sheet in sheets)
    recipe = read_header(file)["recipe"]
    assert f"minutes = {A_MOMENT}" in recipe
    assert read_header(file)["recipe_sha256"] == hashlib.sha256(recipe.encode()).hexdigest()
    assert {p.stem for p in (cache / "crops").glob("*.npz")} == {"aa", "bb"}


@pytest.mark.slow
def test_judging_gives_every_row_of_the_readme(data: Path, cache: Path, models: Path) -> None:
    validation = judge_models(data, cache, models)
    assert isinstance(validation, Validation)
    rows = [(row.set, row.network) for row in validation.renderer]
    networks = ["copy the nearest reference", "untrained", "shipped"]
    assert rows == [(of, network) for of in ("wild", "all") for network in networks]
    assert validation.renderer[0].psnr_db < validation.renderer[1].psnr_db  # warping beats copying
    heard = [("wild", "geometry"), ("wild", "geometry-hubert-compact")]
    assert [(row.set, row.network) for row in validation.geometry] == heard
    json.dumps(asdict(validation))


def test_folder_without_usable_clips_is_refused(tmp_path: Path, models: Path) -> None:
    (tmp_path / "clips.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(InputError, match="no usable clips in the split train"):
        train_geometry(tmp_path, tmp_path / "cache", models, A_MOMENT_ON_THE_CPU)


def test_another_recipe_on_resume_is_warned_of(
    tmp_path: Path, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = LipSyncNet(LipSyncHyper(audio_width=4, lower_vertices=2, width=8, layers=1))

    def run(seed: int, *, resume: bool) -> None:
        recipe = LoopRecipe(LoopOptions(minutes=0, seed=seed))
        train(
            network,
            "geometry",
            tmp_path,
            models,
            recipe.loop,
            lambda _: {},
            lambda _: (1.0, {}),
            resume=resume,
            recipe=recipe,
        )

    run(1, resume=False)
    run(1, resume=True)
    assert "another recipe" not in caplog.text
    run(2, resume=True)
    assert "goes on with another recipe" in caplog.text
    assert "seed = 2" in (tmp_path / "runs/geometry/recipe.toml").read_text()
