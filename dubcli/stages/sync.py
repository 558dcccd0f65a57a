"""Speech and style to a mouth for every frame.

Letters: N samples, A audio features at 50 Hz, T frames at 25 Hz, K components, L lower-face
vertices, W feature width.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from dubcli.networks.audio_encoder import AudioEncoder, encode_stream
from dubcli.networks.lip_sync import FRAME_RATE_HZ, LipSyncNet
from dubcli.records import AudioWindow, Facts, Float, LipMotion

FEATURES_A_FRAME = 2
SAMPLES_A_FEATURE = 320  # at 16 kHz
SPEECH_PEAK = 0.7  # what the encoder was trained on; its log-mel has an absolute level
WINDOW_FRAMES = 500  # generated at a time: 20 s
SILENCE_DB = -50.0  # below the speech's peak, root mean square over a frame
MIN_SILENCE_S = 0.2  # shorter pauses are closures of the speech itself
CLOSING_S = 0.12  # the mouth closes and opens over this long, inside the silence
STILL_CM = 0.01  # a mouth that deviates less stands still
STYLE_FRAMES = 3000  # two minutes of expression say how a person speaks
AMOUNT_RANGE = (0.8, 1.5)  # limits of the style's correction of how far the mouth moves
# The renderer opens mouths less than it is told: 0.73 times, the median slope of the opening
# tracked in six finished cross-dubs over the opening that was asked for (correlation .96).
RENDERED_SHARE = 0.75


class SpeechLevels:
    """Collects a recording's peak and the loudness of each 25 Hz frame while it streams by."""

    def __init__(self) -> None:
        """Start before the first sample."""
        self.peak = 0.0
        self._squares: list[Float] = []
        self._rest = np.zeros(0, dtype=np.float32)

    def listen(self, windows: Iterable[AudioWindow]) -> None:
        """Take in consecutive windows."""
        step = FEATURES_A_FRAME * SAMPLES_A_FEATURE
        for window in windows:
            self.peak = max(self.peak, float(np.abs(window.samples).max(initial=0)))
            samples = np.concatenate([self._rest, window.samples])
            whole = len(samples) // step * step
            self._squares.append((samples[:whole].reshape(-1, step) ** 2).mean(axis=1))
            self._rest = samples[whole:]
        if len(self._rest):
            self._squares.append(np.array([(self._rest**2).mean()], dtype=np.float32))
            self._rest = self._rest[:0]

    @property
    def gain(self) -> float:
        """What to multiply samples by before they are encoded; 1 for digital silence."""
        return SPEECH_PEAK / self.peak if self.peak > 0 else 1.0

    def closed(self) -> Float:
        """Return how far silence closes the mouth at each frame, [T], 0 to 1."""
        squares = np.concatenate(self._squares) if self._squares else np.zeros(0, np.float32)
        floor = (self.peak * 10 ** (SILENCE_DB / 20)) ** 2
        return closing(squares <= floor)


def closing(silent: Facts) -> Float:
    """Return a smooth closing of the mouth inside each long enough silence.

    Args:
        silent: Per frame at 25 Hz, [T] bool.

    Returns:
        [T], 0 to 1; 0 outside silences, and in those shorter than ``MIN_SILENCE_S``.

    Example:
        >>> import numpy as np
        >>> closing(np.array([0, 1, 1, 0], bool)).tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    closed = np.zeros(len(silent), dtype=np.float32)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], silent.astype(np.int8), [0]])))
    ramp = CLOSING_S * FRAME_RATE_HZ
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - start < MIN_SILENCE_S * FRAME_RATE_HZ:
            continue
        t = np.arange(start, stop)
        # A silence that touches the recording's end has no speech there to move toward.
        after = t - start + 1 if start > 0 else np.full(len(t), np.inf)
        before = stop - t if stop < len(silent) else np.full(len(t), np.inf)
        share = np.clip(np.minimum(after, before) / ramp, 0, 1)
        closed[start:stop] = share * share * (3 - 2 * share)
    return closed


@torch.no_grad()
def encode_speech(
    encoder: AudioEncoder, windows: Iterable[AudioWindow], gain: float
) -> Iterator[Float]:
    """Yield speech features of consecutive windows, [n, W] at 50 Hz, scaled by ``gain`` first."""
    yield from encode_stream(encoder, (window.samples * np.float32(gain) for window in windows))


def style_sample(rows: Float) -> Float:
    """Return every n-th row so that about ``STYLE_FRAMES`` are left: they tell a style as well."""
    return rows[:: max(1, len(rows) // STYLE_FRAMES)]


@torch.no_grad()
def speaking_style(network: LipSyncNet, motion: Float) -> Tensor:
    """Return the style embedding of a person's own motion, [T, L, 3] cm -> [1, D]."""
    device = next(network.parameters()).device
    return network.style(torch.from_numpy(motion).to(device)[None])


@torch.no_grad()
def generate(
    network: LipSyncNet, features: Iterable[Float], style: Tensor, closed: Float
) -> LipMotion:
    """Return the mouth's motion for a recording.

    Works through windows that overlap by the network's receptive field, so that the result is the
    one a single pass over everything would give.

    Args:
        network: The geometry network.
        features: Consecutive speech features, [n, W] each, at 50 Hz.
        style: [1, D].
        closed: Closing by silence, [T].

    Returns:
        T frames at 25 Hz.
    """
    context = network.receptive_field()
    device = next(network.parameters()).device
    pieces: list[Float] = []
    held = np.zeros((0, network.hyper.audio_width), dtype=np.float32)
    past = 0  # frames at the start of ``held`` that are only context

    def emit(last: bool) -> None:
        """Generate what is held, keep what the next window needs as context."""
        nonlocal held, past
        frames = len(held) // FEATURES_A_FRAME
        stop = frames if last else frames - context
        audio = torch.from_numpy(held[: frames * FEATURES_A_FRAME]).to(device)[None]
        made = network(audio, style).coefficients[0].cpu().numpy()
        pieces.append(made[past:stop])
        keep = max(0, stop - context)
        held, past = held[keep * FEATURES_A_FRAME :], stop - keep

    for chunk in features:
        held = np.concatenate([held, chunk.astype(np.float32)])
        while len(held) // FEATURES_A_FRAME >= past + WINDOW_FRAMES + context:
            rest = held[(past + WINDOW_FRAMES + context) * FEATURES_A_FRAME :]
            held = held[: (past + WINDOW_FRAMES + context) * FEATURES_A_FRAME]
            emit(last=False)
            held = np.concatenate([held, rest])
    if len(held) % FEATURES_A_FRAME:
        held = np.concatenate([held, held[-1:]])
    if len(held) // FEATURES_A_FRAME > past:
        emit(last=True)
    nothing = np.zeros((0, network.hyper.components), dtype=np.float32)
    coefficients = np.concatenate([nothing, *pieces])
    fitted = np.zeros(len(coefficients), dtype=np.float32)
    fitted[: min(len(closed), len(fitted))] = closed[: len(fitted)]
    return LipMotion(coefficients, fitted)


def amplify(gap: Float, speaking: Facts, own_gap: Float, least: float) -> Float:
    """Return by how much each frame's distance from the mean mouth is to be multiplied.

    People differ in how far they open their mouths: the generated opening is to deviate as much as
    the speaker's own does (METHOD: "amount"), and a little more is asked for because the renderer
    gives less than it is asked. Both halves of the motion grow: the mouth opens wider, and closes
    better. No frame is pushed below the least gap, where the lips would run through each other.

    Args:
        gap: Signed opening of the generated mouth, [T] cm.
        speaking: Frames in which there is speech, [T].
        own_gap: The source's own opening, [S] cm.
        least: The smallest gap allowed, cm.

    Returns:
        Factors, [T], 1 where nothing can be said.
    """
    spoken = gap[speaking]
    if len(spoken) < FRAME_RATE_HZ or spoken.std() < STILL_CM:
        return np.ones(len(gap), dtype=np.float32)
    style = float(np.clip(own_gap.std() / spoken.std(), *AMOUNT_RANGE))
    wanted = style / RENDERED_SHARE
    below = spoken.mean() - gap
    room = np.where(below > 0, (spoken.mean() - least) / np.maximum(below, STILL_CM), np.inf)
    factors: Float = np.clip(np.minimum(wanted, room), 0, wanted).astype(np.float32)
    return factors


def at_times(motion: LipMotion, time_s: Float) -> LipMotion:
    """Resample a motion to the video's own timestamps, linear between its 25 Hz frames.

    Args:
        motion: T frames.
        time_s: Wanted times, [n] s from the start of the speech.

    Returns:
        n frames; beyond the ends the first and last are held.
    """
    known = np.arange(len(motion.coefficients)) / FRAME_RATE_HZ
    columns = [np.interp(time_s, known, column) for column in motion.coefficients.T]
    return LipMotion(
        np.stack(columns, axis=1).astype(np.float32),
        np.interp(time_s, known, motion.closed).astype(np.float32),
    )


def placed(motion: LipMotion, time_s: Float) -> LipMotion:
    """Resample a motion to times of which some lie before the speech begins, or after its end.

    There the mouth is closed as in silence; before the first sound it opens over ``CLOSING_S``.

    Args:
        motion: T frames.
        time_s: Wanted times, [n] s from the start of the speech.

    Returns:
        n frames.
    """
    found = at_times(motion, time_s)
    share = np.clip(-time_s / CLOSING_S, 0, 1)
    before = share * share * (3 - 2 * share)
    after = time_s * FRAME_RATE_HZ > len(motion.coefficients) + 1
    closed = np.where(after, 1, np.maximum(found.closed, before))
    return LipMotion(found.coefficients, closed.astype(np.float32))
