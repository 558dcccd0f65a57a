"""A small network that finds the lips in a picture of the mouth, as a loss: it can be descended.

Letters: B batch, M landmarks (40: the inner lips' ring, then the outer one), h, w the mouth's box
(72 x 96), V vertices (468).

MediaPipe's tracker, which measures what comes out of the renderer, has no gradient. This one learns
to say what the fit says of true crops, and is then frozen. It is no part of dubcli: a run that
wants it trains it first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dubcli.geometry.morphable import INNER_LIP_RING, OUTER_LIP_RING, MorphableModel
from dubcli.geometry.window import COLUMNS, CORNER_PX, ROWS
from dubcli.metrics.lip_sync import correlation
from dubcli.networks.renderer import channels_last
from dubcli.records import Bytes, Float, Integers
from dubcli.training.crops import CroppedClip
from dubcli.training.loop import LoopOptions, Observer
from dubcli.training.perceptual import MOUTH_COLUMNS, MOUTH_ROWS
from dubcli.training.recipe import Between
from dubcli.training.run import descend

RING = INNER_LIP_RING + OUTER_LIP_RING
INNER = len(INNER_LIP_RING)
CENTRE_PAIRS = ((4, 16), (5, 15), (6, 14))  # of the inner ring, as geometry.morphable.lip_aperture
INNER_WEIGHT = 3.0  # of an inner landmark beside an outer one: they say how far the mouth is open
STRIDE = 4  # pixels of a place in the heat maps
OF_A_CLIP = 6  # judged mouths
SAVED_EVERY, JUDGED_EVERY = 250, 500  # steps


def _mirrored(ring: Sequence[int], first: int) -> list[int]:
    """Return where each landmark of a ring is after left and right are swapped.

    A ring starts at one corner of the mouth and reaches the other one halfway.
    """
    half = len(ring) // 2
    return [first + (half - k) % len(ring) for k in range(len(ring))]


MIRRORED = _mirrored(INNER_LIP_RING, 0) + _mirrored(OUTER_LIP_RING, INNER)


@dataclass(frozen=True, slots=True)
class LipTrackerTraining:
    """How the tracker is trained; the table [lip_tracker] of the renderer's recipe."""

    steps: Annotated[int, Between(1)] = 1200
    batch: Annotated[int, Between(1)] = 16  # mouths a step
    rate: Annotated[float, Between(0, 1)] = 2e-3
    jitter_px: Annotated[float, Between(0, 24)] = 12.0  # of the box around the lips, each way
    brightness: Annotated[float, Between(0, 1)] = 0.3  # largest change of exposure
    blur_px: Annotated[float, Between(0)] = 1.2  # largest deviation of a Gaussian
    noise: Annotated[float, Between(0, 1)] = 0.03  # largest deviation


class LipTracker(nn.Module):
    """From the mouth's box to landmarks: a heat map each, and its mean place.

    Args:
        width: Channels at half the size; two and four times as many below.
    """

    def __init__(self, width: int = 16) -> None:
        """Build the convolutions."""
        super().__init__()
        self.down = nn.Sequential(
            _convolution(3, width, size=5, stride=2),
            _convolution(width, 2 * width, stride=2),
            _convolution(2 * width, 2 * width),
        )
        self.around = nn.Sequential(
            _convolution(2 * width, 4 * width, stride=2),
            _convolution(4 * width, 4 * width),
            _convolution(4 * width, 4 * width),
        )
        self.join = _convolution(6 * width, 4 * width)
        self.heat = nn.Conv2d(4 * width, len(RING), 1)
        channels_last(self)

    def forward(self, rgb: Tensor) -> Tensor:
        """Return the landmarks, [B, 3, h, w] in [0, 1] -> [B, M, 2] pixels of the box (x, y).

        Integral regression (Sun et al. 2018): the mean of the places, weighed by a softmax. Always
        in float32: in bfloat16 places would be rounded to parts of a pixel.
        """
        with torch.autocast(rgb.device.type, enabled=False):
            fine = self.down(rgb.float() * 2 - 1)
            coarse = F.interpolate(self.around(fine), fine.shape[-2:], mode="bilinear")
            logits = self.heat(self.join(torch.cat([fine, coarse], 1)))
            share = logits.flatten(2).softmax(-1).view(logits.shape)
            y, x = ((torch.arange(n, device=rgb.device) + 0.5) * STRIDE for n in logits.shape[-2:])
            places: Tensor = torch.stack([share.sum(2) @ x, share.sum(3) @ y], -1)
            return places


def _convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a normalised convolution."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
    )


def apart(found: Tensor, wanted: Tensor) -> Tensor:
    """Return how far landmarks are apart, a scalar in pixels; the inner lips weigh more.

    Args:
        found: [B, M, 2].
        wanted: [B, M, 2].
    """
    distance = (found - wanted).abs().mean(-1)
    inner, outer = distance[:, :INNER].mean(), distance[:, INNER:].mean()
    total: Tensor = (INNER_WEIGHT * inner + outer) / (INNER_WEIGHT + 1)
    return total


def landmark_loss(tracker: LipTracker, made: Tensor, true: Tensor) -> Tensor:
    """Return how far the lips of two pictures are apart, [B, 3, h, w] each; pixels.

    The wanted landmarks are those that the tracker finds in the true picture and not the mesh's:
    what it gets wrong of this person, or the fit, is the same on both sides and asks for nothing.
    """
    with torch.no_grad():
        wanted = tracker(true)
    return apart(tracker(made), wanted)


def opening_px(landmarks: Float) -> Float:
    """Return how far the inner lips stand apart, [B, M, 2] -> [B] pixels."""
    gaps = [np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=-1) for a, b in CENTRE_PAIRS]
    opening: Float = np.mean(gaps, axis=0)
    return opening


def mouth_and_lips(
    clip: CroppedClip,
    model: MorphableModel,
    t: int,
    shift_px: Float,
    *,
    mirrored: bool = False,
) -> tuple[Bytes, Float]:
    """Return a mouth's box and the lips of the fitted mesh in it.

    Args:
        clip: The clip.
        model: The basis.
        t: The frame.
        shift_px: Of the box from the lips' middle, [2] (x, y).
        mirrored: Swap left and right in both.

    Returns:
        [h, w, 3], and [M, 2] pixels of the box, whose first pixel's centre is at a half.
    """
    window = clip.crop(t)[ROWS, COLUMNS]
    lips = clip.points(model, t)[list(RING), :2] - CORNER_PX
    size = np.array([MOUTH_COLUMNS, MOUTH_ROWS])
    most = np.array(window.shape[1::-1]) - size
    middle = (lips.min(axis=0) + lips.max(axis=0)) / 2
    left, top = np.clip(np.round(middle + shift_px - size / 2), 0, most).astype(int)
    box = window[top : top + MOUTH_ROWS, left : left + MOUTH_COLUMNS]
    places = (lips - np.array([left, top])).astype(np.float32)
    if not mirrored:
        return box, places
    places[:, 0] = MOUTH_COLUMNS - places[:, 0]
    return np.ascontiguousarray(box[:, ::-1]), places[MIRRORED]


def spoilt(box: Bytes, generator: np.random.Generator, training: LipTrackerTraining) -> Float:
    """Return a mouth as it may look where it was rendered: softer, noisier, of another brightness.

    [h, w, 3] uint8 -> [h, w, 3] in [0, 1].
    """
    picture = box.astype(np.float32) / np.float32(255)
    sigma = float(generator.uniform(0, training.blur_px))
    if sigma > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32)
    picture *= np.float32(1 + generator.uniform(-1, 1) * training.brightness)
    noise = generator.normal(0, generator.uniform(0, training.noise), picture.shape)
    spoiled: Float = np.clip(picture + noise.astype(np.float32), 0, 1)
    return spoiled


def as_batch(pictures: Sequence[Float]) -> Tensor:
    """Return pictures for the network, [h, w, 3] each -> [B, 3, h, w]."""
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())


@dataclass(frozen=True, slots=True)
class LipTrackerFigures:
    """On clips that it did not learn from."""

    error_px: float  # median over landmarks
    opening_correlation: float  # with the mesh's, over all judged mouths
    opening_slope: float  # of its opening over the mesh's


class LipTrackerRun:
    """Losses and figures of one training.

    Args:
        tracker: Trained.
        speakers: Clips to learn from; speakers are drawn with equal odds.
        judged: Others.
        model: The basis.
        training: How.
    """

    def __init__(
        self,
        tracker: LipTracker,
        speakers: Mapping[str, Sequence[CroppedClip]],
        judged: Sequence[CroppedClip],
        model: MorphableModel,
        training: LipTrackerTraining,
    ) -> None:
        """Order the speakers, so that a seed always means the same."""
        self.tracker, self._model, self._training = tracker, model, training
        self._speakers = [speakers[name] for name in sorted(speakers)]
        self._judged = judged

    def loss(self, generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the loss of a batch."""
        drawn = [self._draw(generator) for _ in range(self._training.batch)]
        place = next(self.tracker.parameters()).device
        found = self.tracker(as_batch([picture for picture, _ in drawn]).to(place))
        wanted = torch.from_numpy(np.stack([lips for _, lips in drawn])).to(place)
        return {"apart_px": apart(found, wanted)}

    def _draw(self, generator: np.random.Generator) -> tuple[Float, Float]:
        """Return a random mouth, [h, w, 3] in [0, 1], and its lips."""
        clips = self._speakers[int(generator.integers(len(self._speakers)))]
        clip = clips[int(generator.integers(len(clips)))]
        reach = self._training.jitter_px
        box, lips = mouth_and_lips(
            clip,
            self._model,
            int(generator.integers(len(clip))),
            generator.uniform(-reach, reach, 2).astype(np.float32),
            mirrored=bool(generator.random() < 0.5),
        )
        return spoilt(box, generator, self._training), lips

    @torch.no_grad()
    def judge(self, _: nn.Module) -> tuple[float, dict[str, float]]:
        """Score the mean weights: by how much they miss."""
        still = np.zeros(2, np.float32)
        mouths = [
            mouth_and_lips(clip, self._model, int(t), still)
            for clip in self._judged
            for t in evenly(len(clip), OF_A_CLIP)
        ]
        pictures = as_batch([box.astype(np.float32) / np.float32(255) for box, _ in mouths])
        place = next(self.tracker.parameters()).device
        found = self.tracker(pictures.to(place)).cpu().numpy()
        figures = compare(found, np.stack([lips for _, lips in mouths]))
        return -figures.error_px, asdict(figures)


def evenly(length: int, count: int) -> Integers:
    """Return frames spread over a clip."""
    return np.linspace(0, length - 1, count).astype(np.int64)


def compare(found: Float, true: Float) -> LipTrackerFigures:
    """Return the figures of landmarks, [B, M, 2] each."""
    error = np.median(np.linalg.norm(found - true, axis=-1))
    opened, wanted = opening_px(found), opening_px(true)
    return LipTrackerFigures(
        float(error),
        correlation(opened, wanted),
        float(np.polyfit(wanted, opened, 1)[0]),
    )


def train_lip_tracker(
    speakers: Mapping[str, Sequence[CroppedClip]],
    judged: Sequence[CroppedClip],
    model: MorphableModel,
    cache: Path,
    training: LipTrackerTraining,
    *,
    seed: int,
    device: torch.device,
    resume: bool,
    observer: Observer | None = None,
) -> LipTracker:
    """Train a tracker, or go on with one; a finished one is taken as it is.

    Args:
        speakers: Clips to learn from.
        judged: Others.
        model: The basis.
        cache: Folder of runs: this one is ``runs/lip-tracker``.
        training: How.
        seed: Of every random choice.
        device: To train on.
        resume: Go on from the last saved state.
        observer: Told where the run is.

    Returns:
        The frozen tracker, on the device.
    """
    torch.manual_seed(seed)
    tracker = LipTracker().to(device)
    run = LipTrackerRun(tracker, speakers, judged, model, training)
    options = LoopOptions(
        minutes=0,
        steps=training.steps,
        seed=seed,
        rate=training.rate,
        mean_decay=0.99,
        save_steps=SAVED_EVERY,
        judge_steps=JUDGED_EVERY,
    )
    descend(
        tracker,
        "lip-tracker",
        cache,
        options,
        run.loss,
        run.judge,
        resume=resume,
        observer=observer,
    )
    return tracker.requires_grad_(False).eval()
