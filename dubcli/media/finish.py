"""Puts an output together from parts that hold its pictures, without encoding them again.

Letters: T pictures, d by how many pictures decoding order runs ahead of showing order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from dubcli.errors import MediaError
from dubcli.media import command
from dubcli.media.binary import find_ffmpeg
from dubcli.media.files import open_media
from dubcli.media.process import FfmpegProcess
from dubcli.media.provenance import ISO_CONTAINERS, Mark, append_xmp, notes_of
from dubcli.media.signing import sign
from dubcli.media.soundtrack import Soundtrack
from dubcli.records import Arrangement, AudioInfo, Carried, Integers, Stamps

# A fragment for each picture: nothing is gathered in memory.
_FRAGMENTS = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}
_NOT_IN_MOV = frozenset({"ffv1"})


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What an output is made of."""

    parts: Sequence[Path]  # .mov files of encoded pictures, in order
    frame_rate: Fraction  # of the parts
    frame_count: int  # of all parts together, T
    speech: AudioInfo
    soundtrack: Soundtrack
    arrangement: Arrangement
    stamps: Stamps | None = None  # None: picture k is shown at k / frame_rate
    carried: Carried | None = None
    mark: Mark | None = None  # None: the output does not say how it was made


def even_stamps(count: int, frame_rate: Fraction) -> Stamps:
    """Return the times of a constant rate.

    Example:
        >>> stamps = even_stamps(3, Fraction(30000, 1001))
        >>> stamps.ticks.tolist(), stamps.end, stamps.unit_s
        ([0, 1, 2], 3, Fraction(1001, 30000))
    """
    return Stamps(np.arange(count), count, 1 / frame_rate)


def decoding_ticks(stamps: Stamps, ahead: int) -> Integers:
    """Return when each picture is decoded, in decoding order, [T + 1]; last: when all are over.

    That of the picture that is shown d places earlier; before the first one, a tick each. So it is
    never later than a picture is shown, and differences add up to the whole length.

    Args:
        stamps: When pictures are shown.
        ahead: d.

    Example:
        >>> decoding_ticks(even_stamps(4, Fraction(25)), 2).tolist()
        [-2, -1, 0, 1, 2]
    """
    first = stamps.ticks[0] + np.arange(-ahead, 0)
    times = np.concatenate([first, stamps.ticks])[: len(stamps.ticks)]
    return np.append(times, stamps.end - ahead)


def finish(recipe: Recipe, partial: Path) -> str:
    """Write an output.

    Args:
        recipe: What it is made of.
        partial: The file to write, with the extension of the output.

    Returns:
        What ffmpeg complained of although it went well; mostly nothing.

    Raises:
        MediaError: If a part is damaged, or ffmpeg fails.
    """
    carrier = _carrier(recipe.parts[0])
    arguments = command.finish(
        find_ffmpeg(),
        partial,
        carrier,
        speech=recipe.speech,
        soundtrack=recipe.soundtrack,
        arrangement=recipe.arrangement,
        carried=recipe.carried,
        notes=notes_of(recipe.mark, partial, recipe.carried) if recipe.mark else None,
    )
    with FfmpegProcess(arguments, feed=True) as process:
        try:
            _feed(recipe, carrier.format, process)
        except OSError as error:  # it has ended; Windows reports a broken pipe as EINVAL
            process.finish()
            raise MediaError(process.complaint() or "it gave no reason") from error
        if process.finish() != 0:
            raise MediaError(process.complaint() or "it gave no reason")
        if (count := process.frames_written()) != recipe.frame_count:
            raise MediaError(f"{count} of {recipe.frame_count} frames were put together")
        complaint = process.complaint()
    if recipe.mark is not None and partial.suffix.lower() in ISO_CONTAINERS:
        append_xmp(partial, recipe.mark)
        if recipe.mark.credentials is not None:  # last: it is signed to the last byte
            sign(partial, recipe.mark, recipe.mark.credentials)
    return complaint


def _carrier(part: Path) -> command.Carrier:
    """Return how the pictures of a part travel to ffmpeg."""
    with open_media(part) as container:
        stream = container.streams.video[0]
        if stream.codec_context.name not in _NOT_IN_MOV:
            return command.Carrier("mov")
        shape = (stream.sample_aspect_ratio or 1) * Fraction(stream.width, stream.height)
        return command.Carrier("matroska", shape)  # which PyAV leaves out


class _Pipe:
    """What PyAV writes to."""

    def __init__(self, process: FfmpegProcess) -> None:
        self._process = process

    def write(self, data: bytes) -> int:
        """Pass bytes on."""
        self._process.write(memoryview(data))
        return len(data)


def _feed(recipe: Recipe, carrier: str, process: FfmpegProcess) -> None:
    """Give ffmpeg the pictures of all parts, as one stream."""
    stamps = recipe.stamps or even_stamps(recipe.frame_count, recipe.frame_rate)
    options = _FRAGMENTS if carrier == "mov" else {}
    with av.open(_Pipe(process), "w", format=carrier, options=options) as target:
        stream: VideoStream | None = None
        decoded = np.zeros(0, np.int64)
        for place, (part, packet, shown, ahead) in enumerate(packets_of(recipe)):
            if stream is None:
                stream = target.add_stream_from_template(part, opaque=True)
                stream.time_base = stamps.unit_s
                # PyAV forgets both: without its tag, ProRes 4444 would be called 422.
                stream.codec_context.codec_tag = part.codec_context.codec_tag
                stream.codec_context.sample_aspect_ratio = part.sample_aspect_ratio
                decoded = decoding_ticks(stamps, ahead)
            packet.time_base = stamps.unit_s
            packet.pts, packet.dts = int(stamps.ticks[shown]), int(decoded[place])
            packet.duration = int(decoded[place + 1] - decoded[place])
            packet.stream = stream
            target.mux(packet)


def packets_of(recipe: Recipe) -> Iterator[tuple[VideoStream, "Packet[VideoStream]", int, int]]:
    """Yield each picture's stream and packet, in decoding order, its place in showing order, d.

    Args:
        recipe: ``parts``, ``frame_rate`` and ``frame_count`` are read.

    Raises:
        MediaError: If a part is damaged, or they have not as many pictures together.
    """
    before = 0
    for path in recipe.parts:
        with open_media(path) as container:
            stream, count, ahead = container.streams.video[0], 0, 0
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                shown = _place(packet.pts, packet, recipe.frame_rate)
                if count == 0:
                    ahead = shown - _place(packet.dts, packet, recipe.frame_rate)
                count += 1
                if before + max(count, shown + 1) > recipe.frame_count:
                    raise MediaError(f"{path} has too many frames")
                yield stream, packet, before + shown, ahead
            before += count
    if before != recipe.frame_count:
        raise MediaError(f"the parts have {before} of {recipe.frame_count} frames")


def _place(time: int | None, packet: "Packet[VideoStream]", frame_rate: Fraction) -> int:
    """Return which frame of a constant rate a time is."""
    if time is None or packet.time_base is None:
        raise MediaError("a part lacks times")
    return round(time * packet.time_base * frame_rate)
