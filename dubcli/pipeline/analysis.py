"""Pass 1: frames to numbers, or the same numbers as an earlier run found them; whom they are of."""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dubcli.cache import AnalysisCache
from dubcli.config import DEFAULTS, CacheOptions, DubOptions
from dubcli.errors import CheckpointError, InputError, MissingExtraError
from dubcli.extras import EXTRA, load_face_recogniser
from dubcli.line import LARGEST
from dubcli.loading import FaceModels, load_face_models
from dubcli.media.picture import read_picture
from dubcli.media.prefetch import prefetch
from dubcli.media.probe import probe_source
from dubcli.media.reader import FrameReader
from dubcli.pipeline.clock import Clock, OnProgress
from dubcli.records import Analysis, Faces, Facts, Integers, VideoInfo
from dubcli.stages.fit import fit_faces
from dubcli.stages.people import (
    EMBEDDED_ALIKE,
    Embed,
    directions,
    group,
    largest_in_each_shot,
    of_rows,
    person_of_frames,
)
from dubcli.stages.portraits import Portraits, straight
from dubcli.stages.track import Tracker, track


@dataclass(frozen=True, slots=True, eq=False)
class Speaker:
    """The one whose mouth is to move."""

    analysis: Analysis  # frames that show only others have no face
    person: Integers  # [T] who it is; more than one where nobody was chosen
    seen: Facts  # [T] whether anybody is


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """All who are seen in a video."""

    faces: Faces
    person: Integers  # [K] of each track, from 0: the most prominent first
    embed: Embed | None  # what told them apart; None: the fitted identity


def analyze(
    video: Path,
    *,
    models: FaceModels | None = None,
    options: DubOptions = DEFAULTS,
    on_progress: OnProgress | None = None,
) -> Analysis:
    """Return identity, expression and pose of the speaker in every frame of a video.

    Args:
        video: The file.
        models: From ``load_models`` or ``load_face_models``; None: the latter, as the options say.
        options: See ``DubOptions``.
        on_progress: Called with the progress of the pass.

    Raises:
        InputError: If the file is no video, shows no face, or not the one that is chosen.
    """
    models = models or load_face_models(options)
    info, warnings = probe_source(video, options.frame_rate), list[str]()
    people = find_people(info, models, Clock(on_progress), warnings, cache=options.cache)
    return choose_speaker(info, people, models, options.face, warnings).analysis


def find_people(
    info: VideoInfo,
    models: FaceModels,
    clock: Clock,
    warnings: list[str],
    *,
    cache: CacheOptions,
) -> People:
    """Return all faces of a video, computed or as an earlier run kept them, and whose they are.

    Args:
        info: The video.
        models: Tracker and basis.
        clock: Takes the seconds of "hash", then of "cache" where the numbers were found, else of
            "track", "fit" and "store".
        warnings: Receives what the user should know.
        cache: Whether and where analyses are kept.

    Raises:
        InputError: If the video shows no face.
    """
    warnings += [f"{info.path}: {note}" for note in info.notes]
    faces = _kept_or_found(info, models, clock, warnings, cache)
    if not len(faces.frame):
        raise InputError(
            f"{info.path}: no face in any of its {len(faces)} frames; "
            "give a video in which the speaker's face is seen from the front and not too small"
        )
    embed = _embedder(warnings) if len(faces.portrait) > 1 else None
    return People(faces, group(faces, embed), embed)


def choose_speaker(
    info: VideoInfo, people: People, models: FaceModels, face: str, warnings: list[str]
) -> Speaker:
    """Return the one among a video's people who is dubbed.

    Args:
        info: The video.
        people: From ``find_people``.
        models: The tracker finds the face in a picture.
        face: As ``DubOptions.face``: "largest" is the one who is seen largest and longest in each
            shot; a number counts people from 1.
        warnings: Receives what the user should know.

    Raises:
        InputError: If the person is not in the video, or a picture cannot be compared.
    """
    faces, person = people.faces, people.person
    who = identify(info, people, models, face)
    if who == LARGEST:
        chosen: Facts = largest_in_each_shot(faces, person)
        several = len(np.unique(person[faces.track[chosen]]))
        warnings.append(
            f"the largest face of each shot is dubbed, and they look like {several} different "
            "people; `dubcli faces` shows them, --face chooses one"
        )
    else:
        chosen = person[faces.track] == int(who) - 1
    seen = np.zeros(len(faces), dtype=np.bool_)
    seen[faces.frame] = True
    return Speaker(of_rows(faces, chosen), person_of_frames(faces, person, chosen), seen)


def identify(
    info: VideoInfo, people: People, models: FaceModels, face: str, prefix: str = ""
) -> str:
    """Return whom a face means, in the same words for the same one.

    Args:
        info: The video.
        people: From ``find_people``.
        models: The tracker finds the face in a picture.
        face: As ``DubOptions.face``.
        prefix: Of errors.

    Returns:
        A number; "largest" where the largest faces of the shots are those of several people.

    Raises:
        InputError: As ``choose_speaker``.
    """
    count = int(people.person.max()) + 1
    if face == LARGEST:
        rows = largest_in_each_shot(people.faces, people.person)
        largest = np.unique(people.person[people.faces.track[rows]])
        return LARGEST if len(largest) > 1 else str(int(largest[0]) + 1)
    number = int(face) if face.isdigit() else _number_of(Path(face), people, models, prefix)
    if number > count:
        raise InputError(
            f"{prefix}--face {face}: {info.path} shows {count} "
            f"{'person' if count == 1 else 'people'}; `dubcli faces` lists them"
        )
    return str(number)


def _embedder(warnings: list[str]) -> Embed | None:
    """Return what tells people apart; None where the extra is not installed."""
    try:
        return load_face_recogniser().of_portrait
    except MissingExtraError:
        return None
    except CheckpointError as error:
        warnings.append(f"people are told apart by their fitted shape only ({error})")
        return None


def _number_of(picture: Path, people: People, models: FaceModels, prefix: str) -> int:
    """Return the number of the person in a picture."""
    embed = people.embed or _embedder([])
    if embed is None:
        raise InputError(
            f"{prefix}--face {picture}: comparing faces needs pip install 'dubcli[{EXTRA}]'; "
            "or give a number of `dubcli faces`"
        )
    rgb = read_picture(picture)
    with Tracker(models.tracker) as tracker:
        mesh = tracker.landmarks_px(rgb)
    if mesh is None:
        raise InputError(f"{picture}: shows no face; give a picture of it from the front")
    wanted = embed(straight(rgb, mesh))
    alike = directions(people.faces, embed) @ (wanted / np.linalg.norm(wanted))
    best = int(np.argmax(alike))
    if 1 - alike[best] > EMBEDDED_ALIKE:
        raise InputError(
            f"{picture}: nobody in the video looks like this (the nearest has a likeness of "
            f"{alike[best]:.2f}, at least {1 - EMBEDDED_ALIKE:.2f} is needed); "
            "give another picture or a number of `dubcli faces`"
        )
    return int(people.person[best]) + 1


def _kept_or_found(
    info: VideoInfo,
    models: FaceModels,
    clock: Clock,
    warnings: list[str],
    cache: CacheOptions,
) -> Faces:
    """Return all faces of a video from the cache, or track them and keep them."""
    if not cache.use:
        return _track_and_fit(info, models, clock, warnings)
    place = AnalysisCache(
        info.path,
        models.tracker,
        models.morphable,
        options=cache,
        warnings=warnings,
        files=info.files,
    )
    for _ in clock.watch("hash", place.identify(), place.blocks):
        pass
    started = time.perf_counter()
    if (kept := place.read()) is not None:
        clock.add("cache", time.perf_counter() - started)
        warnings += kept.warnings
        return kept.faces
    raised: list[str] = []
    faces = _track_and_fit(info, models, clock, raised)
    warnings += raised
    started = time.perf_counter()
    place.write(faces, raised)
    clock.add("store", time.perf_counter() - started)
    return faces


def _track_and_fit(info: VideoInfo, models: FaceModels, clock: Clock, warnings: list[str]) -> Faces:
    """Frames to landmarks to coefficients."""
    started = time.perf_counter()
    portraits = Portraits()
    with (
        FrameReader(info) as reader,
        Tracker(models.tracker) as tracker,
        closing(prefetch(reader)) as frames,
    ):
        tracked = clock.watch("track", track(frames, tracker, portraits), info.frame_count)
        faces = fit_faces(tracked, models.morphable, portraits)
        if reader.warning:
            warnings.append(reader.warning)
    clock.add("fit", time.perf_counter() - started - clock.seconds["track"])
    return faces
