import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import HubertConfig, HubertModel, WhisperConfig
from transformers.models.whisper import modeling_whisper

from dubcli.checkpoints import load_arrays
from dubcli.networks.audio_encoder import (
    AudioEncoder,
    AudioEncoderError,
    HubertEncoder,
    WhisperEncoder,
    WhisperHyper,
    encode_stream,
    log_mel,
)
from dubcli.networks.windows import plan_windows

Float = NDArray[np.float32]

MODELS = Path(__file__).parents[2] / "models"
WHISPER = "whisper-tiny-en-enc3"

LOG_MEL_TOLERANCE = 2e-4  # two float32 Fourier transforms; log10 magnifies near the floor
LAYER_TOLERANCE = 1e-4  # float32, three transformer blocks, another order of sums
FADE_TOLERANCE = 1e-5  # the same numbers, added in another order
CONTEXT_COSINE = 0.98  # measured 0.998: what 1.5 s of context cannot see hardly matters
BORDER_COSINE = 0.93  # measured 0.966: positions shift by 6 s at a window border
PADDING_MEAN_COSINE = 0.9


@pytest.fixture(scope="module")
def whisper() -> WhisperEncoder:
    encoder = WhisperEncoder()
    arrays = load_arrays(MODELS, WHISPER)
    encoder.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return encoder.eval()


@pytest.fixture(scope="module")
def untrained() -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(WhisperHyper(blocks=1, width=16, heads=2)).eval()


@pytest.fixture
def hubert_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    HubertModel(tiny_hubert()).save_pretrained(tmp_path)
    return tmp_path


def tiny_hubert(**changes: Any) -> HubertConfig:
    settings: dict[str, Any] = {
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    return HubertConfig(**(settings | changes))


def babble(seconds: float, seed: int = 0) -> Float:
    """Return a voiced buzz whose formants and loudness wander, peak 0.7."""
    rng = np.random.default_rng(seed)
    count = round(seconds * 16_000)
    knots = np.arange(0, count + 1600, 1600)
    time = np.arange(count)
    f0, loudness, *formants = (
        np.interp(time, knots, rng.uniform(low, high, len(knots)))
        for low, high in ((90, 200), (-0.3, 1), (300, 900), (900, 2400), (2400, 3200))
    )
    phase = np.cumsum(f0) / 16_000
    harmonics = np.arange(1, 30)[:, None]
    gain = sum(np.exp(-(((harmonics * f0 - formant) / 150) ** 2)) for formant in formants)
    wave = (gain * np.sin(2 * np.pi * harmonics * phase)).sum(0) * loudness.clip(0, None)
    wave += rng.normal(size=count) * 1e-3
    return (0.7 * wave / np.abs(wave).max()).astype(np.float32)


def cosine(a: Float, b: Float) -> Float:
    product = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return np.asarray(product, dtype=np.float32)


@torch.inference_mode()
def features_of(encoder: AudioEncoder, waveform: Float) -> Float:
    rows: Float = encoder(torch.from_numpy(waveform)[None])[0].numpy()
    return rows


def test_log_mel_with_its_own_maximum_is_that_of_librosa() -> None:
    waveform = babble(1.5)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=16_000, n_fft=400, hop_length=160, n_mels=80, pad_mode="reflect"
    )[:, :-1]
    log_power = np.log10(np.maximum(power, 1e-10))
    expected = (np.maximum(log_power, log_power.max() - 8) + 4) / 4
    filters = torch.from_numpy(librosa.filters.mel(sr=16_000, n_fft=400, n_mels=80))

    got = log_mel(torch.from_numpy(waveform)[None], filters, log_max=None)[0].numpy()

    assert got.shape == (80, 150)
    np.testing.assert_allclose(got, expected, atol=LOG_MEL_TOLERANCE)


def test_log_mel_does_not_depend_on_a_louder_moment_elsewhere() -> None:
    quiet = babble(2.0) * 0.01
    loud = quiet.copy()
    loud[-8000:] *= 100
    filters = torch.from_numpy(librosa.filters.mel(sr=16_000, n_fft=400, n_mels=80))

    a, b = (log_mel(torch.from_numpy(x)[None], filters)[0, :, :140] for x in (quiet, loud))

    assert torch.equal(a, b)


def test_whisper_of_30_seconds_is_that_of_transformers(whisper: WhisperEncoder) -> None:
    config = WhisperConfig(
        d_model=384,
        encoder_layers=3,
        encoder_attention_heads=6,
        encoder_ffn_dim=1536,
        num_mel_bins=80,
        attn_implementation="eager",
    )
    theirs = modeling_whisper.WhisperEncoder(config).eval()
    theirs.load_state_dict(whisper.state_dict())
    theirs.layer_norm = torch.nn.Identity()
    waveform = torch.from_numpy(babble(30.0))[None]

    with torch.inference_mode():
        expected = theirs(log_mel(waveform, whisper.filters)).last_hidden_state
        got = whisper(waveform)

    assert got.shape == (1, 1500, 384)
    torch.testing.assert_close(got, expected, atol=LAYER_TOLERANCE, rtol=LAYER_TOLERANCE)


def test_padding_to_30_seconds_changes_whisper_little(whisper: WhisperEncoder) -> None:
    waveform = babble(6.0)
    padded = np.pad(waveform, (0, 24 * 16_000))

    got = features_of(whisper, waveform)

    assert cosine(got, features_of(whisper, padded)[: len(got)]).mean() > PADDING_MEAN_COSINE


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (1, 0), (319, 0), (320, 1), (480, 1), (639, 1), (16_000, 50)]
)
def test_every_encoder_makes_a_frame_per_whole_20_ms(
    untrained: WhisperEncoder, samples: int, frames: int
) -> None:
    waveform = torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    for encoder in (untrained, HubertEncoder(tiny_hubert()).eval()):
        features = encoder(waveform)
        assert features.shape == (2, frames, encoder.width)
        assert features.dtype == torch.float32
        assert encoder.rate_hz == 50.0


def test_silence_gives_finite_features(whisper: WhisperEncoder) -> None:
    silence = np.zeros(16_000, np.float32)
    assert np.isfinite(features_of(whisper, silence)).all()
    for norm in ("group", "layer"):
        hubert = HubertEncoder(tiny_hubert(feat_extract_norm=norm, conv_bias=True)).eval()
        assert np.isfinite(features_of(hubert, silence)).all()


def test_whisper_passes_a_gradient_to_the_waveform(untrained: WhisperEncoder) -> None:
    waveform = torch.from_numpy(babble(0.5))[None].requires_grad_()
    untrained(waveform).sum().backward()
    assert waveform.grad is not None
    assert torch.isfinite(waveform.grad).all()


def test_context_beyond_the_discarded_margin_hardly_matters(whisper: WhisperEncoder) -> None:
    waveform = babble(16.0)
    whole = features_of(whisper, waveform)[:500]
    start = features_of(whisper, waveform[:160_000])

    assert cosine(whole[:425], start[:425]).mean() > CONTEXT_COSINE


def test_features_across_a_window_border_are_near_those_of_one_long_window(
    whisper: WhisperEncoder,
) -> None:
    waveform = babble(14.0)

    streamed = np.concatenate(list(encode_stream(whisper, [waveform])))

    near = cosine(streamed, features_of(whisper, waveform))
    assert len(plan_windows(len(waveform), 160_000, 64_000)) == 2
    assert near[:375].mean() > CONTEXT_COSINE  # before the fade
    assert near[375:600].mean() > BORDER_COSINE


def test_cross_fade_adds_no_step_at_a_window_border(whisper: WhisperEncoder) -> None:
    streamed = np.concatenate(list(encode_stream(whisper, [babble(30.0)])))
    steps = np.linalg.norm(np.diff(streamed, axis=0), axis=1)
    borders = [k for start in (300, 600, 900, 1200) for k in range(start + 70, start + 130)]
    assert steps[borders].max() <= np.quantile(steps, 0.999)


def test_stream_gives_the_same_features_however_it_is_cut(untrained: WhisperEncoder) -> None:
    waveform = babble(25.01)
    whole = np.concatenate(list(encode_stream(untrained, [waveform])))
    pieces = [waveform[k : k + 777] for k in range(0, len(waveform), 777)]

    cut = np.concatenate(list(encode_stream(untrained, iter(pieces))))

    assert whole.shape == (1251, 16)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(cut, whole, atol=FADE_TOLERANCE)


def test_stream_of_nothing_is_empty(untrained: WhisperEncoder) -> None:
    assert list(encode_stream(untrained, [])) == []
    assert list(encode_stream(untrained, [np.zeros(0, np.float32)])) == []


def test_stream_of_one_sample_is_one_frame(untrained: WhisperEncoder) -> None:
    (features,) = encode_stream(untrained, [np.ones(1, np.float32)])
    assert features.shape == (1, 16)


def test_memory_of_a_stream_does_not_grow_with_its_length(untrained: WhisperEncoder) -> None:
    def peak(seconds: int) -> int:
        second = np.zeros(16_000, np.float32)
        chunks: Iterator[Float] = (second for _ in range(seconds))
        tracemalloc.start()
        for _ in encode_stream(untrained, chunks):
            pass
        high = tracemalloc.get_traced_memory()[1]  # numpy's buffers; torch's are per window
        tracemalloc.stop()
        return high

    peak(12)
    assert peak(120) < 1.2 * peak(24)


def test_whisper_refuses_what_it_cannot_take(untrained: WhisperEncoder) -> None:
    with pytest.raises(ValueError, match=r"shape \[320\]: it must be \[B, N\]"):
        untrained(torch.zeros(320))
    with pytest.raises(ValueError, match="1501 frames, the encoder 1500 positions"):
        untrained(torch.zeros(1, 1501 * 320))


def test_hubert_comes_from_a_local_folder(hubert_folder: Path) -> None:
    encoder = HubertEncoder.from_pretrained(str(hubert_folder))
    original = HubertModel.from_pretrained(hubert_folder).eval()
    waveform = babble(1.0)

    got = features_of(encoder, waveform)

    with torch.inference_mode():
        padded = torch.from_numpy(np.pad(waveform, 40))[None]
        expected = original(padded).last_hidden_state[0].numpy()
    assert (encoder.name, encoder.width, encoder.training) == (str(hubert_folder), 12, False)
    np.testing.assert_allclose(got, expected, atol=LAYER_TOLERANCE)
    assert np.concatenate(list(encode_stream(encoder, [waveform]))).shape == (50, 12)


def test_hubert_of_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioEncoderError, match=r"no HuBERT in this folder; .* model\.safetensors"):
        HubertEncoder.from_pretrained(str(tmp_path))


def test_hubert_of_a_folder_with_another_network_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    HubertModel(tiny_hubert()).save_pretrained(tmp_path)
    tiny_hubert(num_hidden_layers=2).save_pretrained(tmp_path)
    with pytest.raises(AudioEncoderError, match=r"is no HuBERT, .* of its tensors are missing"):
        HubertEncoder.from_pretrained(str(tmp_path))


def test_hubert_that_cannot_be_downloaded_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no\nroute")

    monkeypatch.setattr(HubertModel, "from_pretrained", fail)

    with pytest.raises(AudioEncoderError) as caught:
        HubertEncoder.from_pretrained("facebook/hubert-base-ls960")

    message = str(caught.value)
    assert message.startswith("facebook/hubert-base-ls960: is no folder here, so it would be ")
    assert "downloaded from the model hub (360 MB for a base model)" in message
    assert message.endswith("(no route)")
    assert "\n" not in message
    assert "a base model is 360 MB" in caplog.text  # said before the download starts


def test_hubert_of_another_frame_rate_is_refused() -> None:
    with pytest.raises(AudioEncoderError, match="one frame takes 160 samples; it must be 320"):
        HubertEncoder(tiny_hubert(conv_stride=(5, 2, 2, 2, 2, 2, 1)))
