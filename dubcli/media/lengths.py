"""PURE: which source frames an output is made of where video and speech differ in length.

Letters: n frames of the source, m frames that the speech fills (rounded up), k output frame.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dubcli.config import FADE_S, LENGTH_MODES, DubOptions
from dubcli.errors import InputError
from dubcli.media.bounce import bounced_indices
from dubcli.records import Facts
from dubcli.timecode import Span, format_time, parse_moment, parse_spans

IN_PLACE = "in place"


@dataclass(frozen=True, slots=True)
class LengthPlan:
    """How long picture and sound of an output are, and which source frame each of its frames is."""

    mode: str  # one of ``LENGTH_MODES``, or ``IN_PLACE``
    source_count: int  # n
    frame_count: int  # of the output
    speech_s: Fraction  # length of the speech file
    sound_s: Fraction  # of the output: the speech, its beginning, or the speech and silence
    frame_rate: Fraction  # of source and output
    speech_start_s: Fraction = Fraction(0)  # when the speech begins in the output
    asked: tuple[tuple[int, int], ...] = ()  # half-open ranges of frames to dub; none: all

    def indices(self) -> Iterator[int]:
        """Yield the source frame of each output frame.

        Example:
            >>> plan = plan_length("loop", 3, Fraction(1, 3), Fraction(24))
            >>> list(plan.indices())
            [0, 1, 2, 0, 1, 2, 0, 1]
        """
        n, count = self.source_count, self.frame_count
        if self.mode == "bounce":
            yield from bounced_indices(n, count)
        elif self.mode == "loop":
            yield from (k % n for k in range(count))
        elif self.mode == "remap":
            # The source frame that is shown half-way through output frame k.
            yield from ((2 * k + 1) * n // (2 * count) for k in range(count))
        else:
            yield from (min(k, n - 1) for k in range(count))

    @property
    def within(self) -> Facts | None:
        """The source frames that are to be dubbed, [n]; None: all."""
        if not self.asked:
            return None
        within = np.zeros(self.source_count, dtype=np.bool_)
        for first, stop in self.asked:
            within[first:stop] = True
        return within

    def warnings(self) -> Iterator[str]:
        """Yield a sentence where video and speech differ in length by a frame or more."""
        if self.mode == IN_PLACE:
            yield from self._overhang()
            return
        filled = math.ceil(self.speech_s * self.frame_rate)
        if filled == self.source_count:
            return
        video_s = self.source_count / self.frame_rate
        longer = filled > self.source_count
        difference_s = float(abs(self.speech_s - video_s))
        yield (
            f"the speech ({float(self.speech_s):.2f} s) is {difference_s:.2f} s "
            f"{'longer' if longer else 'shorter'} than the video ({float(video_s):.2f} s): "
            f"{self._consequence(longer, difference_s)}"
        )

    def _overhang(self) -> Iterator[str]:
        """Say so where the speech goes on and the dubbed face does not."""
        end_s = self.speech_start_s + self.speech_s
        if end_s > self.sound_s:
            cut_s = float(end_s - self.sound_s)
            yield f"the last {cut_s:.2f} s of the speech are cut off: the video ends before it"
        last_s = max(stop for _, stop in self.asked) / self.frame_rate
        over_s = float(min(end_s, self.sound_s) - last_s)
        if over_s * self.frame_rate >= 1:
            yield (
                f"the speech goes on for {over_s:.2f} s after the last --range, "
                "where the mouth is the source's"
            )

    def _consequence(self, longer: bool, difference_s: float) -> str:
        """Say what becomes of the difference."""
        if self.mode == "remap":
            speed = self.source_count / self.frame_count
            return f"the video runs at {speed:.3f} of its speed"
        if not longer:
            if self.mode == "freeze":
                return "silence follows the speech"
            return "the output ends with the speech"
        return {
            "bounce": "the video runs forward and backward to fill it",
            "loop": "the video starts again from its first frame, with a jump",
            "cut": f"the last {difference_s:.2f} s of the speech are cut off",
        }.get(self.mode, "the video's last frame stays")


def plan_length(
    mode: str, source_count: int, speech_s: Fraction, frame_rate: Fraction
) -> LengthPlan:
    """Return how long an output is.

    bounce, loop, remap and error: m frames, the speech's; cut: min(m, n); freeze: max(m, n).

    Args:
        mode: One of ``LENGTH_MODES``.
        source_count: n, at least 1.
        speech_s: Seconds of speech, exact.
        frame_rate: Frames a second.

    Raises:
        InputError: If the mode is "error" and the lengths differ by more than one frame.
        ValueError: If the mode is unknown, there is no frame, or the speech has no length.

    Example:
        >>> plan = plan_length("freeze", 24, Fraction(1, 2), Fraction(24))
        >>> plan.frame_count, plan.sound_s
        (24, Fraction(1, 1))
    """
    if mode not in LENGTH_MODES or source_count < 1 or speech_s <= 0:
        raise ValueError(f"cannot plan {mode!r} of {source_count} frames and {speech_s} s")
    video_s = source_count / frame_rate
    count, sound_s = math.ceil(speech_s * frame_rate), speech_s
    if mode == "error" and abs(speech_s - video_s) * frame_rate > 1:
        raise InputError(
            f"the speech ({float(speech_s):.2f} s) and the video ({float(video_s):.2f} s) differ "
            "in length by more than one frame, and --length is error; give speech of the video's "
            "length or another --length"
        )
    if (mode == "cut" and count > source_count) or (mode == "freeze" and count < source_count):
        count, sound_s = source_count, video_s
    return LengthPlan(mode, source_count, count, speech_s, sound_s, frame_rate)


def plan_output(
    source_count: int, speech_s: Fraction, frame_rate: Fraction, options: DubOptions
) -> LengthPlan:
    """Return how long an output is, and where in it the speech and the dubbed face are.

    Without ``ranges`` and ``speech_at`` it is ``plan_length``. With either, the output is the
    source from its first frame to its last, whatever ``length`` says. The speech begins at
    ``speech_at``, else at the first range's start, and runs on from there. The face is dubbed in
    the ranges, fading in and out inside them; without any, as long as the speech lasts.

    Args:
        source_count: n, frames of the video.
        speech_s: Seconds of speech, exact.
        frame_rate: Frames a second.
        options: ``length``, ``ranges`` and ``speech_at``.

    Raises:
        InputError: If a range or the speech begins after the video's end, a range ends before it
            begins, or as ``plan_length``.
    """
    spans = parse_spans(options.ranges, "--range")
    if not spans and options.speech_at is None:
        return plan_length(options.length, source_count, speech_s, frame_rate)
    frames = [_frames_of(span, source_count, frame_rate) for span in spans]
    if options.speech_at is not None:
        moment = parse_moment(options.speech_at, "--speech-at")
        whole = moment.frames is None
        start_s = moment.time_s if whole else moment.frame(frame_rate) / frame_rate
        _refuse_beyond(
            moment.frame(frame_rate), source_count, frame_rate, f"--speech-at {moment.text}"
        )
    else:
        start_s = min(first for first, _ in frames) / frame_rate
    if not spans:
        # The fades lie beside the speech: all of it is said with the full effect.
        first = math.floor((start_s - FADE_S) * frame_rate)
        frames = [(max(0, first), math.ceil((start_s + speech_s + FADE_S) * frame_rate))]
    return LengthPlan(
        IN_PLACE,
        source_count,
        source_count,
        speech_s,
        source_count / frame_rate,
        frame_rate,
        start_s,
        tuple((first, min(stop, source_count)) for first, stop in sorted(frames)),
    )


def _frames_of(span: Span, count: int, frame_rate: Fraction) -> tuple[int, int]:
    """Return the first frame of a range and the one after its last."""
    first, stop = span.start.frame(frame_rate), span.stop.frame(frame_rate)
    if stop <= first:
        raise InputError(
            f"--range {span.text}: holds no frame; give an end that is later than the start"
        )
    _refuse_beyond(first, count, frame_rate, f"--range {span.text}")
    return first, stop


def _refuse_beyond(frame: int, count: int, frame_rate: Fraction, what: str) -> None:
    """Refuse what would begin after the video's last frame."""
    if frame >= count:
        raise InputError(
            f"{what}: the video ends at {format_time(count / frame_rate)}; give an earlier time"
        )
