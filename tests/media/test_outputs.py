from pathlib import Path

import pytest

from dubcli.errors import InputError, MediaError
from dubcli.media.outputs import (
    check_sequence_output,
    discard,
    is_there,
    put_in_place,
    settle,
    size_of,
    sound_of,
)


def sequence(folder: Path, count: int, content: bytes = b"new") -> Path:
    """Make a whole sequence of a certain length, not in its place yet."""
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        (folder / f"shot.{number:04d}.png").write_bytes(content)
    (folder / "shot.wav").write_bytes(content)
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "shot.%04d.png"


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("before", [None, 0, 2, 9])
def test_sequence_takes_the_place_of_a_shorter_or_longer_one(
    output: Path, tmp_path: Path, before: int | None
) -> None:
    if before == 0:
        output.parent.mkdir()
    elif before:
        sequence(output.parent, before, b"old")
        (output.parent / ".DS_Store").write_bytes(b"desktop")
    put_in_place(sequence(tmp_path / ".out.partial", 4), output)
    assert listed(tmp_path) == ["out"]
    assert listed(output.parent) == [f"shot.000{k}.png" for k in (1, 2, 3, 4)] + ["shot.wav"]
    assert {path.read_bytes() for path in output.parent.iterdir()} == {b"new"}
    assert (size_of(output), settle(output), is_there(output)) == (15, 15, True)


def test_foreign_files_are_never_moved(output: Path, tmp_path: Path) -> None:
    sequence(output.parent, 3, b"old")
    (output.parent / "notes.txt").write_bytes(b"mine")
    before = listed(output.parent)
    with pytest.raises(MediaError, match=r"holds notes\.txt by now"):
        put_in_place(sequence(tmp_path / ".out.partial", 2), output)
    assert listed(output.parent) == before
    with pytest.raises(InputError, match=r"and .*out holds notes\.txt; choose another"):
        check_sequence_output(output, [], overwrite=True)


def test_discarding_leaves_what_is_not_ours(output: Path, tmp_path: Path) -> None:
    left = sequence(tmp_path / ".out.partial", 3)
    (left / "notes.txt").write_bytes(b"mine")
    discard(left, output)
    assert listed(left) == ["notes.txt"]
    link = tmp_path / ".link.partial"
    link.symlink_to(left)
    discard(link, output)
    assert (link.is_symlink(), listed(left)) == (False, ["notes.txt"])


def test_kill_between_the_two_renames_leaves_two_whole_sequences(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence(output.parent, 9, b"old")
    partial, rename = sequence(tmp_path / ".out.partial", 2), Path.replace

    def killed(self: Path, target: Path) -> Path:
        if self == partial:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(partial, output)
    assert listed(tmp_path) == [".out.partial", ".out.replaced"]
    assert (len(listed(tmp_path / ".out.replaced")), len(listed(partial))) == (10, 3)
    monkeypatch.undo()
    put_in_place(partial, output)  # as the next run does
    assert (tmp_path / "out" / "shot.0002.png").read_bytes() == b"new"


def test_output_is_refused_before_any_work(output: Path, tmp_path: Path) -> None:
    def told(path: Path, *inputs: Path, overwrite: bool = False) -> str:
        with pytest.raises(InputError) as caught:
            check_sequence_output(path, inputs, overwrite=overwrite)
        return str(caught.value).replace(f"{tmp_path}/", "")

    check_sequence_output(output, [tmp_path / "a.wav"], overwrite=False)
    output.parent.mkdir()
    check_sequence_output(output, [tmp_path / "a.wav"], overwrite=False)
    own = "out/shot.%04d.png: a picture sequence gets a folder of its own"
    inside = output.parent / "shot.0001.png"
    inside.write_bytes(b"x")
    assert told(output) == "out/shot.%04d.png: exists already; give another name or --overwrite"
    check_sequence_output(output, [], overwrite=True)
    assert told(output, inside, overwrite=True) == (
        f"{own}, and out holds the input shot.0001.png; choose another"
    )
    assert told(output.with_name("b.%d.tif"), overwrite=True) == (
        "out/b.%d.tif: a picture sequence gets a folder of its own, and out holds shot.0001.png; "
        "choose another"
    )
    assert told(tmp_path / "a.png") == (
        "a.png: pictures need a place for their numbers; write shot.%04d.png"
    )
    assert told(tmp_path / "x/y/a.%d.png").startswith("x/y/a.%d.png: the folder x does not exist")
    (tmp_path / "file").write_bytes(b"x")
    assert told(tmp_path / "file/a.%d.png").endswith(
        "file is a link or a file; choose another name"
    )


def test_working_folder_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"which is made; write film/shot\.%04d\.png"):
        check_sequence_output(Path("shot.%04d.png"), [], overwrite=True)
    with pytest.raises(InputError, match="which is made"):
        check_sequence_output(tmp_path.parent / "shot.%04d.png", [], overwrite=True)


def test_sound_has_the_pictures_name() -> None:
    names = ["f/shot.%04d.png", "f/a_%d.tif", "f/%04d.png", "f/out.mp4"]
    assert [str(sound_of(Path(name))) for name in names] == [
        "f/shot.wav",
        "f/a.wav",
        "f/sound.wav",
        "f/out.mp4",
    ]
