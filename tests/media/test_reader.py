import logging
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dubcli.errors import MediaError
from dubcli.media.planes import canvas_for
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.records import Bytes, VideoInfo

Make = Callable[..., Path]
ReadAll = Callable[..., list[Bytes]]


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "50", "25"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_as_many_frames_come_out_as_are_coded(
    clip: Make, read_all: ReadAll, name: str, rate: str
) -> None:
    info = probe_video(clip(name, rate))
    frames = read_all(info)
    assert len(frames) == info.frame_count == round(2 * Fraction(rate))
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((48, 64, 3), "uint8")}


def test_indices_count_from_the_start(bframes: Path) -> None:
    with FrameReader(probe_video(bframes), 5, 9) as reader:
        assert [frame.index for frame in reader] == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", ("-bf", "3", "-g", "12")),
        ("a.mkv", ("-bf", "3", "-g", "12", "-output_ts_offset", "5")),
        ("a.mp4", ("-bf", "3", "-g", "12", "-x264opts", "open_gop=1")),
        ("a.ts", ("-bf", "3", "-g", "12")),
        ("a.avi", ()),
        ("a.mkv", ("-vf", "select='not(between(n,10,25))'", "-fps_mode", "vfr", "-g", "12")),
        (
            "a.mkv",
            ("-vf", "select='gt(random(0),0.4)'", "-fps_mode", "vfr", "-output_ts_offset", "5"),
        ),
    ],
)
def test_every_start_is_exact_to_the_frame(
    clip: Make, read_all: ReadAll, name: str, options: tuple[str, ...]
) -> None:
    info = probe_video(clip(name, "30000/1001", *options))
    whole = read_all(info)
    assert len(whole) == info.frame_count
    for start in range(0, len(whole), 7):
        part = read_all(info, start, start + 3)
        assert len(part) == min(3, len(whole) - start)
        for offset, frame in enumerate(part):
            np.testing.assert_array_equal(frame, whole[start + offset])


def test_frames_hidden_by_an_edit_list_are_not_read(
    make: Make, bframes: Path, read_all: ReadAll
) -> None:
    path = make("trimmed.mp4", "-ss", "0.2", "-i", f"file:{bframes}", "-c", "copy")
    info = probe_video(path)
    frames = read_all(info)
    assert len(frames) == info.frame_count == 54
    np.testing.assert_array_equal(frames[-1], read_all(probe_video(bframes))[-1])
    np.testing.assert_array_equal(read_all(info, 20, 21)[0], frames[20])


def test_rotation_is_applied(make: Make, bframes: Path, read_all: ReadAll) -> None:
    upright = read_all(probe_video(bframes), 0, 1)[0]
    for degrees in (90, 180, 270):
        path = make(
            "turned.mp4", "-display_rotation", str(degrees), "-i", f"file:{bframes}", "-c", "copy"
        )
        turned = read_all(probe_video(path), 0, 1)[0]
        expected = np.rot90(upright, degrees // 90)  # the tag counts counter-clockwise
        # Turning happens on 4:2:0, where chroma repeats the same either way: equal to the bit.
        np.testing.assert_array_equal(turned, expected)


def test_chroma_of_turned_422_is_kept(make: Make) -> None:
    upright = make(
        "upright.mov", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.12", "-c:v", "prores_ks",
        "-pix_fmt", "yuv422p10le",
    )  # fmt: skip
    for degrees in (90, 270):
        path = make(
            "turned.mov", "-display_rotation", str(degrees), "-i", f"file:{upright}", "-c", "copy"
        )
        planes = []
        for each in (upright, path):
            info = probe_video(each)
            with FrameReader(info, 0, 1) as reader:
                (frame,) = reader
            assert frame.planes is not None
            planes.append(canvas_for(info).layout.split(frame.planes, info.width, info.height))
        for before, after in zip(*planes, strict=True):
            whole = np.repeat(before, 64 // before.shape[1], axis=1)
            np.testing.assert_array_equal(after, np.rot90(whole, degrees // 90))


@pytest.mark.parametrize("name", ["gaps.mkv", "gaps.mp4", "gaps.ts"])
def test_each_frame_of_a_variable_rate_comes_once(clip: Make, read_all: ReadAll, name: str) -> None:
    gaps = (
        "-vf",
        "select='not(between(n,10,25))'",
        "-fps_mode",
        "vfr",
        "-c:v",
        "libx264",
        "-qp",
        "0",
    )
    source = read_all(probe_video(clip("all.mkv", "30", "-qp", "0")))
    info = probe_video(clip(name, "30", *gaps))
    assert info.variable_rate
    kept = [index for index in range(60) if not 10 <= index <= 25]
    for frame, index in zip(read_all(info), kept, strict=True):
        np.testing.assert_array_equal(frame, source[index])


def test_a_cut_off_file_gives_the_frames_before_and_a_warning(
    clip: Make,
    cut_off: Callable[[Path, float], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = cut_off(clip("a.mkv", "25", size="160x120"), 0.6)
    with caplog.at_level(logging.WARNING), FrameReader(probe_video(path)) as reader:
        count = len(list(reader))
    assert 10 < count < 50
    assert reader.warning is not None
    assert reader.warning.startswith(
        f"{path}: damaged; frames that could be read: {count} (ffmpeg: "
    )
    assert reader.warning in caplog.text


def test_a_whole_file_gives_no_warning(bframes: Path) -> None:
    with FrameReader(probe_video(bframes)) as reader:
        list(reader)
    assert reader.warning is None


def test_no_frame_at_all_is_an_error(bframes: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with (
        pytest.raises(MediaError, match=r"broken.mp4: ffmpeg could not decode the video \(.+\);"),
        FrameReader(replace(probe_video(bframes), path=broken)) as reader,
    ):
        list(reader)


def test_leaving_early_ends_ffmpeg(clip: Make) -> None:
    with FrameReader(probe_video(clip("long.mp4", "25", size="320x240", s=20))) as reader:
        for frame in reader:
            if frame.index == 2:
                break
        process = reader._process
    assert process is not None
    assert process._process.returncode is not None


@pytest.mark.parametrize(
    "name",
    ["a b.mp4", "-x.mp4", "concat:a.mp4", "http:x.mp4", "fîlm-日本.mp4", "%03d.mp4", "a'b;[.mp4"],
)
def test_any_name_can_be_read(
    bframes: Path, tmp_path: Path, name: str, read_all: ReadAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(bframes.read_bytes())
    assert len(read_all(probe_video(Path(name)), 0, 2)) == 2


def test_an_empty_range_is_empty_and_a_backward_one_refused(
    bframes: Path, read_all: ReadAll
) -> None:
    info: VideoInfo = probe_video(bframes)
    assert read_all(info, 3, 3) == []
    with pytest.raises(ValueError, match="frames 4 to 3 are not a range"):
        FrameReader(info, 4, 3)
    with pytest.raises(ValueError, match="outside its with block"):
        list(FrameReader(info))


def test_frames_past_the_end_do_not_come(bframes: Path, read_all: ReadAll) -> None:
    info = probe_video(bframes)
    assert len(read_all(info, 58, 70)) == 2
    assert read_all(info, 60, 70) == []
