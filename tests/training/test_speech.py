import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.networks.audio_encoder import AudioEncoder
from dubcli.records import Analysis, Float
from dubcli.training.canonical import CanonicalFace
from dubcli.training.speech import (
    FEATURES_A_FRAME,
    FRAME_RATE_HZ,
    LEVEL,
    RATE_HZ,
    beta_at,
    closing,
    encode,
    frame_times,
    mirror_permutation,
    noisy,
    normalised,
    versions,
    with_silence,
)

STEP = int(RATE_HZ / FRAME_RATE_HZ)


class Loudness(AudioEncoder):
    """A stand-in whose only feature is the mean square of each 320 samples."""

    name, width = "loudness", 1

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))

    def forward(self, waveform: Tensor) -> Tensor:
        count = waveform.shape[1] // 320
        parts = waveform[:, : count * 320].reshape(len(waveform), count, 320)
        return parts.square().mean(-1, keepdim=True)


def tone(seconds: float) -> Float:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def analysis_of(beta: Float) -> Analysis:
    frames = len(beta)
    zero = np.zeros((frames, 3), np.float32)
    return Analysis(
        alpha=zero,
        beta=beta,
        rotation=zero,
        translation_px=zero[:, :2],
        scale_px=zero[:, 0],
        shot=np.zeros(frames, np.int64),
        valid=np.ones(frames, np.bool_),
        lip_aperture=zero[:, 0],
    )


def test_normalised_sound_has_the_encoders_peak_and_silence_stays_silence() -> None:
    sound = normalised(tone(0.1))
    assert np.abs(sound).max() == pytest.approx(LEVEL)
    assert sound.dtype == np.float32
    silence = np.zeros(100, np.float32)
    np.testing.assert_array_equal(normalised(silence), silence)
    assert normalised(np.zeros(0, np.float32)).shape == (0,)


@pytest.mark.parametrize("seed", range(20))
def test_silences_are_digital_and_the_rest_is_untouched(seed: int) -> None:
    sound = np.random.default_rng(100).uniform(0.1, 1, 3 * RATE_HZ).astype(np.float32)
    muted, silent = with_silence(sound, np.random.default_rng(seed))
    assert muted.dtype == np.float32
    assert silent.dtype == np.bool_
    assert (muted[silent] == 0).all()
    np.testing.assert_array_equal(muted[~silent], sound[~silent])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], silent.astype(int), [0]])))
    lengths = edges[1::2] - edges[::2]
    assert 1 <= len(lengths) <= 2
    assert lengths.min() >= 0.4 * RATE_HZ - 1
    assert silent.sum() <= 2.4 * RATE_HZ


def test_silences_of_short_sounds_leave_something() -> None:
    sound = np.ones(RATE_HZ // 2, np.float32)
    for seed in range(20):
        _, silent = with_silence(sound, np.random.default_rng(seed))
        assert 0 < silent.sum() <= len(sound)


def test_closing_is_one_inside_a_long_silence_and_zero_outside() -> None:
    silent = np.zeros(50 * STEP, np.bool_)
    silent[10 * STEP : 40 * STEP] = True
    closed = closing(silent, 50)
    assert closed.shape == (50,)
    assert closed.dtype == np.float32
    assert (closed[:9] < 1e-3).all()
    np.testing.assert_allclose(closed[18:32], 1, atol=1e-3)
    assert (closed[41:] < 1e-3).all()
    # The silence is narrowed by three frames, then smoothed: half closed at three frames inside it.
    np.testing.assert_allclose((closed[12] + closed[13]) / 2, 0.5, atol=0.02)
    np.testing.assert_allclose(closed, closed[::-1], atol=1e-6)
    assert (np.diff(closed[:25]) >= -1e-6).all()


def test_short_silences_do_not_close() -> None:
    silent = np.zeros(40 * STEP, np.bool_)
    silent[10 * STEP : 16 * STEP] = True  # six frames: narrowed by three on each side, none is left
    assert not closing(silent, 40).any()


def test_silent_and_sounding_recordings_close_throughout_and_never() -> None:
    np.testing.assert_allclose(closing(np.ones(20 * STEP, np.bool_), 20), 1, atol=1e-6)
    assert not closing(np.zeros(20 * STEP, np.bool_), 20).any()
    assert closing(np.ones(20 * STEP, np.bool_), 25).shape == (25,)  # beyond the end it is held


def test_noise_has_the_level_asked_for_and_repeats_with_its_seed() -> None:
    sound = tone(1.0)
    first, again = (noisy(sound, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert first.shape == sound.shape
    for seed in range(8):
        made = noisy(sound, np.random.default_rng(seed))
        # A steady tone under a filter of two taps is a tone: what is not in its plane is the noise.
        time = np.arange(len(sound)) / RATE_HZ
        plane = np.stack([np.sin(2 * np.pi * 200 * time), np.cos(2 * np.pi * 200 * time)], 1)
        kept = plane @ np.linalg.lstsq(plane, made, rcond=None)[0]
        ratio_db = 20 * np.log10(kept.std() / (made - kept).std())
        assert 4.5 < ratio_db < 25.5
    assert not noisy(np.zeros(99, np.float32), np.random.default_rng(0)).any()


def test_frame_times_are_those_the_sound_covers() -> None:
    np.testing.assert_allclose(frame_times(np.zeros(STEP * 3 + 5)), [0, 0.04, 0.08], atol=1e-6)
    assert len(frame_times(np.zeros(STEP - 1))) == 0


def test_expression_is_interpolated_in_time() -> None:
    beta = np.array([[0, 1], [1, 1], [3, 0]], np.float32)
    got = beta_at(analysis_of(beta), np.array([0, 0.1, 0.2]), np.array([-1, 0.05, 0.15, 9]))
    np.testing.assert_allclose(got, [[0, 1], [0.5, 1], [2, 0.5], [3, 0]], atol=1e-6)
    assert got.dtype == np.float32


@pytest.mark.parametrize("frames", [1, 10, 25, 30])
def test_features_are_cut_or_held_to_the_frames_asked_for(frames: int) -> None:
    sound = tone(1.0)
    got = encode(Loudness(), sound, frames)
    assert got.shape == (frames * FEATURES_A_FRAME, 1)
    whole = (sound.reshape(-1, 320).astype(np.float64) ** 2).mean(1)
    held = np.pad(whole, (0, 20), mode="edge")[: 2 * frames]
    np.testing.assert_allclose(got[:, 0], held, rtol=2e-3)  # kept in half precision


def test_versions_keep_sound_and_mouth_together() -> None:
    # The mouth is as open as the sound is loud, later by the lag; loudness rises in 3 s.
    seconds, lag = 3.0, 0.08
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    sound = (time / seconds * np.sign(np.sin(2 * np.pi * 100 * time))).astype(np.float32)
    time_s = (np.arange(int(seconds * 30)) / 30).astype(np.float32)
    beta = ((time_s - lag) / seconds)[:, None].astype(np.float32)

    made = versions(
        Loudness(),
        sound,
        analysis_of(beta),
        time_s,
        lag,
        np.random.default_rng(0),
        augment=True,
    )

    assert len(made) == 5
    for k, clip in enumerate(made):
        assert len(clip.features) == FEATURES_A_FRAME * len(clip.beta)
        assert clip.closed.shape == (len(clip.beta),)
        if k in (0, 3, 4):  # neither noise nor silence
            loudness = np.sqrt(clip.features[::2, 0].astype(np.float64)) / LEVEL
            inside = slice(3, -3)
            np.testing.assert_allclose(clip.beta[inside, 0], loudness[inside], atol=0.03)
            assert not clip.closed.any()
    assert len(made[3].beta) != len(made[0].beta) != len(made[4].beta)
    plain = versions(
        Loudness(),
        sound,
        analysis_of(beta),
        time_s,
        lag,
        np.random.default_rng(0),
        augment=False,
    )
    assert len(plain) == 1
    np.testing.assert_array_equal(plain[0].features, made[0].features)


def test_versions_of_a_clip_that_is_too_short_are_none() -> None:
    beta = np.zeros((15, 2), np.float32)
    time_s = np.arange(15) / 25
    assert not versions(
        Loudness(),
        tone(0.6),
        analysis_of(beta),
        time_s,
        0.0,
        np.random.default_rng(0),
        augment=True,
    )


def test_mirroring_twice_gives_nearly_every_vertex_back(canonical_face: CanonicalFace) -> None:
    mean = canonical_face.vertices
    permutation = mirror_permutation(mean)
    assert permutation.shape == (468,)
    assert (permutation[permutation] == np.arange(468)).mean() > 0.97
    apart = np.linalg.norm(mean[permutation] * [-1, 1, 1] - mean, axis=1)
    assert apart.max() < 0.2  # cm
    for left, right in ((61, 291), (78, 308), (33, 263), (234, 454)):
        assert permutation[left] == right
        assert permutation[right] == left
    for middle in (0, 1, 13, 14, 152):
        assert permutation[middle] == middle
