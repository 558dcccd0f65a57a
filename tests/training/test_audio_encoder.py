"""Teaching a small HuBERT: what each loss looks at, and that a run makes a usable checkpoint."""

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from dubcli.checkpoints import read_header, verified_file
from dubcli.config import TrainingOptions
from dubcli.loading import HUBERT, load_audio_encoder
from dubcli.networks.audio_encoder import AudioEncoder, WhisperEncoder, WhisperHyper
from dubcli.networks.compact_hubert import CompactHubert, CompactHubertHyper
from dubcli.training.audio_encoder import (
    Batch,
    Distillation,
    HubertTraining,
    distillation_losses,
    judge,
    nearest,
    span_mask,
    stem_loss,
    teachers_statistics,
)
from dubcli.training.sounds import Sound
from dubcli.training.train_audio_encoder import train_audio_encoder

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "examples/media/speech.wav"
SMALL = CompactHubertHyper(width=32, blocks=1, heads=2, bands=20, convolution=24)
WIDTH = 3
COLUMNS = ("clip", "split", "kind", "speaker", "set", "seconds", "face_px", "sync", "sync_lag_ms")


class Levels(AudioEncoder):
    """A teacher that hears level, its square and its slope."""

    name, width = "levels", WIDTH

    def forward(self, waveform: Tensor) -> Tensor:
        level = waveform.unfold(1, 320, 320).square().mean(-1).sqrt()
        return torch.stack([level, level.square(), torch.diff(level, prepend=level[:, :1])], -1)


def distillation(teacher: AudioEncoder) -> Distillation:
    torch.manual_seed(0)
    pieces = torch.randn(4, 16_000) * torch.linspace(0, 1, 16_000)
    statistics = teachers_statistics(teacher, pieces, units=5, seed=0)
    return Distillation(CompactHubert(SMALL), *statistics)


def batch(visemes: int = -1, masked: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(3)
    sound = torch.randn(2, 16_000, generator=generator) * 0.1
    mask = torch.zeros(2, 50, dtype=torch.bool)
    mask[0, 10:20] = masked
    return Batch(sound, sound, torch.full((2, 50), visemes), mask)


def test_distance_and_cosine_by_hand() -> None:
    made, wanted = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    distance, cosine = distillation_losses(made, wanted)
    assert float(distance) == pytest.approx(1.0)
    assert float(cosine) == pytest.approx(math.log(1 + math.exp(-4 * 0.96)), rel=1e-5)


def test_statistics_make_the_teachers_features_mean_0_and_deviation_1() -> None:
    teacher = Levels()
    pieces = torch.randn(6, 16_000) * torch.linspace(0.1, 1, 16_000)
    mean, deviation, centres = teachers_statistics(teacher, pieces, units=4, seed=0)
    features = (teacher(pieces).reshape(-1, WIDTH) - mean) / deviation
    torch.testing.assert_close(features.mean(0), torch.zeros(WIDTH), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(WIDTH), atol=1e-4, rtol=0)
    assert centres.shape == (4, WIDTH)
    unit = nearest(features, centres)
    by_hand = [
        min(range(4), key=lambda k: float((row - centres[k]).square().sum())) for row in features
    ]
    assert unit.tolist() == by_hand
    for k in range(4):  # Lloyd's fixed point, nearly: each centre is the mean of its own
        own = features[unit == k].mean(0)
        assert float((own - centres[k]).norm()) < 0.2


def test_each_loss_is_there_only_where_there_is_something_to_learn() -> None:
    teacher = Levels()
    network = distillation(teacher)
    weights = HubertTraining()
    assert set(network.losses(teacher, batch(), weights)) == {"distance", "cosine"}
    taught = replace(weights, viseme=0.3)
    assert "viseme" in network.losses(teacher, batch(visemes=1), taught)
    assert "unit" in network.losses(teacher, batch(masked=True), weights)


def test_only_what_the_blocks_see_is_learned_at_first() -> None:
    torch.manual_seed(0)
    teacher = WhisperEncoder(WhisperHyper(blocks=1, width=32, heads=2)).eval()
    network = distillation(teacher)
    weights = HubertTraining(stem_steps=1)
    heard = batch(masked=True)
    first = network.losses(teacher, heard, weights)
    assert set(first) == {"stem"}
    first["stem"].backward()
    taught = {name for name, value in network.named_parameters() if value.grad is not None}
    assert taught
    assert all("feature_" in name for name in taught)
    assert set(network.losses(teacher, heard, weights)) == {"distance", "cosine", "unit"}


def test_stems_that_agree_are_no_loss_and_silence_instead_of_the_stem_is_one() -> None:
    teacher = WhisperEncoder(WhisperHyper(blocks=1, width=32, heads=2)).eval()
    student = CompactHubert(SMALL)
    heard = batch()
    student.stem = teacher.stem  # type: ignore[method-assign]
    assert float(stem_loss(student, teacher, heard).detach()) == 0
    student.stem = lambda waveform: 0 * teacher.stem(waveform)  # type: ignore[method-assign]
    assert float(stem_loss(student, teacher, heard).detach()) == pytest.approx(1)


def test_the_teacher_is_not_to_be_matched_where_the_student_hears_nothing() -> None:
    teacher = Levels()
    network = distillation(teacher)
    hidden = batch(masked=True)
    louder = hidden.clean.clone()
    louder[0, 11 * 320 : 19 * 320] *= 1.01  # inside the mask; no more, or units change
    changed = Batch(louder, hidden.heard, hidden.visemes, hidden.mask)
    before = network.losses(teacher, hidden, HubertTraining())
    after = network.losses(teacher, changed, HubertTraining())
    assert float(before["distance"].detach()) == float(after["distance"].detach())
    whole = batch()
    assert float(network.losses(teacher, whole, HubertTraining())["distance"].detach()) != float(
        before["distance"].detach()
    )


def test_masks_are_spans_of_the_asked_share() -> None:
    generator = np.random.default_rng(0)
    masks = np.stack([span_mask(150, 0.065, 10, generator) for _ in range(300)])
    assert masks[:, 20:].mean() == pytest.approx(1 - (1 - 0.065) ** 10, abs=0.02)
    runs = np.diff(np.flatnonzero(np.diff(np.pad(masks[0].astype(int), 1))))[::2]
    assert (runs[:-1] >= 10).all()


def test_student_that_says_what_the_teacher_says_is_judged_1() -> None:
    teacher = Levels()
    network = distillation(teacher)

    class Knows(CompactHubert):
        def forward(self, waveform: Tensor, mask: Tensor | None = None) -> Tensor:
            return (teacher(waveform) - network.mean) / network.deviation

    generator = np.random.default_rng(0)
    sounds = [Sound("a", "x", generator.integers(-9000, 9000, 20_000).astype(np.int16))]
    before = judge(network, teacher, sounds)["likeness"]
    network.student = Knows(SMALL)
    network.features = torch.nn.Identity()
    assert judge(network, teacher, sounds)["likeness"] == pytest.approx(1, abs=1e-5)
    assert before < 0.9


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder of two clips, sound alone, with ``clips.csv``."""
    samples, rate = soundfile.read(SPEECH)
    soundfile.write(tmp_path / "aa.wav", samples[: 3 * rate], rate)
    soundfile.write(tmp_path / "bb.wav", samples[3 * rate : 5 * rate], rate)
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerow(("aa.wav", "train", "speech", "s1", "wild", 3, 140, "confirmed", "0"))
        table.writerow(("bb.wav", "val", "speech", "s2", "wild", 2, 90, "confirmed", "0"))
    return tmp_path


def test_training_records_an_encoder_that_dub_can_load(data: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    whisper = ROOT / "models/whisper-tiny-en-enc3"
    shutil.copytree(whisper, models / whisper.name)
    shutil.copy(ROOT / "models/manifest.toml", models)
    shutil.copy(ROOT / "models/README.md", models)
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        "[training]\nbatch = 2\nseconds = 1.0\nunits = 4\n"
        "[network]\nwidth = 32\nblocks = 1\nheads = 2\nbands = 20\nconvolution = 24\n"
        "[loop]\nsteps = 3\njudge_steps = 2\nminutes = 1\n"
    )
    file = train_audio_encoder(
        data,
        tmp_path / "cache",
        models,
        TrainingOptions(recipe=recipe, device="cpu"),
        sounds=[data],
    )
    assert verified_file(models, HUBERT) == file
    assert json.loads(read_header(file)["best"])["step"] in {2, 3}
    encoder = load_audio_encoder(HUBERT, models)
    assert isinstance(encoder, CompactHubert)
    assert encoder(torch.randn(1, 6400)).shape == (1, 20, 32)
