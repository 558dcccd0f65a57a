"""Speech features from a waveform: one interface, several pretrained encoders.

Letters: B batch, N samples, T feature frames, D feature width, M mel frames.

Sound is mono float32 at 16 kHz, -1 to 1. Features come at 50 Hz: T = N // 320. Frame k of
``WhisperEncoder`` is centred at k / 50 s, frame k of ``HubertEncoder`` at (k + 0.5) / 50 s.

``encode_stream`` encodes sound of any length in windows, so memory does not grow with it.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel, WhisperConfig
from transformers.models.whisper import modeling_whisper

from dubcli.networks.windows import Window, cut_windows, join_windows

logger = logging.getLogger(__name__)

Float = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
HOP = 320  # samples per feature frame, 20 ms
FRAME_RATE_HZ = SAMPLE_RATE_HZ / HOP

# Windows of ``encode_stream``, seconds. Of the overlap the middle FADE_S is mixed, so every frame
# has at least (OVERLAP_S - FADE_S) / 2 = 1.5 s of context in each window it is taken from.
# 10 s rather than Whisper's 30: what two windows disagree about is not context (cosine 0.998 at
# equal positions) but where in the window a sound falls. The shift at a border is then 6 s (cosine
# 0.966) rather than 16 s (0.945), and positions stay those of the short clips one trains on.
WINDOW_S = 10.0
OVERLAP_S = 4.0
FADE_S = 1.0

N_FFT = 400
MEL_HOP = 160
MEL_BANDS = 80
MEL_FLOOR = 1e-10
# Whisper floors a clip's log-mel at (its loudest value - 8), which depends on the clip. Here the
# loudest value is fixed: speech whose peak is 0.7 has 0.6 to 1.9, median 1.2 (the probe's clips).
LOG_MAX = 1.5
LOG_RANGE = 8.0


class AudioEncoderError(ValueError):
    """A pretrained encoder cannot be had, or is not one that fits."""


class AudioEncoder(nn.Module, ABC):
    """A network from sound to features at 50 Hz.

    Attributes:
        name: What the encoder is called in files and messages.
        width: Feature width D.
        rate_hz: Features per second.
    """

    name: str
    width: int
    rate_hz: float = FRAME_RATE_HZ

    @abstractmethod
    def forward(self, waveform: Tensor) -> Tensor:
        """Return speech features.

        Args:
            waveform: Mono sound at 16 kHz, [B, N], -1 to 1.

        Returns:
            Features, [B, N // 320, D].

        Raises:
            ValueError: If the waveform is not [B, N].
        """


def log_mel(waveform: Tensor, filters: Tensor, log_max: float | None = LOG_MAX) -> Tensor:
    """Return Whisper's log-mel spectrogram.

    Power spectrum of 25 ms Hann windows every 10 ms, 80 Slaney mel bands, log10, floored at
    ``log_max - 8``, then (x + 4) / 4    (Whisper, ``whisper/audio.py``: log_mel_spectrogram).

    Args:
        waveform: Mono sound at 16 kHz, [B, N], N > 200.
        filters: Mel filterbank, [80, 201].
        log_max: The loudest log10 power to assume; None takes each clip's own, as Whisper does,
            which makes every frame depend on the loudest one.

    Returns:
        Log-mel frames, [B, 80, N // 160]; frame m is centred at m * 10 ms.
    """
    window = torch.hann_window(N_FFT, device=waveform.device, dtype=waveform.dtype)
    spectrum = torch.stft(waveform, N_FFT, MEL_HOP, window=window, return_complex=True)
    power = spectrum[..., :-1].abs().square()
    log_power = (filters @ power).clamp(min=MEL_FLOOR).log10()
    if log_max is None:
        floor = log_power.amax(dim=(1, 2), keepdim=True) - LOG_RANGE
        return (torch.maximum(log_power, floor) + 4.0) / 4.0
    return (log_power.clamp(min=log_max - LOG_RANGE) + 4.0) / 4.0


@dataclass(frozen=True, slots=True)
class WhisperHyper:
    """Hyper-parameters of ``WhisperEncoder``; the defaults are tiny.en cut after block 3 of 4."""

    blocks: int = 3
    width: int = 384
    heads: int = 6
    log_max: float | None = LOG_MAX  # see ``log_mel``


DEFAULT_WHISPER = WhisperHyper()


class WhisperEncoder(AudioEncoder):
    """The encoder of Whisper tiny.en up to its block 3 of 4: 6.4 M parameters, 384-d features.

    Parameters are named as in ``transformers``' ``WhisperEncoder``. Its final layer norm is held
    but not applied: it belongs after block 4. Sound up to 30 s is taken at its own length:
    Whisper's padding to 30 s costs far more, and probes no better (features of cosine 0.99).
    """

    name = "whisper"

    def __init__(self, hyper: WhisperHyper = DEFAULT_WHISPER) -> None:
        """Build the network with random weights.

        Args:
            hyper: Its hyper-parameters.
        """
        super().__init__()
        self.hyper = hyper
        config = WhisperConfig(
            vocab_size=51_864,
            d_model=hyper.width,
            encoder_layers=hyper.blocks,
            encoder_attention_heads=hyper.heads,
            encoder_ffn_dim=4 * hyper.width,
            num_mel_bins=MEL_BANDS,
            max_source_positions=1500,
        )
        encoder = modeling_whisper.WhisperEncoder(config)
        self.width = hyper.width
        self.conv1 = encoder.conv1
        self.conv2 = encoder.conv2
        self.embed_positions = encoder.embed_positions
        self.layers = encoder.layers
        self.layer_norm = encoder.layer_norm  # not applied: it belongs after block 4; in the file
        filters = librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=MEL_BANDS)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.filters: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the features after the last block that is kept.

        Args:
            waveform: Mono sound at 16 kHz, [B, N], at most 30 s; the last N % 320 samples are
                not used.

        Returns:
            Features, [B, N // 320, 384].

        Raises:
            ValueError: If the waveform is not [B, N] or is longer than 30 s.
        """
        hidden = self.stem(waveform)
        if hidden.shape[1] == 0:
            return hidden
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        for layer in self.layers:
            hidden = layer(hidden, None)
        return hidden

    def stem(self, waveform: Tensor) -> Tensor:
        """Return what the first block sees, but for the positions; sound as ``forward`` takes it.

        Args:
            waveform: [B, N].

        Returns:
            [B, N // 320, 384].
        """
        frames = _check_waveform(waveform)
        if frames > self.embed_positions.num_embeddings:
            raise ValueError(
                f"the waveform has {frames} frames, the encoder"
                f" {self.embed_positions.num_embeddings} positions; use encode_stream"
            )
        if frames == 0:
            return waveform.new_zeros(len(waveform), 0, self.width)
        mel = log_mel(waveform[:, : frames * HOP], self.filters, self.hyper.log_max)
        return F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)


class HubertEncoder(AudioEncoder):
    """A HuBERT model; ``facebook/hubert-base-ls960`` has 95 M parameters and 768-d features."""

    def __init__(self, config: HubertConfig, name: str = "hubert") -> None:
        """Build the network with random weights.

        Args:
            config: Its hyper-parameters.
            name: What to call it.

        Raises:
            AudioEncoderError: If its convolutions do not make 50 frames a second.
        """
        super().__init__()
        hop = math.prod(config.conv_stride)
        if hop != HOP:
            raise AudioEncoderError(
                f"{name}: one frame takes {hop} samples; it must be {HOP} (20 ms)"
            )
        self.name = name
        self.width = config.hidden_size
        self.model: Any = HubertModel(config)
        self.receptive_field = _receptive_field(config.conv_kernel, config.conv_stride)
        # Large models have layer norms in their convolutions and were trained on normalised sound;
        # the group norm of base models takes the loudness out itself.
        self.normalise = config.feat_extract_norm == "layer"

    @classmethod
    def from_pretrained(cls, source: str) -> "HubertEncoder":
        """Return a HuBERT with its trained weights, in evaluation mode.

        Args:
            source: A folder with ``config.json`` and ``model.safetensors``, or a name on the model
                hub, which is downloaded once and kept in the hub's cache.

        Returns:
            The encoder.

        Raises:
            AudioEncoderError: If the weights cannot be had, or are not those of a HuBERT.
        """
        model = _fetch_hubert(source)
        encoder = cls(model.config, name=source)
        encoder.model = model
        return encoder.eval()

    def forward(self, waveform: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the features after the last block.

        Args:
            waveform: Mono sound at 16 kHz, [B, N]; N % 320 samples at the end are not used.
            mask: Frames that are replaced by a learned vector before the first block, as in
                HuBERT's training, [B, N // 320] bool; None: none.

        Returns:
            Features, [B, N // 320, D].

        Raises:
            ValueError: If the waveform is not [B, N].
        """
        frames = _check_waveform(waveform)
        if frames == 0:
            return waveform.new_zeros(len(waveform), 0, self.width)
        heard = self._heard(waveform[:, : frames * HOP])
        features: Tensor = self.model(heard, mask_time_indices=mask).last_hidden_state
        return features[:, :frames]

    def stem(self, waveform: Tensor) -> Tensor:
        """Return what the first block sees, but for the positions, [B, N] -> [B, N // 320, D]."""
        frames = _check_waveform(waveform)
        filtered = self.model.feature_extractor(self._heard(waveform[:, : frames * HOP]))
        projected: Tensor = self.model.feature_projection(filtered.transpose(1, 2))
        return projected[:, :frames]

    def _heard(self, waveform: Tensor) -> Tensor:
        """Return sound as the convolutions take it: at its level, and silence around it."""
        if self.normalise:
            variance, mean = torch.var_mean(waveform, dim=1, correction=0, keepdim=True)
            waveform = (waveform - mean) / (variance + 1e-7).sqrt()
        margin = max(self.receptive_field - HOP, 0)  # what the last frame reads past its 20 ms
        return F.pad(waveform, (margin // 2, margin - margin // 2))


def encode_stream(
    encoder: AudioEncoder,
    chunks: Iterable[Float],
    *,
    window_s: float = WINDOW_S,
    overlap_s: float = OVERLAP_S,
    fade_s: float = FADE_S,
) -> Iterator[Float]:
    """Yield the features of sound of any length, holding one window at a time.

    Args:
        encoder: In evaluation mode; runs on the device it is on.
        chunks: Consecutive stretches of mono sound at 16 kHz, each [n], -1 to 1.
        window_s: Length of a window, seconds.
        overlap_s: What neighbouring windows share, seconds, at most half a window.
        fade_s: The middle of the overlap that is mixed linearly, seconds.

    Yields:
        Consecutive features, [n, D]; ceil(N / 320) in all; zeros fill the last frame's sound.

    Raises:
        ValueError: If a chunk is not [n], or the lengths cannot tile the sound.
    """
    window, overlap, fade = (round(s * encoder.rate_hz) for s in (window_s, overlap_s, fade_s))
    pieces = cut_windows(chunks, window * HOP, overlap * HOP)
    features: Iterator[tuple[Window, Float]] = ((w, _encode(encoder, x)) for w, x in pieces)
    yield from join_windows(features, overlap, fade)


def _encode(encoder: AudioEncoder, samples: Float) -> Float:
    """Return the features [ceil(N / 320), D] of one window of samples [N]."""
    device = next(encoder.parameters()).device
    waveform = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    waveform = F.pad(waveform, (0, -len(samples) % HOP))
    with torch.inference_mode():
        features = encoder(waveform[None].to(device))[0]
    return np.asarray(features.float().cpu(), dtype=np.float32)


def _check_waveform(waveform: Tensor) -> int:
    """Return the number of feature frames of a waveform [B, N]; refuse any other shape."""
    if waveform.ndim != 2:
        raise ValueError(f"the waveform has shape {list(waveform.shape)}: it must be [B, N]")
    return int(waveform.shape[1]) // HOP


def _receptive_field(kernels: Iterable[int], strides: Iterable[int]) -> int:
    """Return how many samples one frame of stacked convolutions reads."""
    field = step = 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field


def _fetch_hubert(source: str) -> Any:
    """Return a ``HubertModel`` with all its trained weights, from a folder or the model hub."""
    folder = Path(source).expanduser()
    local = folder.is_dir()
    remedy = f"{source}: no HuBERT in this folder; it needs config.json and model.safetensors"
    if not local:
        logger.warning("%s: looked up on the model hub; a base model is 360 MB", source)
        remedy = (
            f"{source}: is no folder here, so it would be downloaded from the model hub (360 MB for"
            " a base model), and that failed; connect to the internet, or give a local folder with"
            " config.json and model.safetensors, or use the audio encoder 'whisper'"
        )
    try:
        loaded: Any = HubertModel.from_pretrained(
            str(folder) if local else source,
            use_safetensors=True,
            local_files_only=local,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AudioEncoderError(f"{remedy} ({reason})") from error
    model, notes = loaded
    missing = sorted(set(notes["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise AudioEncoderError(
            f"{source}: is no HuBERT, {len(missing)} of its tensors are missing, the first"
            f" {missing[0]}; give a HuBERT folder"
        )
    return model
