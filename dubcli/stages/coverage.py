"""Where a face may be dubbed, how much, and why not elsewhere. Letter: T source frames."""

import numpy as np
import torch

from dubcli.config import FACE_CM, FADE_S
from dubcli.geometry.camera import yaw
from dubcli.records import (
    COVERED,
    NO_FACE,
    OTHERS,
    OUTSIDE,
    TOO_SMALL,
    TURNED_AWAY,
    Analysis,
    Coverage,
    Facts,
    Float,
)
from dubcli.stages.track import LOOK_EVERY

YAW_FULL, YAW_NONE = 0.95, 1.2  # radians of turn: full effect below, none above
# Width of the face in pixels: none below, full effect above. Of 14 clips scaled down, the opening
# of the lips was tracked with a correlation of 0.77 at 20 px, 0.87 at 28 and 0.98 at 56 with that
# of the full size; in one in ten with 0.58, 0.64 and 0.95. At 16 px some frames are missed.
WIDTH_NONE_PX, WIDTH_FULL_PX = 20.0, 24.0


def cover(
    analysis: Analysis,
    rate_hz: float | Float,
    within: Facts | None = None,
    seen: Facts | None = None,
    *,
    leave_covered: bool = True,
) -> Coverage:
    """Return how much of the effect each frame may show, and why it may show none.

    It is 0 without a face, beyond ``YAW_NONE``, below ``WIDTH_NONE_PX``, under a hand and outside
    the frames asked for, and ramps over ``FADE_S`` beside such frames. At a shot's own ends it
    stays full: a cut hides the change.

    Args:
        analysis: Of the source video.
        rate_hz: Frames a second; at a variable rate of each frame, one over its length, [T].
        within: The frames that were asked for, [T]; None: all.
        seen: The frames that show anybody's face, [T]; None: those that show this one.
        leave_covered: Whether there is none of it where a hand hides a part of the lower face.
    """
    turn = yaw(torch.from_numpy(analysis.rotation)).numpy()
    frontal = np.clip((YAW_NONE - turn) / (YAW_NONE - YAW_FULL), 0, 1)
    width_px = FACE_CM * analysis.scale_px
    large = np.clip((width_px - WIDTH_NONE_PX) / (WIDTH_FULL_PX - WIDTH_NONE_PX), 0, 1)
    covered = _covered(analysis) if leave_covered else np.zeros(len(analysis), np.bool_)
    allowed = np.minimum(frontal, large) * (analysis.valid & ~covered)
    inside = np.ones(len(analysis), np.bool_) if within is None else within
    step = np.broadcast_to(1 / np.maximum(float(FADE_S) * rate_hz, 1), len(analysis))
    able = _ramped(allowed.astype(np.float32), analysis, step)
    amount = able
    if within is not None:
        amount = _ramped((allowed * inside).astype(np.float32), analysis, step)
    others = ~analysis.valid & (analysis.valid if seen is None else seen)
    reason = np.select(
        [amount > 0, ~inside, others, ~analysis.valid, large == 0, covered],
        [0, OUTSIDE, OTHERS, NO_FACE, TOO_SMALL, COVERED],
        TURNED_AWAY,
    )
    return Coverage(able, amount, reason.astype(np.int64))


def _covered(analysis: Analysis) -> Facts:
    """Return the frames in which a hand may be before the mouth, [T].

    Hands are looked for in every ``LOOK_EVERY``-th frame: one that is seen may have come in the
    frames since the look before.
    """
    if analysis.covered is None:
        return np.zeros(len(analysis), np.bool_)
    covered = analysis.covered.copy()
    for back in range(1, LOOK_EVERY):
        same = analysis.shot[:-back] == analysis.shot[back:]
        covered[:-back] |= analysis.covered[back:] & same
    return covered


def _ramped(allowed: Float, analysis: Analysis, step: Float) -> Float:
    """Return the largest amounts that nowhere exceed those allowed, nor change faster in a shot.

    Args:
        allowed: [T].
        analysis: Whose shots are read.
        step: By how much a frame may differ from the next one, [T].
    """
    amount = np.ones(len(allowed), dtype=np.float32)
    count = len(allowed)
    for order, steps in ((range(count), np.roll(step, 1)), (range(count - 1, -1, -1), step)):
        level, shot = 1.0, -1
        for t in order:
            if analysis.shot[t] != shot:
                level, shot = 1.0, int(analysis.shot[t])
            level = min(float(allowed[t]), level + float(steps[t]))
            amount[t] = min(amount[t], level)
    return amount
