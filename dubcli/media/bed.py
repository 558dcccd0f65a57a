"""PURE: which part of the source's own sound (the bed) plays when, and in which channels.

Letter: C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count

import av
import numpy as np

from dubcli.media.lengths import LengthPlan
from dubcli.records import AudioInfo, Float

CENTRE, SIDES, UNNAMED = "FC", ("FL", "FR"), "NONE"


@dataclass(frozen=True, slots=True)
class BedPass:
    """A stretch of an output in which the bed plays from its beginning, or not at all."""

    start_s: Fraction
    stop_s: Fraction
    sounds: bool = True


def bed_passes(plan: LengthPlan) -> Iterator[BedPass]:
    """Yield the stretches of an output, from its beginning to the end of its sound.

    The bed always runs forward. Wherever the video turns round or starts again, so does the bed,
    from its beginning: it is in time with the picture in every forward run. A last frame that
    stays is silent; ``remap`` stretches the bed with the picture, in one pass.

    Args:
        plan: Which frames the output has.

    Example:
        >>> from dubcli.media.lengths import plan_length
        >>> plan = plan_length("bounce", 5, Fraction(10), Fraction(1))  # 0 1 2 3 4 3 2 1 0 1
        >>> [int(each.start_s) for each in bed_passes(plan)]
        [0, 5, 8]
    """
    whole_s = plan.video_s
    if plan.mode == "remap":
        runs: Iterator[Fraction] = iter((plan.length_s,))
    elif plan.mode == "loop":
        runs = (whole_s for _ in count())
    elif plan.mode == "bounce":
        # Backward, the first and the last frame are not shown again.
        last_s = plan.source.begins_s(plan.source_count - 1)
        back_s = max(Fraction(0), last_s - plan.source.begins_s(1))
        runs = (whole_s if k % 2 == 0 else back_s for k in count())
    else:
        runs = iter((whole_s,))
    at_s = Fraction(0)
    for run_s in runs:
        stop_s = min(at_s + run_s, plan.sound_s)
        if stop_s > at_s:
            yield BedPass(at_s, stop_s)
        at_s += run_s
        if at_s >= plan.sound_s:
            return
    yield BedPass(at_s, plan.sound_s, sounds=False)


def bed_tempo(plan: LengthPlan) -> Fraction:
    """Return how many times as fast as recorded the bed plays: with ``remap``, as the picture.

    Args:
        plan: Which frames the output has.
    """
    return plan.video_s / plan.length_s if plan.mode == "remap" else Fraction(1)


def layout_of(info: AudioInfo) -> str:
    """Return the channel layout of a sound, ffmpeg's name; of a file that names none, the usual.

    Example:
        >>> from pathlib import Path
        >>> layout_of(AudioInfo(Path("a.mkv"), 48000, 6, 1, "pcm_s16le", "s16", "6 channels"))
        '5.1'
    """
    for layout in (info.layout, f"{info.channels}c"):
        try:
            found = av.AudioLayout(layout)
        except ValueError:
            continue
        if found.nb_channels == info.channels and found.channels[0].name != UNNAMED:
            return str(found.name)
    return f"{info.channels} channels"


def placement(info: AudioInfo, widest: AudioInfo) -> Float:
    """Return which channels of an output each channel of a sound goes to, at its own level.

    As many channels: one to one. Otherwise by name, mono to the centre, or where there is none to
    the left and the right.

    Args:
        info: The sound.
        widest: The sound whose channels the output has, at least as many.

    Returns:
        [C of the output, C of the sound], 0 or 1.

    Raises:
        ValueError: If a channel has no place.

    Example:
        >>> from pathlib import Path
        >>> mono = AudioInfo(Path("a.wav"), 16000, 1, 16000, "pcm_s16le", "s16", "mono")
        >>> stereo = AudioInfo(Path("b.wav"), 16000, 2, 16000, "pcm_s16le", "s16", "stereo")
        >>> placement(mono, stereo).tolist()
        [[1.0], [1.0]]
    """
    if info.channels == widest.channels:
        return np.eye(info.channels, dtype=np.float32)
    names, there = _names(info), _names(widest)
    if info.channels == 1 and CENTRE not in there:
        sides = [name in SIDES for name in there]
        return np.array(sides if any(sides) else [True] * len(sides), np.float32)[:, None]
    if not set(names) <= set(there):
        raise ValueError(f"{layout_of(info)} in {layout_of(widest)}")
    return np.array([[float(name == each) for each in names] for name in there], np.float32)


def _names(info: AudioInfo) -> list[str]:
    """Return the names of a sound's channels."""
    try:
        return [channel.name for channel in av.AudioLayout(layout_of(info)).channels]
    except ValueError:
        return [UNNAMED] * info.channels
