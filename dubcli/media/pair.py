"""Encoding two videos as one small one, for looking at them side by side.

One file cannot drift apart: whatever a player does, it shows both pictures of the same frame.
"""

import math
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from dubcli.errors import MediaError
from dubcli.media.binary import find_ffmpeg
from dubcli.media.command import encode_pair, file_url
from dubcli.media.files import open_media
from dubcli.media.process import FfmpegProcess
from dubcli.pace import Pace
from dubcli.records import Bytes, Stamps, VideoInfo

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

    def __init__(
        self,
        target: Path,
        info: VideoInfo,
        *,
        sound: Path,
        frame_count: int,
        stamps: Stamps | None = None,
    ) -> None:
        """Prepare; ffmpeg starts on entering the context.

        Args:
            target: The .mp4 to write, replaced if it is there.
            info: Size, rate and colour of both videos.
            sound: The file whose sound is heard.
            frame_count: How many pairs will be written.
            stamps: When they are shown; None: at ``info``'s rate.
        """
        self._pace = Pace(info.frame_rate, stamps)
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
            duration_s=self._pace.begins_s(self._frame_count),
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
        if self._pace.stamps is not None:
            self._stamp(self._pace.stamps)

    def _stamp(self, stamps: Stamps) -> None:
        """Give each picture its time; there are no B-frames, so they are stored as shown."""
        edges = self._pace.ticks(self._frame_count + 1, stamps)
        even = self._target.with_suffix(".even.mp4")
        self._target.replace(even)
        try:
            with open_media(even) as source, av.open(file_url(self._target), "w") as target:
                streams = {
                    stream.index: target.add_stream_from_template(stream, opaque=True)
                    for stream in (source.streams.video[0], source.streams.audio[0])
                }
                streams[source.streams.video[0].index].time_base = stamps.unit_s
                place = 0
                for packet in source.demux(source.streams.video[0], source.streams.audio[0]):
                    if not packet.size:
                        continue
                    if packet.stream.type == "video":
                        packet.time_base = stamps.unit_s
                        packet.pts = packet.dts = int(edges[place])
                        packet.duration = int(edges[place + 1] - edges[place])
                        place += 1
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
        finally:
            even.unlink(missing_ok=True)

    def _failure(self, process: FfmpegProcess) -> MediaError:
        process.finish()
        reason = process.complaint() or "it gave no reason"
        return MediaError(f"{self._target}: ffmpeg could not write the file ({reason})")
