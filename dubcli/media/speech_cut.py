"""Putting a speech together from passages of recordings, with silence between them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.errors import InputError
from dubcli.media.bed import layout_of, placement
from dubcli.media.binary import find_ffmpeg
from dubcli.media.channels import ChannelReader, ChannelWriter
from dubcli.media.probe import probe_audio
from dubcli.media.sound_command import decode_speech_channels
from dubcli.records import AudioInfo, Float

CHUNK_S = 1  # seconds in memory at once


@dataclass(frozen=True, slots=True)
class Passage:
    """Part of a recording, and when it is heard."""

    path: Path
    start_s: Fraction  # in the recording
    duration_s: Fraction
    at_s: Fraction  # in the speech that is put together


def assemble(passages: Sequence[Passage], target: Path) -> AudioInfo:
    """Write passages one after the other, at the highest rate among them, in constant memory.

    Args:
        passages: Ascending, none over another.
        target: The file to write: Wave64 with float samples.

    Raises:
        InputError: If a recording cannot be read, or their channels do not go together.
        MediaError: If ffmpeg fails.
    """
    infos = {path: probe_audio(path) for path in dict.fromkeys(each.path for each in passages)}
    rate_hz = max(info.rate_hz for info in infos.values())
    widest = max(infos.values(), key=lambda info: info.channels)
    with ChannelWriter(target, rate_hz, layout_of(widest)) as writer:
        for each in passages:
            info = infos[each.path]
            try:
                places = placement(info, widest).T
            except ValueError as error:
                raise InputError(
                    f"{each.path}: its channels have no place in those of {widest.path} "
                    f"({error}); give mono or stereo speech"
                ) from error
            silence = round(each.at_s * rate_hz) - writer.written
            for count in _chunks(silence, rate_hz):
                writer.write(np.zeros((count, widest.channels), np.float32))
            for samples in _passage(each, info, rate_hz):
                writer.write(samples @ places)
    return writer.info(widest)


def _passage(each: Passage, info: AudioInfo, rate_hz: int) -> Iterator[Float]:
    arguments = decode_speech_channels(find_ffmpeg(), info, rate_hz)
    with ChannelReader(arguments, info.channels) as reader:
        for count in _chunks(round(each.start_s * rate_hz), rate_hz):
            reader.read(count)
        for count in _chunks(round(each.duration_s * rate_hz), rate_hz):
            yield reader.read(count)


def _chunks(count: int, rate_hz: int) -> Iterator[int]:
    """Yield how many samples to take at a time."""
    while count > 0:
        yield min(count, CHUNK_S * rate_hz)
        count -= CHUNK_S * rate_hz
