"""The hardest dubs of all ``val`` clips on one sheet: a closed mouth over an open one, and back.

Self-dubbing hides two faults: a halo where the chin was, and a ghost of the old lip. Here each
clip's widest and most closed frame swap mouths, through the renderer as ``dub`` runs it, and the
tracker measures how far the mouth stands open in what came out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dubcli.checkpoints import load_as, verified_file
from dubcli.config import DEFAULTS
from dubcli.errors import InputError
from dubcli.geometry.crop import cut_out
from dubcli.geometry.morphable import MorphableModel, lip_aperture
from dubcli.geometry.window import WindowDrawer
from dubcli.loading import load_basis
from dubcli.media.files import check_output
from dubcli.media.picture import write_png
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.networks.renderer import DualAttentionRenderer, channels_last
from dubcli.records import Analysis, Bytes, Facts, Frame, Integers, MouthTrack
from dubcli.sheet import Tile, draw_sheet
from dubcli.stages.coverage import cover
from dubcli.stages.render import FaceRenderer, crop_of
from dubcli.stages.select import lip_bank
from dubcli.stages.track import Tracker
from dubcli.training.crops import analyse_landmarks
from dubcli.training.data import Clip, Landmarks, load_landmarks, read_clips
from dubcli.training.prepare import track_clips

JUDGED_SET = "wild"
MOST_FRAMES = 150  # of a clip that are read
MM_PER_CM = 10
CLOSED_MM = 1.5  # tracked as no wider open than this, a mouth looks closed


@dataclass(frozen=True, slots=True)
class Swap:
    """One frame with another one's mouth; openings in mm between the inner lips."""

    clip: str
    closing: bool  # a closed mouth over an open one; else the other way round
    source_mm: float
    wanted_mm: float
    tracked_mm: float | None  # in what came out; None: no face was found there


def swaps(data: Path, cache: Path, models: Path, sheet: Path) -> list[Swap]:
    """Return the swaps of all ``val`` wild clips, and draw them: source over swap, a row a clip.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks; what is missing is computed.
        models: Folder of checkpoints.
        sheet: The .png to write.

    Raises:
        InputError: If the sheet cannot be written, or no clip can be used.
    """
    check_output(sheet, {".png"})
    model = load_basis(models)
    clips = [c for c in read_clips(data) if c.split == "val" and c.set == JUDGED_SET]
    track_clips(clips, cache, models)
    network = load_as(models, "renderer", DualAttentionRenderer)
    channels_last(network)
    found: list[Swap] = []
    rows: list[list[Tile]] = []
    with Tracker(verified_file(models, "face-landmarker")) as tracker:
        for clip in clips:
            marks = load_landmarks(cache, clip)
            if marks is None:
                continue
            made = list(swaps_of(clip, marks, model, network, tracker))
            found += [swap for swap, _ in made]
            if made:
                rows.append([tile for _, tile in made])
    if not rows:
        raise InputError(f"{data}: no usable clips in the split val, set {JUDGED_SET}")
    write_png(sheet, draw_sheet(rows))
    return found


def swaps_of(
    clip: Clip,
    marks: Landmarks,
    model: MorphableModel,
    network: DualAttentionRenderer,
    tracker: Tracker,
) -> Iterator[tuple[Swap, Tile]]:
    """Yield a clip's two swaps; none if its mouth or its face cannot be used.

    Args:
        clip: The clip.
        marks: Its landmarks.
        model: The basis.
        network: The renderer.
        tracker: Measures what comes out.
    """
    count = min(len(marks.time_s), MOST_FRAMES)
    short = Landmarks(marks.landmarks_px[:count], marks.time_s[:count], marks.size_px)
    analysis = analyse_landmarks(short, model)
    coverage = cover(analysis, short.rate_hz)
    usable: Facts = (coverage.amount >= 1) & ~np.isnan(short.landmarks_px[:, 0, 0])
    if usable.sum() < 2:
        return
    face = FaceRenderer(
        network,
        model,
        analysis,
        amount=coverage.amount,
        face_references=DEFAULTS.face_references,
    )
    with FrameReader(probe_video(clip.path), 0, count) as reader:
        frames = list(reader)  # of a training clip, which are short and small
    face.load_lip_bank(iter(frames), lip_bank(analysis.lip_aperture, usable))
    at = np.flatnonzero(usable)
    closed = int(at[analysis.lip_aperture[at].argmin()])
    wide = int(at[analysis.lip_aperture[at].argmax()])
    draw = WindowDrawer(model)
    for index, other in ((wide, closed), (closed, wide)):
        swapped = _with_mouth_of(other, index, face, draw, analysis, frames)
        source = frames[index].rgb
        swap = Swap(
            clip.name,
            closing=index == wide,
            source_mm=MM_PER_CM * float(analysis.lip_aperture[index]),
            wanted_mm=MM_PER_CM * float(analysis.lip_aperture[other]),
            tracked_mm=opening_mm(swapped, analysis, index, tracker),
        )
        crop = crop_of(analysis, index)
        yield swap, Tile(cut_out(source, crop), cut_out(swapped, crop), label_of(swap))


def _with_mouth_of(
    other: int,
    index: int,
    face: FaceRenderer,
    draw: WindowDrawer,
    analysis: Analysis,
    frames: Sequence[Frame],
) -> Bytes:
    """Return a frame with another one's mouth, as ``dub`` would lay it over."""
    shape = draw.own_displacement(analysis.beta[other])
    order: Integers = np.arange(len(frames))
    mouths = (MouthTrack(shape, t) for t in range(len(frames)))
    (done,) = face.render(iter(frames), mouths, {index}, order)
    return done.rgb


def opening_mm(rgb: Bytes, analysis: Analysis, t: int, tracker: Tracker) -> float | None:
    """Return how far the inner lips stand apart in a picture of frame t's head, mm.

    By the scale of the head in that frame; None without a face.
    """
    points = tracker.landmarks_px(rgb)
    if points is None:
        return None
    gap_px = float(lip_aperture(torch.from_numpy(points)))
    return MM_PER_CM * gap_px / float(analysis.scale_px[t])


def label_of(swap: Swap) -> str:
    """Return what is written over a tile.

    Example:
        >>> label_of(Swap("ab", True, 9.0, 0.4, 1.26))
        'ab  9.0 mm -> 0.4, tracked 1.3'
    """
    tracked = "no face" if swap.tracked_mm is None else f"tracked {swap.tracked_mm:.1f}"
    return f"{swap.clip}  {swap.source_mm:.1f} mm -> {swap.wanted_mm:.1f}, {tracked}"


@dataclass(frozen=True, slots=True)
class SwapFigures:
    """Of all swaps of one direction, medians in mm."""

    closing: bool
    swaps: int
    source_mm: float
    wanted_mm: float
    tracked_mm: float
    reached: float  # share that closed to ``CLOSED_MM``, or opened to half of what was wanted


def summary(found: Sequence[Swap]) -> tuple[SwapFigures, ...]:
    """Return the figures of closed mouths over open ones, then of the others.

    Swaps in which no face was found count as not reached, and are not in the median.
    """
    rows = []
    for closing in (True, False):
        same = [swap for swap in found if swap.closing == closing]
        if not same:
            continue
        tracked = [swap.tracked_mm for swap in same if swap.tracked_mm is not None]
        rows.append(
            SwapFigures(
                closing,
                len(same),
                float(np.median([swap.source_mm for swap in same])),
                float(np.median([swap.wanted_mm for swap in same])),
                float(np.median(tracked)) if tracked else float("nan"),
                float(np.mean([_reached(swap) for swap in same])),
            )
        )
    return tuple(rows)


def _reached(swap: Swap) -> bool:
    """Return whether the mouth did what was wanted."""
    if swap.tracked_mm is None:
        return False
    if swap.closing:
        return swap.tracked_mm <= CLOSED_MM
    return swap.tracked_mm >= swap.wanted_mm / 2
