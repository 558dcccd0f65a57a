"""What a path must be before ffmpeg hears of it, and opening it with PyAV."""

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from dubcli.config import CONTAINERS
from dubcli.errors import InputError
from dubcli.media.command import FORMATS, PICTURE_CODECS, file_url
from dubcli.media.stills import Still

_TIMECODE = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})[:;.](\d{1,3})")
_SNIFF_BYTES = 4096
_PLAYLIST_MARKS = (b"#extm3u", b"ffconcat", b"<mpd", b"<smoothstreamingmedia", b"[playlist]")
_LIST_EXTENSIONS = frozenset({".m3u8", ".m3u", ".mpd", ".ffconcat", ".pls", ".sdp", ".xspf"})


def open_media(path: Path) -> InputContainer:
    """Return an open container; the caller closes it.

    Args:
        path: The file.

    Raises:
        InputError: If it is no regular file, empty, a playlist, or not media.
    """
    check_readable(path)
    _refuse_playlist(path)
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        return av.open(file_url(path), mode="r", options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise InputError(
            f"{path}: not a video or sound file that can be read; "
            "check that it is complete, or convert it to .mp4 or .wav"
        ) from error


def open_picture(path: Path, still: Still) -> InputContainer:
    """Return a PNG or TIFF as a container of one picture; the caller closes it.

    Args:
        path: The file.
        still: From ``read_still``.

    Raises:
        InputError: If it cannot be opened.
    """
    demuxer = f"{still.kind.lower()}_pipe"  # one picture from one file
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": demuxer,
        "codec_whitelist": PICTURE_CODECS,
    }
    try:
        return av.open(file_url(path), mode="r", format=demuxer, options=options)
    except av.FFmpegError as error:
        raise InputError(f"{path}: cannot be decoded; make the picture again") from error


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself; nothing is decoded, and nothing of it is proved."""

    duration_s: Fraction | None
    timecode_frames: int | None  # of its first frame, counted from 00:00:00:00


def header_of(path: Path) -> Header:
    """Return what a file says of itself.

    Args:
        path: The file.

    Raises:
        InputError: As ``open_media``.
    """
    with open_media(path) as container:
        duration_s = None
        if container.duration is not None:
            duration_s = Fraction(container.duration, av.time_base)
        notes = [container.metadata, *(stream.metadata for stream in container.streams)]
        codes = [note["timecode"] for note in notes if "timecode" in note]
        rates = [stream.average_rate for stream in container.streams.video]
        found = _TIMECODE.fullmatch(codes[0]) if codes else None
        if found is None or not rates or not rates[0]:
            return Header(duration_s, None)
        hours, minutes, seconds, frames = map(int, found.groups())
        whole = (hours * 60 + minutes) * 60 + seconds
        return Header(duration_s, whole * round(rates[0]) + frames)


def check_readable(path: Path) -> None:
    """Refuse what is no file that can be read; it is not opened.

    Args:
        path: The file.

    Raises:
        InputError: If it is missing, empty, no regular file or may not be read.
    """
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give a file")
    if not path.exists():
        raise InputError(f"{path}: there is no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: not a regular file; save it to a file first")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: may not be read; check its permissions")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); check where it came from")


def _refuse_playlist(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_SNIFF_BYTES).lower()
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    xml = start.startswith(b"<") and any(mark in head for mark in _PLAYLIST_MARKS)
    if xml or start.startswith(_PLAYLIST_MARKS) or path.suffix.lower() in _LIST_EXTENSIONS:
        raise InputError(
            f"{path}: a playlist that points to other files; give the video or sound file itself"
        )


def check_output(output: Path, extensions: Collection[str] = CONTAINERS) -> None:
    """Refuse an output that could not be written, before any work is done.

    Whether it exists already is the pipeline's question.

    Args:
        output: The file to be written.
        extensions: What it may end in, lower case.

    Raises:
        InputError: If its extension, its folder or what is there now does not allow it.
    """
    if output.suffix.lower() not in extensions:
        known = ", ".join(sorted(extensions))
        one_of = "one of " if len(extensions) > 1 else ""
        raise InputError(f"{output}: the output must end in {one_of}{known}")
    check_place(output)


def check_place(path: Path) -> None:
    """Refuse a place where no file can be written.

    Args:
        path: The file to be written, of whatever kind.

    Raises:
        InputError: If its folder or what is there now does not allow it.
    """
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give the name of a file to write")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path}: the folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: the folder {folder} may not be written to; choose another")


def refuse_overwriting_inputs(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the inputs, under whatever name or link.

    Args:
        output: The file to be written.
        inputs: The files to be read.

    Raises:
        InputError: If it is.
    """
    for path in inputs:
        same_name = output.resolve() == path.resolve()
        if same_name or (output.exists() and path.exists() and output.samefile(path)):
            raise InputError(f"{output}: this is the input {path}; choose another output")
