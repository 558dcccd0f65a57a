"""Encoding frames and speech to a file that appears only when it is whole."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dubcli.config import DubOptions
from dubcli.errors import MediaError
from dubcli.media.binary import find_ffmpeg
from dubcli.media.codecs import encoding_for
from dubcli.media.command import encode
from dubcli.media.files import check_output, refuse_overwriting_inputs
from dubcli.media.planes import canvas_for
from dubcli.media.process import FfmpegProcess
from dubcli.media.soundtrack import soundtrack_for
from dubcli.records import Arrangement, AudioInfo, Bytes, VideoInfo

AS_IT_IS = Arrangement()
logger = logging.getLogger(__name__)


def partial_path(output: Path) -> Path:
    """Return where an output is written until it is whole.

    Args:
        output: The output.

    Example:
        >>> partial_path(Path("films/out.mp4")).name
        '.out.partial.mp4'
    """
    return output.with_name(f".{output.stem}.partial{output.suffix}")


class FrameWriter:
    """A context manager that encodes frames and muxes the speech.

    ffmpeg writes ``partial_path(output)``; leaving the context without an exception, with every
    frame written, moves it to ``output``. Otherwise it is removed and ``output`` is untouched.
    """

    def __init__(
        self,
        output: Path,
        info: VideoInfo,
        *,
        speech: AudioInfo,
        frame_count: int,
        options: DubOptions,
        arrangement: Arrangement = AS_IT_IS,
        planes: bool = False,
    ) -> None:
        """Check what can be checked; ffmpeg starts on entering the context.

        Args:
            output: The file to write; its extension chooses the container.
            info: The source video: size, rate, chroma and colour tags of the output.
            speech: The sound of the output, to the sample in .mkv and .mov.
            frame_count: How many frames will be written.
            options: Codec, pixel format, crf and preset.
            arrangement: What is done to the speech.
            planes: Whether frames come as ``canvas_for`` has them, rather than as RGB.

        Raises:
            InputError: If ``output`` cannot be written or is an input, or the codec does not fit.
        """
        check_output(output)
        refuse_overwriting_inputs(output, [info.path, speech.path])
        self._output = output
        self._info = info
        self._speech = speech
        self._arrangement = arrangement
        self._frame_count = frame_count
        self._encoding = encoding_for(info, output.suffix.lower(), options)
        self._soundtrack = soundtrack_for(output.suffix.lower(), speech)
        self._warnings = list(self._encoding.warnings)
        self._warnings += [self._soundtrack.warning] if self._soundtrack.warning else []
        canvas = canvas_for(info)
        self._raw = canvas.layout.name if planes else "rgb24"
        self._shape = (canvas.frame_bytes,) if planes else (info.height, info.width, 3)
        self._partial = partial_path(output)
        self._written = 0
        self._process: FfmpegProcess | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the output; complete after leaving the context."""
        return tuple(self._warnings)

    def __enter__(self) -> Self:
        arguments = encode(
            find_ffmpeg(),
            self._partial,
            self._info,
            speech=self._speech,
            soundtrack=self._soundtrack,
            arrangement=self._arrangement,
            encoding=self._encoding,
            raw=self._raw,
        )
        self._process = FfmpegProcess(arguments, feed=True)
        return self

    def write(self, picture: Bytes) -> None:
        """Encode the next frame.

        Args:
            picture: uint8, [H, W, 3] of the source video's size, or its planes.

        Raises:
            ValueError: If shape or type differ, there are too many frames, or the context has
                not been entered.
            MediaError: If ffmpeg has ended.
        """
        if self._process is None:
            raise ValueError("FrameWriter.write is called outside its with block")
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise ValueError(
                f"frame is {picture.dtype} {picture.shape}, the video is uint8 {self._shape}"
            )
        if self._written >= self._frame_count:
            raise ValueError(f"frame {self._written + 1} of {self._frame_count} is one too many")
        try:
            self._process.write(np.ascontiguousarray(picture).data.cast("B"))
        except OSError as error:  # Windows reports a broken pipe as EINVAL
            raise self._failure(self._process) from error
        self._written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        try:
            if kind is None:
                self._complete(self._process)
        finally:
            self._process.close()
            self._process = None
            self._partial.unlink(missing_ok=True)

    def _complete(self, process: FfmpegProcess) -> None:
        """Wait for ffmpeg, check its work and put the file in its place."""
        if self._written != self._frame_count:
            raise MediaError(
                f"{self._output}: {self._written} of {self._frame_count} frames came; "
                "nothing was saved"
            )
        if process.finish() != 0:
            raise self._failure(process)
        encoded = process.frames_written()
        if encoded != self._frame_count:
            raise MediaError(
                f"{self._output}: ffmpeg encoded {encoded} of {self._frame_count} frames; "
                "nothing was saved"
            )
        tail = process.complaint()
        if tail:
            self._warnings.append(f"{self._output}: ffmpeg reported: {tail}")
            logger.warning("%s", self._warnings[-1])
        try:
            self._partial.replace(self._output)
        except OSError as error:
            raise MediaError(
                f"{self._output}: could not be put in place ({error.strerror}); "
                "check the folder's permissions"
            ) from error

    def _failure(self, process: FfmpegProcess) -> MediaError:
        process.finish()
        reason = process.complaint() or "it gave no reason"
        return MediaError(
            f"{self._output}: ffmpeg could not write the file ({reason}); nothing was saved"
        )
