"""Several speeches in one track, each at its own time. Letters: N samples, C channels."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.errors import InputError
from dubcli.media.bed import layout_of, placement
from dubcli.media.binary import find_ffmpeg
from dubcli.media.channels import ChannelReader, ChannelWriter
from dubcli.media.sound_command import decode_speech_channels
from dubcli.records import AudioInfo, Float

CHUNK_S = 1  # seconds in memory at once
S24 = "pcm_s24"  # decoded as s32 with a zero low byte
EXACT_FORMATS = frozenset({"u8", "s16"})  # whole numbers of up to 24 bits are exact in float32
WIDER_FORMATS = frozenset({"s32", "s64", "dbl"})


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A speech, and when it begins in an output."""

    info: AudioInfo
    start_s: Fraction = Fraction(0)

    def first(self, rate_hz: int) -> int:
        """Return its first sample in an output of a rate."""
        return round(self.start_s * rate_hz)

    def stop(self, rate_hz: int) -> int:
        """Return the sample after its last one."""
        return self.first(rate_hz) + -(-self.info.sample_count * rate_hz // self.info.rate_hz)


def mix_lines(lines: Sequence[Placed], until_s: Fraction, target: Path) -> tuple[AudioInfo, float]:
    """Write speeches into one file, each at its time, added up where they overlap.

    The file has the highest rate and the most channels among them. Where one speech of that rate
    and of those channels sounds alone, its samples are stored as they are; if all of them are whole
    numbers of the same kind, of up to 24 bits, the file passes for one of that kind. Memory is
    constant.

    Args:
        lines: At least one.
        until_s: Where the last one is cut off.
        target: The file to write: Wave64 with float samples.

    Returns:
        What was written, and its highest absolute sample, which may exceed 1.

    Raises:
        InputError: If their channels do not go together.
        MediaError: If ffmpeg fails.
    """
    rate_hz, widest = _track_of(lines)
    end = min(int(until_s * rate_hz), max(line.stop(rate_hz) for line in lines))
    step = CHUNK_S * rate_hz
    with ChannelWriter(target, rate_hz, layout_of(widest)) as writer, ExitStack() as running:
        pieces = [
            running.enter_context(closing(_pieces(line, _places(line, widest), rate_hz, end)))
            for line in lines
        ]
        for at in range(0, end, step):
            heard = np.zeros((min(step, end - at), widest.channels), np.float32)
            for line, samples in zip(lines, pieces, strict=True):
                low = max(line.first(rate_hz), at)
                high = min(line.stop(rate_hz), at + len(heard))
                if low < high:
                    heard[low - at : high - at] += next(samples)
            writer.write(heard)
    return _stored_as(writer.info(widest), lines), writer.peak


def _track_of(lines: Sequence[Placed]) -> tuple[int, AudioInfo]:
    """Return the rate of a mix, and the speech whose channels it has."""
    rate_hz = max(line.info.rate_hz for line in lines)
    return rate_hz, max((line.info for line in lines), key=lambda info: info.channels)


def _places(line: Placed, widest: AudioInfo) -> Float:
    """Return the matrix from a speech's channels to the mix's, [C, C of the mix]."""
    try:
        return placement(line.info, widest).T
    except ValueError as error:
        raise InputError(
            f"{line.info.path}: its channels have no place in those of {widest.path} "
            f"({error}); give mono or stereo speech"
        ) from error


def _pieces(line: Placed, places: Float, rate_hz: int, end: int) -> Generator[Float, None, None]:
    """Yield a speech's samples, [N, C of the mix], cut where the mix's chunks end."""
    at, stop, step = line.first(rate_hz), min(line.stop(rate_hz), end), CHUNK_S * rate_hz
    arguments = decode_speech_channels(find_ffmpeg(), line.info, rate_hz)
    with ChannelReader(arguments, line.info.channels) as reader:
        while at < stop:
            until = min(stop, (at // step + 1) * step)
            samples = reader.read(until - at) @ places
            if until == stop:
                break
            yield samples
            at = until
    yield samples  # ffmpeg has ended: of many lines only those that sound have a process


def _kind(info: AudioInfo) -> tuple[str, str] | None:
    """Return codec and format in which a speech is stored exactly; None: not as whole numbers."""
    if info.codec.startswith(S24):
        return "pcm_s24le", "s32"
    return (info.codec, info.sample_format) if info.sample_format in EXACT_FORMATS else None


def _stored_as(mixed: AudioInfo, lines: Sequence[Placed]) -> AudioInfo:
    """Return a mix, said to hold what all of its speeches do."""
    kinds = {_kind(line.info) for line in lines}
    kind = kinds.pop()
    if kinds or kind is None:
        return mixed
    return replace(mixed, codec=kind[0], sample_format=kind[1])


def mix_warnings(lines: Sequence[Placed]) -> Iterator[str]:
    """Yield a sentence for each speech whose samples a mix does not hold as they are.

    Args:
        lines: Of the mix.
    """
    rate_hz, widest = _track_of(lines)
    for path, line in {line.info.path: line for line in lines}.items():
        info, changes = line.info, []
        if info.rate_hz != rate_hz:
            changes.append(f"{info.rate_hz} Hz became {rate_hz} Hz")
        if info.channels != widest.channels:
            changes.append(f"{layout_of(info)} became {layout_of(widest)}")
        if info.sample_format in WIDER_FORMATS and _kind(info) is None:
            changes.append(f"{info.sample_format} samples became 32-bit floats")
        if changes:
            yield f"{path}: beside the other lines, {' and '.join(changes)}"
