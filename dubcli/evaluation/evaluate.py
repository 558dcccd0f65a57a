"""Measures one video, alone or beside the real one.

First numbers: both videos are tracked and fitted. Then pixels: both are decoded again, side by
side, and every measure sees each moment. One frame of each is in memory.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from dubcli.checkpoints import models_root, read_manifest
from dubcli.config import EVALUATION_DEFAULTS, DubOptions, EvaluationOptions
from dubcli.errors import InputError, MissingExtraError
from dubcli.evaluation.leak import QUANTITIES as LEAK
from dubcli.evaluation.leak import leak_rows
from dubcli.evaluation.lips import lip_rows
from dubcli.evaluation.measures import (
    Features,
    Identity,
    Landmarks,
    Measure,
    Perception,
    Pictures,
    Sampled,
    Sharpness,
    Stillness,
    Sync,
    Unmeasured,
)
from dubcli.evaluation.progress import named, watched
from dubcli.evaluation.records import NEEDS_REFERENCE, Evaluation, Quantity, Row
from dubcli.evaluation.streams import Guide, check_comparable, length_warnings, moments
from dubcli.evaluation.style import embed_style
from dubcli.evaluation.sync import SyncMeter
from dubcli.extras import (
    MOBILENET,
    ST_LPIPS,
    load_face_recogniser,
    load_mobilenet,
    load_st_lpips,
)
from dubcli.geometry.window import WindowDrawer
from dubcli.loading import STYLE_ENCODER, SYNC_MEASURE, Models, load_models, load_style_encoder
from dubcli.media.probe import probe_audio, probe_video
from dubcli.metrics.style import style_similarity
from dubcli.pipeline import OnProgress, analyze
from dubcli.records import Analysis, VideoInfo
from dubcli.stages.track import Tracker

NO_SOUND = "the video has no sound; give --speech"
STYLE = Quantity("StyleSim", "lips", "", "higher", 1.0)


def evaluate(
    video: Path,
    reference: Path | None = None,
    *,
    speech: Path | None = None,
    models: Models | None = None,
    options: EvaluationOptions = EVALUATION_DEFAULTS,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Return how good a video is, alone or beside the real one.

    Args:
        video: The file to judge.
        reference: The real video: what the judged one was made from, or should look like. Frame k
            is compared with frame k. None: only what needs no reference is measured.
        speech: What the video's mouth should say; None: its own sound.
        models: From ``load_models``; None: loaded as the options say.
        options: See ``EvaluationOptions``.
        on_progress: Called often with the running stage's progress.

    Returns:
        Every row, in the table's order; those that could not be measured say why.

    Raises:
        InputError: If a file cannot be used, shows no face, or the two do not fit together.
        CheckpointError: If a model file is unusable.
        MediaError: If ffmpeg fails.
    """
    made = probe_video(video)
    real = None if reference is None else probe_video(reference)
    if real is not None:
        check_comparable(made, real)
    sound = probe_audio(speech).path if speech is not None else _own_sound(made)
    models = models or load_for(options)
    kept = DubOptions(cache=options.cache)
    theirs = None
    if reference is not None:
        watch = named("reference", on_progress)
        theirs = analyze(reference, models=models, options=kept, on_progress=watch)
    ours = analyze(video, models=models, options=kept, on_progress=named("video", on_progress))
    count = len(ours) if theirs is None else min(len(ours), len(theirs))
    warnings: list[str] = []
    if real is not None and theirs is not None:
        warnings += length_warnings(made, real, len(ours), len(theirs))
    warnings += _face_warnings(made, ours, count)

    guide = Guide(ours if theirs is None else theirs, WindowDrawer(models.morphable))
    measures = _measures(real, sound, models, options)
    with (
        Tracker(models.tracker) as tracker,
        closing(moments(made, real, guide, count, tracker=tracker)) as pictures,
    ):
        for moment in watched(pictures, "measure", count, on_progress):
            for measure in measures:
                measure.update(moment)
    rows = [row for measure in measures for row in measure.rows()]
    rows += lip_rows(ours, theirs)
    rows.append(_style_row(made, ours, real, theirs, models_root(options.models)))
    if options.leak_test:
        source, analysis = (video, ours) if theirs is None else (reference or video, theirs)
        rows += _leak_rows(source, analysis, models, options, on_progress)
    return Evaluation(video, reference, count, tuple(rows), tuple(warnings))


def load_for(options: EvaluationOptions) -> Models:
    """Return what ``evaluate`` needs, loaded once for any number of videos.

    Raises:
        CheckpointError: If a file is missing, altered or does not fit.
        InputError: If the device cannot be had.
    """
    return load_models(
        DubOptions(device=options.device, models=options.models, threads=options.threads)
    )


def _own_sound(info: VideoInfo) -> Path | None:
    """Return where a video's sound is; None if it has none."""
    return info.path if info.has_audio else None


def _face_warnings(info: VideoInfo, analysis: Analysis, count: int) -> Iterator[str]:
    """Say in how many frames there is no face to measure."""
    lost = count - int(analysis.valid[:count].sum())
    if lost:
        yield f"{info.path}: {lost} of {count} frames show no face"


def _measures(
    real: VideoInfo | None, sound: Path | None, models: Models, options: EvaluationOptions
) -> list[Measure]:
    """Return everything that looks at moments, in the table's order.

    Args:
        real: The reference, if there is one.
        sound: What the video's mouth should say, if anything.
        models: What is loaded already.
        options: See ``EvaluationOptions``.
    """
    root, device = models_root(options.models), models.device

    def paired(
        quantities: tuple[Quantity, ...], make: Callable[[], Measure], checkpoint: str | None = None
    ) -> Measure:
        """Return a costly measure of two videos, or what stands for it."""
        if real is None:
            return Unmeasured(quantities, NEEDS_REFERENCE)
        if checkpoint is not None and checkpoint not in read_manifest(root):
            return Unmeasured(quantities, no_checkpoint(checkpoint, root))
        try:
            return Sampled(make(), options.every)
        except MissingExtraError as error:
            return Unmeasured(quantities, str(error))

    return [
        paired(Pictures.quantities, Pictures),
        paired(Perception.quantities, lambda: Perception(load_st_lpips(root, device)), ST_LPIPS),
        paired(Features.quantities, lambda: Features(load_mobilenet(root, device)), MOBILENET),
        paired(Identity.quantities, lambda: Identity(load_face_recogniser())),
        Sampled(Sharpness(), options.every),
        Stillness(),
        Unmeasured(Landmarks.quantities, NEEDS_REFERENCE) if real is None else Landmarks(),
        _sync(real, sound, root),
    ]


def no_checkpoint(name: str, root: Path) -> str:
    """Return the note of a row whose network a models folder of the user's own does not hold."""
    return f"no checkpoint {name} in {root}"


def _sync(real: VideoInfo | None, sound: Path | None, root: Path) -> Measure:
    """Return what judges the sound against the lips, or what stands for it."""
    if sound is None:
        return Unmeasured(Sync.quantities, NO_SOUND)
    if SYNC_MEASURE not in read_manifest(root):
        return Unmeasured(Sync.quantities, no_checkpoint(SYNC_MEASURE, root))
    own = None if real is None else _own_sound(real)
    return Sync(SyncMeter(root), sound, None if own is None else SyncMeter(root), own)


def _style_row(
    made: VideoInfo, ours: Analysis, real: VideoInfo | None, theirs: Analysis | None, root: Path
) -> Row:
    """Return StyleSim of the two videos."""
    if real is None or theirs is None:
        return STYLE.missing(NEEDS_REFERENCE)
    if STYLE_ENCODER not in read_manifest(root):
        return STYLE.missing(no_checkpoint(STYLE_ENCODER, root))
    try:
        encoder = load_style_encoder(root)
        style, wanted = (
            embed_style(analysis, info.frame_rate, encoder, name=str(info.path), stamps=info.stamps)
            for analysis, info in ((ours, made), (theirs, real))
        )
        return STYLE.row(style_similarity(style, wanted))
    except InputError as error:
        return STYLE.missing(str(error))


def _leak_rows(
    source: Path,
    analysis: Analysis,
    models: Models,
    options: EvaluationOptions,
    on_progress: OnProgress | None,
) -> list[Row]:
    """Return the leak test's rows; of a video that cannot be dubbed they say why."""
    try:
        return list(leak_rows(source, analysis, models, options, on_progress))
    except InputError as error:
        return [quantity.missing(str(error)) for quantity in LEAK]
