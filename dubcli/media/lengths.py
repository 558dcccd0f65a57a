"""PURE: which source frames an output is made of where video and speech differ in length.

Letters: n frames of the source, m frames that the speech fills (rounded up), k output frame.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from dubcli.config import FADE_S, LENGTH_MODES, DubOptions
from dubcli.errors import InputError
from dubcli.media.bounce import bounced_indices
from dubcli.pace import Pace
from dubcli.records import Facts, Integers, Stamps
from dubcli.timecode import Moment, Span, format_time, parse_moment, parse_spans

IN_PLACE = "in place"
STILL_S = 0.2  # a syllable
_AGAIN = ("bounce", "loop")  # show frames more than once
_FINE_S = Fraction(1, 90_000)  # a tick of stretched times


@dataclass(frozen=True, slots=True)
class LengthPlan:
    """How long picture and sound of an output are, and which source frame each of its frames is."""

    mode: str  # one of ``LENGTH_MODES``, or ``IN_PLACE``
    source_count: int  # n
    frame_count: int  # of the output
    speech_s: Fraction  # length of the speech file
    sound_s: Fraction  # of the output: the speech, its beginning, or the speech and silence
    frame_rate: Fraction  # of source and output; the average where it varies
    speech_start_s: Fraction = Fraction(0)  # when the speech begins in the output
    asked: tuple[tuple[int, int], ...] = ()  # half-open ranges of frames to dub; none: all
    source_stamps: Stamps | None = field(default=None, compare=False)  # None: constant rate

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
        elif self.mode == "remap" and self.source_stamps is None:
            # The source frame that is shown half-way through output frame k.
            yield from ((2 * k + 1) * n // (2 * count) for k in range(count))
        else:
            yield from (min(k, n - 1) for k in range(count))

    @property
    def source(self) -> Pace:
        """When the frames of the source are shown."""
        return Pace(self.frame_rate, self.source_stamps)

    @property
    def video_s(self) -> Fraction:
        """How long the source is, in seconds."""
        return self.source.begins_s(self.source_count)

    @property
    def length_s(self) -> Fraction:
        """How long the output's picture is, in seconds."""
        return self.pace().begins_s(self.frame_count)

    def pace(self) -> Pace:
        """Return when the frames of the output are shown."""
        return Pace(self.frame_rate, self.stamps())

    def stamps(self) -> Stamps | None:
        """Return when each output frame is shown; None: at a constant rate.

        A frame is shown as long as in the source, also when played backward, but the last one no
        longer than there is sound. ``remap`` shows each frame once and stretches all times.

        Example:
            >>> source = Stamps(np.array([0, 30, 90]), 120, Fraction(1, 1000))
            >>> plan = plan_length("bounce", 3, Fraction(1, 5), Fraction(25), source)
            >>> plan.stamps().ticks.tolist(), plan.stamps().end
            ([0, 30, 90, 120, 180], 200)
        """
        given = self.source_stamps
        if given is None:
            return None
        if self.mode == "remap":
            stretched = self.source.times_s(self.source_count) * float(self.sound_s / self.video_s)
            places = np.arange(self.source_count)
            ticks = np.rint(stretched / float(_FINE_S)).astype(np.int64)
            ticks = np.maximum.accumulate(ticks - places) + places
            return Stamps(ticks, max(int(ticks[-1]) + 1, round(self.sound_s / _FINE_S)), _FINE_S)
        if self.mode in _AGAIN:
            lasting = np.diff(self.source.ticks(self.source_count + 1, given))
            order = np.fromiter(self.indices(), np.int64, self.frame_count)
            edges = np.concatenate([[0], np.cumsum(lasting[order])])
        else:
            edges = self.source.ticks(self.frame_count + 1, given)
        heard = max(math.ceil(self.sound_s / given.unit_s), int(edges[-2]) + 1)
        return Stamps(edges[:-1], min(int(edges[-1]), heard), given.unit_s)

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
        """Yield a sentence where video and speech differ in length, and where a frame is long."""
        yield from self.standstill()
        if self.mode == IN_PLACE:
            yield from self.overhang()
            return
        filled, video_s = self.source.frames_before(self.speech_s), self.video_s
        if filled == self.source_count and abs(self.speech_s - video_s) * self.frame_rate < 1:
            return
        longer = filled > self.source_count
        difference_s = float(abs(self.speech_s - video_s))
        yield (
            f"the speech ({float(self.speech_s):.2f} s) is {difference_s:.2f} s "
            f"{'longer' if longer else 'shorter'} than the video ({float(video_s):.2f} s): "
            f"{self._consequence(longer, difference_s)}"
        )

    def standstill(self) -> Iterator[str]:
        """Say so where a frame is shown for so long that its mouth is seen to stand still."""
        if self.source_stamps is None:
            return
        pace = self.pace()
        lasting = np.diff(pace.times_s(self.frame_count + 1))
        longest = int(lasting.argmax())
        if lasting[longest] > STILL_S:
            yield (
                "the video's frame rate varies, and while a frame stays so does its mouth: for "
                f"{lasting[longest]:.2f} s at {format_time(pace.begins_s(longest))}; convert the "
                "video to a constant rate first if that is too long"
            )

    def overhang(self) -> Iterator[str]:
        """Say so where the speech goes on and the dubbed face does not."""
        end_s = self.speech_start_s + self.speech_s
        if end_s > self.sound_s:
            cut_s = float(end_s - self.sound_s)
            yield f"the last {cut_s:.2f} s of the speech are cut off: the video ends before it"
        last_s = self.source.begins_s(max(stop for _, stop in self.asked))
        over_s = float(min(end_s, self.sound_s) - last_s)
        if over_s * self.frame_rate >= 1:
            yield (
                f"the speech goes on for {over_s:.2f} s after the last --range, "
                "where the mouth is the source's"
            )

    def _consequence(self, longer: bool, difference_s: float) -> str:
        """Say what becomes of the difference."""
        if self.mode == "remap":
            speed = float(self.video_s / self.length_s)
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
    mode: str,
    source_count: int,
    speech_s: Fraction,
    frame_rate: Fraction,
    stamps: Stamps | None = None,
) -> LengthPlan:
    """Return how long an output is.

    bounce, loop, remap and error: m frames, the speech's; cut: min(m, n); freeze: max(m, n).
    At a variable rate, m is how many frames begin before the speech ends; remap has n.

    Args:
        mode: One of ``LENGTH_MODES``.
        source_count: n, at least 1.
        speech_s: Seconds of speech, exact.
        frame_rate: Frames a second.
        stamps: When the source's frames are shown; None: at a constant rate.

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
    source = Pace(frame_rate, stamps)
    video_s = source.begins_s(source_count)
    count, sound_s = source.frames_before(speech_s), speech_s
    if stamps is not None and mode == "remap":
        count = source_count
    elif stamps is not None and mode in _AGAIN:
        count = _filled(mode, source.ticks(source_count + 1, stamps), speech_s / stamps.unit_s)
    if mode == "error" and abs(speech_s - video_s) * frame_rate > 1:
        raise InputError(
            f"the speech ({float(speech_s):.2f} s) and the video ({float(video_s):.2f} s) differ "
            "in length by more than one frame, and --length is error; give speech of the video's "
            "length or another --length"
        )
    if (mode == "cut" and count > source_count) or (
        mode == "freeze" and (count < source_count or (stamps is not None and speech_s < video_s))
    ):
        count, sound_s = source_count, video_s
    return LengthPlan(
        mode, source_count, count, speech_s, sound_s, frame_rate, source_stamps=stamps
    )


def _filled(mode: str, edges: Integers, speech_ticks: Fraction) -> int:
    """Return how many frames of a source that runs again and again begin before the speech ends.

    Args:
        mode: "bounce" or "loop".
        edges: When each frame of the source begins, and the end, [n + 1] ticks.
        speech_ticks: Length of the speech.
    """
    lasting = np.diff(edges)
    cycle = lasting if mode == "loop" else np.concatenate([lasting, lasting[-2:0:-1]])
    whole = math.floor(speech_ticks / int(cycle.sum()))
    rest = math.ceil(speech_ticks - whole * int(cycle.sum()))
    begins = np.cumsum(cycle) - cycle
    return whole * len(cycle) + int(np.searchsorted(begins, rest, side="left"))


def plan_output(
    source_count: int,
    speech_s: Fraction,
    frame_rate: Fraction,
    options: DubOptions,
    stamps: Stamps | None = None,
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
        stamps: When the source's frames are shown; None: at a constant rate.

    Raises:
        InputError: If a range or the speech begins after the video's end, a range ends before it
            begins, or as ``plan_length``.
    """
    if not parse_spans(options.ranges, "--range") and options.speech_at is None:
        return plan_length(options.length, source_count, speech_s, frame_rate, stamps)
    source = Pace(frame_rate, stamps)
    return plan_in_place(
        source_count, speech_s, source, at=options.speech_at, ranges=options.ranges
    )


def plan_in_place(
    source_count: int,
    speech_s: Fraction,
    source: Pace,
    *,
    at: str | None,
    ranges: str,
    prefix: str = "",
) -> LengthPlan:
    """Return where in the whole of a source a speech and the dubbed face are.

    Args:
        source_count: n, frames of the video.
        speech_s: Seconds of speech, exact.
        source: When the frames of the video are shown.
        at: When the speech begins; None: with the first range, without any with the video.
        ranges: Where the face is dubbed; empty: while the speech is heard.
        prefix: Of errors.

    Raises:
        InputError: As ``plan_output``.
    """
    frame_rate, stamps = source.frame_rate, source.stamps
    spans = parse_spans(ranges, f"{prefix}--range")
    frames = [_frames_of(span, source_count, source, prefix) for span in spans]
    start_s = source.begins_s(min((first for first, _ in frames), default=0))
    if at is not None:
        moment = parse_moment(at, f"{prefix}--speech-at")
        whole = moment.frames is None
        frame = _frame_of(moment, source)
        start_s = moment.time_s if whole else source.begins_s(frame)
        _refuse_beyond(frame, source_count, source, f"{prefix}--speech-at {moment.text}")
    if not spans:
        # The fades lie beside the speech: all of it is said with the full effect.
        first = source.frame_at(max(Fraction(0), start_s - FADE_S))
        frames = [(first, source.frames_before(start_s + speech_s + FADE_S))]
    return LengthPlan(
        IN_PLACE,
        source_count,
        source_count,
        speech_s,
        source.begins_s(source_count),
        frame_rate,
        start_s,
        tuple((first, min(stop, source_count)) for first, stop in sorted(frames)),
        stamps,
    )


def _frame_of(moment: Moment, source: Pace) -> int:
    """Return the frame that is shown at a moment; timecode of a variable rate counts real time."""
    frame = moment.frame(source.frame_rate)
    if source.stamps is None:
        return frame
    if moment.frames is None:
        return source.frame_at(moment.time_s)
    return source.frame_at(Fraction(frame, max(1, round(source.frame_rate))))


def _frames_of(span: Span, count: int, source: Pace, prefix: str) -> tuple[int, int]:
    """Return the first frame of a range and the one after its last."""
    first, stop = _frame_of(span.start, source), _frame_of(span.stop, source)
    if stop <= first:
        raise InputError(
            f"{prefix}--range {span.text}: holds no frame; give an end that is later than the start"
        )
    _refuse_beyond(first, count, source, f"{prefix}--range {span.text}")
    return first, stop


def _refuse_beyond(frame: int, count: int, source: Pace, what: str) -> None:
    """Refuse what would begin after the video's last frame."""
    if frame >= count:
        raise InputError(
            f"{what}: the video ends at {format_time(source.begins_s(count))}; give an earlier time"
        )
