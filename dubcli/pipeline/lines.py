"""What is said in a dub, by whom and when: one line, or several in the same output."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.line import Line
from dubcli.media.lengths import LengthPlan, plan_in_place, plan_output
from dubcli.media.probe import probe_audio
from dubcli.pace import Pace
from dubcli.records import AudioInfo
from dubcli.timecode import format_time

OTHER_LENGTHS = frozenset({"loop", "freeze", "remap"})  # no output of several lines has them


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """A line and the sound of it."""

    line: Line
    info: AudioInfo
    prefix: str  # of what is said about it; empty: it is the only one, or the first


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """A line in its place."""

    speech: Speech
    plan: LengthPlan  # of the output, were this its only line

    @property
    def start_s(self) -> Fraction:
        """When it begins in the output."""
        return self.plan.speech_start_s

    @property
    def stop_s(self) -> Fraction:
        """When it is over, or cut off."""
        return min(self.start_s + self.plan.speech_s, self.plan.sound_s)


def read_lines(audio: Path, also: Sequence[Line], options: DubOptions) -> tuple[Speech, ...]:
    """Return all lines of a dub, the first as its options say.

    Args:
        audio: The first speech.
        also: Further lines.
        options: ``face``, ``speech_at``, ``ranges`` and ``length``.

    Raises:
        InputError: If a speech cannot be read, or the length asked for is not to be had.
    """
    if also:
        refuse_length(options)
    first = Line(audio, options.face, options.speech_at, options.ranges)
    return (
        Speech(first, probe_audio(audio), ""),
        *(Speech(line, probe_audio(line.speech), f"{line.speech}: ") for line in also),
    )


def refuse_length(options: DubOptions) -> None:
    """Refuse a length that no output of several lines has.

    Args:
        options: ``length``.

    Raises:
        InputError: If it is one of those that change how the video runs.
    """
    if options.length in OTHER_LENGTHS:
        raise InputError(
            f"--length is {options.length}: a dub with several lines is as long as its video; "
            "leave it out, or give error to refuse lines that go on beyond the video's end"
        )


def plan_lines(
    speeches: Sequence[Speech], source_count: int, source: Pace, options: DubOptions
) -> tuple[Spoken, ...]:
    """Return where the lines are; several are placed in the whole of the video.

    Args:
        speeches: From ``read_lines``.
        source_count: Frames of the video.
        source: When they are shown.
        options: What holds for a line that is alone.

    Raises:
        InputError: If one lies outside the video, or as ``plan_output``.
    """
    if len(speeches) == 1:
        duration_s = speeches[0].info.duration_s
        rate, stamps = source.frame_rate, source.stamps
        plan = plan_output(source_count, duration_s, rate, options, stamps)
        return (Spoken(speeches[0], plan),)
    lines = tuple(
        Spoken(
            each,
            plan_in_place(
                source_count,
                each.info.duration_s,
                source,
                at=each.line.at,
                ranges=each.line.ranges,
                prefix=each.prefix,
            ),
        )
        for each in speeches
    )
    if options.length == "error":
        _refuse_overhang(lines)
    return lines


def _refuse_overhang(lines: Sequence[Spoken]) -> None:
    """Refuse a line that goes on beyond the video's end by more than a frame."""
    for each in lines:
        over_s = each.start_s + each.plan.speech_s - each.plan.sound_s
        if over_s * each.plan.frame_rate > 1:
            raise InputError(
                f"{each.speech.line.speech}: goes on for {float(over_s):.2f} s after the video's "
                "end, and --length is error; cut it, begin it earlier, or leave out --length"
            )


def refuse_overlaps(lines: Sequence[Spoken], faces: Sequence[str]) -> None:
    """Refuse lines that would have one face say two things at the same moment.

    Args:
        lines: All lines.
        faces: Of each, the same words for the same face.

    Raises:
        InputError: If two overlap by a frame or more.
    """
    for face in dict.fromkeys(faces):
        own = [line for line, who in zip(lines, faces, strict=True) if who == face]
        for one, other in pairwise(sorted(own, key=lambda line: line.start_s)):
            if (one.stop_s - other.start_s) * one.plan.frame_rate >= 1:
                raise InputError(
                    f"{other.speech.line.speech}: begins at {format_time(other.start_s)}, while "
                    f"the same face (--face {other.speech.line.face}) says "
                    f"{one.speech.line.speech} until {format_time(one.stop_s)}; give it a later "
                    "time or another face"
                )


def whole_plan(lines: Sequence[Spoken]) -> LengthPlan:
    """Return the plan of an output with all of some lines.

    Args:
        lines: At least one. Of several, the speech is what they are together: from the beginning
            of the output to the end of the last one.
    """
    if len(lines) == 1:
        return lines[0].plan
    return replace(
        lines[0].plan,
        speech_start_s=Fraction(0),
        speech_s=max(line.stop_s for line in lines),
        asked=tuple(sorted(span for line in lines for span in line.plan.asked)),
    )


def line_warnings(lines: Sequence[Spoken]) -> Iterator[str]:
    """Yield what the user should know about the lengths of video and lines.

    Args:
        lines: All lines.
    """
    if len(lines) == 1:
        yield from lines[0].plan.warnings()
        return
    yield from lines[0].plan.standstill()
    for each in lines:
        yield from (f"{each.speech.line.speech}: {said}" for said in each.plan.overhang())
