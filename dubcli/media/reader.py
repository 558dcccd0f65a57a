"""Decoding a video to frames, one at a time: their own planes, and what the networks see."""

import logging
from collections.abc import Iterator

import numpy as np

from dubcli.errors import MediaError
from dubcli.media.binary import find_ffmpeg
from dubcli.media.command import FrameRange, decode_video
from dubcli.media.planes import canvas_for
from dubcli.media.process import Decoding, FfmpegProcess
from dubcli.media.timeline import read_timeline
from dubcli.records import Frame, Pictures, VideoInfo

logger = logging.getLogger(__name__)


def frame_range(info: VideoInfo, start: int, stop: int | None) -> FrameRange:
    """Return how ffmpeg gets exactly the frames ``start`` to ``stop``.

    Where the container has an index, decoding starts at the key frame before; elsewhere (MPEG-TS,
    AVI, raw streams) at the beginning, which is exact too but slower.

    Args:
        info: The video.
        start: First frame, from 0.
        stop: One past the last frame; None: to the end.
    """
    count = None if stop is None else stop - start
    if info.pictures is not None:
        total = info.pictures.count
        begin = min(start, total - 1)
        count = max(0, min(total, total if stop is None else stop) - start)
        return FrameRange(count=count, skip=start - begin, picture=info.pictures.first + begin)
    if info.interlaced:  # a field looks at those before it, which a seek would leave out
        return FrameRange(count=count, skip=start)
    if start == 0:
        return FrameRange(count=count)
    timeline = read_timeline(info.path)
    if timeline is None or not timeline.indexed or start >= len(timeline.pts):
        return FrameRange(count=count, skip=start)
    key = timeline.key_before(start)
    return FrameRange(count=count, seek_s=timeline.seek_s(key), skip=start - key)


class FrameReader(Decoding):
    """A context manager and iterator of the frames of a video, as displayed, one in memory.

    Each coded frame comes exactly once, whatever its timestamp (``dubcli.pace`` says when it is
    shown). A file whose end is damaged gives the frames before the damage; ``warning`` then says
    what happened.
    """

    def __init__(self, info: VideoInfo, start: int = 0, stop: int | None = None) -> None:
        """Prepare to read; ffmpeg starts on entering the context.

        Args:
            info: The video, from ``probe_video``.
            start: First frame, from 0.
            stop: One past the last frame; None: to the end.

        Raises:
            ValueError: If the range is not one.
        """
        if start < 0 or (stop is not None and stop < start):
            raise ValueError(f"frames {start} to {stop} are not a range")
        super().__init__()
        self.warning: str | None = None
        self._info = info
        self._start = start
        self._stop = stop

    def _command(self) -> list[str]:
        wanted = frame_range(self._info, self._start, self._stop)
        return decode_video(find_ffmpeg(), self._info, wanted)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; once per context.

        Raises:
            MediaError: If not a single frame can be decoded.
            ValueError: If the context has not been entered.
        """
        process = self._running()
        canvas = canvas_for(self._info)
        index = self._start
        while self._stop is None or index < self._stop:
            buffer = bytearray(canvas.frame_bytes)
            if process.read_into(buffer) < len(buffer):
                self._judge(process, index - self._start)
                return
            planes = np.frombuffer(buffer, np.uint8)
            yield Frame(index, canvas.show(planes), planes)
            index += 1

    def _expected(self, pictures: Pictures) -> int:
        """Return how many pictures are wanted: one that is left out would shift all others."""
        stop = pictures.count if self._stop is None else min(self._stop, pictures.count)
        return stop - self._start

    def _judge(self, process: FfmpegProcess, count: int) -> None:
        """Decide what an end of the stream means, after ``count`` frames."""
        status = process.finish()
        tail = process.complaint()
        if self._info.pictures is not None and count < self._expected(self._info.pictures):
            raise MediaError(
                f"{self._info.path}: {count} of {self._expected(self._info.pictures)} pictures "
                f"can be decoded (ffmpeg: {tail or f'exit status {status}'}); make the damaged "
                "ones again"
            )
        if count == 0 and (status != 0 or tail or self._start == 0):
            reason = tail or (f"it ended with status {status}" if status else "it gave no frame")
            raise MediaError(
                f"{self._info.path}: ffmpeg could not decode the video ({reason}); "
                "check that the file is complete"
            )
        # After a seek, decoders grumble about frames that they never saw and we never asked for.
        total = self._info.frame_count
        whole = self._start > 0 and total is not None and self._start + count >= total
        if status != 0 or (tail and not whole):
            self.warning = (
                f"{self._info.path}: damaged; frames that could be read: {count} "
                f"(ffmpeg: {tail or f'exit status {status}'})"
            )
            logger.warning("%s", self.warning)
