"""PURE: when each frame of a video is shown, at a constant rate or at its own timestamps.

Letters: T frames that have timestamps, n frames asked for.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dubcli.records import Float, Integers, Stamps, VideoInfo


@dataclass(frozen=True, slots=True, eq=False)
class Pace:
    """Turns frames into times and times into frames; frame 0 is shown at 0 s.

    Frames after the last timestamp follow at ``frame_rate``.
    """

    frame_rate: Fraction  # frames a second; the average where they have timestamps
    stamps: Stamps | None = None  # from tick 0 on; None: frame k is shown at k / frame_rate

    def begins_s(self, frame: int) -> Fraction:
        """Return when a frame is shown, exact.

        Args:
            frame: From 0.

        Example:
            >>> pace = Pace(Fraction(25), Stamps(np.array([0, 30, 90]), 120, Fraction(1, 1000)))
            >>> [str(pace.begins_s(frame)) for frame in (1, 3, 4)]
            ['3/100', '3/25', '4/25']
        """
        if self.stamps is None:
            return frame / self.frame_rate
        count = len(self.stamps.ticks)
        if frame < count:
            return int(self.stamps.ticks[frame]) * self.stamps.unit_s
        return self.stamps.end * self.stamps.unit_s + (frame - count) / self.frame_rate

    def frame_at(self, time_s: Fraction) -> int:
        """Return the frame that is shown at a time, from 0.

        Args:
            time_s: Seconds, not negative.

        Example:
            >>> pace = Pace(Fraction(25), Stamps(np.array([0, 30, 90]), 120, Fraction(1, 1000)))
            >>> [pace.frame_at(Fraction(ms, 1000)) for ms in (29, 30, 119, 120, 160)]
            [0, 1, 2, 3, 4]
        """
        if self.stamps is None:
            return math.floor(time_s * self.frame_rate)
        over_s = time_s - self.stamps.end * self.stamps.unit_s
        if over_s >= 0:
            return len(self.stamps.ticks) + math.floor(over_s * self.frame_rate)
        tick = math.floor(time_s / self.stamps.unit_s)
        return int(np.searchsorted(self.stamps.ticks, tick, side="right")) - 1

    def frames_before(self, time_s: Fraction) -> int:
        """Return how many frames begin before a time.

        Args:
            time_s: Seconds.

        Example:
            >>> Pace(Fraction(25)).frames_before(Fraction(1, 10))
            3
        """
        if self.stamps is None:
            return max(0, math.ceil(time_s * self.frame_rate))
        over_s = time_s - self.stamps.end * self.stamps.unit_s
        if over_s > 0:
            return len(self.stamps.ticks) + math.ceil(over_s * self.frame_rate)
        tick = math.ceil(time_s / self.stamps.unit_s)
        return int(np.searchsorted(self.stamps.ticks, tick, side="left"))

    def times_s(self, count: int) -> NDArray[np.float64]:
        """Return when each of the first n frames is shown, [n] seconds.

        Args:
            count: n.
        """
        if self.stamps is None:
            return np.arange(count) / float(self.frame_rate)
        return self.ticks(count, self.stamps) * np.float64(self.stamps.unit_s)

    def ticks(self, count: int, stamps: Stamps) -> Integers:
        """Return when each of the first n frames is shown, in ticks of ``stamps``, [n].

        Args:
            count: n.
            stamps: Of the first frames.
        """
        more = np.arange(max(0, count - len(stamps.ticks)))
        after = np.rint(more / float(self.frame_rate * stamps.unit_s)).astype(np.int64)
        return np.concatenate([stamps.ticks[:count], stamps.end + after])

    def rates_hz(self, count: int) -> Float:
        """Return one over how long each of the first n frames is shown, [n].

        Args:
            count: n.
        """
        if self.stamps is None:
            return np.full(count, float(self.frame_rate), np.float32)
        return (1 / np.diff(self.times_s(count + 1))).astype(np.float32)


def pace_of(info: VideoInfo) -> Pace:
    """Return when the frames of a video are shown.

    Args:
        info: The video.
    """
    return Pace(info.frame_rate, info.stamps)
