"""Decoding sound to mono float32 windows, one at a time. Letter: N samples."""

import logging
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from dubcli.errors import MediaError
from dubcli.media.binary import find_ffmpeg
from dubcli.media.command import decode_audio
from dubcli.media.process import Decoding
from dubcli.records import AudioInfo, AudioWindow

logger = logging.getLogger(__name__)

SAMPLE_BYTES = 4


class AudioReader(Decoding):
    """A context manager and iterator of consecutive windows that do not overlap.

    Mono is the mean of the channels. The whole file is never in memory.
    """

    def __init__(
        self,
        info: AudioInfo,
        rate_hz: int = 16000,
        chunk: int = 16000 * 20,
        *,
        duration_s: Fraction | None = None,
    ) -> None:
        """Prepare to read; ffmpeg starts on entering the context.

        Args:
            info: The sound, from ``probe_audio``.
            rate_hz: Sample rate to give out.
            chunk: Samples in a window, at ``rate_hz``; the last may be shorter.
            duration_s: Cut the sound off here, or let silence follow it until here; None: as it is.

        Raises:
            ValueError: If the rate or the chunk is not positive.
        """
        if rate_hz < 1 or chunk < 1:
            raise ValueError(f"rate {rate_hz} Hz and chunk {chunk} must be at least 1")
        super().__init__()
        self._info = info
        self._duration_s = duration_s
        self._rate_hz = rate_hz
        self._chunk = chunk

    def _command(self) -> list[str]:
        return decode_audio(find_ffmpeg(), self._info, self._rate_hz, self._duration_s)

    def __iter__(self) -> Iterator[AudioWindow]:
        """Yield the windows; once per context.

        Raises:
            MediaError: If ffmpeg cannot decode the sound.
            ValueError: If the context has not been entered.
        """
        process = self._running()
        start = 0
        while True:
            buffer = bytearray(self._chunk * SAMPLE_BYTES)
            count = process.read_into(buffer) // SAMPLE_BYTES
            if count:
                samples = np.frombuffer(buffer, "<f4", count).astype(np.float32, copy=False)
                yield AudioWindow(start=start, samples=samples, rate_hz=self._rate_hz)
            start += count
            if count < self._chunk:
                break
        status = process.finish()
        tail = process.complaint()
        if status != 0 or start == 0:
            raise MediaError(
                f"{self._info.path}: ffmpeg could not decode the sound "
                f"({tail or 'it gave no sample'}); check that the file is complete"
            )
        if tail:
            logger.warning("%s: damaged (ffmpeg: %s)", self._info.path, tail)
