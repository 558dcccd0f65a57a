"""PURE: which source frames an output is made of where video and speech differ in length.

Letters: n frames of the source, m frames that the speech fills (rounded up), k output frame.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from dubcli.config import LENGTH_MODES
from dubcli.errors import InputError
from dubcli.media.bounce import bounced_indices


@dataclass(frozen=True, slots=True)
class LengthPlan:
    """How long picture and sound of an output are, and which source frame each of its frames is."""

    mode: str  # one of ``LENGTH_MODES``
    source_count: int  # n
    frame_count: int  # of the output
    speech_s: Fraction  # length of the speech file
    sound_s: Fraction  # of the output: the speech, its beginning, or the speech and silence
    frame_rate: Fraction  # of source and output

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

    def warnings(self) -> Iterator[str]:
        """Yield a sentence where video and speech differ in length by a frame or more."""
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
