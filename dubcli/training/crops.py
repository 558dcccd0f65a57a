"""Clips as the renderer sees them: fitted, cropped, compressed and cached.

Letters: T frames, V vertices (468), S crop size (256).

One ``.npz`` a clip: the crops as JPEG (quality 95, 25-30 kB each) and the fit that made them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.geometry.crop import crop_for_head, cut_out
from dubcli.geometry.morphable import MorphableModel
from dubcli.records import Analysis, Bytes, Crop, Float, Frame, Integers, TrackedFace
from dubcli.stages.fit import fit
from dubcli.stages.samples import points_in_crop
from dubcli.training.data import Landmarks, interpolate_gaps, store_arrays

JPEG_QUALITY = 95
FULL_COLOUR = 0x111111  # 4:4:4, colour is not halved
JPEG_OPTIONS = (
    cv2.IMWRITE_JPEG_QUALITY,
    JPEG_QUALITY,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    FULL_COLOUR,
)
MAX_FRAMES = 180  # of a clip; longer ones would only repeat the same face


@dataclass(frozen=True, slots=True, eq=False)
class CroppedClip:
    """A clip's crops and geometry."""

    pictures: tuple[Bytes, ...]  # T encoded ones, JPEG or what else OpenCV reads
    time_s: Float  # [T]
    aperture: Float  # [T] cm
    analysis: Analysis
    matrix: Float  # [T, 2, 3] frame -> crop

    def __len__(self) -> int:
        """Return T."""
        return len(self.pictures)

    def crop(self, t: int) -> Bytes:
        """Return frame t's crop, [S, S, 3]."""
        bgr = cv2.imdecode(self.pictures[t], cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError(f"crop {t} cannot be decoded")
        return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)

    def points(self, model: MorphableModel, t: int, beta: Float | None = None) -> Float:
        """Return frame t's mesh in its crop, [V, 3] pixels; with another expression if given."""
        return points_in_crop(model, self.analysis, t, Crop(self.matrix[t], 0), beta)


def analyse_landmarks(found: Landmarks, model: MorphableModel) -> Analysis:
    """Return the fit of cached landmarks, gaps filled from their neighbours."""
    filled = interpolate_gaps(found.landmarks_px)
    return fit((TrackedFace(t, 0, mesh) for t, mesh in enumerate(filled)), model)


def crop_clip(frames: Iterator[Frame], found: Landmarks, model: MorphableModel) -> CroppedClip:
    """Return a clip's crops.

    Args:
        frames: The clip's pictures, in order.
        found: Its landmarks.
        model: The basis.
    """
    analysis = analyse_landmarks(found, model)
    jpeg: list[Bytes] = []
    matrices: list[Float] = []
    for frame, _ in zip(frames, range(min(len(analysis), MAX_FRAMES)), strict=False):
        t = frame.index
        crop = crop_for_head(
            analysis.rotation[t], analysis.translation_px[t], float(analysis.scale_px[t])
        )
        picture = cut_out(frame.rgb, crop)
        _, encoded = cv2.imencode(".jpg", picture[:, :, ::-1], JPEG_OPTIONS)
        jpeg.append(np.asarray(encoded, dtype=np.uint8).reshape(-1))
        matrices.append(crop.matrix)
    count = len(jpeg)
    return CroppedClip(
        tuple(jpeg),
        found.time_s[:count],
        analysis.lip_aperture[:count],
        analysis,
        np.stack(matrices),
    )


def arrays_of_crops(clip: CroppedClip) -> dict[str, NDArray[Any]]:
    """Return a clip as arrays that can be stored."""
    a, count = clip.analysis, len(clip)
    ends: Integers = np.cumsum([len(picture) for picture in clip.pictures])
    return {
        "jpeg": np.concatenate(clip.pictures),
        "ends": ends,
        "time_s": clip.time_s,
        "matrix": clip.matrix,
        "alpha": a.alpha[:1],
        "beta": a.beta[:count],
        "rotation": a.rotation[:count],
        "translation_px": a.translation_px[:count],
        "scale_px": a.scale_px[:count],
        "aperture": clip.aperture,
    }


def crops_of_arrays(s: Mapping[str, NDArray[Any]]) -> CroppedClip:
    """Return the clip of ``arrays_of_crops``."""
    count = len(s["ends"])
    analysis = Analysis(
        alpha=np.repeat(s["alpha"], count, axis=0),
        beta=s["beta"],
        rotation=s["rotation"],
        translation_px=s["translation_px"],
        scale_px=s["scale_px"],
        shot=np.zeros(count, dtype=np.int64),
        valid=np.ones(count, dtype=np.bool_),
        lip_aperture=s["aperture"],
    )
    pictures = tuple(np.split(s["jpeg"], s["ends"][:-1]))
    return CroppedClip(pictures, s["time_s"], s["aperture"], analysis, s["matrix"])


def store_crops(folder: Path, name: str, clip: CroppedClip) -> None:
    """Put a clip's crops into a folder of the cache."""
    store_arrays(folder, name, arrays_of_crops(clip))


def load_crops(folder: Path, name: str) -> CroppedClip | None:
    """Return a clip's cached crops, None if there are none."""
    file = folder / f"{name}.npz"
    if not file.exists():
        return None
    with np.load(file) as stored:
        return crops_of_arrays(stored)
