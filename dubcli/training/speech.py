"""Clips as the geometry network sees them: expression at 25 Hz beside speech features at 50 Hz.

Letters: N samples, T frames at 25 Hz, A = 2 T audio features, E expression coefficients.

Each clip is encoded several times: as it is, with noise and a tilted spectrum, faster, slower, and
with stretches of digital silence, under which the mouth is to be closed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter, resample_poly

from dubcli.networks.audio_encoder import AudioEncoder, encode_stream
from dubcli.records import Analysis, Facts, Float, Integers
from dubcli.training.data import store_arrays

RATE_HZ = 16000
FRAME_RATE_HZ = 25.0
FEATURES_A_FRAME = 2
LEVEL = 0.7  # peak that recordings are scaled to before encoding; the log-mel has an absolute level
SPEEDS = ((9, 10), (11, 10))  # resampling ratios: slower and deeper, faster and higher
SILENCE_RAMP_S = 0.12  # the mouth starts and ends to close this long inside a silence
MIN_SPEECH_FRAMES = 20


@dataclass(frozen=True, slots=True, eq=False)
class SpokenClip:
    """One version of a clip."""

    features: Float  # [A, W]
    beta: Float  # [T, E]
    closed: Float  # [T] 0 to 1: how far the mouth is to be closed because of silence


def normalised(waveform: Float) -> Float:
    """Scale a waveform to the peak that the encoder expects; silence stays silence."""
    peak = float(np.abs(waveform).max(initial=0))
    return waveform if peak == 0 else (waveform * (LEVEL / peak)).astype(np.float32)


def beta_at(analysis: Analysis, time_s: Float, wanted_s: Float) -> Float:
    """Return expression at other times, linear between frames, [T] s -> [T, E]."""
    columns = [np.interp(wanted_s, time_s, column) for column in analysis.beta.T]
    return np.stack(columns, axis=1).astype(np.float32)


def frame_times(waveform: Float) -> Float:
    """Return the times of the 25 Hz frames that a waveform covers, [T] s."""
    count = int(len(waveform) / RATE_HZ * FRAME_RATE_HZ)
    return (np.arange(count) / FRAME_RATE_HZ).astype(np.float32)


def encode(encoder: AudioEncoder, waveform: Float, frames: int) -> Float:
    """Return a waveform's features, cut or repeated at the end to ``frames`` video frames."""
    features = np.concatenate(list(encode_stream(encoder, [waveform])))
    wanted = frames * FEATURES_A_FRAME
    if len(features) < wanted:
        features = np.pad(features, ((0, wanted - len(features)), (0, 0)), mode="edge")
    return features[:wanted].astype(np.float16)


def noisy(waveform: Float, generator: np.random.Generator) -> Float:
    """Return the waveform with a tilted spectrum and coloured noise at 5 to 25 dB."""
    tilt = float(generator.uniform(-0.6, 0.6))
    sound = lfilter([1, tilt], [1], waveform)
    noise = lfilter([1], [1, -float(generator.uniform(0, 0.95))], generator.normal(size=len(sound)))
    level = 10 ** (-float(generator.uniform(5, 25)) / 20)
    noise *= level * sound.std() / max(float(noise.std()), 1e-9)
    return np.asarray(sound + noise, dtype=np.float32)


def with_silence(waveform: Float, generator: np.random.Generator) -> tuple[Float, Facts]:
    """Return the waveform with one or two stretches of silence, and where they are, [N]."""
    silent = np.zeros(len(waveform), dtype=np.bool_)
    for _ in range(int(generator.integers(1, 3))):
        length = min(int(generator.uniform(0.4, 1.2) * RATE_HZ), len(waveform) // 2)
        start = int(generator.integers(len(waveform) - length))
        silent[start : start + length] = True
    return np.where(silent, 0, waveform).astype(np.float32), silent


def closing(silent: Facts, frames: int) -> Float:
    """Return how far the mouth is to close at each frame, smooth, [N] samples -> [T]."""
    step = int(RATE_HZ / FRAME_RATE_HZ)
    at_frame = silent[np.minimum(np.arange(frames) * step, len(silent) - 1)].astype(np.float32)
    width = int(SILENCE_RAMP_S * FRAME_RATE_HZ)
    eroded = np.array(
        [at_frame[max(0, t - width) : t + width + 1].min() for t in range(frames)],
        dtype=np.float32,
    )
    return np.asarray(gaussian_filter1d(eroded, 1.0), dtype=np.float32)


def versions(
    encoder: AudioEncoder,
    waveform: Float,
    analysis: Analysis,
    time_s: Float,
    lag_s: float,
    generator: np.random.Generator,
    *,
    augment: bool,
) -> list[SpokenClip]:
    """Return a clip's versions for training, or the plain one alone.

    Args:
        encoder: Speech encoder.
        waveform: Mono, 16 kHz, [N].
        analysis: The clip's fit.
        time_s: Its frames' times.
        lag_s: How much later than the sound the mouth moves; corrected here.
        generator: For noise and silences.
        augment: Whether to add the changed versions.
    """
    waveform = normalised(waveform)
    times = frame_times(waveform)
    times = times[times + lag_s <= time_s[-1] + 0.5 / FRAME_RATE_HZ]
    if len(times) < MIN_SPEECH_FRAMES:
        return []
    beta = beta_at(analysis, time_s, times + lag_s)
    none = np.zeros(len(times), dtype=np.float32)
    made = [SpokenClip(encode(encoder, waveform, len(times)), beta, none)]
    if not augment:
        return made
    made.append(SpokenClip(encode(encoder, noisy(waveform, generator), len(times)), beta, none))
    muted, silent = with_silence(waveform, generator)
    made.append(SpokenClip(encode(encoder, muted, len(times)), beta, closing(silent, len(times))))
    for up, down in SPEEDS:
        changed = resample_poly(waveform, down, up).astype(np.float32)
        speed = up / down
        slow = frame_times(changed)
        slow = slow[slow * speed + lag_s <= time_s[-1]]
        if len(slow) >= MIN_SPEECH_FRAMES:
            moved = beta_at(analysis, time_s, slow * speed + lag_s)
            zero = np.zeros(len(slow), dtype=np.float32)
            made.append(SpokenClip(encode(encoder, changed, len(slow)), moved, zero))
    return made


def arrays_of_speech(versions: Sequence[SpokenClip]) -> dict[str, NDArray[Any]]:
    """Return a clip's versions as arrays that can be stored."""
    return {
        f"{name}{k}": getattr(version, name)
        for k, version in enumerate(versions)
        for name in ("features", "beta", "closed")
    }


def speech_of_arrays(s: Mapping[str, NDArray[Any]]) -> tuple[SpokenClip, ...]:
    """Return the versions of ``arrays_of_speech``."""
    count = sum(key.startswith("beta") for key in s)
    return tuple(
        SpokenClip(s[f"features{k}"], s[f"beta{k}"], s[f"closed{k}"]) for k in range(count)
    )


def store_speech(folder: Path, name: str, made: Sequence[SpokenClip]) -> None:
    """Put a clip's versions into a folder of the cache."""
    store_arrays(folder, name, arrays_of_speech(made))


def mirror_permutation(mean: Float) -> Integers:
    """Return which vertex is each vertex's mirror image, [V] (nearest to the mirrored place)."""
    mirrored = mean * np.array([-1, 1, 1], dtype=np.float32)
    distance = np.linalg.norm(mirrored[:, None] - mean[None], axis=-1)
    return np.asarray(distance.argmin(axis=1))


def as_tensor(values: Float) -> torch.Tensor:
    """Return a float32 tensor of an array of any float type."""
    return torch.from_numpy(values.astype(np.float32))
