"""How much a picture changes from frame to frame: motion, and trembling on top of it.

Letters: H, W picture size.
"""

from dataclasses import dataclass

import numpy as np

from dubcli.metrics.image import same_size
from dubcli.metrics.mean import MeanOf
from dubcli.records import Bytes


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The frame before."""

    made: Bytes  # [H, W, 3]
    true: Bytes | None  # [H, W, 3]
    mask: Bytes | None  # [H, W]


class Flicker:
    """The mean absolute change between neighbouring frames inside a mask, in grey levels of 255.

    Mean over pairs of frames of mean |I_t - I_(t-1)| over the pixels in the masks of both. The
    number alone is mostly motion. Beside that of the true video it says more: above 1 the picture
    trembles, below 1 it is smoother than life. Pairs without a common pixel do not count.

    Example:
        >>> import numpy as np
        >>> flicker, dark = Flicker(), np.zeros((4, 4, 3), np.uint8)
        >>> for made, true in ((dark, dark), (dark + np.uint8(3), dark + np.uint8(2))):
        ...     flicker.update(made, true)
        >>> flicker.compute(), flicker.ratio()
        (3.0, 1.5)
    """

    def __init__(self) -> None:
        """Begin without a frame."""
        self._before: _Seen | None = None
        self._all, self._made, self._true = MeanOf(), MeanOf(), MeanOf()

    def update(self, made: Bytes, true: Bytes | None = None, mask: Bytes | None = None) -> None:
        """Take in the next frame.

        Args:
            made: [H, W, 3].
            true: The frame that belongs there, [H, W, 3], if there is one.
            mask: Pixels that count, [H, W]; None: all.

        Raises:
            ValueError: If sizes differ, also from the frame before.
        """
        same_size(made, made if true is None else true, mask)
        before, self._before = self._before, _Seen(made.copy(), _copied(true), _copied(mask))
        if before is None:
            return
        same_size(made, before.made)
        both = _common(before.mask, mask)
        if both is not None and not both.any():
            return
        change = _change(made, before.made, both)
        self._all.update(change)
        if true is not None and before.true is not None:
            self._made.update(change)
            self._true.update(_change(true, before.true, both))

    def cut(self) -> None:
        """Forget the frame before: the next one begins a shot."""
        self._before = None

    def compute(self) -> float:
        """Return the made video's mean change, grey levels.

        Raises:
            ValueError: Before the first pair of frames.
        """
        return self._all.compute()

    def compute_true(self) -> float:
        """Return the true video's mean change over the pairs that have one, grey levels.

        Raises:
            ValueError: Before the first pair of true frames.
        """
        return self._true.compute()

    def ratio(self) -> float:
        """Return made / true over the pairs that have both; nan if the true video stands still.

        Raises:
            ValueError: Before the first pair of true frames.
        """
        true = self.compute_true()
        return self._made.compute() / true if true else float("nan")


def _copied(values: Bytes | None) -> Bytes | None:
    return None if values is None else values.copy()


def _common(one: Bytes | None, other: Bytes | None) -> Bytes | None:
    """Return the pixels in both masks; None stands for all."""
    if one is None or other is None:
        return other if one is None else one
    return ((one > 0) & (other > 0)).astype(np.uint8)


def _change(here: Bytes, before: Bytes, mask: Bytes | None) -> float:
    """Return the mean absolute difference over a mask."""
    if mask is not None:
        here, before = here[mask > 0], before[mask > 0]
    return float(np.abs(here.astype(np.int16) - before.astype(np.int16)).mean())
