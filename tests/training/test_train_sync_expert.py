"""``dubcli train sync-expert`` on two real clips."""

import csv
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from dubcli.checkpoints import load_as, verified_file
from dubcli.config import TrainingOptions
from dubcli.errors import InputError
from dubcli.media.binary import find_ffmpeg
from dubcli.networks.sync_expert import SyncExpert
from dubcli.training.sync_expert import half_of
from dubcli.training.train_sync_expert import train_sync_expert

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "examples/media/speech.wav"
COLUMNS = ("clip", "split", "kind", "speaker", "set", "seconds", "face_px", "sync", "sync_lag_ms")
A_MOMENT = 0.01  # minutes: a step or two
A_MOMENT_ON_THE_CPU = TrainingOptions(minutes=A_MOMENT, device="cpu")


def cut(source: Path, target: Path) -> None:
    """Write 1.4 s of a clip with speech."""
    command = [find_ffmpeg(), "-v", "error", "-i", str(source), "-i", str(SPEECH), "-t", "1.4"]
    command += ["-map", "0:v:0", "-map", "1:a:0", "-c:v", "libx264", "-preset", "ultrafast"]
    subprocess.run([*command, str(target)], check=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder of a training clip and a validation clip with ``clips.csv``."""
    cut(ROOT / "examples/media/franck.mp4", tmp_path / "aa.mp4")
    cut(ROOT / "tests/media_files/carphone.mp4", tmp_path / "bb.mp4")
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerow(("aa.mp4", "train", "speech", "s1", "wild", 1.4, 140, "confirmed", "-40"))
        table.writerow(("bb.mp4", "val", "speech", "s2", "wild", 1.4, 90, "confirmed", "40"))
    return tmp_path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a copy of the shipped models that training may overwrite."""
    return Path(shutil.copytree(ROOT / "models", tmp_path / "models"))


@pytest.mark.slow
def test_training_cuts_mouths_and_records_a_checkpoint(
    data: Path, models: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    cache = tmp_path / "cache"
    half = half_of("s1")
    file = train_sync_expert(
        data, cache, models, A_MOMENT_ON_THE_CPU, kind="pixels", name="mine", half=half
    )
    assert verified_file(models, "mine") == file
    assert load_as(models, "mine", SyncExpert).hyper.kind == "pixels"
    assert {p.stem for p in (cache / "mouths").glob("*.npz")} == {"aa", "bb"}
    other = ({"losses", "measuring"} - {half}).pop()
    with pytest.raises(InputError, match="no usable clips in the split train"):
        train_sync_expert(data, cache, models, A_MOMENT_ON_THE_CPU, half=other)


@pytest.mark.parametrize(("option", "value"), [("kind", "voxels"), ("half", "third")])
def test_unknown_kind_or_half_is_refused(tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(InputError, match=f"--{option} {value}: give one of: "):
        train_sync_expert(tmp_path, tmp_path, tmp_path, **{option: value})
