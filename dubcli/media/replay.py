"""Reading the frames of a video in the order of an output."""

from collections.abc import Generator
from itertools import islice

import numpy as np

from dubcli.media.bounce import bounced_frames, forward_frames
from dubcli.media.lengths import LengthPlan
from dubcli.records import Frame, VideoInfo

NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


def replayed_frames(
    info: VideoInfo, plan: LengthPlan, count: int | None = None, start: int = 0
) -> Generator[Frame, None, None]:
    """Yield the frames of ``plan.indices()``; ``Frame.index`` is the index in the source.

    Memory is flat, and but for bouncing (``bounced_frames``) the video is only read forward:
    frames that are left out are decoded and dropped, a frame that stays is decoded once and
    given again, a loop starts another decoder.

    Args:
        info: The video.
        plan: How many frames it has, and which are wanted.
        count: Stop after so many frames; None: at the end.
        start: Frames before this one are not decoded and have no picture, [0, 0, 3].

    Raises:
        MediaError: If a frame below ``plan.source_count`` cannot be decoded.
    """
    length = plan.frame_count if count is None else min(count, plan.frame_count)
    start = min(start, length)
    for index in islice(plan.indices(), start):
        yield Frame(index, NO_PICTURE)
    if plan.mode == "bounce":
        yield from bounced_frames(info, plan.source_count, length, start)
        return
    first = next(islice(plan.indices(), start, None), 0)
    source, held = forward_frames(info, first, plan.source_count), None
    try:
        for index in islice(plan.indices(), start, length):
            if held is not None and index < held.index:
                source.close()
                source, held = forward_frames(info, 0, plan.source_count), None
            while held is None or held.index < index:
                held = next(source)
            yield held
    finally:
        source.close()
