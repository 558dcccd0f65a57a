"""The table of self-dubs: what is measured, kept and put together."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dubcli.checkpoints import read_manifest
from dubcli.cli.app import app
from dubcli.errors import InputError
from dubcli.evaluation.records import Evaluation, Row
from dubcli.media.binary import find_ffmpeg
from dubcli.media.process import FfmpegProcess
from dubcli.training import self_dubs as module
from dubcli.training.data import Clip
from dubcli.training.self_dubs import (
    COPY,
    OWN,
    SAID,
    Dub,
    Figures,
    Kept,
    SelfDub,
    Version,
    figures_of,
    over_clips,
    table,
)

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
COLUMNS = ("clip", "split", "kind", "speaker", "set", "seconds", "face_px", "sync", "sync_lag_ms")
NAMES = [field.name for field in fields(Figures)]
CLIP = Clip(Path("aa.mp4"), "val", "speech", "s", "wild", 3, 200, "", 0)


def figures(value: float | None) -> Figures:
    return Figures(**dict.fromkeys(NAMES, value))


def version(renderer: str = "r" * 64, geometry: str = "g" * 64) -> Version:
    class Loaded:
        bfloat16 = False

    return Version("some/models", Loaded(), renderer, geometry)  # type: ignore[arg-type]


def test_mouths_motion_is_a_median_and_the_rest_a_mean_of_what_there_is() -> None:
    over = over_clips([figures(1.0), figures(2.0), figures(9.0), figures(None)])
    medians = {"correlation", "deviation_ratio", "closure_recall"}
    assert asdict(over) == {name: 2.0 if name in medians else 4.0 for name in NAMES}
    assert over_clips([figures(None)]) == figures(None)


def test_table_has_a_row_a_dub_and_one_of_the_real_videos() -> None:
    dubs = [Dub(None, COPY), Dub(version(), OWN), Dub(version(), SAID)]
    found = [
        [SelfDub(clip, 60, figures(base + k), figures(50 + base)) for k in range(3)]
        for clip, base in (("aa", 0.0), ("bb", 2.0))
    ]
    copy, own, said, real = table(dubs, found)
    assert [row.figures for row in (copy, own, said, real)] == [
        figures(value) for value in (1.0, 2.0, 3.0, 51.0)
    ]
    assert [row.weights for row in (copy, own, said)] == ["", "rrrrrrrr", "rrrrrrrr gggggggg"]
    assert {row.clips for row in (copy, own, said, real)} == {2}


def test_figures_are_the_rows_of_an_evaluation() -> None:
    named = [
        ("PSNR", "frame", 33.0, float("inf")),
        ("PSNR", "face", 0.0, 0.0),
        ("PSNR", "lower", 28.0, float("inf")),
        ("SSIM", "frame", 0.96, 1.0),
        ("SSIM", "face", 0.0, 0.0),
        ("SSIM", "lower", 0.9, 1.0),
        ("ST-LPIPS", "face", 0.0, 0.0),
        ("ST-LPIPS", "lower", 0.03, 0.0),
        ("CSIM", "face", 0.97, 1.0),
        ("flicker", "face", 0.0, 0.0),
        ("flicker", "lower", 2.5, 3.0),
        ("LMD", "lips", 0.7, 0.0),
        ("sync confidence (LSE-C)", "lips", 0.2, 0.3),
        ("opening correlation", "lips", 0.75, 1.0),
        ("closures met", "lips", 0.8, 1.0),
        ("opening deviation", "lips", 0.3, 0.25),
        ("StyleSim", "lips", None, None),
    ]
    rows = tuple(Row(m, region, v, real, "", "higher") for m, region, v, real in named)
    made, real = figures_of(Evaluation(Path("a"), Path("b"), 60, rows, ()))
    assert (made.psnr_db, made.ssim, made.crop_psnr_db, made.crop_ssim) == (28.0, 0.9, 33.0, 0.96)
    assert (made.st_lpips, made.csim, made.lmd) == (0.03, 0.97, 0.7)
    assert (made.correlation, made.closure_recall) == (0.75, 0.8)
    assert made.deviation_ratio == pytest.approx(1.2)
    assert (made.sync_confidence, real.sync_confidence) == (0.2, 0.3)
    assert (made.flicker, real.flicker) == (2.5, 3.0)
    assert made.style_similarity is None
    assert (real.psnr_db, real.crop_psnr_db) == (None, None)  # JSON knows no infinity
    json.dumps([asdict(made), asdict(real)], allow_nan=False)


def test_figures_are_found_again_only_for_the_weights_they_are_of(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "measures", 2.4)
    measured = SelfDub("aa", 60, figures(0.1), replace(figures(1.0), psnr_db=None))
    own = Dub(version(), OWN)
    assert kept.load(CLIP, own) is None
    kept.store(CLIP, own, measured)
    assert kept.load(CLIP, own) == measured
    assert kept.load(CLIP, Dub(version(geometry="h" * 64), OWN)) == measured  # it has no part
    others = [
        (CLIP, Dub(version(renderer="s" * 64), OWN), kept),
        (CLIP, Dub(version(), SAID), kept),
        (CLIP, Dub(None, COPY), kept),
        (replace(CLIP, path=Path("bb.mp4")), own, kept),
        (CLIP, own, Kept(tmp_path, "measures", 3.0)),
        (CLIP, own, Kept(tmp_path, "other measures", 2.4)),
    ]
    assert [where.load(clip, dub) for clip, dub, where in others] == [None] * len(others)
    kept.store(CLIP, Dub(version(), SAID), measured)
    assert kept.load(CLIP, Dub(version(geometry="h" * 64), SAID)) is None


def test_killed_run_goes_on_after_what_it_has_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dubs = [Dub(None, COPY), Dub(version(), OWN), Dub(version(), SAID)]
    made: list[str] = []

    def measured(
        clip: object, crops: object, wanted: list[Dub], *rest: object
    ) -> Iterator[tuple[Dub, SelfDub]]:
        for dub in wanted:
            if len(made) == 1:
                made.append("killed")
                raise KeyboardInterrupt
            made.append(dub.mouth)
            yield dub, SelfDub("aa", 60, figures(float(len(made))), figures(1.0))

    monkeypatch.setattr(module, "_measured", measured)
    kept = Kept(tmp_path, "measures", 2.4)
    arguments = (CLIP, None, dubs, None, None, kept)
    with pytest.raises(KeyboardInterrupt):
        module.measure_clip(*arguments)  # type: ignore[arg-type]
    first = module.measure_clip(*arguments)  # type: ignore[arg-type]
    assert made == [COPY, "killed", OWN, SAID]
    assert module.measure_clip(*arguments) == first  # type: ignore[arg-type]
    assert made == [COPY, "killed", OWN, SAID]
    assert not list(tmp_path.glob("*.partial"))


def test_clip_that_cannot_be_measured_is_left_out_of_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(clip: object, crops: object, wanted: list[Dub], *rest: object) -> object:
        yield wanted[0], SelfDub("aa", 60, figures(1.0), figures(1.0))
        raise InputError("no face")

    monkeypatch.setattr(module, "_measured", measured)
    kept = Kept(tmp_path, "measures", 2.4)
    dubs = [Dub(None, COPY), Dub(version(), OWN)]
    assert module.measure_clip(CLIP, None, dubs, None, None, kept) == []  # type: ignore[arg-type]


def listing(folder: Path) -> None:
    """List one clip, aa.mp4."""
    with (folder / "clips.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerow(("aa.mp4", "val", "speech", "s1", "wild", 2.5, 200, "confirmed", 0))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with two and a half seconds of the example clip and other words."""
    info = ROOT / "examples/media/franck.mp4", ROOT / "examples/media/speech.wav"
    command = [find_ffmpeg(), "-v", "error", "-ss", "2", "-i", str(info[0]), "-i", str(info[1])]
    command += ["-map", "0:v", "-map", "1:a", "-t", "2.5", "-crf", "8", "-preset", "ultrafast"]
    with FfmpegProcess([*command, str(tmp_path / "aa.mp4")], feed=False) as process:
        assert process.finish() == 0
    listing(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_command_measures_a_real_clip_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    arguments = ["train", "self-dubs", "--data", str(data), "--cache", str(data / "cache"),
                 "--models", str(MODELS), "--seconds", "1"]  # fmt: skip
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    copy, own, said, real = json.loads(done.stdout[done.stdout.index("[\n") :])
    entries = read_manifest(MODELS)
    shipped = entries["renderer"].sha256[:8], entries["geometry"].sha256[:8]
    assert [row["weights"] for row in (copy, own, said)] == ["", shipped[0], " ".join(shipped)]
    assert own["figures"]["psnr_db"] > copy["figures"]["psnr_db"] > 15
    assert own["figures"]["crop_psnr_db"] > own["figures"]["psnr_db"]  # much of it is the frame's
    assert own["figures"]["correlation"] > 0.8 > said["figures"]["correlation"]  # not his words
    assert own["figures"]["lmd"] < said["figures"]["lmd"]
    assert real["figures"]["sync_confidence"] != own["figures"]["sync_confidence"]
    assert all(row["figures"][name] is not None for row in (copy, own, said) for name in NAMES)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(module, "evaluate", refuse)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0, again.output
    heading, *lines = again.stdout.splitlines()[-5:]
    assert heading.split()[:3] == ["version", "mouth", "weights"]
    assert len(lines) == 4
    assert f"{own['figures']['psnr_db']:.2f}" in lines[1]
    assert len({len(line) for line in (heading, *lines)}) == 1
    torch.set_num_threads(threads)


def test_version_with_another_basis_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(MODELS, other)
    manifest = other / "manifest.toml"
    sha256 = read_manifest(MODELS)["basis"].sha256
    manifest.write_text(manifest.read_text().replace(sha256, "0" * 64))
    listing(tmp_path)
    with pytest.raises(InputError, match="another basis"):
        module.self_dubs(tmp_path, tmp_path / "cache", MODELS, beside=[other])


def test_nothing_to_judge_by_is_said(tmp_path: Path) -> None:
    listing(tmp_path)
    (tmp_path / "clips.csv").write_text(
        (tmp_path / "clips.csv").read_text().replace("val", "train")
    )
    with pytest.raises(InputError, match="no usable clips in the split val"):
        module.self_dubs(tmp_path, tmp_path / "cache", MODELS)
