import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from dubcli.errors import InputError, MediaError
from dubcli.media.probe import probe_source, probe_video
from dubcli.media.reader import FrameReader
from dubcli.media.sequence import find_pictures, source_files

H, W = 12, 10
NASTY = ["100%d", "a%04d b", "%%", "concat:x", "-i", "a*?[b]", "l\nine"]


def grey(level: int, depth: int = 8, shape: tuple[int, ...] = (H, W, 3)) -> np.ndarray:
    return np.full(shape, level, np.uint8 if depth == 8 else np.uint16)


def write(folder: Path, *names: str, depth: int = 8) -> None:
    """Write a picture under each name, the k-th of level 10 k."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        ending = Path(name).suffix
        _, data = cv2.imencode(ending, grey(10 * k, depth))
        (folder / name).write_bytes(data.tobytes())


def levels(path: Path, start: int = 0, stop: int | None = None) -> list[int]:
    with FrameReader(probe_source(path, "25"), start, stop) as reader:
        return [int(frame.rgb.max()) for frame in reader]


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        find_pictures(path)
    return str(caught.value).replace(str(path.parent), "").lstrip("/")


def shots(numbers: range | list[int], text: str = "shot.%04d.png") -> list[str]:
    return [text % number for number in numbers]


def test_pattern_first_picture_and_folder_name_the_same_sequence(tmp_path: Path) -> None:
    write(tmp_path, *shots(range(7, 12)))
    (tmp_path / "shot.wav").write_bytes(b"sound")  # no picture
    found = [
        find_pictures(path)[0]
        for path in (tmp_path / "shot.%04d.png", tmp_path / "shot.0007.png", tmp_path)
    ]
    assert found[0] == found[1] == found[2]
    assert (found[0].first, found[0].count) == (7, 5)
    assert source_files(tmp_path) == tuple(tmp_path / name for name in shots(range(7, 12)))


def test_later_picture_begins_the_sequence_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, *shots(range(998, 1003), "a%d.png"))
    found, _, notes = find_pictures(tmp_path / "a1000.png")
    assert (found.first, found.count) == (1000, 3)
    assert notes == (
        "the sequence begins with a1000.png: 2 with lower numbers are left out; "
        "give a%d.png for all",
    )
    assert levels(tmp_path / "a1000.png") == [20, 30, 40]


def test_numbers_outgrow_their_digits(tmp_path: Path) -> None:
    write(tmp_path, *shots(range(8, 12), "%d.png"))
    assert levels(tmp_path / "%d.png") == [0, 10, 20, 30]
    write(tmp_path / "b", *shots(range(98, 102), "%02d.png"))
    assert levels(tmp_path / "b") == [0, 10, 20, 30]


def test_frames_are_read_from_any_place_on(tmp_path: Path) -> None:
    write(tmp_path, *shots(range(1001, 1006)))
    assert levels(tmp_path, 3) == [30, 40]
    assert levels(tmp_path, 1, 3) == [10, 20]
    assert levels(tmp_path, 5) == []


@pytest.mark.parametrize("name", NASTY)
def test_only_the_number_of_a_pattern_is_one(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    write(folder, f"{name}.0001.png", f"{name}.0002.png")
    files = sorted(folder.iterdir())
    assert len(files) == 2
    (tmp_path / "1001").mkdir()  # what a % in the folder's name would also mean
    shutil.copy(files[0], tmp_path / "1001" / "0001.png")
    assert source_files(folder) == tuple(files)
    assert levels(folder) == [0, 10]


def test_more_than_one_number_in_a_name_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "a%02d_%04d.png") == (
        "a%02d_%04d.png: has more than one place for a number; leave one, as shot.%04d.png"
    )


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([1, 2, 4], "1 picture is missing between shot.0001.png and shot.0004.png: 0003"),
        (
            [1, 3, 7, 8],
            "4 pictures are missing between shot.0001.png and shot.0008.png: 0002, 0004 to 0006",
        ),
        (
            [1, 3, 5, 7, 9],
            "4 pictures are missing between shot.0001.png and shot.0009.png: 0002, 0004, 0006, ...",
        ),
    ],
)
def test_missing_numbers_are_named(tmp_path: Path, numbers: list[int], told: str) -> None:
    write(tmp_path, *shots(numbers))
    assert refused(tmp_path / "shot.%04d.png") == (
        f"shot.%04d.png: {told}; add them, or move the others apart"
    )


def test_first_picture_of_another_size_or_kind_is_named(tmp_path: Path) -> None:
    write(tmp_path, *shots(range(1, 6)))
    write(tmp_path, *shots([3]), depth=16)
    (tmp_path / "shot.0004.png").write_bytes(cv2.imencode(".tif", grey(1))[1].tobytes())
    with pytest.raises(InputError) as caught:
        find_pictures(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/shot.0003.png: is PNG, 10 x 12, 16 bits, RGB, but shot.0001.png is PNG, "
        "10 x 12, 8 bits, RGB; make all pictures alike"
    )


def test_two_sequences_in_a_folder_are_named(tmp_path: Path) -> None:
    write(tmp_path / "f", *shots([1, 2]), *shots([1, 2], "b.%04d.tif"))
    assert refused(tmp_path / "f").startswith(
        "f: holds more than one sequence (b.0001.tif, shot.0001.png); give the pattern of one"
    )
    assert levels(tmp_path / "f" / "b.%04d.tif") == [20, 30]


@pytest.mark.parametrize(
    ("names", "path", "told"),
    [
        ([], "f", "f: this is a folder without numbered PNG or TIFF; give a file"),
        (["a.png"], "f/a.png", "a.png: a single picture without a number is no video"),
        (["a.png"], "f", "f: a.png in it has no number before its extension"),
        (["1.png", "02.png"], "f", "f: the number of 1.png has not as many digits as others"),
        (["a1.png"], "f/b%d.png", "b%d.png: there is no such picture; check the folder and the"),
        ([], "g/b%d.png", "g: there is no such folder; check the path"),
        ([], "f/b1.png", "b1.png: there is no such file; check the path"),
    ],
)
def test_what_is_no_sequence_is_refused_in_a_sentence(
    tmp_path: Path, names: list[str], path: str, told: str
) -> None:
    (tmp_path / "f").mkdir()
    write(tmp_path / "f", *names)
    with pytest.raises(InputError) as caught:
        find_pictures(tmp_path / path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frame_rate_is_asked_for_and_exact(tmp_path: Path) -> None:
    write(tmp_path, *shots(range(24)))
    with pytest.raises(InputError, match="do not say how fast they play; give --frame-rate"):
        probe_source(tmp_path, None)
    info = probe_source(tmp_path, "23.976")
    assert info.frame_rate == Fraction(24000, 1001)
    assert info.duration_s == Fraction(1001, 1000)


def test_frame_rate_of_a_video_is_its_own(bframes: Path) -> None:
    with pytest.raises(InputError, match="has its own frame rate; leave out --frame-rate"):
        probe_source(bframes, "25")
    assert probe_source(bframes, None).pictures is None


def test_commands_that_take_no_sequence_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a picture, where a video file is needed"):
        probe_video(tmp_path / "shot.%04d.png")


def test_picture_that_cannot_be_decoded_shifts_no_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in shots(range(1, 6)):
        noise = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
        (tmp_path / name).write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    damaged = tmp_path / "shot.0003.png"
    data = bytearray(damaged.read_bytes())
    at = data.index(b"IDAT") + 4
    data[at : at + 40] = b"\xff" * 40
    damaged.write_bytes(data)
    info = probe_source(tmp_path, "25")
    with pytest.raises(MediaError, match="of 5 pictures can be decoded"), FrameReader(info) as read:
        list(read)
