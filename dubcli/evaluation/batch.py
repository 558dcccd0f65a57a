"""Several videos, one after the other: which belongs to which, and what becomes of a failure."""

from dataclasses import dataclass
from pathlib import Path

from dubcli.config import EVALUATION_DEFAULTS, VIDEO_SUFFIXES, EvaluationOptions
from dubcli.errors import DubError, InputError
from dubcli.evaluation.evaluate import evaluate
from dubcli.evaluation.records import Evaluation, Failure
from dubcli.loading import Models
from dubcli.pipeline import OnProgress


@dataclass(frozen=True, slots=True)
class Pair:
    """A video to judge and the real one."""

    video: Path
    reference: Path | None


def pairs(video: Path, reference: Path | None) -> list[Pair]:
    """Return which videos are judged beside which.

    Args:
        video: A file, or a folder of which every video counts.
        reference: A file, or a folder in which each video's reference has the video's name,
            whatever its extension. One file serves all videos of a folder.

    Returns:
        In the order of names. A video without a reference of its name is paired with the name that
        was looked for, which ``attempt`` then reports.

    Raises:
        InputError: If a folder holds no video, or a folder is the reference of one file.
    """
    if not video.is_dir():
        if reference is not None and reference.is_dir():
            raise InputError(f"{reference}: this is a folder; give the reference of {video.name}")
        return [Pair(video, reference)]
    found = _videos(video)
    if not found:
        raise InputError(f"{video}: no video in this folder; give one with .mp4 files or the like")
    if reference is None or not reference.is_dir():
        return [Pair(each, reference) for each in found]
    by_name = {each.stem: each for each in _videos(reference)}
    return [Pair(each, by_name.get(each.stem, reference / each.name)) for each in found]


def _videos(folder: Path) -> list[Path]:
    """Return the videos of a folder, by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
    )


def attempt(
    pair: Pair,
    *,
    speech: Path | None = None,
    models: Models | None = None,
    options: EvaluationOptions = EVALUATION_DEFAULTS,
    on_progress: OnProgress | None = None,
) -> Evaluation | Failure:
    """Return the evaluation of one pair, or why there is none: others may go on.

    Args:
        pair: The video and its reference.
        speech: See ``evaluate``.
        models: From ``load_models``.
        options: See ``EvaluationOptions``.
        on_progress: Called often with the running stage's progress.
    """
    try:
        return evaluate(
            pair.video,
            pair.reference,
            speech=speech,
            models=models,
            options=options,
            on_progress=on_progress,
        )
    except DubError as error:
        return Failure(pair.video, str(error), error.exit_code)
