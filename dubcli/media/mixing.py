"""The sound of an output: the speech as it is, or with the video's own sound under it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.media.audio import AudioReader
from dubcli.media.bed import bed_passes, bed_tempo, layout_of, placement
from dubcli.media.binary import find_ffmpeg
from dubcli.media.channels import ChannelReader, ChannelWriter
from dubcli.media.ducking import FALL_S, STEP_S, ducked_db, speaking
from dubcli.media.lengths import LengthPlan
from dubcli.media.line_mix import Placed, mix_lines, mix_warnings
from dubcli.media.loudness import HIGHEST_DBTP, arrange
from dubcli.media.outputs import place_of
from dubcli.media.probe import probe_audio
from dubcli.media.sound_command import decode_bed, decode_speech_channels
from dubcli.media.timeline import read_timeline
from dubcli.media.writer import partial_path
from dubcli.records import Arrangement, AudioInfo, Float, VideoInfo

CHUNK_S = 1  # seconds in memory at once
BLEND_S = 0.01  # in which the bed comes and goes where it does not begin or end with the output
LEVEL_RATE_HZ = 16_000  # at which the speech is listened to


@dataclass(frozen=True, slots=True, eq=False)
class OutputSound:
    """What is muxed into an output."""

    info: AudioInfo
    arrangement: Arrangement  # what is still to be done to it
    warnings: tuple[str, ...]  # what the user should know


@contextmanager
def output_sound(
    info: VideoInfo,
    lines: Sequence[Placed],
    plan: LengthPlan,
    output: Path,
    options: DubOptions,
) -> Iterator[OutputSound]:
    """Give the sound of an output; a mix lies beside it as long as the context is open.

    Args:
        info: The video.
        lines: What is said in it, at least one.
        plan: How long picture and sound are.
        output: The file to be written.
        options: ``audio``, ``bed_level``, ``bed_fade`` and ``loudness``.

    Raises:
        InputError: If the channels of speech and video do not go together.
        MediaError: If ffmpeg fails.
    """
    with _one_speech(lines, plan, output) as (speech, peak, noted):
        if options.audio == "replace" or not info.has_audio:
            arrangement, said = arrange(speech.info, plan.sound_s, options, start_s=speech.start_s)
            if options.loudness is None and peak > 1:
                arrangement, lowered = _lowered(arrangement, peak)
                said = [*said, f"lines that sound together are too loud: {lowered}"]
            if options.audio != "replace":
                alone = "has no sound of its own; the output has the speech alone"
                said = [*said, f"{info.path}: {alone}"]
            yield OutputSound(speech.info, arrangement, (*noted, *said))
            return
        target = mixed_path(output)
        try:
            mixed, peak = mix(info, speech, plan, target, options, lines=lines)
            arrangement, said = arrange(mixed, plan.sound_s, options)
            if options.loudness is None and peak > 1:
                arrangement, lowered = _lowered(arrangement, peak)
                said = [
                    *said,
                    f"speech and the video's own sound together are too loud: {lowered}; choose "
                    "a lower --bed-level to keep the speech's level",
                ]
            yield OutputSound(mixed, arrangement, (*noted, *said))
        finally:
            target.unlink(missing_ok=True)


@contextmanager
def _one_speech(
    lines: Sequence[Placed], plan: LengthPlan, output: Path
) -> Iterator[tuple[Placed, float, tuple[str, ...]]]:
    """Give the one speech that lines are together, its highest sample, and what to say of it.

    A single line is given as it is, nothing measured. Of several, a mix lies beside the output.
    """
    if len(lines) == 1:
        yield lines[0], 0.0, ()
        return
    target = lines_path(output)
    try:
        mixed, peak = mix_lines(lines, plan.sound_s, target)
        yield Placed(mixed), peak, tuple(mix_warnings(lines))
    finally:
        target.unlink(missing_ok=True)


def _lowered(arrangement: Arrangement, peak: float) -> tuple[Arrangement, str]:
    """Return an arrangement with a gain at which nothing is cut off, and how that is said."""
    gain_db = float(HIGHEST_DBTP - 20 * np.log10(peak))
    return replace(arrangement, gain_db=gain_db), f"lowered by {-gain_db:.1f} dB"


def lines_path(output: Path) -> Path:
    """Return where the mix of an output's lines lies until the output is whole."""
    return _beside(output, ".lines.w64")


def mixed_path(output: Path) -> Path:
    """Return where the mix of an output lies until the output is whole.

    Example:
        >>> mixed_path(Path("films/out.mp4")).name
        '.out.mp4.partial.w64'
    """
    return _beside(output, ".w64")


def _beside(output: Path, ending: str) -> Path:
    """Return a hidden name beside what is put in place: a sequence's folder is made last."""
    place = place_of(output)
    return partial_path(place.with_name(place.name + ending))


def mix(
    info: VideoInfo,
    speech: Placed,
    plan: LengthPlan,
    target: Path,
    options: DubOptions,
    *,
    lines: Sequence[Placed] = (),
) -> tuple[AudioInfo, float]:
    """Write the speech over the video's own sound, at the higher rate of the two.

    Memory is constant.

    Args:
        info: A video with sound.
        speech: The speech.
        plan: How long picture and sound are.
        target: The file to write, Wave64 with float samples.
        options: ``audio``, ``bed_level`` and ``bed_fade``.
        lines: What the speech is made of: the video's own sound makes room for each of them,
            however loud the others are. None: it is one line.

    Returns:
        What was written, and its highest absolute sample, which may exceed 1.

    Raises:
        InputError: If the channels of speech and video do not go together.
        MediaError: If ffmpeg fails.
    """
    bed = probe_audio(info.path)
    rate_hz = max(bed.rate_hz, speech.info.rate_hz)
    widest = bed if bed.channels >= speech.info.channels else speech.info
    try:
        places = [placement(each, widest).T for each in (speech.info, bed)]
    except ValueError as error:
        raise InputError(
            f"{(lines or [speech])[0].info.path}: its channels have no place in those of "
            f"{info.path} ({error}); give mono or stereo speech"
        ) from error
    levels = [_bed_levels(each, plan, options) for each in lines or (speech,)]
    lead = speech.first(rate_hz)
    arguments = decode_speech_channels(find_ffmpeg(), speech.info, rate_hz)
    with (
        ChannelWriter(target, rate_hz, layout_of(widest)) as writer,
        ChannelReader(arguments, speech.info.channels) as spoken,
    ):
        for at, under in _bed_windows(info, bed, plan, rate_hz):
            times_s = (at + np.arange(len(under))) / rate_hz
            lowest_db = np.min([np.interp(times_s, *level) for level in levels], axis=0)
            gain = 10 ** (lowest_db / 20)
            heard = (under * gain[:, None]) @ places[1]
            before = min(max(lead - at, 0), len(under))  # samples until the speech begins
            heard[before:] += spoken.read(len(under) - before) @ places[0]
            writer.write(heard.astype(np.float32))
    return writer.info(widest), writer.peak


def _bed_levels(speech: Placed, plan: LengthPlan, options: DubOptions) -> tuple[Float, Float]:
    """Return times and the level of the bed at them, dB; straight lines between them."""
    if options.audio == "mix":
        return np.zeros(1, np.float32), np.full(1, options.bed_level, np.float32)
    step = round(LEVEL_RATE_HZ * STEP_S)
    lead = round(FALL_S / STEP_S)  # steps of silence before the speech
    squares = [np.zeros(lead, np.float32)]
    # After the speech and the fade that follows it, the last level holds: none lower than 0 dB.
    over_s = speech.info.duration_s + Fraction(options.bed_fade) + CHUNK_S
    duration_s = min(plan.sound_s - speech.start_s, over_s)
    with AudioReader(speech.info, LEVEL_RATE_HZ, 1000 * step, duration_s=duration_s) as reader:
        for window in reader:
            whole = np.pad(window.samples, (0, -len(window.samples) % step))
            squares.append((whole.reshape(-1, step) ** 2).mean(axis=1))
    curve = ducked_db(speaking(np.sqrt(np.concatenate(squares))), options)
    return (np.arange(len(curve)) - lead) * STEP_S + float(speech.start_s), curve


def _bed_windows(
    info: VideoInfo, bed: AudioInfo, plan: LengthPlan, rate_hz: int
) -> Iterator[tuple[int, Float]]:
    """Yield the bed of an output: its first sample, counted from the output's, and [N, C]."""
    timeline = read_timeline(info.path)
    start_s = Fraction(0)
    if timeline is not None:
        start_s = int(timeline.pts[0]) * timeline.time_base
    tempo = bed_tempo(plan)
    end = int(plan.sound_s * rate_hz)
    for each in bed_passes(plan):
        arguments = decode_bed(find_ffmpeg(), bed, rate_hz, start_s=start_s, tempo=tempo)
        start, stop = int(each.start_s * rate_hz), int(each.stop_s * rate_hz)
        with ChannelReader(arguments if each.sounds else None, bed.channels) as samples:
            for at in range(start, stop, CHUNK_S * rate_hz):
                window = samples.read(min(CHUNK_S * rate_hz, stop - at))
                yield at, window * _blend(at, len(window), (start, stop), end, rate_hz)[:, None]


def _blend(at: int, count: int, run: tuple[int, int], end: int, rate_hz: int) -> Float:
    """Return the gain of each sample of a window at the ends of a run, [count]."""
    position, length = at + np.arange(count), BLEND_S * rate_hz
    gain = np.ones(count)
    if run[0] > 0:
        gain = np.minimum(gain, (position - run[0]) / length)
    if run[1] < end:
        gain = np.minimum(gain, (run[1] - position) / length)
    return gain.astype(np.float32)
