"""PURE: how a speech file is stored in an output container."""

from dataclasses import dataclass

from dubcli.config import PCM_CONTAINERS, PICTURE_SUFFIXES
from dubcli.records import AudioInfo

AAC_BITS_PER_S = 256_000
AAC_RATES_HZ = (
    7350,
    8000,
    11025,
    12000,
    16000,
    22050,
    24000,
    32000,
    44100,
    48000,
    64000,
    88200,
    96000,
)
AAC_CHANNELS = frozenset({1, 2, 3, 4, 5, 6, 8})  # the layouts that AAC has a number for
_PCM_OF_FORMAT = {
    "u8": "pcm_u8",
    "s16": "pcm_s16le",
    "s32": "pcm_s32le",
    "flt": "pcm_f32le",
    "dbl": "pcm_f64le",
}


@dataclass(frozen=True, slots=True)
class Soundtrack:
    """How the sound of the output is encoded."""

    codec: str  # ffmpeg's encoder
    rate_hz: int
    channels: int
    resampled: bool  # whether rate or channels differ from the speech file's
    bits_per_s: int | None  # None for PCM
    warning: str | None  # what the user should know


def soundtrack_for(extension: str, speech: AudioInfo) -> Soundtrack:
    """Return how ``speech`` is stored in a container.

    .mkv, .mov and the WAV beside pictures hold PCM of the very samples that decoding gives. .mp4
    and .m4v hold AAC; a rate that AAC lacks becomes the next higher one (96 kHz at most), a
    channel count that it lacks becomes stereo.

    Args:
        extension: Of the output, with its dot, lower case.
        speech: The speech file.
    """
    if extension in PCM_CONTAINERS | PICTURE_SUFFIXES:
        codec = _PCM_OF_FORMAT.get(speech.sample_format, "pcm_f64le")
        if speech.codec.startswith("pcm_s24"):
            codec = "pcm_s24le"  # decoded as s32 with a zero low byte
        return Soundtrack(codec, speech.rate_hz, speech.channels, False, None, None)
    rate_hz = next((rate for rate in AAC_RATES_HZ if rate >= speech.rate_hz), AAC_RATES_HZ[-1])
    channels = speech.channels if speech.channels in AAC_CHANNELS else 2
    changes = []
    if rate_hz != speech.rate_hz:
        changes.append(f"{speech.rate_hz} Hz became {rate_hz} Hz")
    if channels != speech.channels:
        changes.append(f"{speech.channels} channels became {channels}")
    warning = None
    if changes:
        warning = (
            f"{speech.path}: AAC cannot hold this sound, so {' and '.join(changes)}; "
            "write .mkv or .mov to keep it exact"
        )
    # A channel may not exceed 6144 bits per 1024 samples (ISO/IEC 14496-3, 4.5.3).
    bits_per_s = min(AAC_BITS_PER_S, 6 * rate_hz * channels)
    return Soundtrack("aac", rate_hz, channels, bool(changes), bits_per_s, warning)
