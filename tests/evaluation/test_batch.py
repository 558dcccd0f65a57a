from pathlib import Path

import pytest

from dubcli.config import EvaluationOptions
from dubcli.errors import InputError
from dubcli.evaluation.batch import Pair, attempt, pairs
from dubcli.evaluation.records import Failure


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder of dubs and one of real videos; b has no real one."""
    dubs, reals = tmp_path / "dubs", tmp_path / "reals"
    for path in ("dubs/b.mp4", "dubs/a.MKV", "dubs/notes.txt", "dubs/.c.mp4", "reals/a.mov"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    return dubs, reals


def test_folders_are_paired_by_name(folders: tuple[Path, Path]) -> None:
    dubs, reals = folders
    assert pairs(dubs, reals) == [
        Pair(dubs / "a.MKV", reals / "a.mov"),
        Pair(dubs / "b.mp4", reals / "b.mp4"),  # which is not there: attempt will say so
    ]


def test_one_reference_serves_a_whole_folder(folders: tuple[Path, Path]) -> None:
    dubs, reals = folders
    real = reals / "a.mov"
    assert pairs(dubs, real) == [Pair(dubs / "a.MKV", real), Pair(dubs / "b.mp4", real)]
    assert pairs(dubs, None)[1] == Pair(dubs / "b.mp4", None)


def test_a_file_stays_a_file(folders: tuple[Path, Path]) -> None:
    dubs, reals = folders
    assert pairs(dubs / "b.mp4", reals / "a.mov") == [Pair(dubs / "b.mp4", reals / "a.mov")]
    with pytest.raises(InputError, match=r"reals: this is a folder; give the reference of b\.mp4"):
        pairs(dubs / "b.mp4", reals)


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video in this folder"):
        pairs(tmp_path, None)


def test_a_video_that_cannot_be_measured_is_a_failure_with_its_sentence(
    folders: tuple[Path, Path], clip: Path, options: EvaluationOptions
) -> None:
    missing = folders[1] / "b.mp4"
    assert attempt(Pair(clip, missing), options=options) == Failure(
        clip, f"{missing}: there is no such file; check the path", 2
    )
