"""``dubcli faces``: who is seen in a video, when, and how large, with a picture of each."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from dubcli.config import DEFAULTS, DubOptions
from dubcli.errors import InputError
from dubcli.loading import FaceModels, load_face_models
from dubcli.media.picture import write_png
from dubcli.media.probe import probe_source
from dubcli.media.reader import FrameReader
from dubcli.pace import Pace, pace_of
from dubcli.pipeline import Clock, OnProgress, refuse_output
from dubcli.pipeline.analysis import People, find_people
from dubcli.records import Bytes, Faces, FacesReport, Integers, SeenPerson, VideoInfo
from dubcli.sheet import Portrait, draw_portraits
from dubcli.timecode import format_time

FACE_CM = 15.0  # what a face is wide
TILE_CM = 40.0  # across a tile: head and shoulders
MOST_TILES = 24  # of one sheet; the less prominent ones are only listed
HOLD_S = 0.5  # an absence that is shorter does not divide a stretch


def faces(
    video: Path,
    output: Path | None = None,
    *,
    models: FaceModels | None = None,
    options: DubOptions = DEFAULTS,
    on_progress: OnProgress | None = None,
) -> FacesReport:
    """Find out who is seen in a video; ``DubOptions.face`` takes the numbers.

    Args:
        video: The file.
        output: A sheet with a picture of each person, .png; None: none.
        models: From ``load_models`` or ``load_face_models``; None: the latter, as the options say.
        options: ``models``, ``threads``, ``cache``, ``frame_rate`` and ``overwrite``
            are read.
        on_progress: Called often with the running stage's progress.

    Raises:
        InputError: If the video or the output cannot be used, or no face is seen.
        CheckpointError: If a model file is unusable.
        MediaError: If ffmpeg fails or the sheet cannot be written.
    """
    clock, warnings = Clock(on_progress), list[str]()
    info = probe_source(video, options.frame_rate)
    if output is not None:
        refuse_output(output, info.files, {".png"}, options)
    models = models or load_face_models(options)
    people = find_people(info, models, clock, warnings, cache=options.cache)
    if people.embed is None and len(people.faces.portrait) > 1:
        warnings.append(
            "people are told apart by the shape of their faces only, so that one person may have "
            "two numbers; pip install 'dubcli[eval]' for a surer way"
        )
    listed = [_person(people, number, info) for number in range(int(people.person.max()) + 1)]
    if output is not None:
        shown = listed[:MOST_TILES]
        if len(shown) < len(listed):
            warnings.append(f"the sheet shows the {MOST_TILES} most prominent of {len(listed)}")
        write_png(output, draw_portraits([_tile(people.faces, info, each) for each in shown]))
    return FacesReport(
        video, output, len(people.faces), tuple(listed), dict(clock.seconds), tuple(warnings)
    )


def _person(people: People, number: int, info: VideoInfo) -> SeenPerson:
    """Return what is to be said of a person."""
    faces, pace = people.faces, pace_of(info)
    tracks = np.flatnonzero(people.person == number)
    rows = np.isin(faces.track, tracks)
    frames, width = faces.frame[rows], FACE_CM * faces.scale_px[rows]
    best = int(tracks[np.argmax(np.bincount(faces.track[rows])[tracks])])
    return SeenPerson(
        number=number + 1,
        frames=len(frames),
        share=len(frames) / len(faces),
        width_px=float(np.median(width)),
        smallest_px=float(width.min()),
        shots=len(np.unique(faces.shot[frames])),
        times=tuple(stretches(frames, pace)),
        portrait_frame=int(faces.portrait_frame[best]),
        portrait_time_s=pace.begins_s(int(faces.portrait_frame[best])),
    )


def stretches(frames: Integers, pace: Pace) -> list[tuple[Fraction, Fraction]]:
    """Return from when to when somebody is seen, in seconds.

    Args:
        frames: In which, ascending.
        pace: When they are shown.

    Example:
        >>> stretches(np.array([0, 1, 2, 4, 90]), Pace(Fraction(25)))
        [(Fraction(0, 1), Fraction(1, 5)), (Fraction(18, 5), Fraction(91, 25))]
    """
    gaps = np.flatnonzero(np.diff(frames) > HOLD_S * pace.frame_rate) + 1
    edges = [0, *gaps.tolist(), len(frames)]
    return [
        (pace.begins_s(int(frames[a])), pace.begins_s(int(frames[b - 1]) + 1))
        for a, b in pairwise(edges)
    ]


def _tile(faces: Faces, info: VideoInfo, person: SeenPerson) -> Portrait:
    """Return a person's picture out of the video, with what is written below it."""
    t = person.portrait_frame
    with FrameReader(info, t, t + 1) as reader:
        frame = next(iter(reader), None)
    if frame is None:
        raise InputError(f"{info.path}: frame {t} cannot be decoded a second time")
    here = np.flatnonzero(faces.frame == t)
    row = int(here[np.argmin(np.abs(faces.scale_px[here] * FACE_CM - person.width_px))])
    first, last = person.times[0][0], person.times[-1][1]
    return Portrait(
        _head(frame.rgb, faces, row),
        (
            f"{person.number}   {100 * person.share:.0f} % of frames",
            f"{person.width_px:.0f} px wide",
            f"{format_time(first)} to",
            format_time(last),
        ),
    )


def _head(rgb: Bytes, faces: Faces, row: int) -> Bytes:
    """Return head and shoulders as a square; what lies beyond the frame is black."""
    side = max(2, round(TILE_CM * float(faces.scale_px[row])))
    left, top = (faces.translation_px[row] - side / 2).round().astype(int).tolist()
    square = np.zeros((side, side, 3), dtype=np.uint8)
    high, wide = max(0, top), max(0, left)
    inside = rgb[high : max(0, top + side), wide : max(0, left + side)]
    square[high - top :, wide - left :][: inside.shape[0], : inside.shape[1]] = inside
    return square


def lines(people: Sequence[SeenPerson]) -> list[str]:
    """Return a line for each person.

    Example:
        >>> half = Fraction(1, 2)
        >>> lines([SeenPerson(1, 12, 0.5, 200.0, 180.0, 1, ((half, 2 * half),), 3, half)])
        ['1: 12 frames (50 %), 1 shot, 200 px wide (180 at least), 00:00:00.500-00:00:01.000']
    """
    told = []
    for each in people:
        times = ", ".join(f"{format_time(a)}-{format_time(b)}" for a, b in each.times)
        shots = "1 shot" if each.shots == 1 else f"{each.shots} shots"
        told.append(
            f"{each.number}: {each.frames} frames ({100 * each.share:.0f} %), {shots}, "
            f"{each.width_px:.0f} px wide ({each.smallest_px:.0f} at least), {times}"
        )
    return told
