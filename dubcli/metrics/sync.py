"""How well sound and mouth go together, from their embeddings: LSE-C, LSE-D and the offset.

Letters: T frames at 25 Hz, D embedding width, R the largest offset.

The definitions are SyncNet's (Chung and Zisserman 2016), named and made known as LSE-D and LSE-C by
Wav2Lip (Prajwal et al. 2020). Two things differ: at the ends the pairs that do not exist are left
out, where SyncNet takes distances to zeros; and embeddings have unit length, so that distances lie
between 0 and 2. Values can be compared with those of the same expert only, never with
published ones.
"""

from dataclasses import dataclass

import numpy as np

from dubcli.records import Facts, Float

REACH = 15  # frames: offsets that are tried on either side, as SyncNet and Wav2Lip do
LEAST_SHARE = 0.5  # of the pairs of offset 0 that an offset must have to be judged


@dataclass(frozen=True, slots=True, eq=False)
class SyncScores:
    """What the curve of distances over offsets says."""

    confidence: float  # LSE-C: median of the curve less its minimum; higher is better
    distance: float  # LSE-D: the curve's minimum; lower is better
    offset_frames: int  # where that is, at 25 Hz; positive: the mouth comes late
    curve: Float  # [2 R + 1] mean distance by offset, -R to R; nan where there are too few pairs


def sync_scores(sound: Float, mouth: Float, reach: int = REACH) -> SyncScores:
    """Return confidence, distance and offset of a recording.

    Entry k of the curve is the mean over t of |sound_t - mouth_{t + k - R}|. Offsets beyond half
    the length have too few pairs and are not judged.

    Args:
        sound: Embeddings, [T, D].
        mouth: Embeddings, [T, D]; rows of NaN, in either, are left out: there was no face.
        reach: R.

    Raises:
        ValueError: If the shapes differ, ``reach`` is negative, or no row is left.

    Example:
        >>> late = np.eye(8, dtype=np.float32)
        >>> sync_scores(late, np.roll(late, 2, axis=0), reach=3).offset_frames
        2
    """
    if sound.shape != mouth.shape or sound.ndim != 2:
        raise ValueError(f"sound {sound.shape} and mouth {mouth.shape} must both be [T, D]")
    if reach < 0:
        raise ValueError(f"reach is {reach}: it must not be negative")
    heard, seen = ~np.isnan(sound[:, 0]), ~np.isnan(mouth[:, 0])
    known = int((heard & seen).sum())
    if not known:
        raise ValueError("there is no frame with both sound and mouth")
    offsets = range(-reach, reach + 1)
    means = [_mean_distance(sound, mouth, heard, seen, k, LEAST_SHARE * known) for k in offsets]
    curve = np.array(means, dtype=np.float32)
    lowest = int(np.nanargmin(curve))
    distance = float(curve[lowest])
    confidence = float(np.nanmedian(curve)) - distance
    return SyncScores(confidence, distance, lowest - reach, curve)


def _mean_distance(
    sound: Float, mouth: Float, heard: Facts, seen: Facts, offset: int, least: float
) -> float:
    """Return the mean of |sound_t - mouth_{t + offset}|; nan if there are fewer than ``least``."""
    length = len(sound)
    t = np.arange(max(0, -offset), max(0, min(length, length - offset)))
    t = t[heard[t] & seen[t + offset]]
    if len(t) == 0 or len(t) < least:
        return float("nan")
    return float(np.linalg.norm(sound[t] - mouth[t + offset], axis=1).mean())
