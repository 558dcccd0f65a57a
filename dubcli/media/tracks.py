"""What an output has of its source beside the picture: tracks, chapters, timecode, metadata."""

from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.stream import Stream

from dubcli.config import PICTURE_SUFFIXES
from dubcli.media.files import open_media
from dubcli.media.timeline import first_picture_stream
from dubcli.records import Carried, CarriedStream

# What ffmpeg's muxers take as it is (and players know), by codec.
_MP4_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "dts"})
_MOV_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_MKV_SOUND = _MP4_SOUND | {"vorbis", "truehd", "mp2", "wavpack", "tta"}
_MKV_WORDS = frozenset({"subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle"})
_TEXT = frozenset({"subrip", "ass", "ssa", "webvtt", "mov_text", "text"})


def tracks_of(path: Path, extension: str, until_s: Fraction) -> tuple[Carried, tuple[str, ...]]:
    """Return what an output takes over from its source, and what it cannot hold.

    All sound but the first track, subtitles, attachments, chapters, the timecode and the metadata;
    chapters and tracks end with the output.

    Args:
        path: The source.
        extension: Of the output, with its dot, lower case.
        until_s: How long the output is.

    Returns:
        What comes along, and a sentence where something does not.

    Raises:
        InputError: If the source cannot be opened.
    """
    kept, lost = list[CarriedStream](), list[str]()
    with open_media(path) as container:
        picture = first_picture_stream(container)
        sounds = container.streams.audio
        for stream in container.streams:
            if (
                stream is picture
                or (sounds and stream is sounds[0])
                or _is_written(stream, container)
            ):
                continue
            codec = _carrier_codec(stream, extension)
            if codec is None:
                lost.append(_described(stream))
            else:
                kept.append(CarriedStream(stream.index, codec))
        timecode = _timecode(container)
    said = f"the output does not hold these tracks of the video: {', '.join(lost)}"
    carried = Carried(path, tuple(kept), timecode, until_s)
    return carried, (said,) if lost else ()


def _is_written(stream: Stream, container: InputContainer) -> bool:
    """Return whether a track is how QuickTime stores timecode or chapters: these are made anew."""
    if stream.type != "data":
        return False
    told = {key.lower(): value.lower() for key, value in stream.metadata.items()}
    handler = told.get("handler_name", "")
    names = any(word in handler for word in ("text", "subtitle", "chapter"))
    return "timecode" in told or (names and bool(container.chapters()))


def _codec(stream: Stream) -> str:
    """Return ffmpeg's name of a track's codec; empty where there is none."""
    context = stream.codec_context
    return "" if context is None else context.codec.canonical_name


def _carrier_codec(stream: Stream, extension: str) -> str | None:
    """Return "copy", the encoder that makes a track fit, or None where it cannot be held."""
    name = _codec(stream)
    if extension in PICTURE_SUFFIXES:
        return None
    if stream.type == "audio":
        pcm = name.startswith("pcm_") and name not in {"pcm_bluray", "pcm_dvd"}
        held = {".mkv": _MKV_SOUND, ".mov": _MOV_SOUND}.get(extension, _MP4_SOUND)
        return "copy" if name in held or (pcm and extension in {".mkv", ".mov"}) else None
    if stream.type == "subtitle":
        if extension == ".mkv":
            return "copy" if name in _MKV_WORDS else ("subrip" if name in _TEXT else None)
        return "copy" if name == "mov_text" else ("mov_text" if name in _TEXT else None)
    return "copy" if stream.type == "attachment" and extension == ".mkv" else None


def _described(stream: Stream) -> str:
    """Return what a track is, for people."""
    name = _codec(stream)
    return f"{stream.type} {stream.index}" + (f" ({name})" if name else "")


def _timecode(container: InputContainer) -> str | None:
    """Return when the first frame was, as the file says it: "01:00:00:00"."""
    told = [container.metadata, *(stream.metadata for stream in container.streams)]
    for metadata in told:
        for key, value in metadata.items():
            if key.lower() == "timecode":
                return str(value)
    return None
