"""How the lips move: rows from the inner-lip opening of fitted videos.

Letters: T frames.
"""

from collections.abc import Iterator

import numpy as np

from dubcli.evaluation.measures import SAME_WORDS
from dubcli.evaluation.records import NEEDS_REFERENCE, Quantity, Row
from dubcli.metrics.lip_sync import closure_recall, correlation
from dubcli.records import Analysis, Float

CORRELATION = Quantity("opening correlation", "lips", "", "higher", 1.0, remark=SAME_WORDS)
CLOSURES = Quantity("closures met", "lips", "", "higher", 1.0, remark=SAME_WORDS)
DEVIATION = Quantity("opening deviation", "lips", "cm", "real")
FEWEST = 3  # frames; two points always correlate


def lip_rows(made: Analysis, real: Analysis | None) -> Iterator[Row]:
    """Yield correlation, closures and deviation of the opening.

    Args:
        made: The fitted video.
        real: The fitted reference; None: only the deviation can be told.
    """
    if real is None:
        yield CORRELATION.missing(NEEDS_REFERENCE)
        yield CLOSURES.missing(NEEDS_REFERENCE)
        yield DEVIATION.row(float(made.lip_aperture[made.valid].std()))
        return
    ours, theirs = common_openings(made, real)
    if len(ours) < FEWEST:
        for quantity in (CORRELATION, CLOSURES, DEVIATION):
            yield quantity.missing(f"both show a face in {len(ours)} frames only")
        return
    yield CORRELATION.row(correlation(ours, theirs), why_not="one of the mouths stands still")
    yield CLOSURES.row(closure_recall(ours, theirs))
    yield DEVIATION.row(float(ours.std()), float(theirs.std()))


def common_openings(made: Analysis, real: Analysis) -> tuple[Float, Float]:
    """Return the openings of both in the frames in which both show a face, [T] cm each."""
    count = min(len(made), len(real))
    both = np.flatnonzero(made.valid[:count] & real.valid[:count])
    return made.lip_aperture[both], real.lip_aperture[both]
