"""Reading the frames of a video in the order of an output."""

from collections.abc import Generator
from itertools import islice

from dubcli.media.bounce import bounced_frames, forward_frames
from dubcli.media.lengths import LengthPlan
from dubcli.records import Frame, VideoInfo


def replayed_frames(
    info: VideoInfo, plan: LengthPlan, count: int | None = None
) -> Generator[Frame, None, None]:
    """Yield the frames of ``plan.indices()``; ``Frame.index`` is the index in the source.

    Memory is flat, and but for bouncing (``bounced_frames``) the video is only read forward:
    frames that are left out are decoded and dropped, a frame that stays is decoded once and
    given again, a loop starts another decoder.

    Args:
        info: The video.
        plan: How many frames it has, and which are wanted.
        count: Stop after so many frames; None: at the end.

    Raises:
        MediaError: If a frame below ``plan.source_count`` cannot be decoded.
    """
    length = plan.frame_count if count is None else min(count, plan.frame_count)
    if plan.mode == "bounce":
        yield from bounced_frames(info, plan.source_count, length)
        return
    source, held = forward_frames(info, 0, plan.source_count), None
    try:
        for index in islice(plan.indices(), length):
            if held is not None and index < held.index:
                source.close()
                source, held = forward_frames(info, 0, plan.source_count), None
            while held is None or held.index < index:
                held = next(source)
            yield held
    finally:
        source.close()
