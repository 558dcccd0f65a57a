"""Encoding two videos as one small one, for looking at them side by side.

One file cannot drift apart: whatever a player does, it shows both pictures of the same frame.
"""

import math
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dubcli.errors import MediaError
from dubcli.media.binary import find_ffmpeg
from dubcli.media.command import encode_pair
from dubcli.media.process import FfmpegProcess
from dubcli.records import Bytes, VideoInfo

PICTURE_PX = 854 * 480  # of each picture, at most


def pair_size(info: VideoInfo) -> tuple[int, int]:
    """Return width and height of each picture: square pixels, even, ``PICTURE_PX`` at most.

    Args:
        info: The video; a small one keeps its height.

    Example:
        >>> from dataclasses import replace
        >>> from fractions import Fraction
        >>> info = VideoInfo(Path("a.mp4"), 1920, 1080, Fraction(25), None, None, 0, False, False,
        ...                  "h264", "yuv420p", None, None, None, None)
        >>> pair_size(info)
        (852, 480)
        >>> pair_size(replace(info, width=360, height=288))
        (360, 288)
    """
    width, height = float(info.width * info.pixel_aspect), float(info.height)
    factor = min(1.0, math.sqrt(PICTURE_PX / (width * height)))
    return _even(width * factor), _even(height * factor)


def _even(length: float) -> int:
    return max(2, 2 * math.floor(length / 2 + 1e-6))


class PairWriter:
    """A context manager that encodes pairs of frames with a sound.

    The file is there and complete after leaving the context without an exception; otherwise it is
    removed.
    """

    def __init__(self, target: Path, info: VideoInfo, *, sound: Path, frame_count: int) -> None:
        """Prepare; ffmpeg starts on entering the context.

        Args:
            target: The .mp4 to write, replaced if it is there.
            info: Size, rate and colour of both videos.
            sound: The file whose sound is heard.
            frame_count: How many pairs will be written.
        """
        self._target, self._info, self._sound = target, info, sound
        self._frame_count = frame_count
        self._process: FfmpegProcess | None = None

    def __enter__(self) -> Self:
        arguments = encode_pair(
            find_ffmpeg(),
            self._target,
            self._info,
            size=pair_size(self._info),
            sound=self._sound,
            duration_s=self._frame_count / self._info.frame_rate,
        )
        self._process = FfmpegProcess(arguments, feed=True)
        return self

    def write(self, upper: Bytes, lower: Bytes) -> None:
        """Encode the next pair.

        Args:
            upper: uint8, [H, W, 3], of the video's size.
            lower: The same.

        Raises:
            ValueError: If shape or type differ, or the context has not been entered.
            MediaError: If ffmpeg has ended.
        """
        if self._process is None:
            raise ValueError("PairWriter.write is called outside its with block")
        shape = (self._info.height, self._info.width, 3)
        for rgb in (upper, lower):
            if rgb.shape != shape or rgb.dtype != np.uint8:
                raise ValueError(f"frame is {rgb.dtype} {rgb.shape}, the video is uint8 {shape}")
            try:
                self._process.write(np.ascontiguousarray(rgb).data.cast("B"))
            except OSError as error:  # Windows reports a broken pipe as EINVAL
                raise self._failure(self._process) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        whole = False
        try:
            if kind is None:
                self._complete(self._process)
                whole = True
        finally:
            self._process.close()
            self._process = None
            if not whole:
                self._target.unlink(missing_ok=True)

    def _complete(self, process: FfmpegProcess) -> None:
        """Wait for ffmpeg and check its work."""
        if process.finish() != 0:
            raise self._failure(process)
        if (encoded := process.frames_written()) != self._frame_count:
            raise MediaError(
                f"{self._target}: ffmpeg encoded {encoded} of {self._frame_count} frames"
            )

    def _failure(self, process: FfmpegProcess) -> MediaError:
        process.finish()
        reason = process.complaint() or "it gave no reason"
        return MediaError(f"{self._target}: ffmpeg could not write the file ({reason})")
