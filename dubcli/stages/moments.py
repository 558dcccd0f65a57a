"""Which frames of a dub to look at: the widest mouths and the closures. Letter: T frames."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dubcli.records import Facts, Float

QUARTER = 4  # the share of the frames, 1 / 4, that may count as open or as closed


@dataclass(frozen=True, slots=True)
class Moments:
    """Chosen output frames, ascending."""

    open: tuple[int, ...]  # the widest mouths
    closed: tuple[int, ...]  # the closures


def choose_moments(opening: Float, speaking: Facts, usable: Facts, count: int) -> Moments:
    """Return the frames with the widest mouths and those with the most closed, spread in time.

    The best come first, each at least T / ``count`` frames from those of its kind already taken;
    where that leaves too few, the distance is halved. Only the widest and the narrowest quarter are
    looked at: spreading must not make an open mouth of a half-closed one. Closures in speech (p, b,
    m) come before the closed mouths of silence, which show less.

    Args:
        opening: Of the generated lips, [T] cm.
        speaking: Frames in which there is speech, [T].
        usable: Frames that are dubbed, [T]; only these are taken.
        count: How many in all: half of each kind, an odd one open; fewer if there are not enough.

    Example:
        >>> opening = np.array([0.1, 0.9, 0.2, 0.0, 0.8, 0.1], dtype=np.float32)
        >>> everywhere = np.ones(6, dtype=np.bool_)
        >>> choose_moments(opening, everywhere, everywhere, 4)
        Moments(open=(1, 4), closed=(0, 3))
    """
    frames = np.flatnonzero(usable)
    apart = len(opening) // max(count, 1)
    most_open, most_closed = (count + 1) // 2, count // 2
    widest = frames[np.argsort(-opening[frames], kind="stable")]
    widest = widest[: max(len(frames) // QUARTER, most_open)]
    chosen = _spread(widest.tolist(), most_open, apart)
    rest = np.setdiff1d(frames, np.array(chosen, dtype=np.int64))
    narrowest = rest[np.lexsort((opening[rest], ~speaking[rest]))]  # speech first, then by opening
    narrowest = narrowest[: max(int(speaking[rest].sum()) // QUARTER, most_closed)]
    return Moments(tuple(chosen), tuple(_spread(narrowest.tolist(), most_closed, apart)))


def _spread(best_first: Iterable[int], count: int, apart: int) -> list[int]:
    """Return the best frames that keep their distance, ascending."""
    chosen: list[int] = []
    candidates = list(best_first)
    while True:
        for frame in candidates:
            if len(chosen) >= count:
                break
            if all(abs(frame - other) >= max(apart, 1) for other in chosen):
                chosen.append(frame)
        if len(chosen) >= count or apart <= 1:
            return sorted(chosen)
        apart //= 2
