"""Frames for speech that is longer than its video: forward, backward, forward, ..."""

from collections.abc import Generator, Iterator
from itertools import islice

from dubcli.errors import MediaError
from dubcli.media.planes import canvas_for
from dubcli.media.reader import FrameReader
from dubcli.records import Frame, VideoInfo

BLOCK_FRAMES = 32
BLOCK_BYTES = 96 * 2**20  # 24 frames at 720p, 10 at 1080p


def bounced_indices(source_count: int, length: int) -> Iterator[int]:
    """Yield ``length`` frame indices that run to and fro over a video.

    0 .. n-1, n-2 .. 1, 0 .. n-1, ...: the end frames are not repeated, so nothing stands still.

    Args:
        source_count: Frames of the video, n.
        length: How many indices.

    Raises:
        ValueError: If there is no source frame, or the length is negative.

    Example:
        >>> list(bounced_indices(3, 8))
        [0, 1, 2, 1, 0, 1, 2, 1]
    """
    _check(source_count, length)
    return _indices(source_count, length)


def _check(source_count: int, length: int) -> None:
    if source_count < 1 or length < 0:
        raise ValueError(f"cannot make {length} frames of {source_count}")


def _indices(source_count: int, length: int) -> Iterator[int]:
    period = max(1, 2 * source_count - 2)
    for position in range(length):
        phase = position % period
        yield phase if phase < source_count else period - phase


def bounced_frames(
    info: VideoInfo, source_count: int, length: int, start: int = 0
) -> Iterator[Frame]:
    """Yield the frames of ``bounced_indices``; ``Frame.index`` is the index in the source.

    Memory is flat: a backward run is decoded forward in blocks, each yielded backward.

    Args:
        info: The video.
        source_count: How many frames it has: as many as ``FrameReader`` gave.
        length: How many frames there are.
        start: The first to yield.

    Raises:
        ValueError: If there is no source frame, or the length is negative.
        MediaError: If a frame below ``source_count`` cannot be decoded.
    """
    _check(source_count, length)
    return islice(_bounce(info, source_count, start), max(0, length - start))


def _bounce(info: VideoInfo, source_count: int, start: int) -> Iterator[Frame]:
    frame_bytes = info.width * info.height * 3 + canvas_for(info).frame_bytes
    block = max(1, min(BLOCK_FRAMES, BLOCK_BYTES // frame_bytes))
    period = max(1, 2 * source_count - 2)
    phase = start % period
    while True:
        if phase < source_count:
            yield from forward_frames(info, phase, source_count)
        top = source_count - 1 if phase < source_count else period - phase + 1
        for stop in range(top, 1, -block):
            yield from reversed(list(forward_frames(info, max(1, stop - block), stop)))
        phase = 0


def forward_frames(info: VideoInfo, start: int, stop: int) -> Generator[Frame, None, None]:
    """Yield frames that were decoded before.

    Args:
        info: The video.
        start: First frame, from 0.
        stop: One past the last frame.

    Raises:
        MediaError: If one of them cannot be decoded.
    """
    expected = start
    with FrameReader(info, start, stop) as reader:
        for frame in reader:
            yield frame
            expected += 1
    if expected != stop:
        raise MediaError(
            f"{info.path}: frame {expected} cannot be decoded a second time; "
            "convert the video with ffmpeg first"
        )
