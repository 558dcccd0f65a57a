"""Computes once per clip what training needs: landmarks, crops, speech features.

Everything lands in a cache folder, one file a clip, written beside its place and renamed: a killed
run goes on where it stopped.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dubcli.checkpoints import verified_file
from dubcli.errors import InputError
from dubcli.geometry.morphable import MorphableModel
from dubcli.loading import WHISPER, load_audio_encoder
from dubcli.media.audio import AudioReader
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.networks.audio_encoder import AudioEncoder
from dubcli.pace import pace_of
from dubcli.records import Float
from dubcli.stages.track import MESH_VERTICES, Tracker
from dubcli.training.crops import (
    MAX_FRAMES,
    CroppedClip,
    analyse_landmarks,
    crop_clip,
    load_crops,
    store_crops,
)
from dubcli.training.data import Clip, Landmarks, Prepared, load_landmarks, store_landmarks
from dubcli.training.geometry import StoredSpeech, load_speech
from dubcli.training.speech import store_speech, versions

log = logging.getLogger(__name__)


def each_missing(
    clips: Sequence[Clip], folder: Path, work: Callable[[Clip], None], what: str
) -> None:
    """Run ``work`` for the clips without a file in ``folder``; one bad clip stops nothing."""
    todo = missing(clips, folder)
    for done, clip in enumerate(todo):
        if done % 20 == 0:
            log.info("%s: %d of %d clips", what, done, len(todo))
        try:
            work(clip)
        except (InputError, ValueError) as error:
            log.warning("%s: %s left out: %s", what, clip.path.name, error)


def missing(clips: Iterable[Clip], folder: Path) -> list[Clip]:
    """Return the clips without a file in a folder of the cache."""
    return [clip for clip in clips if not (folder / f"{clip.name}.npz").exists()]


def track_clips(clips: Sequence[Clip], cache: Path, models: Path) -> None:
    """Track every clip that is not in the cache."""
    if not missing(clips, cache / "landmarks"):
        return
    with Tracker(verified_file(models, "face-landmarker")) as tracker:
        each_missing(
            clips,
            cache / "landmarks",
            lambda clip: store_landmarks(cache, clip, landmarks_of(clip.path, tracker)),
            "tracking",
        )


def landmarks_of(video: Path, tracker: Tracker) -> Landmarks:
    """Return a video's landmarks; rows without a face are NaN."""
    info = probe_video(video)
    rows: list[Float] = []
    with FrameReader(info) as reader:
        for frame in reader:
            found = tracker.landmarks_px(frame.rgb)
            rows.append(np.full((MESH_VERTICES, 3), np.nan, np.float32) if found is None else found)
    times = pace_of(info).times_s(len(rows)).astype(np.float32)
    return Landmarks(np.stack(rows), times, (info.height, info.width))


def crop_clips(clips: Iterable[Clip], cache: Path, model: MorphableModel) -> None:
    """Fit and crop the clips that are not in the cache."""

    def work(clip: Clip) -> None:
        """Crop one clip."""
        found = load_landmarks(cache, clip)
        if found is None:
            raise ValueError("too few frames show a face")
        count = min(len(found.time_s), MAX_FRAMES)
        short = Landmarks(found.landmarks_px[:count], found.time_s[:count], found.size_px)
        with FrameReader(probe_video(clip.path)) as reader:
            store_crops(cache / "crops", clip.name, crop_clip(iter(reader), short, model))

    each_missing(list(clips), cache / "crops", work, "cropping")


def speech_folder(cache: Path, encoder: str) -> Path:
    """Return where the features of an encoder are cached: each encoder has a folder of its own."""
    if encoder == WHISPER:
        return cache / "speech"
    return cache / ("speech-" + "".join(c if c.isalnum() else "-" for c in encoder))


def encode_clips(
    clips: Iterable[Clip],
    cache: Path,
    folder: Path,
    model: MorphableModel,
    encoder: AudioEncoder,
) -> None:
    """Fit the clips and encode their sound, several versions each (``training.speech``)."""

    def work(clip: Clip) -> None:
        """Encode one clip."""
        found = load_landmarks(cache, clip)
        if found is None:
            raise ValueError("too few frames show a face")
        seed = int(clip.name[:8], 16) if _is_hex(clip.name[:8]) else len(clip.name)
        made = versions(
            encoder,
            waveform_of(clip.path),
            analyse_landmarks(found, model),
            found.time_s,
            clip.sync_lag_s,
            np.random.default_rng(seed),
            augment=clip.split == "train",
        )
        if not made:
            raise ValueError("too short")
        store_speech(folder, clip.name, made)

    each_missing(list(clips), folder, work, "encoding")


def prepare_judged(
    clips: Sequence[Clip], cache: Path, models: Path, model: MorphableModel, audio_encoder: str
) -> Path:
    """Compute what clips are judged by where it is not in the cache: crops, and speech features.

    Returns:
        The folder of the features.
    """
    track_clips(clips, cache, models)
    crop_clips(clips, cache, model)
    folder = speech_folder(cache, audio_encoder)
    spoken = [clip for clip in clips if clip.kind == "speech"]
    encode_clips(spoken, cache, folder, model, load_audio_encoder(audio_encoder, models))
    return folder


def prepare_crops(
    clips: Sequence[Clip], cache: Path, models: Path, model: MorphableModel
) -> Iterator[Prepared[CroppedClip]]:
    """Yield the clips' crops, made where they are not in the cache; unusable clips are left out."""
    track_clips(clips, cache, models)
    crop_clips(clips, cache, model)
    for clip in clips:
        crops = load_crops(cache / "crops", clip.name)
        if crops is not None:
            yield Prepared(clip, crops)


def prepare_speech(
    clips: Sequence[Clip], cache: Path, models: Path, model: MorphableModel, audio_encoder: str
) -> Iterator[Prepared[StoredSpeech]]:
    """Yield the clips' features and fits, made where they are not in the cache."""
    track_clips(clips, cache, models)
    folder = speech_folder(cache, audio_encoder)
    if missing(clips, folder):
        encode_clips(clips, cache, folder, model, load_audio_encoder(audio_encoder, models))
    for clip in clips:
        file = folder / f"{clip.name}.npz"
        if file.exists():
            yield Prepared(clip, load_speech(file, clip.speaker, clip.set))


def waveform_of(path: Path) -> Float:
    """Return a clip's sound, mono, 16 kHz, [N]; for training clips, which are short."""
    with AudioReader(probe_audio(path)) as reader:
        return np.concatenate([window.samples for window in reader])


def _is_hex(text: str) -> bool:
    """Return whether a text is a hexadecimal number."""
    return bool(text) and all(c in "0123456789abcdef" for c in text)
