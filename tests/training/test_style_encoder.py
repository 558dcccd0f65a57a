"""Training of StyleSim's encoder on people who are made up: each has a rhythm and a shape."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dubcli.checkpoints import load_as, read_manifest, verified_file
from dubcli.config import TrainingOptions
from dubcli.errors import InputError
from dubcli.geometry.morphable import MorphableModel, lower_face_indices
from dubcli.loading import load_basis
from dubcli.networks.style_encoder import StyleSimEncoder
from dubcli.records import Float
from dubcli.training.data import Clip, Landmarks, store_landmarks
from dubcli.training.judge_style import (
    compare,
    different_recordings,
    judge_style,
    likeness,
)
from dubcli.training.style_data import StyleClip, fit_styles, held_out, store_style
from dubcli.training.style_encoder import (
    StyleProblem,
    StyleTraining,
    at,
    contrastive_loss,
    lower_basis,
    mirrored_basis,
    principal_directions,
)
from dubcli.training.train_style_encoder import train_style_encoder

ROOT = Path(__file__).parents[2]
A_MOMENT = 0.05  # minutes
A_MOMENT_ON_THE_CPU = TrainingOptions(minutes=A_MOMENT, device="cpu")
COLUMNS = ("clip", "split", "kind", "speaker", "set", "seconds", "face_px", "sync", "sync_lag_ms")


def expression(person: int, frames: int = 160) -> Float:
    """Return a made-up person's expression, [N, 32]."""
    generator = np.random.default_rng(person)
    time = np.arange(frames) / 25
    rates, amounts = generator.uniform(1, 5, 32), generator.uniform(0, 1, 32)
    wave = np.sin(2 * np.pi * rates * time[:, None] + generator.uniform(0, 6, 32))
    return (amounts * wave + generator.normal(size=32)).astype(np.float32)


def clip(name: str, person: str, split: str, folder: Path) -> Clip:
    return Clip(folder / f"{name}.mp4", split, "speech", person, "wild", 6.4, 150, "", 0)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_basis(ROOT / "models")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "models"
    shutil.copytree(ROOT / "models", folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of twenty people, whose expression is in the cache beside it."""
    folder = tmp_path_factory.mktemp("data")
    found = Landmarks(np.zeros((3, 468, 3), np.float32), np.arange(3, dtype=np.float32), (9, 9))
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for k in range(20):
            name, split = f"{k:02}", "val" if k > 16 else "train"
            table.writerow((f"{name}.mp4", split, "silent", f"p{k}", "wild", 6.4, 150, "", ""))
            store_landmarks(folder / "cache", clip(name, f"p{k}", split, folder), found)
            whole = expression(k)
            parts = [whole[:80], whole[80:]] if split == "val" else [whole]
            store_style(folder / "cache" / "style", name, parts)
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_loss_is_the_surprise_at_each_window_s_partner() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(6, 4), dim=-1).double()
    surprise = []
    for i in range(6):
        partner = (i + 3) % 6
        weights = {k: float(torch.exp(vectors[i] @ vectors[k] / 0.3)) for k in range(6) if k != i}
        surprise.append(-np.log(weights[partner] / sum(weights.values())))
    assert float(contrastive_loss(vectors, 0.3)) == pytest.approx(np.mean(surprise))


def test_rows_between_rows_are_linear() -> None:
    motion = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    place = np.array([0, 0.25, 3.5, 5.99, 6])
    expected = np.stack([np.interp(place, np.arange(7), c) for c in motion.T], axis=1)
    np.testing.assert_allclose(at(motion, place), expected, atol=1e-6)


def test_training_motion_has_a_deviation_of_one_in_each_direction(model: MorphableModel) -> None:
    clips = [StyleClip(str(k), str(k), "wild", (expression(k),)) for k in range(4)]
    directions = principal_directions(model, clips, 8)
    beta = np.concatenate([expression(k) - expression(k).mean(axis=0) for k in range(4)])
    found = (torch.from_numpy(beta) @ lower_basis(model) @ directions).numpy()
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(8), atol=1e-2)


def test_mirrored_face_moves_its_other_corner(model: MorphableModel) -> None:
    lower = lower_face_indices(model.mean).tolist()
    right, left = lower.index(61), lower.index(291)
    plain = lower_basis(model).reshape(32, -1, 3)
    mirrored = mirrored_basis(model).reshape(32, -1, 3)
    expected = plain[:, left] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored[:, right], expected)


def test_batch_pairs_different_parts_of_one_person(model: MorphableModel) -> None:
    """A constant part per clip shows where each window comes from."""
    clips = {
        str(person): [
            StyleClip(
                f"{person}{k}", str(person), "wild", (np.full((40, 32), 2 * person + k, "f4"),)
            )
            for k in range(2)
        ]
        for person in range(1, 9)
    }
    plain = StyleTraining(speakers=5, frames=(25, 30), gain=0, noise=0, amounts=0, mixing=0)
    directions = torch.zeros(lower_basis(model).shape[1], 1)
    directions[0] = 1
    problem = StyleProblem(model, directions, plain)
    problem._maps = [np.eye(32, 1, dtype=np.float32)] * 2
    windows = problem.batch(clips, np.random.default_rng(0))
    assert windows.shape[0] == 10
    assert 25 <= windows.shape[1] <= 30
    origin = windows.mean(1)[:, 0].round().long()
    first, second = origin[:5], origin[5:]
    assert (first // 2 == second // 2).all()
    assert (first != second).all()
    assert (first != second).all() or (first // 2).unique().numel() == 5
    assert (first // 2).unique().numel() == 5


def test_row_counts_pairs_within_and_across_people() -> None:
    up, right = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    row = compare("val", "test", {"a": [up, up, up], "b": [right, right], "c": [up]})
    assert row is not None
    assert (row.people, row.same_pairs, row.other_pairs) == (3, 4, 11)
    assert (row.same.low, row.same.high) == (1, 1)
    # Of the 11 other pairs, 3 are alike too (a with c): they count half.
    assert row.auc == pytest.approx((8 + 3 / 2) / 11)
    assert compare("val", "test", {"a": [up], "b": [right]}) is None


def test_clip_that_repeats_a_recording_is_left_out() -> None:
    """A copy that starts later, a little noisy and with another resting mouth, is a copy."""
    first, other = expression(1), expression(2)
    noise = np.random.default_rng(0).normal(size=(100, 32)).astype(np.float32)
    copy = first[3:103] + 0.1 * noise + 2
    clips = [
        StyleClip(name, person, "wild", (beta,))
        for name, person, beta in (
            ("a", "x", first),
            ("b", "x", copy),
            ("c", "x", other),
            ("d", "y", first),
        )
    ]
    assert [c.name for c in different_recordings(clips)] == ["a", "c", "d"]
    assert likeness(first, copy) == pytest.approx(likeness(copy, first))


def test_validation_clip_is_fitted_in_halves_and_others_whole(
    tmp_path: Path, model: MorphableModel
) -> None:
    generator = np.random.default_rng(0)
    mesh = model.mean.numpy() * np.array([8, -8, -8], np.float32) + 100
    frames = mesh + generator.normal(size=(60, 1, 1)).astype(np.float32)
    found = Landmarks(frames, np.arange(60, dtype=np.float32) / 25, (200, 200))
    clips = [clip("aa", "a", "val", tmp_path), clip("bb", "b", "train", tmp_path)]
    for one in clips:
        store_landmarks(tmp_path, one, found)
    fitted = fit_styles(clips, tmp_path, model)
    assert [[len(part) for part in style.parts] for style in fitted] == [[30, 30], [60]]
    assert [len(half) for half in fitted[1].halves] == [30, 30]


def test_training_records_a_checkpoint_that_judging_takes(data: Path, models: Path) -> None:
    assert 2 <= sum(held_out(f"p{k}") for k in range(17)) <= 10
    file = train_style_encoder(data, data / "cache", models, A_MOMENT_ON_THE_CPU)
    assert verified_file(models, "style-encoder") == file
    assert file.stat().st_size < 2_000_000
    assert load_as(models, "style-encoder", StyleSimEncoder).directions.abs().sum() > 0
    assert read_manifest(models)["style-encoder"].network == "StyleSimEncoder"
    rows = judge_style(data, data / "cache", models)
    assert [(row.set, row.comparison) for row in rows] == [
        ("val wild", "halves of a clip"),
        ("val wild", "halves, 1 s each"),
        ("val wild", "halves, 2 s each"),
        ("val wild", "halves, one x 0.5"),
    ]
    assert (rows[0].people, rows[0].same_pairs, rows[0].other_pairs) == (3, 3, 12)


def test_folder_with_too_few_people_is_refused(tmp_path: Path, models: Path) -> None:
    (tmp_path / "clips.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(InputError, match="0 speakers to train on"):
        train_style_encoder(tmp_path, tmp_path / "c", models, A_MOMENT_ON_THE_CPU)
