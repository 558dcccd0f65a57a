"""Mouth pictures of the training clips, cut once and cached.

Letters: T frames at 25 Hz, h, w size of a mouth picture with its margin.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dubcli.geometry.morphable import MorphableModel
from dubcli.geometry.mouth import head_crop, mouth_picture
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.records import Bytes, Float, Integers
from dubcli.training.data import Clip, interpolate_gaps, load_landmarks, store_arrays
from dubcli.training.prepare import each_missing
from dubcli.training.speech import FRAME_RATE_HZ

MOUTH_MARGIN = 4  # pixels around a stored picture, so that training can move and scale it


def cut_mouths(clips: Iterable[Clip], cache: Path, model: MorphableModel) -> None:
    """Cut the clips' mouth pictures: that of sound frame t is shown at t / 25 s plus the lag."""

    def work(clip: Clip) -> None:
        """Cut one clip."""
        found = load_landmarks(cache, clip)
        if found is None:
            raise ValueError("too few frames show a face")
        landmarks = interpolate_gaps(found.landmarks_px)
        with FrameReader(probe_video(clip.path)) as reader:
            shown = [
                mouth_picture(frame.rgb, head_crop(mesh, model), margin=MOUTH_MARGIN)
                for frame, mesh in zip(reader, landmarks, strict=False)
            ]
        pictures = np.stack(shown)[nearest_frames(found.time_s[: len(shown)], clip.sync_lag_s)]
        store_mouths(cache / "mouths", clip.name, pictures)

    each_missing(list(clips), cache / "mouths", work, "cutting mouths")


def nearest_frames(time_s: Float, lag_s: float) -> Integers:
    """Return which video frame is shown ``lag_s`` after each 25 Hz frame of the sound, [T].

    Example:
        >>> nearest_frames(np.arange(6) / 50, 0.02).tolist()
        [1, 3, 5]
    """
    half = 0.5 / FRAME_RATE_HZ
    count = int((float(time_s[-1]) + half - lag_s) * FRAME_RATE_HZ) + 1
    wanted = np.arange(max(0, count)) / FRAME_RATE_HZ + lag_s
    after = np.clip(np.searchsorted(time_s, wanted), 1, len(time_s) - 1)
    return after - (wanted - time_s[after - 1] <= time_s[after] - wanted)


def store_mouths(folder: Path, name: str, pictures: Bytes) -> None:
    """Put a clip's mouth pictures, [T, h, w], into a folder of the cache."""
    store_arrays(folder, name, {"pictures": pictures})
