"""Parts of an output: found again, and never taken for another's."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dubcli.errors import MediaError
from dubcli.media import parts as module
from dubcli.media.parts import Parts, parts_path, remove_parts

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 5)


def add(parts: Parts, source: Path) -> None:
    parts.unfinished(parts.count).write_bytes(source.read_bytes())
    parts.add()


def five(clip: Make, frames: int = 5) -> Path:
    return clip("five.mov", "25", "-frames:v", str(frames), s=1)


def test_finished_parts_are_found_again_up_to_the_first_that_is_not_whole(
    clip: Make, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    parts = Parts(output, 23, "this")
    assert (parts.count, parts.frames, parts.files()) == (0, 0, ())
    for _ in range(4):
        add(parts, five(clip))
    half = parts.unfinished(4)
    half.write_bytes(b"half")
    assert Parts(output, 23, "this").frames == 20
    assert not half.exists()
    add(parts, five(clip, 3))
    assert Parts(output, 23, "this").count == 5  # the last one is shorter
    assert Parts(output, 24, "this").count == 4
    data = parts.finished(2).read_bytes()
    for broken in (data[:-1000], b"", data[:1000]):
        parts.finished(2).write_bytes(broken)
        assert Parts(output, 23, "this").count == 2
    assert Parts(output, 23, "this").files() == (parts.finished(0), parts.finished(1))


@pytest.mark.parametrize("other", ["that", ""])
def test_parts_of_anything_else_are_removed(clip: Make, tmp_path: Path, other: str) -> None:
    output = tmp_path / "out.mp4"
    parts = Parts(output, 10, "this" if other else "")
    add(parts, five(clip))
    assert Parts(output, 10, other).count == 0
    assert not parts.finished(0).exists()


def test_outputs_that_differ_in_their_ending_only_have_folders_of_their_own(tmp_path: Path) -> None:
    assert parts_path(tmp_path / "out.mp4") != parts_path(tmp_path / "out.mkv")


def test_only_parts_are_removed(clip: Make, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    add(Parts(output, 10, "this"), five(clip))
    mine = parts_path(output) / "000000.mov.txt"
    mine.write_text("mine")
    remove_parts(parts_path(output))
    assert list(parts_path(output).iterdir()) == [mine]
    mine.unlink()
    remove_parts(parts_path(output))
    assert list(tmp_path.iterdir()) == []
    remove_parts(parts_path(output))


def test_a_link_in_the_place_of_the_folder_is_not_followed(clip: Make, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "000000.mov").write_bytes(b"precious")
    output = tmp_path / "out.mp4"
    parts_path(output).symlink_to(elsewhere)
    with pytest.raises(MediaError, match="a link"):
        Parts(output, 10, "this")
    assert (elsewhere / "000000.mov").read_bytes() == b"precious"


def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    folder = tmp_path / ".out.mp4.parts"
    with pytest.raises(MediaError) as caught:
        Parts(tmp_path / "out.mp4", 10, "this")
    assert str(caught.value) == (
        f"{folder}: could not be written (No space left on device); make room on the disk or mend "
        "permissions"
    )
