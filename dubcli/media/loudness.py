"""How loud a sound is (EBU R 128, ITU-R BS.1770), and the gain that makes it as loud as wanted."""

import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction

from dubcli.config import DubOptions
from dubcli.errors import MediaError
from dubcli.media import command
from dubcli.media.binary import find_ffmpeg
from dubcli.media.process import FfmpegProcess
from dubcli.records import Arrangement, AudioInfo

# EBU R 128 (2023), item h: the maximum permitted true peak.
HIGHEST_DBTP = -1.0
SILENT_LUFS = -70.0  # the absolute gate of BS.1770: nothing below it counts
BUFFER_BYTES = 2**16
_KEY = f"{command.LOUDNESS_KEY}=".encode()
_PEAK = re.compile(r"Peak: +(\S+) dBFS")
FULLY_REACHED_LU = 0.05  # a shortfall that is not worth a warning


@dataclass(frozen=True, slots=True)
class Loudness:
    """What a meter shows at the end of a sound."""

    integrated_lufs: float  # -70 or less where nothing passes the gates
    true_peak_dbtp: float


def measure_loudness(speech: AudioInfo, arrangement: Arrangement) -> Loudness:
    """Return how loud a speech is once arranged; it is read through, in constant memory.

    Args:
        speech: The speech.
        arrangement: What is done to it.

    Raises:
        MediaError: If ffmpeg fails.
    """
    buffer, rest, integrated = bytearray(BUFFER_BYTES), b"", None
    with FfmpegProcess(command.measure_loudness(find_ffmpeg(), speech, arrangement)) as process:
        while count := process.read_into(buffer):
            *lines, rest = (rest + buffer[:count]).split(b"\n")
            values = [line for line in lines if line.startswith(_KEY)]
            integrated = values[-1] if values else integrated
        status = process.finish()
        peaks = _PEAK.findall(process.last_words())
        if status != 0 or not peaks:
            raise MediaError(
                f"{speech.path}: ffmpeg could not measure the loudness "
                f"({process.complaint()}); check that the file is complete"
            )
    lufs = float(integrated.removeprefix(_KEY)) if integrated else -math.inf
    return Loudness(lufs, float(peaks[-1]))


def gain_db(target_lufs: float, loudness: Loudness) -> float:
    """Return the gain that brings a sound to a loudness, or as near as its peaks allow.

    Example:
        >>> gain_db(-23.0, Loudness(-30.0, -12.0))
        7.0
        >>> gain_db(-14.0, Loudness(-30.0, -12.0))
        11.0
    """
    return min(target_lufs - loudness.integrated_lufs, HIGHEST_DBTP - loudness.true_peak_dbtp)


def at_loudness(
    speech: AudioInfo, arrangement: Arrangement, target_lufs: float
) -> tuple[Arrangement, list[str]]:
    """Return an arrangement that is as loud as wanted, by gain alone, and what to say about it.

    Args:
        speech: The speech.
        arrangement: What is done to it otherwise.
        target_lufs: Integrated loudness, LUFS.

    Raises:
        MediaError: If ffmpeg fails.
    """
    found = measure_loudness(speech, arrangement)
    if found.integrated_lufs <= SILENT_LUFS:
        return arrangement, ["the sound is silent or shorter than 0.4 s: its loudness is not set"]
    gain = gain_db(target_lufs, found)
    reached = found.integrated_lufs + gain
    warnings = []
    if target_lufs - reached > FULLY_REACHED_LU:
        warnings.append(
            f"the loudness is {reached:.1f} LUFS, not {target_lufs:g}: more gain would lift true "
            f"peaks above {HIGHEST_DBTP:g} dBTP; compress the speech's dynamics first"
        )
    return replace(arrangement, gain_db=gain), warnings


def arrange(
    speech: AudioInfo,
    duration_s: Fraction,
    options: DubOptions,
    *,
    start_s: Fraction = Fraction(0),
) -> tuple[Arrangement, list[str]]:
    """Return what is done to the speech in an output, and what to say about it.

    Args:
        speech: The speech.
        duration_s: How long the output's sound is.
        options: ``loudness``.
        start_s: When the speech begins in it.

    Raises:
        MediaError: If ffmpeg fails.
    """
    arrangement = Arrangement(duration_s, start_s=start_s)
    if options.loudness is None:
        return arrangement, []
    return at_loudness(speech, arrangement, options.loudness)
