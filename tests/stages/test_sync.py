from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from dubcli.networks.audio_encoder import AudioEncoder
from dubcli.networks.lip_sync import LipSyncHyper, LipSyncNet
from dubcli.records import AudioWindow, Float, LipMotion
from dubcli.stages.sync import (
    AMOUNT_RANGE,
    CLOSING_S,
    RENDERED_SHARE,
    SPEECH_PEAK,
    WINDOW_FRAMES,
    SpeechLevels,
    amplify,
    at_times,
    closing,
    encode_speech,
    generate,
    placed,
    speaking_style,
    style_sample,
)

SMALL = LipSyncHyper(
    audio_width=6, lower_vertices=5, components=3, width=8, heads=2, layers=2, reach=6
)
CONTEXT = (SMALL.layers + 1) * SMALL.reach + 3
JOIN_TOLERANCE = 1e-4  # coefficients of size 1; float32 attention in blocks of another size
FRAME = 640  # samples of a 25 Hz frame at 16 kHz


@pytest.fixture(scope="module")
def network() -> LipSyncNet:
    torch.manual_seed(0)
    return LipSyncNet(SMALL).eval()


def chunked(features: Float, size: int) -> Iterator[Float]:
    for start in range(0, len(features), size):
        yield features[start : start + size]


LENGTHS = sorted(
    {1, 2, CONTEXT - 1, CONTEXT, CONTEXT + 1, 1201}
    | {WINDOW_FRAMES + step for step in (-1, 0, 1)}
    | {WINDOW_FRAMES + CONTEXT + step for step in (-1, 0, 1)}
    | {2 * WINDOW_FRAMES + CONTEXT + step for step in (-1, 0, 1)}
)


@torch.no_grad()
@pytest.mark.parametrize("frames", LENGTHS)
def test_generation_in_windows_is_one_pass_over_everything(
    network: LipSyncNet, frames: int
) -> None:
    rng = np.random.default_rng(frames)
    features = rng.normal(size=(2 * frames, SMALL.audio_width)).astype(np.float32)
    style = torch.from_numpy(rng.normal(size=(1, SMALL.width)).astype(np.float32))
    whole = network(torch.from_numpy(features)[None], style).coefficients[0].numpy()
    closed = rng.uniform(size=frames).astype(np.float32)

    for size in (2 * frames, 333, 7):
        motion = generate(network, chunked(features, size), style, closed)
        assert motion.coefficients.dtype == motion.closed.dtype == np.float32
        np.testing.assert_allclose(motion.coefficients, whole, atol=JOIN_TOLERANCE)
        np.testing.assert_array_equal(motion.closed, closed)


def test_recording_without_sound_gives_no_frames(network: LipSyncNet) -> None:
    style = torch.zeros(1, SMALL.width)
    for features in ([], [np.zeros((0, SMALL.audio_width), np.float32)]):
        motion = generate(network, features, style, np.zeros(0, np.float32))
        assert motion.coefficients.shape == (0, SMALL.components)
        assert motion.closed.shape == (0,)


def test_an_odd_feature_at_the_end_makes_a_whole_frame(network: LipSyncNet) -> None:
    features = np.random.default_rng(0).normal(size=(9, SMALL.audio_width)).astype(np.float32)
    style = torch.zeros(1, SMALL.width)
    odd = generate(network, [features], style, np.zeros(5, np.float32))
    even = generate(
        network, [np.concatenate([features, features[-1:]])], style, np.zeros(5, np.float32)
    )
    np.testing.assert_array_equal(odd.coefficients, even.coefficients)
    assert len(odd.coefficients) == 5


@pytest.mark.parametrize("known", [0, 3, 5, 9])
def test_closing_of_another_length_is_cut_or_open(network: LipSyncNet, known: int) -> None:
    features = np.zeros((10, SMALL.audio_width), np.float32)
    motion = generate(network, [features], torch.zeros(1, SMALL.width), np.ones(known, np.float32))
    assert motion.closed.tolist() == [1.0] * min(known, 5) + [0.0] * (5 - min(known, 5))


def mask(pattern: str) -> np.ndarray:
    return np.array([mark == "s" for mark in pattern])


# A silence closes over 3 frames: smoothstep of 1/3, 2/3, 1.
THIRD, TWO_THIRDS = 7 / 27, 20 / 27


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("....", [0, 0, 0, 0]),
        (".ssss.", [0] * 6),  # four frames are 0.16 s: a closure of the speech itself
        (".sssss.", [0, THIRD, TWO_THIRDS, 1, TWO_THIRDS, THIRD, 0]),
        (".sssssss.", [0, THIRD, TWO_THIRDS, 1, 1, 1, TWO_THIRDS, THIRD, 0]),
        ("sssss.", [1, 1, 1, TWO_THIRDS, THIRD, 0]),  # starts closed
        (".sssss", [0, THIRD, TWO_THIRDS, 1, 1, 1]),  # ends closed
        ("sssss", [1] * 5),  # never opens
        ("ssss", [0] * 4),
        ("s", [0]),
    ],
)
def test_silence_closes_the_mouth_smoothly_and_inside_itself(
    pattern: str, expected: list[float]
) -> None:
    got = closing(mask(pattern))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_closing_of_nothing_is_nothing() -> None:
    assert closing(np.zeros(0, bool)).shape == (0,)


def test_silences_close_independently() -> None:
    one, two = ".sssss.", "..ssssss.."
    both = closing(mask(one + two))
    np.testing.assert_array_equal(both[:7], closing(mask(one)))
    np.testing.assert_array_equal(both[7:], closing(mask(two)))


def windows(samples: Float, size: int) -> Iterator[AudioWindow]:
    for start in range(0, len(samples), size):
        yield AudioWindow(start, samples[start : start + size], 16_000)


def speech_with_a_pause() -> Float:
    rng = np.random.default_rng(0)
    samples = rng.normal(scale=0.1, size=50 * FRAME).astype(np.float32)
    samples[20 * FRAME : 32 * FRAME] *= 1e-4
    samples[777] = -0.5
    return samples


@pytest.mark.parametrize("size", [1, 100, FRAME, 1000, 10**6])
def test_levels_do_not_depend_on_how_the_sound_arrives(size: int) -> None:
    samples = speech_with_a_pause()[: 40 * FRAME + 17]
    if size == 1:
        samples = samples[19 * FRAME :]
    levels = SpeechLevels()
    levels.listen(windows(samples, size))

    assert levels.peak == pytest.approx(float(np.abs(samples).max()))
    loud = [samples[k : k + FRAME].astype(np.float64) for k in range(0, len(samples), FRAME)]
    silent = np.array(
        [np.sqrt((part**2).mean()) <= levels.peak * 10 ** (-50 / 20) for part in loud]
    )
    assert silent.any()
    np.testing.assert_array_equal(levels.closed(), closing(silent))


def test_gain_brings_the_peak_to_what_the_encoder_knows() -> None:
    levels = SpeechLevels()
    levels.listen(windows(speech_with_a_pause(), 5000))
    assert levels.peak == 0.5
    assert levels.gain * levels.peak == pytest.approx(SPEECH_PEAK)
    closed = levels.closed()
    assert (closed[:20] == 0).all()
    assert (closed[22:30] == 1).all()
    assert (closed[32:] == 0).all()


def test_digital_silence_keeps_the_mouth_closed_and_is_not_amplified() -> None:
    levels = SpeechLevels()
    levels.listen(windows(np.zeros(10 * FRAME, np.float32), 999))
    assert levels.peak == 0
    assert levels.gain == 1
    assert levels.closed().tolist() == [1.0] * 10


def test_a_recording_without_samples_has_no_frames() -> None:
    levels = SpeechLevels()
    levels.listen([])
    assert levels.gain == 1
    assert levels.closed().shape == (0,)
    levels.listen([AudioWindow(0, np.zeros(0, np.float32), 16_000)])
    assert levels.closed().shape == (0,)


class Loudness(AudioEncoder):
    """A stand-in whose only feature is the mean of each 320 samples."""

    name, width = "loudness", 1

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))

    def forward(self, waveform: Tensor) -> Tensor:
        count = waveform.shape[1] // 320
        return waveform[:, : count * 320].reshape(len(waveform), count, 320).mean(-1, keepdim=True)


@pytest.mark.parametrize("count", [0, 1, 320, 321, 16_000 * 13 + 5])
def test_speech_is_scaled_then_encoded_in_order(count: int) -> None:
    samples = np.random.default_rng(1).uniform(-0.3, 0.3, count).astype(np.float32)
    pieces = list(encode_speech(Loudness(), windows(samples, 7000), 2.0))
    got = np.concatenate([np.zeros((0, 1), np.float32), *pieces])[:, 0]
    padded = np.pad(samples, (0, -count % 320))
    np.testing.assert_allclose(got, 2 * padded.reshape(-1, 320).mean(1), atol=1e-5)


def test_levels_and_features_of_the_same_sound_have_the_same_frames() -> None:
    for count in (1, 319, 640, 641, 960, 961, 5000):
        samples = np.ones(count, np.float32)
        levels = SpeechLevels()
        levels.listen(windows(samples, 700))
        features = sum(len(x) for x in encode_speech(Loudness(), windows(samples, 700), 1.0))
        assert len(levels.closed()) == -(-features // 2)


@torch.no_grad()
def test_style_is_that_of_the_whole_motion_thinned_out_where_it_is_long(
    network: LipSyncNet,
) -> None:
    motion = np.random.default_rng(2).normal(size=(6400, 5, 3)).astype(np.float32)
    short, long = (speaking_style(network, style_sample(rows)) for rows in (motion[:80], motion))
    torch.testing.assert_close(short, network.style(torch.from_numpy(motion[:80])[None]))
    torch.testing.assert_close(long, network.style(torch.from_numpy(motion[::2])[None]))
    assert long.shape == (1, SMALL.width)


def test_motion_is_resampled_linearly_and_held_beyond_its_ends() -> None:
    motion = LipMotion(
        np.array([[0, 10], [1, 20], [4, 20]], np.float32), np.array([0, 1, 0.5], np.float32)
    )
    time_s = np.array([-1, 0, 0.02, 0.04, 0.05, 0.08, 9], np.float32)
    got = at_times(motion, time_s)
    np.testing.assert_allclose(got.coefficients[:, 0], [0, 0, 0.5, 1, 1.75, 4, 4], atol=1e-5)
    np.testing.assert_allclose(got.coefficients[:, 1], [10, 10, 15, 20, 20, 20, 20], atol=1e-4)
    np.testing.assert_allclose(got.closed, [0, 0, 0.5, 1, 0.875, 0.5, 0.5], atol=1e-5)
    assert got.coefficients.dtype == got.closed.dtype == np.float32


def test_motion_at_its_own_times_is_itself() -> None:
    rng = np.random.default_rng(3)
    motion = LipMotion(
        rng.normal(size=(50, 3)).astype(np.float32), rng.uniform(size=50).astype(np.float32)
    )
    got = at_times(motion, np.arange(50) / 25)
    np.testing.assert_allclose(got.coefficients, motion.coefficients, atol=1e-6)
    assert at_times(motion, np.zeros(0)).coefficients.shape == (0, 3)


def test_mouth_moves_as_far_as_the_speakers_own_and_what_the_renderer_lacks() -> None:
    rng = np.random.default_rng(3)
    gap = (0.6 + 0.1 * rng.standard_normal(200)).astype(np.float32)
    own = (0.5 + 0.12 * rng.standard_normal(300)).astype(np.float32)
    factors = amplify(gap, np.ones(200, bool), own, -10.0)
    expected = own.std() / gap.std() / RENDERED_SHARE
    np.testing.assert_allclose(factors, expected, rtol=1e-5)


def test_style_changes_the_amount_within_limits_only() -> None:
    rng = np.random.default_rng(4)
    gap = (0.6 + 0.1 * rng.standard_normal(200)).astype(np.float32)
    still, wild = np.full(50, 0.3, np.float32), 9 * rng.standard_normal(50).astype(np.float32)
    everywhere = np.ones(200, bool)
    for own, limit in ((still, AMOUNT_RANGE[0]), (wild, AMOUNT_RANGE[1])):
        factors = amplify(gap, everywhere, own, -10.0)
        np.testing.assert_allclose(factors, limit / RENDERED_SHARE, rtol=1e-5)


def test_lips_are_never_pushed_through_each_other() -> None:
    gap = np.linspace(0.05, 1.0, 100).astype(np.float32)
    own = np.array([0.0, 2.0] * 50, np.float32)
    factors = amplify(gap, np.ones(100, bool), own, 0.02)
    moved = gap.mean() + factors * (gap - gap.mean())
    assert moved.min() >= 0.02 - 1e-6
    assert moved.max() > 1.0
    assert (np.diff(moved) >= -1e-6).all()  # what was more open still is


def test_amount_says_nothing_about_silence() -> None:
    gap = np.linspace(0, 1, 100).astype(np.float32)
    own = np.array([0.0, 1.0] * 50, np.float32)
    np.testing.assert_array_equal(amplify(gap, np.zeros(100, bool), own, 0.0), 1)
    np.testing.assert_array_equal(amplify(gap * 0, np.ones(100, bool), own, 0.0), 1)


def test_mouth_is_closed_before_and_after_speech_that_is_placed() -> None:
    motion = LipMotion(np.ones((25, 2), np.float32), np.zeros(25, np.float32))
    time_s = np.array([-5, -CLOSING_S, -CLOSING_S / 2, 0, 0.5, 1.0, 9], np.float32)
    got = placed(motion, time_s)
    np.testing.assert_allclose(got.closed, [1, 1, 0.5, 0, 0, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(got.coefficients, 1)
