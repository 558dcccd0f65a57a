"""A HuBERT small enough to ship: the same parts, fewer and narrower, and a start that can hear.

HuBERT's seven strided convolutions learn to filter sound from a thousand hours of it. Here the
first convolution starts as what they end as: band-pass filters on the mel scale, each in four
phases, so that the rectified sum of a band's four is its envelope. The blocks start as those of a
Whisper encoder, whose parts are the same, as DistilHuBERT's start as its teacher's.
"""

from dataclasses import dataclass

import librosa
import numpy as np
import torch
from torch import nn
from transformers import HubertConfig

from dubcli.networks.audio_encoder import SAMPLE_RATE_HZ, Float, HubertEncoder, WhisperEncoder

PHASES = 4  # of each band, a quarter turn apart
LOWEST_HZ, HIGHEST_HZ = 60.0, 7800.0
NARROWEST_HZ = 60.0  # deviation of the narrowest band is 0.6 of it
SPREAD = 0.6
LONGEST = 5.0  # a filter's taps are so many of its deviations at least
LOUDNESS = 40.0  # of speech of deviation 1 behind the filters
EMPHASIS_HZ = 1000.0  # bands are louder in proportion to (their frequency + 300 Hz) / this
EMPHASIS_FLOOR = 0.3
# Half of the filters say this and half the opposite where nothing is heard: the layer norm behind
# them would else make silence as loud as speech. 30 dB below it, the two are equally loud.
QUIET = 1.2
OF_A_BLOCK = {  # Whisper's names -> HuBERT's
    "self_attn_layer_norm": "layer_norm",
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn.out_proj": "attention.out_proj",
    "final_layer_norm": "final_layer_norm",
    "fc1": "feed_forward.intermediate_dense",
    "fc2": "feed_forward.output_dense",
}


@dataclass(frozen=True, slots=True)
class CompactHubertHyper:
    """Hyper-parameters of ``CompactHubert``."""

    width: int = 384  # of the features, D
    blocks: int = 3
    heads: int = 6
    bands: int = 80
    filter_taps: int = 400  # 25 ms
    convolution: int = 384  # channels of the convolutions after the first
    position_taps: int = 33  # frames that a position's convolution sees


DEFAULT_HUBERT = CompactHubertHyper()


class CompactHubert(HubertEncoder):
    """``transformers.HubertModel`` with a small configuration: 50 features of width D a second."""

    def __init__(self, hyper: CompactHubertHyper = DEFAULT_HUBERT) -> None:
        """Build the network with random weights but for the first convolution's.

        Args:
            hyper: Its hyper-parameters.
        """
        super().__init__(config_of(hyper), name="hubert-compact")
        self.hyper = hyper
        with torch.no_grad():
            filters = mel_filters(hyper.bands, hyper.filter_taps)
            self.filters.weight.copy_(torch.from_numpy(filters)[:, None])
            if self.filters.bias is not None:
                self.filters.bias.fill_(QUIET)
                self.filters.bias[1::2] *= -1

    @property
    def filters(self) -> nn.Conv1d:
        """The first convolution."""
        first: nn.Conv1d = self.model.feature_extractor.conv_layers[0].conv
        return first

    def fits(self, teacher: WhisperEncoder) -> bool:
        """Return whether a Whisper encoder has as many blocks of the same sizes."""
        theirs, ours = teacher.hyper, self.hyper
        return (theirs.width, theirs.blocks, theirs.heads) == (ours.width, ours.blocks, ours.heads)

    @torch.no_grad()
    def start_from(self, teacher: WhisperEncoder) -> None:
        """Take over the blocks of a Whisper encoder of the same width, heads and number of them.

        Args:
            teacher: Left as it is.

        Raises:
            ValueError: If the sizes differ.
        """
        if not self.fits(teacher):
            raise ValueError(f"the teacher has other sizes: {teacher.hyper}")
        for own, other in zip(self.model.encoder.layers, teacher.layers, strict=True):
            state = own.state_dict()
            for name, value in other.state_dict().items():
                part, _, kind = name.rpartition(".")
                state[f"{OF_A_BLOCK[part]}.{kind}"] = value.clone()
            state["attention.k_proj.bias"] = torch.zeros(
                self.hyper.width
            )  # Whisper's keys have none
            own.load_state_dict(state)


def config_of(hyper: CompactHubertHyper) -> HubertConfig:
    """Return the configuration: large HuBERT's kind (layer norms before each part), made small.

    The four convolutions take 10 ms, 1, 2 and 1 steps: 50 frames a second.
    """
    return HubertConfig(
        hidden_size=hyper.width,
        num_hidden_layers=hyper.blocks,
        num_attention_heads=hyper.heads,
        intermediate_size=4 * hyper.width,
        conv_dim=(PHASES * hyper.bands, *[hyper.convolution] * 3),
        conv_kernel=(hyper.filter_taps, 3, 3, 3),
        conv_stride=(SAMPLE_RATE_HZ // 100, 1, 2, 1),
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=hyper.position_taps,
        num_conv_pos_embedding_groups=16,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        mask_time_prob=0.05,  # above 0: the model then has a vector for masked frames
    )


def mel_filters(bands: int, taps: int) -> Float:
    """Return band-pass filters on the mel scale, in four phases each: Gabor functions.

    Filter (k, p) is exp(-t^2 / 2 s_k^2) cos(2 pi f_k t + p pi / 2), with s_k the time spread whose
    spectrum has 0.6 of the distance to the neighbouring bands, and a gain that rises with f_k as
    the spectrum of speech falls.

    Args:
        bands: How many bands.
        taps: Samples of a filter, at 16 kHz.

    Returns:
        [4 bands, taps], phases of a band beside each other.
    """
    edges = librosa.mel_frequencies(bands + 2, fmin=LOWEST_HZ, fmax=HIGHEST_HZ)
    time = (np.arange(taps) - (taps - 1) / 2) / SAMPLE_RATE_HZ
    centre = edges[1:-1, None]
    half = np.maximum((edges[2:] - edges[:-2]) / 2, NARROWEST_HZ)[:, None]
    spread = np.minimum(1 / (2 * np.pi * SPREAD * half), taps / SAMPLE_RATE_HZ / LONGEST)
    envelope = np.exp(-(time**2) / (2 * spread**2))
    gain = LOUDNESS * (centre / EMPHASIS_HZ + EMPHASIS_FLOOR) / envelope.sum(axis=1, keepdims=True)
    phases = [
        gain * envelope * np.cos(2 * np.pi * centre * time + phase * np.pi / 2)
        for phase in range(PHASES)
    ]
    return np.stack(phases, axis=1).reshape(bands * PHASES, taps).astype(np.float32)
