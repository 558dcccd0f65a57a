"""Pass 1: frames to numbers, or the same numbers as an earlier run found them."""

import time
from contextlib import closing
from pathlib import Path

from dubcli.cache import AnalysisCache
from dubcli.config import DEFAULTS, CacheOptions, DubOptions
from dubcli.errors import InputError
from dubcli.loading import FaceModels, load_face_models
from dubcli.media.prefetch import prefetch
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.pipeline.clock import Clock, OnProgress
from dubcli.records import Analysis, VideoInfo
from dubcli.stages.fit import fit
from dubcli.stages.track import Tracker, track


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
        InputError: If the file is no video or shows no face.
    """
    models = models or load_face_models(options)
    return analyze_probed(probe_video(video), models, Clock(on_progress), [], cache=options.cache)


def analyze_probed(
    info: VideoInfo,
    models: FaceModels,
    clock: Clock,
    warnings: list[str],
    *,
    cache: CacheOptions,
) -> Analysis:
    """Return the analysis of a video, computed or as an earlier run kept it.

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
    if not cache.use:
        return _track_and_fit(info, models, clock, warnings)
    place = AnalysisCache(
        info.path, models.tracker, models.morphable, options=cache, warnings=warnings
    )
    for _ in clock.watch("hash", place.identify(), place.blocks):
        pass
    started = time.perf_counter()
    if (kept := place.read()) is not None:
        clock.add("cache", time.perf_counter() - started)
        warnings += kept.warnings
        return kept.analysis
    raised: list[str] = []
    analysis = _track_and_fit(info, models, clock, raised)
    warnings += raised
    started = time.perf_counter()
    place.write(analysis, raised)
    clock.add("store", time.perf_counter() - started)
    return analysis


def _track_and_fit(
    info: VideoInfo, models: FaceModels, clock: Clock, warnings: list[str]
) -> Analysis:
    """Frames to landmarks to coefficients."""
    started = time.perf_counter()
    with (
        FrameReader(info) as reader,
        Tracker(models.tracker) as tracker,
        closing(prefetch(reader)) as frames,
    ):
        faces = clock.watch("track", track(frames, tracker), info.frame_count)
        analysis = fit(faces, models.morphable)
        if reader.warning:
            warnings.append(reader.warning)
    clock.add("fit", time.perf_counter() - started - clock.seconds["track"])
    if not analysis.valid.any():
        raise InputError(
            f"{info.path}: no face in any of its {len(analysis)} frames; "
            "give a video in which the speaker's face is seen from the front and not too small"
        )
    return analysis
