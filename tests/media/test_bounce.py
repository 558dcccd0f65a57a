from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dubcli.errors import MediaError
from dubcli.media import bounce
from dubcli.media.bounce import bounced_frames, bounced_indices
from dubcli.media.probe import probe_video
from dubcli.records import Bytes

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("source_count", "indices"),
    [(1, [0, 0, 0]), (2, [0, 1, 0, 1]), (4, [0, 1, 2, 3, 2, 1, 0, 1, 2]), (3, [])],
)
def test_indices_run_to_and_fro(source_count: int, indices: list[int]) -> None:
    assert list(bounced_indices(source_count, len(indices))) == indices


@given(st.integers(1, 50), st.integers(0, 300))
def test_indices_equal_a_cycle_of_the_period(source_count: int, length: int) -> None:
    period = [*range(source_count), *range(source_count - 2, 0, -1)]
    assert list(bounced_indices(source_count, length)) == list(islice(cycle(period), length))


def test_no_source_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot make 3 frames of 0"):
        bounced_indices(0, 3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", ("-bf", "3", "-g", "12", "-b_strategy", "0")),
        ("late.mkv", ("-bf", "3", "-g", "12", "-output_ts_offset", "5")),
        ("a.ts", ("-g", "12")),
        ("gaps.mkv", ("-vf", "select='gt(random(0),0.4)'", "-fps_mode", "vfr")),
    ],
)
def test_frames_are_those_of_the_indices(
    clip: Make,
    read_all: Callable[..., list[Bytes]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: tuple[str, ...],
) -> None:
    monkeypatch.setattr(bounce, "BLOCK_FRAMES", 13)
    info = probe_video(clip(name, "30000/1001", *options))
    source = read_all(info)
    length = 3 * len(source) + 5
    frames = bounced_frames(info, len(source), length)
    indices = list(bounced_indices(len(source), length))
    for index, frame in zip(indices, frames, strict=True):
        assert frame.index == index
        np.testing.assert_array_equal(frame.rgb, source[index])


def test_a_shorter_length_stops_early(bframes: Path) -> None:
    frames = bounced_frames(probe_video(bframes), 60, 4)
    assert [frame.index for frame in frames] == [0, 1, 2, 3]


def test_one_frame_repeats(clip: Make) -> None:
    info = probe_video(clip("one.mp4", "25", "-frames:v", "1"))
    assert [frame.index for frame in bounced_frames(info, 1, 3)] == [0, 0, 0]


def test_frames_that_are_not_there_are_an_error(bframes: Path) -> None:
    info = replace(probe_video(bframes))
    with pytest.raises(MediaError, match="frame 60 cannot be decoded a second time"):
        list(bounced_frames(info, 70, 65))
