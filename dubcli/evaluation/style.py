"""StyleSim of finished videos: do two people, or a speaker and the dub, move the mouth alike?

Letters: N videos, S embedding size.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.checkpoints import models_root
from dubcli.config import DEFAULTS, VIDEO_SUFFIXES, DubOptions
from dubcli.errors import DubError, InputError
from dubcli.loading import FaceModels, StyleEncoder, load_face_models, load_style_encoder
from dubcli.media.probe import probe_video
from dubcli.metrics.style import style_similarity
from dubcli.pace import Pace
from dubcli.pipeline import analyze
from dubcli.records import Analysis, Float, Progress, Stamps
from dubcli.stages.style import MIN_STRETCH_S, at_25_hz, encode_style, movement, stretches

log = logging.getLogger(__name__)

STILL_CM = 0.02  # a lower face that moves less stands still: speech moves it 0.05 to 0.2
MIN_RATE_HZ = 12  # slower pictures miss whole syllables
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class StyleSimilarity:
    """StyleSim of two videos."""

    similarity: float  # 0 to 1
    frames_a: int  # frames of the first video that were compared
    frames_b: int
    encoder: str  # name in the manifest
    sha256: str  # of its file


@dataclass(frozen=True, slots=True)
class StyleFailure:
    """A video that has no style to compare."""

    video: Path
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class StyleMatrix:
    """StyleSim of all pairs of videos of a folder."""

    videos: tuple[Path, ...]
    frames: tuple[int, ...]  # that were compared, of each video
    embeddings: Float  # [N, S] unit vectors
    similarity: Float  # [N, N], 0 to 1
    failures: tuple[StyleFailure, ...]
    encoder: str
    sha256: str


def embed_style(
    analysis: Analysis,
    frame_rate: Fraction,
    encoder: StyleEncoder,
    *,
    name: str = "the video",
    stamps: Stamps | None = None,
) -> Float:
    """Return the style of an analysed video, a unit vector, [S].

    Args:
        analysis: Of the video.
        frame_rate: Its frames per second.
        encoder: From ``load_style_encoder``.
        name: What to call the video in an error.
        stamps: When its frames are shown; None: at a constant rate.

    Raises:
        InputError: If there is no face, no stretch of a second, too few frames a second, or no
            motion.
    """
    if not analysis.valid.any():
        raise InputError(f"{name}: no face in any frame, so there is no style to compare")
    if frame_rate < MIN_RATE_HZ:
        raise InputError(
            f"{name}: {float(frame_rate):.1f} frames a second show too little of a mouth's motion; "
            f"give a video with {MIN_RATE_HZ} or more"
        )
    found = stretches(analysis, frame_rate)
    if not found:
        raise InputError(
            f"{name}: too short: the face is never seen for {MIN_STRETCH_S:.0f} s in one piece "
            f"({np.count_nonzero(analysis.valid) / float(frame_rate):.2f} s in all); "
            "give a longer video"
        )
    times_s = None if stamps is None else Pace(frame_rate, stamps).times_s(len(analysis))
    betas = [
        at_25_hz(analysis.beta[s], frame_rate, None if times_s is None else times_s[s])
        for s in found
    ]
    if movement(encoder.morphable, betas) < STILL_CM:
        raise InputError(
            f"{name}: the mouth does not move; StyleSim compares how people speak, "
            "give a video in which the person talks"
        )
    return encode_style(encoder.network, encoder.morphable, betas)


def style_sim(
    a: Path,
    b: Path,
    *,
    options: DubOptions = DEFAULTS,
    on_progress: OnProgress | None = None,
) -> StyleSimilarity:
    """Return StyleSim of two videos.

    Args:
        a: A video of a talking person.
        b: Another one: of the same person, of someone else, or a dub of ``a``.
        options: ``models``, ``threads`` and ``cache`` are read.
        on_progress: Called with the progress of tracking.

    Raises:
        InputError: If one of them is no video, or has no style to compare (see ``embed_style``).
        CheckpointError: If a model is missing or altered.
    """
    face, encoder = _load(options)
    (style_a, frames_a), (style_b, frames_b) = (
        _style_of(video, face, encoder, options, on_progress) for video in (a, b)
    )
    similarity = style_similarity(style_a, style_b)
    return StyleSimilarity(similarity, frames_a, frames_b, encoder.name, encoder.sha256)


def style_matrix(
    folder: Path,
    *,
    options: DubOptions = DEFAULTS,
    on_progress: OnProgress | None = None,
) -> StyleMatrix:
    """Return StyleSim of all pairs of a folder's videos; one bad file does not stop the others.

    Args:
        folder: Its videos are compared, not those of folders in it.
        options: ``models``, ``threads`` and ``cache`` are read.
        on_progress: Called with the progress of tracking.

    Raises:
        InputError: If the folder cannot be read, or fewer than two of its videos have a style.
        CheckpointError: If a model is missing or altered.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of videos")
    candidates = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
    )
    if len(candidates) < 2:
        raise InputError(
            f"{folder}: holds {len(candidates)} videos; give a folder with two or more "
            f"({', '.join(sorted(VIDEO_SUFFIXES))})"
        )
    face, encoder = _load(options)
    styles: dict[Path, tuple[Float, int]] = {}
    failures: list[StyleFailure] = []
    for path in candidates:
        try:
            styles[path] = _style_of(path, face, encoder, options, on_progress)
        except DubError as error:
            log.info("left out: %s", error)
            failures.append(StyleFailure(path, str(error)))
    if len(styles) < 2:
        raise InputError(
            f"{folder}: {len(styles)} of {len(candidates)} videos can be compared; "
            f"the first that cannot: {failures[0].reason}"
        )
    embeddings = np.stack([style for style, _ in styles.values()])
    similarity = np.array([[style_similarity(a, b) for b in embeddings] for a in embeddings])
    return StyleMatrix(
        tuple(styles),
        tuple(frames for _, frames in styles.values()),
        embeddings,
        similarity.astype(np.float32),
        tuple(failures),
        encoder.name,
        encoder.sha256,
    )


def _load(options: DubOptions) -> tuple[FaceModels, StyleEncoder]:
    """Load the tracker, the basis and the encoder; nothing that only dubbing needs."""
    return load_face_models(options), load_style_encoder(models_root(options.models))


def _style_of(
    video: Path,
    face: FaceModels,
    encoder: StyleEncoder,
    options: DubOptions,
    on_progress: OnProgress | None,
) -> tuple[Float, int]:
    """Return a video's style and how many of its frames it was taken from."""

    def tell(event: Progress) -> None:
        """Name the video in its progress."""
        if on_progress is not None:
            on_progress(Progress(f"{event.stage} {video.name}", event.done, event.total))

    analysis = analyze(video, models=face, options=options, on_progress=tell)
    info = probe_video(video)
    style = embed_style(analysis, info.frame_rate, encoder, name=str(video), stamps=info.stamps)
    return style, sum(s.stop - s.start for s in stretches(analysis, info.frame_rate))
