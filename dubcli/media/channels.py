"""Sound in all of its channels, as float32 samples: from ffmpeg, and to a file. N, C as ever."""

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dubcli.errors import MediaError
from dubcli.media.binary import find_ffmpeg
from dubcli.media.process import Decoding, FfmpegProcess
from dubcli.media.sound_command import store_channels
from dubcli.records import AudioInfo, Float

SAMPLE_BYTES = 4


class ChannelReader(Decoding):
    """A context manager that reads decoded samples, and silence after the last one."""

    def __init__(self, arguments: list[str] | None, channels: int) -> None:
        """Remember what to start; None: silence alone."""
        super().__init__()
        self._arguments, self._channels = arguments, channels

    def _command(self) -> list[str] | None:
        return self._arguments

    def read(self, count: int) -> Float:
        """Return the next samples, [count, C]."""
        buffer = bytearray(count * self._channels * SAMPLE_BYTES)
        if self._process is not None:
            self._process.read_into(buffer)
        return np.frombuffer(buffer, "<f4").reshape(count, self._channels).astype(np.float32)


class ChannelWriter:
    """A context manager that stores samples as they are, in Wave64; half a file is removed."""

    def __init__(self, target: Path, rate_hz: int, layout: str) -> None:
        """Remember where to.

        Args:
            target: The file to write.
            rate_hz: Sample rate.
            layout: Of the channels, ffmpeg's name.
        """
        self.peak = 0.0  # the highest absolute sample, which may exceed 1
        self.written = 0  # samples of each channel
        self._target, self._rate_hz, self._layout = target, rate_hz, layout
        self._process: FfmpegProcess | None = None

    def __enter__(self) -> Self:
        arguments = store_channels(find_ffmpeg(), self._target, self._rate_hz, self._layout)
        self._process = FfmpegProcess(arguments, feed=True)
        return self

    def write(self, samples: Float) -> None:
        """Store the next samples, [N, C].

        Raises:
            MediaError: If ffmpeg has ended.
            ValueError: If the context has not been entered.
        """
        if self._process is None:
            raise ValueError("ChannelWriter.write is called outside its with block")
        data = np.ascontiguousarray(samples, "<f4")
        try:
            self._process.write(data.data.cast("B"))
        except OSError as error:
            raise self._failure(self._process) from error
        self.peak = max(self.peak, float(np.abs(data).max(initial=0.0)))
        self.written += len(data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if kind is None and process.finish() != 0:
                raise self._failure(process)
        except MediaError:
            self._target.unlink(missing_ok=True)
            raise
        finally:
            process.close()
            if kind is not None:
                self._target.unlink(missing_ok=True)

    def info(self, like: AudioInfo) -> AudioInfo:
        """Return what has been written.

        Args:
            like: A sound with as many channels.
        """
        return replace(
            like,
            path=self._target,
            rate_hz=self._rate_hz,
            sample_count=self.written,
            codec="pcm_f32le",
            sample_format="flt",
            layout=self._layout,
        )

    def _failure(self, process: FfmpegProcess) -> MediaError:
        process.finish()
        reason = process.complaint() or "it gave no reason"
        return MediaError(f"{self._target}: ffmpeg could not write the sound ({reason})")
