"""``dubcli preview``: a few frames of a dub beside their source, without writing a video."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.config import DEFAULTS, PREVIEW_MOMENTS, DubOptions
from dubcli.errors import InputError
from dubcli.line import Line
from dubcli.loading import Models
from dubcli.media.picture import write_png
from dubcli.media.probe import probe_source
from dubcli.pace import Pace
from dubcli.pipeline import (
    HALF_CLOSED,
    Clock,
    OnProgress,
    Ready,
    plan_lines,
    prepare,
    read_lines,
    refuse_output,
    render_chosen,
    whole_plan,
)
from dubcli.records import Bytes, Float, Integers, PreviewReport, PreviewTile
from dubcli.sheet import Tile, draw_sheet
from dubcli.stages.moments import Moments, choose_moments
from dubcli.stages.render import crop_of
from dubcli.timecode import format_time

COLUMNS = 4
FACE_CM = 20.0  # across a tile: from the brow to a wide open chin
MOST_MOMENTS = 64  # of one sheet
KINDS = ("chosen", "open", "closed")
MM_PER_CM = 10


@dataclass(frozen=True, slots=True)
class _Moment:
    """An output frame that goes on the sheet."""

    frame: int
    kind: str


def preview(
    video: Path,
    audio: Path,
    output: Path,
    *,
    also: Sequence[Line] = (),
    at: Sequence[Fraction] = (),
    count: int | None = None,
    models: Models | None = None,
    options: DubOptions = DEFAULTS,
    on_progress: OnProgress | None = None,
) -> PreviewReport:
    """Write a contact sheet of a dub, source over dub.

    Everything but the rendering of the other frames is done as ``dub`` does it, and the tiles show
    the very pixels that ``dub`` would hand to the encoder.

    Args:
        video: The file whose speaker is dubbed.
        audio: The speech.
        output: The sheet, .png.
        also: Further lines, as in ``dub``. Each tile shows the face that is dubbed there; where
            two are, the one named first.
        at: Moments to show, seconds of the output.
        count: How many moments to choose besides, half at the widest generated mouths, half at
            closures; None: ``PREVIEW_MOMENTS`` of them, or none if ``at`` names any.
        models: From ``load_models``; None: loaded as the options say.
        options: See ``DubOptions``.
        on_progress: Called often with the running stage's progress.

    Raises:
        InputError: If an input, a moment or the output cannot be used, or no frame shows a face.
        CheckpointError: If a model file is unusable.
        MediaError: If ffmpeg fails or the sheet cannot be written.
    """
    clock, warnings = Clock(on_progress), list[str]()
    if count is None:
        count = 0 if at else PREVIEW_MOMENTS
    _check_count(count, 0 if at else 1)
    info, speeches = probe_source(video, options.frame_rate), read_lines(audio, also, options)
    inputs = [*info.files, *(each.info.path for each in speeches)]
    refuse_output(output, inputs, {".png"}, options)
    if info.frame_count is not None:  # refuse before the work, not after it
        pace = Pace(info.frame_rate, info.stamps)
        plan = whole_plan(plan_lines(speeches, info.frame_count, pace, options))
        _check_times(at, plan.sound_s)
    ready = prepare(info, speeches, clock, warnings, models=models, options=options)
    _check_times(at, ready.plan.sound_s)
    source = np.fromiter(ready.plan.indices(), np.int64)
    opening = _openings(ready, source)
    pace = ready.plan.pace()
    moments = [_Moment(pace.frame_at(time_s), "chosen") for time_s in sorted(at)]
    if count:
        moments += _automatic(ready, opening, source, count)
    tiles, pictures = _render(ready, moments, opening, source, clock)
    write_png(output, draw_sheet(_rows(tiles, pictures)))
    return PreviewReport(output, len(ready), tuple(tiles), dict(clock.seconds), tuple(warnings))


def _openings(ready: Ready, source: Integers) -> Float:
    """Return the generated opening of the foremost mouth of each output frame, cm."""
    gaps = [
        [ready.draw.gap(mouth.displacement) for mouth in ready.mouths(part)] for part in ready.parts
    ]
    openings: Float = np.array(gaps)[ready.foremost()[source], np.arange(len(source))]
    return openings


def _check_count(count: int, lowest: int) -> None:
    """Refuse a number of moments that makes no sheet."""
    if not lowest <= count <= MOST_MOMENTS:
        raise InputError(f"--count is {count}: give a value from {lowest} to {MOST_MOMENTS}")


def _check_times(at: Sequence[Fraction], end_s: Fraction) -> None:
    """Refuse times that the dub does not reach, and more than a sheet holds."""
    if len(at) > MOST_MOMENTS:
        raise InputError(f"--at is given {len(at)} times: give at most {MOST_MOMENTS}")
    for time_s in at:
        if time_s >= end_s:
            raise InputError(
                f"--at {format_time(time_s)}: the dub ends at {format_time(end_s)}; "
                "give an earlier time"
            )


def _render(
    ready: Ready, moments: Sequence[_Moment], opening: Float, source: Integers, clock: Clock
) -> tuple[list[PreviewTile], dict[int, tuple[Bytes, Bytes]]]:
    """Return the tiles, and of each output frame among them its face: the source's, the dub's."""
    chosen = sorted({moment.frame for moment in moments})
    pictures: dict[int, tuple[Bytes, Bytes]] = {}
    dubbed: dict[int, bool] = {}
    rendered = clock.watch("render", render_chosen(ready, chosen), len(chosen))
    boxes = _boxes(ready, source[chosen])
    for frame, box, (before, after) in zip(chosen, boxes, rendered, strict=True):
        pictures[frame] = before[box].copy(), after.rgb[box].copy()
        dubbed[frame] = after.dubbed
    pace = ready.plan.pace()
    tiles = [
        PreviewTile(
            pace.begins_s(m.frame), m.frame, m.kind, float(opening[m.frame]), dubbed[m.frame]
        )
        for m in moments
    ]
    return tiles, pictures


def _automatic(ready: Ready, opening: Float, source: Integers, count: int) -> list[_Moment]:
    """Return the moments chosen by the generated mouth."""
    amount = np.max([part.coverage.amount for part in ready.parts], axis=0)[source]
    full = amount >= 1
    usable = full if full.any() else amount > 0
    if not usable.any():
        raise InputError(
            f"{ready.info.path}: none of the {len(ready)} frames of the dub shows a face that can "
            "be dubbed; choose moments with --at, or give longer speech"
        )
    closed = np.stack([part.motion.closed for part in ready.parts])
    speaking = closed[ready.foremost()[source], np.arange(len(source))] < HALF_CLOSED
    found: Moments = choose_moments(opening, speaking, usable, count)
    return [
        _Moment(frame, kind)
        for kind, frames in (("open", found.open), ("closed", found.closed))
        for frame in frames
    ]


def _boxes(ready: Ready, source: Integers) -> list[tuple[slice, slice]]:
    """Return where the face is in each of some source frames: boxes of one size in the frame."""
    info, foremost = ready.info, ready.foremost()
    faces = [ready.parts[foremost[t]].analysis for t in source]
    scales = [face.scale_px[t] for face, t in zip(faces, source, strict=True)]
    side = round(FACE_CM * float(max(scales))) or max(info.height, info.width)
    width, height = min(side, info.width), min(side, info.height)
    boxes = []
    for analysis, t in zip(faces, source, strict=True):
        middle = np.array([info.width, info.height]) / 2  # of a frame without a face
        if analysis.valid[t]:
            crop = crop_of(analysis, int(t))
            linear, shift = crop.matrix[:, :2], crop.matrix[:, 2]
            middle[:] = np.linalg.solve(linear, np.full(2, crop.size_px / 2) - shift)
        left = int(np.clip(round(middle[0] - width / 2), 0, info.width - width))
        top = int(np.clip(round(middle[1] - height / 2), 0, info.height - height))
        boxes.append((slice(top, top + height), slice(left, left + width)))
    return boxes


def _rows(
    tiles: Sequence[PreviewTile], pictures: dict[int, tuple[Bytes, Bytes]]
) -> list[list[Tile]]:
    """Return the tiles in rows; each kind begins a new one."""
    rows = []
    for kind in KINDS:
        drawn = [Tile(*pictures[tile.frame], label_of(tile)) for tile in tiles if tile.kind == kind]
        rows += [drawn[start : start + COLUMNS] for start in range(0, len(drawn), COLUMNS)]
    return rows


def label_of(tile: PreviewTile) -> str:
    """Return what is written over a tile.

    Args:
        tile: The moment.

    Example:
        >>> label_of(PreviewTile(Fraction(3, 2), 36, "open", 1.23, True))
        '00:00:01.500  open  12 mm'
    """
    state = f"{max(tile.opening_cm, 0.0) * MM_PER_CM:.0f} mm" if tile.dubbed else "not dubbed"
    return f"{format_time(tile.time_s)}  {tile.kind}  {state}"
