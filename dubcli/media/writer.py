"""Encoding frames and speech to a file that appears only when it is whole."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dubcli.config import SEGMENT_FRAMES, DubOptions
from dubcli.errors import MediaError
from dubcli.media import command
from dubcli.media.binary import find_ffmpeg
from dubcli.media.codecs import encoding_for
from dubcli.media.files import check_output, refuse_overwriting_inputs
from dubcli.media.finish import Recipe, finish
from dubcli.media.finish_pictures import finish_pictures
from dubcli.media.outputs import check_sequence_output, discard, place_of, put_in_place
from dubcli.media.parts import Parts, remove_parts
from dubcli.media.planes import canvas_for, layer_info
from dubcli.media.process import FfmpegProcess
from dubcli.media.provenance import Mark
from dubcli.media.sequence import is_pictures
from dubcli.media.soundtrack import soundtrack_for
from dubcli.records import Arrangement, AudioInfo, Bytes, Carried, Stamps, VideoInfo

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


@dataclass(slots=True, eq=False)
class _Part:
    """A part at work."""

    process: FfmpegProcess
    written: int = 0


class FrameWriter:
    """A context manager that encodes frames and muxes the speech.

    Pictures are encoded in parts beside the output; leaving the context without an exception, with
    every frame written, joins them and the speech in ``partial_path(output)`` and moves that to
    ``output``. Otherwise ``output`` is untouched, and the finished parts stay only if ``identity``
    says what they are made from: the next writer with the same one goes on after them.
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
        identity: str = "",
        carried: Carried | None = None,
        planes: bool = False,
        mark: Mark | None = None,
        stamps: Stamps | None = None,
    ) -> None:
        """Check what can be checked; nothing is written before the context is entered.

        Args:
            output: The file to write; its extension chooses the container.
            info: The source video: size, rate, chroma and colour tags of the output.
            speech: The sound of the output, to the sample in .mkv and .mov.
            frame_count: How many frames the output has.
            options: Codec, pixel format, crf and preset.
            arrangement: What is done to the speech.
            identity: What all frames follow from, in a line; empty: nothing is kept for another.
            carried: What comes along from the source; None: nothing.
            mark: What the output says about how it was made; None: nothing.
            stamps: When each frame is shown; None: at the source video's rate.
            planes: Whether frames come as ``canvas_for`` has them, or patches alone as
                ``Canvas.layer``, rather than as RGB.

        Raises:
            InputError: If ``output`` cannot be written or is an input, or the codec does not fit.
        """
        inputs = [*info.files, speech.path]
        if is_pictures(output):
            check_sequence_output(output, inputs, overwrite=True)
        else:
            check_output(output)
            refuse_overwriting_inputs(output, inputs)
        self._output = output
        self._info = info
        self._speech = speech
        self._arrangement = arrangement
        self._frame_count = frame_count
        self._identity = identity
        self._layer = options.patch_only
        self._carried = carried
        self._encoding = encoding_for(info, output.suffix.lower(), options)
        self._mark = mark
        self._stamps = stamps
        self._soundtrack = soundtrack_for(output.suffix.lower(), speech)
        self._warnings = list(self._encoding.warnings)
        self._warnings += [self._soundtrack.warning] if self._soundtrack.warning else []
        canvas = canvas_for(layer_info(info) if options.patch_only else info)
        self._raw = canvas.layout.name if planes else "rgb24"
        self._shape = (canvas.frame_bytes,) if planes else (info.height, info.width, 3)
        if is_pictures(output) and identity:  # its place does not say which pictures
            self._identity = f"{identity} {self._encoding.codec}"
        self._partial = partial_path(place_of(output))
        self._parts: Parts | None = None
        self._written = 0  # frames, with those that were there
        self._part: _Part | None = None  # the one that takes frames
        self._ending: _Part | None = None  # the one before, which ffmpeg is finishing

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the output; complete after leaving the context."""
        return tuple(self._warnings)

    @property
    def written(self) -> int:
        """How many frames there are; on entering the context, those of an earlier run."""
        return self._written

    def __enter__(self) -> Self:
        self._parts = Parts(place_of(self._output), self._frame_count, self._identity)
        discard(self._partial, self._output)  # not shared with one that was killed
        self._written = min(self._parts.frames, self._frame_count)
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
        if self._parts is None:
            raise ValueError("FrameWriter.write is called outside its with block")
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise ValueError(
                f"frame is {picture.dtype} {picture.shape}, the video is uint8 {self._shape}"
            )
        if self._written >= self._frame_count:
            raise ValueError(f"frame {self._written + 1} of {self._frame_count} is one too many")
        if self._ending is not None and self._ending.process.ended:
            self._settle(self._parts)
        if self._part is None:
            number = self._parts.count + (self._ending is not None)
            self._part = _Part(self._encoder(self._parts.unfinished(number)))
        part = self._part
        try:
            part.process.write(np.ascontiguousarray(picture).data.cast("B"))
        except OSError as error:  # Windows reports a broken pipe as EINVAL
            raise self._failure(part.process) from error
        self._written += 1
        part.written += 1
        if part.written == SEGMENT_FRAMES:
            self._end_part(self._parts)

    def _encoder(self, part: Path) -> FfmpegProcess:
        arguments = command.encode(find_ffmpeg(), part, self._info, self._encoding, self._raw)
        return FfmpegProcess(arguments, feed=True)

    def _end_part(self, parts: Parts) -> None:
        """Let ffmpeg finish a part while the next one begins."""
        self._settle(parts)
        self._ending, self._part = self._part, None
        if self._ending is not None:
            self._ending.process.end_input()

    def _settle(self, parts: Parts) -> None:
        """Wait for a part, check it and count it as finished."""
        part, self._ending = self._ending, None
        if part is None:
            return
        with part.process as process:
            if process.finish() != 0:
                raise self._failure(process)
            if (encoded := process.frames_written()) != part.written:
                raise MediaError(
                    f"{self._output}: ffmpeg encoded {encoded} of {part.written} frames; "
                    f"{self._left()}"
                )
            self._note(process.complaint())
        try:
            parts.add()
        except OSError as error:
            raise MediaError(
                f"{self._output}: a part of it could not be saved ({error.strerror}); "
                f"{self._left()}"
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._parts is None:
            return
        parts, whole = self._parts, False
        try:
            if kind is None:
                self._complete(parts)
                whole = True
        finally:
            for part in (self._part, self._ending):
                if part is not None:
                    part.process.close()
            self._part = self._ending = self._parts = None
            # A folder that vanished, or a full disk, must not hide what went wrong before.
            with suppress(OSError):
                discard(self._partial, self._output)
                parts.sweep()
                if whole or not self._identity or parts.count == 0:
                    remove_parts(parts.folder)

    def _complete(self, parts: Parts) -> None:
        """Finish the last part, join all and put the file in its place."""
        if self._written != self._frame_count:
            raise MediaError(
                f"{self._output}: {self._written} of {self._frame_count} frames came; "
                f"{self._left()}"
            )
        if self._part is not None:
            self._end_part(parts)
        self._settle(parts)
        recipe = Recipe(
            parts=parts.files(),
            frame_rate=self._info.frame_rate,
            frame_count=self._frame_count,
            speech=self._speech,
            soundtrack=self._soundtrack,
            arrangement=self._arrangement,
            stamps=self._stamps,
            mark=self._mark,
            carried=self._carried,
        )
        try:
            if is_pictures(self._output):
                finish_pictures(
                    recipe, self._partial, self._output, self._info.pictures, layer=self._layer
                )
            else:
                self._note(finish(recipe, self._partial))
        except MediaError as error:
            files = "the pictures" if is_pictures(self._output) else "the file"
            raise MediaError(
                f"{self._output}: ffmpeg could not write {files} ({error}); {self._left()}"
            ) from error
        try:
            put_in_place(self._partial, self._output)
        except (OSError, MediaError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise MediaError(
                f"{self._output}: could not be put in place ({reason}); "
                "check the folder's permissions"
            ) from error

    def _note(self, complaint: str) -> None:
        """Warn of what ffmpeg complained of, once."""
        said = f"{self._output}: ffmpeg reported: {complaint}"
        if complaint and said not in self._warnings:
            self._warnings.append(said)
            logger.warning("%s", said)

    def _failure(self, process: FfmpegProcess) -> MediaError:
        process.finish()
        reason = process.complaint() or "it gave no reason"
        return MediaError(
            f"{self._output}: ffmpeg could not write the file ({reason}); {self._left()}"
        )

    def _left(self) -> str:
        """Say what is left of the work."""
        if self._identity and self._parts is not None and self._parts.count:
            return f"its first {self._parts.frames} frames are kept"
        return "nothing was saved"
