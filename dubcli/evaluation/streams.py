"""Two videos side by side, frame k beside frame k, with what the measures look at.

Letters: H, W frame size; S crop size (256); V mesh vertices (468).
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from dubcli.errors import InputError, MediaError
from dubcli.geometry.crop import cut_out, hull_mask
from dubcli.geometry.window import WindowDrawer
from dubcli.media.prefetch import prefetch
from dubcli.media.reader import FrameReader
from dubcli.pace import pace_of
from dubcli.records import Analysis, Bytes, Float, Frame, VideoInfo
from dubcli.stages.render import crop_of
from dubcli.stages.track import Tracker

MOST_DRIFT = 0.5  # frames; beyond it frame k of one video is not frame k of the other


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A moment in one of the videos."""

    rgb: Bytes  # [H, W, 3]
    landmarks_px: Float | None  # [V, 3] pixels of the frame; None: no face found, or not looked for
    face: Bytes | None  # [S, S, 3] crop around the face; None where the guide has none


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Regions of the face crop: 1 inside, 0 outside."""

    face: Bytes  # [S, S] the whole face
    lower: Bytes  # [S, S] the lower face, as it is rendered
    lips: Bytes  # [S, S] the lips and a little around them


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """The same moment in the video and, if there is one, in the real video."""

    index: int  # frame
    time_s: float
    shot: int  # counts up at every cut
    made: View
    real: View | None
    masks: Masks | None  # None where the guide has no face


class Guide:
    """Where the face is: crops and masks along one video's fitted head.

    Both videos are cut along the guide's path, the real video's where there is one, so that what
    differs between two crops is the picture, not the crop.

    Args:
        analysis: The fitted video.
        draw: Draws its meshes.
    """

    def __init__(self, analysis: Analysis, draw: WindowDrawer) -> None:
        """Keep both."""
        self.analysis = analysis
        self._draw = draw

    def cut(self, rgb: Bytes, t: int) -> Bytes | None:
        """Return the face crop of a frame t, [S, S, 3]; None where the guide has no face."""
        return cut_out(rgb, crop_of(self.analysis, t)) if self.analysis.valid[t] else None

    def masks(self, t: int) -> Masks | None:
        """Return the regions of frame t's crop; None where the guide has no face."""
        if not self.analysis.valid[t]:
            return None
        mesh = self._draw.source_mesh(self.analysis, t)
        points = self._draw.in_crop(mesh, self.analysis, t, crop_of(self.analysis, t))
        return Masks(
            hull_mask(points, 0), self._draw.face_mask(points), self._draw.lip_mask(points)
        )


def check_comparable(made: VideoInfo, real: VideoInfo) -> None:
    """Refuse two videos whose frames do not belong together.

    Args:
        made: The video.
        real: Its reference.

    Raises:
        InputError: If their sizes differ, or their rates so much that they drift apart.
    """
    if (made.width, made.height) != (real.width, real.height):
        raise InputError(
            f"{made.path} is {made.width} x {made.height}, {real.path} is {real.width} x "
            f"{real.height}: scale one of them to the other's size"
        )
    frames = min(made.frame_count or 1, real.frame_count or 1)
    drift = abs(float(made.frame_rate / real.frame_rate) - 1) * frames
    if made.variable_rate or real.variable_rate:
        apart = pace_of(made).times_s(frames) - pace_of(real).times_s(frames)
        strays = float(np.abs(apart).max()) * float(real.frame_rate)
        if strays >= MOST_DRIFT:
            raise InputError(
                f"{made.path} and {real.path}: their frame rate varies and their frames are shown "
                "at other times; convert both to one constant rate"
            )
    elif drift >= MOST_DRIFT:
        raise InputError(
            f"{made.path} has {float(made.frame_rate):.3f} frames a second, {real.path} "
            f"{float(real.frame_rate):.3f}: convert one of them to the other's rate"
        )


def length_warnings(
    made: VideoInfo, real: VideoInfo, made_frames: int, real_frames: int
) -> Iterator[str]:
    """Say which part is compared where the lengths differ."""
    if made_frames != real_frames:
        common = min(made_frames, real_frames)
        yield (
            f"{made.path} has {made_frames} frames, {real.path} {real_frames}: "
            f"the first {common} are compared"
        )


def moments(
    made: VideoInfo,
    real: VideoInfo | None,
    guide: Guide,
    count: int,
    *,
    tracker: Tracker | None = None,
) -> Generator[Moment, None, None]:
    """Yield the first ``count`` moments of one or two videos; one frame of each is in memory.

    Args:
        made: The video.
        real: Its reference, if any.
        guide: Where the face is.
        count: At most as many as each video has.
        tracker: Finds the landmarks; None: no moment has any.

    Raises:
        MediaError: If a frame cannot be decoded a second time.
    """

    def view(rgb: Bytes, t: int) -> View:
        """Return one video's side of moment t."""
        landmarks = None if tracker is None else tracker.landmarks_px(rgb)
        return View(rgb, landmarks, guide.cut(rgb, t))

    done, pace = 0, pace_of(made)
    with closing(_frames(made, count)) as ours, closing(_frames_or_none(real, count)) as theirs:
        for t, (mine, true) in enumerate(zip(ours, theirs, strict=False)):
            yield Moment(
                index=t,
                time_s=float(pace.begins_s(t)),
                shot=int(guide.analysis.shot[t]),
                made=view(mine.rgb, t),
                real=None if true is None else view(true.rgb, t),
                masks=guide.masks(t),
            )
            done += 1
    if done < count:
        raise MediaError(
            f"{made.path}: frame {done} of it or of its reference cannot be decoded a second "
            "time; convert both with ffmpeg first"
        )


def _frames(info: VideoInfo, count: int) -> Generator[Frame, None, None]:
    """Yield the first frames of a video, read ahead by a thread; closing it ends the thread."""
    with FrameReader(info, 0, count) as reader:
        yield from prefetch(reader)


def _frames_or_none(info: VideoInfo | None, count: int) -> Generator[Frame | None, None, None]:
    """Yield the first frames of a video; None as often where there is no video."""
    if info is None:
        yield from repeat(None, count)
    else:
        yield from _frames(info, count)
