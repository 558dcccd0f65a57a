"""Measures how well a finished video's lips follow its sound: LSE-C, LSE-D and the offset.

Letters: T frames at 25 Hz, V vertices (468), D embedding width, h, w size of a mouth picture.

The expert that measures was trained on other speakers than the experts that may serve as losses,
and is never a loss itself. Values can be compared with those of the same expert only.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dubcli.errors import InputError
from dubcli.geometry.mouth import head_crop, mouth_picture
from dubcli.loading import SYNC_MEASURE, load_audio_encoder, load_basis, load_sync_expert
from dubcli.media.audio import AudioReader
from dubcli.media.probe import probe_audio
from dubcli.metrics.sync import SyncScores, sync_scores
from dubcli.networks.audio_encoder import AudioEncoder
from dubcli.networks.sync_expert import SyncExpert
from dubcli.records import Bytes, Float
from dubcli.stages.sync import FEATURES_A_FRAME, SpeechLevels, encode_speech

FRAME_RATE_HZ = 25.0
BLOCK_FRAMES = 100  # embedded at a time
LEAST_FRAMES = 20  # with a face and sound: below 0.8 s an offset means nothing
HALF_FRAME_S = 0.5 / FRAME_RATE_HZ


class SyncMeter:
    """Takes a video frame by frame, then its sound; keeps embeddings only (256 bytes a frame).

    Args:
        models: The models folder.
        name: Of the expert; the one that measures, unless two are to be compared.

    Raises:
        CheckpointError: If a model file is unusable.
        ValueError: If the expert does not look at pixels.
    """

    def __init__(self, models: Path, name: str = SYNC_MEASURE) -> None:
        """Load the expert, the basis that aligns faces, and the speech encoder."""
        self._expert = load_sync_expert(models, name)
        if self._expert.hyper.kind != "pixels":
            raise ValueError(f"{name} looks at {self._expert.hyper.kind}, not at pixels")
        self._model = load_basis(models)
        self._encoder = load_audio_encoder(self._expert.hyper.audio_encoder, models)
        self._clock = NearestFrames()
        self._mouths = MouthStream(self._expert)

    def update(self, rgb: Bytes, landmarks_px: Float | None, time_s: float) -> None:
        """Take the next frame; frames of any rate are put on the expert's 25 Hz, nearest first.

        Args:
            rgb: The frame, [H, W, 3].
            landmarks_px: Its face, [V, 3] pixels; None where there is none.
            time_s: When it is shown; later than the frame before.
        """
        shown = None
        if landmarks_px is not None:
            shown = mouth_picture(rgb, head_crop(landmarks_px, self._model))
        for picture in self._clock.feed(shown, time_s):
            self._mouths.add(picture)

    def compute(self, sound: Path) -> SyncScores:
        """Return the scores of the frames taken, with a file's sound; the end of the measuring.

        Args:
            sound: A video or a sound file that starts with the first frame.

        Raises:
            InputError: If the file has no sound, nothing but silence, or less than 0.8 s of both
                a face and sound.
            MediaError: If the sound cannot be decoded.
        """
        for picture in self._clock.finish():
            self._mouths.add(picture)
        mouth = self._mouths.finish()
        heard = embed_sound_of(sound, self._expert, self._encoder)
        length = min(len(mouth), len(heard))
        faces = int((~np.isnan(mouth[:length, 0])).sum())
        if faces < LEAST_FRAMES:
            raise InputError(
                f"{sound}: only {faces / FRAME_RATE_HZ:.1f} s show a face and have sound; "
                f"sync needs {LEAST_FRAMES / FRAME_RATE_HZ:.1f} s"
            )
        return sync_scores(heard[:length], mouth[:length])


class NearestFrames:
    """Puts pictures of any frame rate on the 25 Hz grid: at each instant the nearest one."""

    def __init__(self) -> None:
        """Start at 0 s."""
        self._last: tuple[Bytes | None, float] | None = None
        self._done = 0

    def feed(self, picture: Bytes | None, time_s: float) -> Iterator[Bytes | None]:
        """Yield the picture before this one for every instant that is nearer to it."""
        if self._last is not None:
            yield from self._until((self._last[1] + time_s) / 2, self._last[0])
        self._last = (picture, time_s)

    def finish(self) -> Iterator[Bytes | None]:
        """Yield the last picture for the instants that are left."""
        if self._last is not None:
            yield from self._until(self._last[1] + HALF_FRAME_S, self._last[0])

    def _until(self, end_s: float, picture: Bytes | None) -> Iterator[Bytes | None]:
        """Yield a picture for the instants before an end."""
        while self._done / FRAME_RATE_HZ < end_s:
            yield picture
            self._done += 1


class MouthStream:
    """Embeds mouth pictures in blocks with context, as one pass over all of them would.

    Args:
        expert: Looks at pixels.
    """

    def __init__(self, expert: SyncExpert) -> None:
        """Start before the first picture."""
        self._expert = expert
        self._held: list[Bytes] = []  # pictures since the last gap that are still needed
        self._past = 0  # of these, how many are context only
        self._made: list[Float] = []

    def add(self, picture: Bytes | None) -> None:
        """Take the next picture, [h, w]; None is a gap: nothing is seen across it."""
        if picture is None:
            self._embed(last=True)
            self._held, self._past = [], 0
            gap = np.full((1, self._expert.hyper.embedding), np.nan, dtype=np.float32)
            self._made.append(gap)
            return
        self._held.append(picture)
        if len(self._held) == self._past + BLOCK_FRAMES + self._expert.reach():
            self._embed(last=False)

    def finish(self) -> Float:
        """Return the embeddings, [T, D]; rows of NaN where there was no picture."""
        self._embed(last=True)
        self._held, self._past = [], 0
        nothing = np.zeros((0, self._expert.hyper.embedding), dtype=np.float32)
        return np.concatenate([nothing, *self._made])

    @torch.no_grad()
    def _embed(self, *, last: bool) -> None:
        """Embed what is held but for context, and keep what the next block needs."""
        reach = self._expert.reach()
        stop = len(self._held) if last else len(self._held) - reach
        if stop <= self._past:
            return
        pictures = np.stack(self._held)[None, :, None].astype(np.float32) / 255
        made = self._expert.embed_mouth(torch.from_numpy(pictures))[0].numpy()
        self._made.append(made[self._past : stop])
        keep = max(0, stop - reach)
        self._held, self._past = self._held[keep:], stop - keep


@torch.no_grad()
def embed_sound_of(path: Path, expert: SyncExpert, encoder: AudioEncoder) -> Float:
    """Return the embeddings of a file's sound, [T, D], in blocks with context.

    Args:
        path: A video or a sound file.
        expert: Whose embeddings.
        encoder: The speech encoder that it was trained on.

    Raises:
        InputError: If the file has no sound, or nothing but silence.
        MediaError: If it cannot be decoded.
    """
    info = probe_audio(path)
    levels = SpeechLevels()
    with AudioReader(info) as reader:
        levels.listen(reader)
    if not levels.peak:
        raise InputError(f"{path}: its sound is silent throughout; sync needs speech")
    pieces = [np.zeros((0, expert.hyper.embedding), dtype=np.float32)]
    with AudioReader(info) as reader:
        for block, past, stop in _blocks(
            encode_speech(encoder, reader, levels.gain), expert.reach()
        ):
            made = expert.embed_sound(torch.from_numpy(block)[None])[0].numpy()
            pieces.append(made[past:stop])
    return np.concatenate(pieces)


def _blocks(features: Iterator[Float], reach: int) -> Iterator[tuple[Float, int, int]]:
    """Yield features of whole frames with context: [2n, W], and which of the n frames count."""
    held: Float | None = None
    past = 0
    for chunk in features:
        held = chunk if held is None else np.concatenate([held, chunk])
        stop = len(held) // FEATURES_A_FRAME - reach
        if stop - past >= BLOCK_FRAMES:
            yield held[: (stop + reach) * FEATURES_A_FRAME], past, stop
            keep = max(0, stop - reach)
            held, past = held[keep * FEATURES_A_FRAME :], stop - keep
    frames = 0 if held is None else len(held) // FEATURES_A_FRAME
    if held is not None and frames > past:
        yield held[: frames * FEATURES_A_FRAME], past, frames
