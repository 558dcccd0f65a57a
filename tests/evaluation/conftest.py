"""A second of the example clip, and copies of it with one thing changed."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dubcli.config import EvaluationOptions
from dubcli.evaluation.evaluate import load_for
from dubcli.loading import Models
from dubcli.media.binary import find_ffmpeg

ROOT = Path(__file__).parents[2]
FRANCK = ROOT / "examples/media/franck.mp4"
START, FRAMES = 48, 24  # a second in which the mouth opens and closes


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., None]:
    return run_ffmpeg


@pytest.fixture(scope="session")
def options() -> EvaluationOptions:
    return EvaluationOptions(models=ROOT / "models", threads=1, device="cpu", every=8)


def run_ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="session")
def models(options: EvaluationOptions) -> Iterator[Models]:
    before = torch.get_num_threads()
    yield load_for(options)
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 24 frames, 1 s, without sound."""
    target = tmp_path_factory.mktemp("evaluation") / "clip.mp4"
    chain = f"trim=start_frame={START}:end_frame={START + FRAMES},setpts=PTS-STARTPTS"
    run_ffmpeg("-i", FRANCK, "-an", "-vf", chain, "-preset", "veryfast", "-crf", "8", target)
    return target


@pytest.fixture(scope="session")
def copy(clip: Path) -> Callable[..., Path]:
    """Return a function that makes a copy of the clip through ffmpeg's filters."""

    def make(name: str, *filters: str, sound: Path | None = None) -> Path:
        target = clip.parent / f"{name}.mp4"
        if not target.exists():
            heard = [] if sound is None else ["-i", sound, "-shortest"]
            coding = ["-vf", ",".join(filters), "-preset", "veryfast", "-crf", "8"]
            run_ffmpeg("-i", clip, *heard, *coding, target)
        return target

    return make
