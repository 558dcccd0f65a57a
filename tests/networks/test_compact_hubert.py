"""A small HuBERT: its front end hears bands, and masks hide what they cover."""

import numpy as np
import pytest
import torch

from dubcli.networks.audio_encoder import WhisperEncoder, WhisperHyper
from dubcli.networks.compact_hubert import (
    PHASES,
    CompactHubert,
    CompactHubertHyper,
    mel_filters,
)

SMALL = CompactHubertHyper(width=32, blocks=2, heads=2, bands=20, convolution=24)
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def small() -> CompactHubert:
    torch.manual_seed(0)
    return CompactHubert(SMALL).eval().requires_grad_(False)


def test_each_filter_passes_its_own_band_most() -> None:
    filters = mel_filters(20, 400)
    spectrum = np.abs(np.fft.rfft(filters, 4096))
    peak_hz = spectrum.argmax(axis=1) * RATE_HZ / 4096
    mel = 2595 * np.log10(1 + peak_hz / 700)  # O'Shaughnessy's scale, not librosa's: near enough
    assert (np.diff(mel.reshape(20, PHASES), axis=0) > 0).all()
    assert np.ptp(peak_hz.reshape(20, PHASES), axis=1).max() < 30


def test_phases_of_a_band_hear_a_tone_alike_whenever_it_begins() -> None:
    filters = mel_filters(20, 400)[8 * PHASES : 9 * PHASES]
    tone_hz = np.abs(np.fft.rfft(filters[0], 16_000)).argmax()
    heard = []
    for shift in range(0, 16, 3):
        tone = np.sin(2 * np.pi * tone_hz * (np.arange(400) + shift) / RATE_HZ)
        heard.append(np.maximum(filters @ tone, 0).sum())
    assert max(heard) < 1.5 * min(heard)  # |cos| + |sin| lies between 1 and its square root of 2
    assert np.maximum(filters[0] @ tone, 0) != pytest.approx(heard[0], rel=0.1)


@pytest.mark.parametrize("samples", [320, 16_000, 16_100])
def test_there_are_50_features_a_second(small: CompactHubert, samples: int) -> None:
    assert small(torch.randn(2, samples)).shape == (2, samples // 320, 32)


def test_features_lie_where_the_sound_is(small: CompactHubert) -> None:
    sound = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(1)) * 0.1
    louder = sound.clone()
    louder[0, 8000:8320] = 0.5 * torch.sign(torch.sin(torch.arange(320) / 3.0))
    front = small.model.feature_extractor
    change = (front(louder)[0] - front(sound)[0]).abs().sum(0)
    at_s = (
        np.arange(len(change)) * 320 + small.receptive_field / 2
    ) / RATE_HZ  # the middle of what a frame reads
    middle_s = float((change * torch.from_numpy(at_s)).sum() / change.sum())
    assert middle_s == pytest.approx(8160 / RATE_HZ, abs=0.005)


def test_silence_is_told_from_speech_by_its_level(small: CompactHubert) -> None:
    """The layer norm behind the filters would make both as loud."""
    sound = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(2)) * 0.1
    sound[0, 8000:] *= 1e-3
    layer = small.model.feature_extractor.conv_layers[0]
    heard = layer(small._heard(sound)[:, None])[0]
    loud, quiet = (part.std(dim=1).mean() for part in (heard[:, 5:45], heard[:, 60:100]))
    assert float(loud) > 10 * float(quiet)


def test_blocks_of_a_whisper_encoder_do_the_same_here() -> None:
    torch.manual_seed(1)
    teacher = WhisperEncoder(WhisperHyper(blocks=2, width=32, heads=2)).eval()
    student = CompactHubert(SMALL).eval()
    assert student.fits(teacher)
    student.start_from(teacher)
    theirs = ours = torch.randn(1, 20, 32)
    with torch.no_grad():
        for one, other in zip(teacher.layers, student.model.encoder.layers, strict=True):
            theirs, ours = one(theirs, None), other(ours)
    torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="other sizes"):
        student.start_from(WhisperEncoder(WhisperHyper(blocks=1, width=32, heads=2)))


def test_masked_frames_are_not_heard(small: CompactHubert) -> None:
    hidden = torch.zeros(1, 50, dtype=torch.bool)
    hidden[0] = True
    one, other = torch.randn(2, 1, 16_000)
    torch.testing.assert_close(small(one, hidden), small(other, hidden))
    assert not torch.allclose(small(one), small(other))
