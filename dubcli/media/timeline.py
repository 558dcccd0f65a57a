"""When each frame of a video is shown, from its packets alone (nothing is decoded).

Letter: T frames.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from dubcli.media.files import open_media
from dubcli.records import Facts, Integers, Stamps

# Containers with an index, where ffmpeg's accurate seek lands on the frame asked for.
_INDEXED = ("mov", "matroska")
# A frame may stray this far from the constant grid, in frames, before the rate counts as
# variable: half a frame, above which the nearest grid position is another frame's.
_STRAY_FRAMES = 0.5
# A file cut off in decoding order lacks some frames among its last ones; H.264 and HEVC reorder
# by 16 at most.
_REORDERED_FRAMES = 16
_FINEST_DENOMINATOR = 1001


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The presentation times of a video's frames."""

    pts: Integers  # [T] ascending, in ``time_base``
    key: Facts  # [T] whether decoding can start here
    time_base: Fraction  # seconds
    end_pts: int  # when the last frame is over
    container_start_s: Fraction  # what ffmpeg's -ss counts from
    indexed: bool  # whether seeking can be trusted

    def key_before(self, index: int) -> int:
        """Return the index of the last key frame that is shown no later than a frame; else 0.

        Frames shown before a key frame may need what comes before it (open groups of pictures),
        those after it do not: so decoding for ``index`` starts there, not at a key frame that is
        merely stored earlier.

        Args:
            index: Of the frame.
        """
        keys = np.flatnonzero(self.key[: index + 1])
        return int(keys[-1]) if len(keys) else 0

    def seek_s(self, index: int) -> Fraction | None:
        """Return a time half-way between a frame and the one before, as ffmpeg's -ss counts.

        Args:
            index: Of the first frame wanted.

        Returns:
            Seconds; None to decode from the beginning, for the first frame or without an index.
        """
        if index < 1 or not self.indexed:
            return None
        middle = Fraction(int(self.pts[index - 1]) + int(self.pts[index]), 2)
        return middle * self.time_base - self.container_start_s

    def stray_frames(self, rate: Fraction, ignored: int = 0) -> float:
        """Return how far a frame is from the constant grid of ``rate``, at most, in frames.

        Args:
            rate: Frames per second.
            ignored: How many of the last frames do not count.
        """
        grid = (self.pts - self.pts[0]) * float(self.time_base * rate)
        strays = np.abs(grid - np.arange(len(grid)))
        return float(strays[: max(1, len(strays) - ignored)].max())

    def on_grid(self, rate: Fraction) -> bool:
        """Return whether the frames are at the constant ``rate``, but for a cut-off end.

        Args:
            rate: Frames per second.
        """
        if len(self.pts) <= 2 * _REORDERED_FRAMES:
            return self.stray_frames(rate) < _STRAY_FRAMES
        return (
            self.stray_frames(rate, _REORDERED_FRAMES) < _STRAY_FRAMES
            and self.stray_frames(rate) <= _REORDERED_FRAMES
        )

    def average_rate(self) -> Fraction:
        """Return frames per second over the whole video; 25 if it has no length."""
        if self.end_pts <= int(self.pts[0]):
            return Fraction(25)
        stamps = self.stamps()
        return (len(self.pts) / (stamps.end * stamps.unit_s)).limit_denominator(_FINEST_DENOMINATOR)

    def stamps(self) -> Stamps:
        """Return when each frame is shown, the first at 0.

        Frames that share a time are a tick apart; a last one without a length has the mean one.
        """
        places = np.arange(len(self.pts))
        ticks = np.maximum.accumulate(self.pts - self.pts[0] - places) + places
        mean = max(1, int(ticks[-1]) // max(1, len(ticks) - 1))
        end = self.end_pts - int(self.pts[0])
        return Stamps(ticks, end if end > ticks[-1] else int(ticks[-1]) + mean, self.time_base)


def read_timeline(path: Path) -> Timeline | None:
    """Return when each frame is shown; None where the container has no timestamps.

    The last few answers are remembered while the file does not change (8 bytes per frame).

    Args:
        path: The video file.

    Raises:
        InputError: If it cannot be opened.
    """
    state = path.stat()
    return _read_timeline(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2)
def _read_timeline(path: Path, _mtime_ns: int, _size: int) -> Timeline | None:
    with open_media(path) as container:
        stream = first_picture_stream(container)
        if stream is None or stream.time_base is None:
            return None
        table = _packet_table(container, stream)
        if len(table) == 0:
            return None
        table = table[np.argsort(table[:, 0], kind="stable")]
        pts = table[:, 0]
        start_us = container.start_time if container.start_time is not None else 0
        return Timeline(
            pts=pts,
            key=table[:, 2] != 0,
            time_base=stream.time_base,
            end_pts=_end(container, stream, pts, int(table[-1, 1])),
            container_start_s=Fraction(start_us, 1_000_000),
            indexed=container.format.name.startswith(_INDEXED),
        )


def _end(container: InputContainer, stream: VideoStream, pts: Integers, duration: int) -> int:
    """Return when the last frame is over.

    In MP4 and QuickTime a packet lasts until the next one is decoded, not shown: there the whole
    track's length counts, as far as a header that errs does not make the last frame the longest.

    Args:
        container: The file.
        stream: Its video.
        pts: When its frames are shown, [T] ascending.
        duration: What the last one's packet says.
    """
    last = int(pts[-1])
    if container.format.name.startswith("mov") and stream.duration:
        end = int(pts[0]) + stream.duration
        longest = max(duration, int(np.diff(pts).max(initial=0)))
        if end > last:
            return min(end, last + longest)
    return last + duration


def first_picture_stream(container: InputContainer) -> VideoStream | None:
    """Return the first video stream that is not a cover picture; ffmpeg's ``V:0``.

    Args:
        container: An open file.
    """
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return next((s for s in container.streams.video if not s.disposition & pictures), None)


def _packet_table(container: InputContainer, stream: VideoStream) -> Integers:
    """Return time, duration and key of each shown packet, [T, 3]; [0, 3] if times are unknown."""
    rows: list[tuple[int | None, int | None, int, int]] = []
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                duration = packet.duration or 0
                rows.append((packet.pts, packet.dts, duration, int(packet.is_keyframe)))
    except av.FFmpegError:
        pass  # a damaged end: what came before it counts
    for column in (0, 1):  # AVI has decoding times only, which is the same without B-frames
        if not any(row[column] is None for row in rows):
            table = [(row[column], row[2], row[3]) for row in rows]
            return np.array(table, np.int64).reshape(-1, 3)
    return np.zeros((0, 3), np.int64)


def choose_rate(timeline: Timeline | None, stream: VideoStream) -> tuple[Fraction, bool]:
    """Return the frame rate and whether it varies.

    The rate is constant if one of the rates that the file states keeps every frame within half a
    frame of its grid; then it is the one that fits best. Otherwise it is the average.

    Args:
        timeline: Presentation times, if known.
        stream: The stream they belong to.
    """
    stated = [stream.base_rate, stream.average_rate, stream.guessed_rate]
    rates = [rate for rate in stated if rate]
    if timeline is None:
        known = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
        return known, False
    rates = rates or [timeline.average_rate()]
    best = min(rates, key=lambda rate: round(timeline.stray_frames(rate, _REORDERED_FRAMES), 3))
    if timeline.on_grid(best):
        return best, False
    return timeline.average_rate(), True
