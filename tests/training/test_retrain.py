"""Trainings without a part: that it is missing, that they go on after a kill, replace nothing."""

import csv
import hashlib
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dubcli.config import TrainingOptions
from dubcli.loading import load_basis
from dubcli.media.binary import find_ffmpeg
from dubcli.networks.lip_sync import LipSyncHyper, LipSyncNet
from dubcli.training import ablate
from dubcli.training import retrain as module
from dubcli.training.ablate import PARTS, Ablation, without_face, without_lips, without_preference
from dubcli.training.crops import CroppedClip
from dubcli.training.data import Prepared
from dubcli.training.loop import LoopProgress
from dubcli.training.renderer import Seen, unchanged
from dubcli.training.retrain import StylelessLipSync, retrain
from dubcli.training.train_renderer import (
    RendererRecipe,
    RendererRun,
    cropped_clips,
    new_renderer,
)

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
COLUMNS = ("clip", "split", "kind", "speaker", "set", "seconds", "face_px", "sync", "sync_lag_ms")
SECONDS = 1.3  # StyleSim wants 25 frames
STEPS = 2
PART_NAMES = [part.name for part in PARTS]


class KilledError(Exception):
    """Stands for a kill."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _few_frames() -> Iterator[None]:
    """Judge by few frames and references: what is tested here is which rows there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablate, "FRAMES_A_CLIP", 1)
        patch.setattr(ablate, "LIPS", 6)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a training clip and two validation clips with ``clips.csv``."""
    folder = tmp_path_factory.mktemp("data")
    franck, carphone = ROOT / "examples/media/franck.mp4", ROOT / "tests/media_files/carphone.mp4"
    rows = []
    for name, source, start_s, split in (
        ("aa", franck, 1.0, "train"),
        ("bb", carphone, 0.0, "val"),
        ("cc", franck, 3.0, "val"),
    ):
        command = [find_ffmpeg(), "-v", "error", "-ss", str(start_s), "-i", str(source)]
        command += ["-i", str(ROOT / "examples/media/speech.wav"), "-t", str(SECONDS)]
        command += ["-map", "0:v:0", "-map", "1:a:0", "-preset", "ultrafast"]
        subprocess.run([*command, str(folder / f"{name}.mp4")], check=True)
        rows.append((f"{name}.mp4", split, "speech", name, "wild", SECONDS, 140, "confirmed", ""))
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def clips(data: Path, cache: Path) -> list[Prepared[CroppedClip]]:
    recipe = RendererRecipe()
    return list(cropped_clips(data, cache, MODELS, load_basis(MODELS), recipe.data))


def a_run(clips: list[Prepared[CroppedClip]], seen: Seen) -> RendererRun:
    recipe = RendererRecipe()
    return RendererRun(new_renderer(recipe), clips, load_basis(MODELS), recipe, None, seen=seen)


def total(run: RendererRun, seed: int = 3) -> Tensor:
    return torch.stack(list(run.loss(np.random.default_rng(seed)).values())).sum()


def learns(network: nn.Module, name: str) -> bool:
    """Return whether a gradient reached any parameter with this in its name."""
    found = [p.grad for key, p in network.named_parameters() if name in key.split(".")]
    assert found
    return any(grad is not None and bool(grad.any()) for grad in found)


@pytest.mark.parametrize(
    ("seen", "learning"),
    [
        (unchanged, {"face": True, "lip": True}),
        (without_lips, {"face": True, "lip": False}),
        (without_face, {"face": False, "lip": True}),
    ],
)
def test_no_gradient_reaches_a_branch_that_is_missing(
    clips: list[Prepared[CroppedClip]], seen: Seen, learning: dict[str, bool]
) -> None:
    run = a_run(clips, seen)
    total(run).backward()
    assert {branch: learns(run.network, branch) for branch in learning} == learning
    assert learns(run.network, "decoder")


def test_lips_weigh_as_much_in_the_losses_without_lip_attention(
    clips: list[Prepared[CroppedClip]], monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed = []

    def noting(made: Tensor, true: Tensor, weight: Tensor, gradient: float) -> Tensor:
        weighed.append(weight)
        return (made - true).abs().mean()

    monkeypatch.setattr("dubcli.stages.samples.multiscale_l1", noting)
    for seen in (unchanged, without_lips):
        total(a_run(clips, seen))
    assert torch.equal(weighed[0], weighed[2])


def test_preference_is_missing_in_training_too(
    clips: list[Prepared[CroppedClip]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():
        without, whole = (total(a_run(clips, seen)) for seen in (without_preference, unchanged))
        monkeypatch.setattr("dubcli.networks.renderer.LIKENESS", 0.0)
        torch.testing.assert_close(total(a_run(clips, unchanged)), without)
    assert abs(float(whole - without)) > 1e-4


def test_network_without_style_neither_uses_nor_learns_it() -> None:
    hyper = LipSyncHyper(audio_width=6, lower_vertices=5, width=8, heads=2, layers=1)
    motions, audio = torch.randn(2, 9, 5, 3), torch.randn(1, 12, 6).expand(2, -1, -1)
    for kind, differs in ((LipSyncNet, True), (StylelessLipSync, False)):
        torch.manual_seed(0)
        network = kind(hyper).eval()
        made = network(audio, network.style(motions)).displacement
        assert torch.allclose(made[0], made[1]) is not differs
        made.square().sum().backward()
        assert learns(network, "style_encoder") is differs
        assert learns(network, "layers")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(
    data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ablation, Path, Path]:
    """Return what a few steps without each part give, the cache, and the models folder."""
    models = tmp_path_factory.mktemp("work") / "models"
    shutil.copytree(MODELS, models)
    options = TrainingOptions(device="cpu")
    return retrain(data, cache, models, STEPS, options, geometry_steps=STEPS), cache, models


@pytest.mark.slow
def test_every_part_is_trained_without_and_no_checkpoint_is_replaced(
    undisturbed: tuple[Ablation, Path, Path],
) -> None:
    ablation, cache, models = undisturbed
    assert [row.without for row in ablation.renderer] == PART_NAMES
    assert [row.without for row in ablation.geometry] == ["nothing", "style"]
    assert len({row.lip_psnr_db for row in ablation.renderer}) == len(PARTS)
    assert all(15 < row.psnr_db < 45 and row.clips == 2 for row in ablation.renderer)
    assert all(np.isfinite(astuple(row)[1:]).all() for row in ablation.geometry)
    assert contents(models) == contents(MODELS)
    runs = cache / "runs/ablate"
    assert len(list(runs.iterdir())) == len(PARTS) + 2
    kept = {run.name: load_file(run / "best.safetensors") for run in runs.iterdir()}
    assert kept["renderer-without-nothing"]["position.lip"].any()
    assert not kept["renderer-without-lip-attention"]["position.lip"].any()
    assert not kept["renderer-without-face-attention"]["position.face"].any()
    shipped, changed = (
        tomllib.loads((runs / f"renderer-without-{name}/recipe.toml").read_text())
        for name in ("nothing", "frame-selection")
    )
    assert changed["sampling"].pop("far_share") > shipped["sampling"].pop("far_share")
    assert changed["sampling"].pop("self_share") < shipped["sampling"].pop("self_share")
    assert changed == shipped


@pytest.mark.slow
def test_killed_trainings_go_on_and_finished_ones_are_left_out(
    data: Path,
    undisturbed: tuple[Ablation, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, prepared, models = undisturbed
    for made in ("landmarks", "crops", "speech"):
        (tmp_path / made).symlink_to(prepared / made)
    monkeypatch.setattr(module, "PARTS", PARTS[:2])
    steps: list[int] = []

    def note(progress: LoopProgress) -> None:
        if not progress.judged:
            steps.append(progress.step)
        if len(steps) == STEPS + 1 and not resumed:
            raise KilledError

    def again() -> Ablation:
        options = TrainingOptions(device="cpu", resume=resumed)
        return retrain(data, tmp_path, models, STEPS, options, geometry_steps=STEPS, observer=note)

    resumed = False
    with pytest.raises(KilledError):
        again()
    steps.clear()
    resumed = True
    assert again() == Ablation(whole.renderer[:2], whole.geometry)
    assert steps == [1, 2] * 3  # the second training of the renderer, and both of geometry
