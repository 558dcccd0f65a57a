"""What each part of the method is worth: measured on the split ``val`` with one part switched off.

``ablate`` takes the shipped networks as they are: a figure says what the part does in them, not
what others could do without it. ``training.retrain`` trains them again without the part, as the
paper's Table 4 does, and measures them here. References keep ``FAR_S`` away from the frame, as in
``training.judge``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dubcli.checkpoints import load_as
from dubcli.errors import InputError
from dubcli.geometry.morphable import MorphableModel
from dubcli.loading import load_basis, load_style_encoder
from dubcli.metrics.image import detail_ratio, psnr, ssim
from dubcli.metrics.lip_sync import closure_recall, correlation, deviation_ratio
from dubcli.metrics.style import style_similarity
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.networks.renderer import DualAttentionRenderer
from dubcli.networks.style_encoder import StyleSimEncoder
from dubcli.records import Float, Integers
from dubcli.stages.samples import Sample, SampleMaker, render_sample
from dubcli.stages.style import plan_style_windows
from dubcli.training import renderer
from dubcli.training.crops import CroppedClip, load_crops
from dubcli.training.data import read_clips
from dubcli.training.geometry import GeometryProblem, GeometryTraining, StoredSpeech, load_speech
from dubcli.training.prepare import prepare_judged
from dubcli.training.renderer_data import FAR_S, RendererSampling, distant_references
from dubcli.training.speech import as_tensor

JUDGED_SET = "wild"
FRAMES_A_CLIP = 4
LIPS, FACES = 25, 5
LEAST_FRAMES = 25  # of a clip whose style is compared
Choose = Callable[[CroppedClip, int], tuple[Integers, Integers]]


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """Means over clips."""

    without: str
    clips: int
    psnr_db: float  # of the lower face
    ssim: float
    lip_psnr_db: float
    lip_detail: float  # gradients inside the lips, beside the true ones


@dataclass(frozen=True, slots=True)
class GeneratedRow:
    """Medians over clips."""

    without: str
    clips: int
    correlation: float  # of the inner lips' opening with the true one
    deviation_ratio: float
    closure_recall: float
    style_similarity: float  # of the generated motion and the true one


@dataclass(frozen=True, slots=True)
class Ablation:
    """Everything measured."""

    renderer: tuple[RenderedRow, ...]
    geometry: tuple[GeneratedRow, ...]


def ablate(data: Path, cache: Path, models: Path) -> Ablation:
    """Return what the shipped networks lose without each part, on ``val`` wild.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks, crops and features; what is missing is computed.
        models: Folder of checkpoints.

    Raises:
        InputError: If there is no clip to judge by.
    """
    model = load_basis(models)
    lip_sync = load_as(models, "geometry", LipSyncNet)
    cropped, spoken = judged_clips(data, cache, models, model, lip_sync.hyper.audio_encoder)
    network = load_as(models, "renderer", DualAttentionRenderer)
    problem = GeometryProblem(model, GeometryTraining())
    styles = load_style_encoder(models).network
    return Ablation(
        tuple(rendered_rows(network, cropped, SampleMaker(model))),
        tuple(generated_rows(lip_sync, spoken, problem, styles)),
    )


def judged_clips(
    data: Path, cache: Path, models: Path, model: MorphableModel, audio_encoder: str
) -> tuple[list[CroppedClip], list[StoredSpeech]]:
    """Return what the rows are measured on: the crops of ``val`` wild, and its speech.

    Raises:
        InputError: If there is no clip to judge by.
    """
    clips = [c for c in read_clips(data) if c.split == "val" and c.set == JUDGED_SET]
    folder = prepare_judged(clips, cache, models, model, audio_encoder)
    cropped = [s for c in clips if (s := load_crops(cache / "crops", c.name)) is not None]
    files = [(folder / f"{c.name}.npz", c) for c in clips if c.kind == "speech"]
    stored = [load_speech(f, c.speaker, c.set) for f, c in files if f.exists()]
    stored = [clip for clip in stored if len(clip.versions[0].beta) >= LEAST_FRAMES]
    if not cropped or len(stored) < 2:
        raise InputError(f"{data}: too few usable clips in val, set {JUDGED_SET}")
    return cropped, stored


def chosen(clip: CroppedClip, index: int) -> tuple[Integers, Integers]:
    """Return the references as Algorithm 1 chooses them, kept away."""
    return distant_references(clip, index, face=FACES, lip=LIPS)


def at_random(clip: CroppedClip, index: int) -> tuple[Integers, Integers]:
    """Return references of any mouth and any turn of the head, kept away as those chosen are."""
    away = np.abs(clip.time_s - clip.time_s[index])
    far = np.flatnonzero(away >= min(FAR_S, float(np.median(away))))
    generator = np.random.default_rng(index)
    face = generator.choice(far, min(FACES, len(far)), replace=False)
    return face, generator.choice(far, min(LIPS, len(far)), replace=False)


def anywhere(sampling: RendererSampling) -> RendererSampling:
    """Return how to train without frame selection: face references from anywhere in the clip.

    Neither Algorithm 1's window about the target nor the target itself is preferred; lip references
    are random in training as it is.
    """
    return replace(sampling, far_share=1.0, self_share=0.0)


def without_lips(sample: Sample) -> Sample:
    """Set M^l = 0 in Eq. 4: Face-Attention alone, over the face references."""
    return replace(sample, lip_mask=torch.zeros_like(sample.lip_mask))


def without_face(sample: Sample) -> Sample:
    """Set M^l = 1 in Eq. 4: Lip-Attention alone, over the lip references' whole faces."""
    shown = (sample.lip.pncc.amax(1) > 0).to(sample.lip.masks)
    everywhere = replace(sample.lip, masks=shown)
    return replace(sample, lip=everywhere, lip_mask=sample.face_mask)


def without_preference(sample: Sample) -> Sample:
    """Let the lip references count alike, whatever their mouth."""
    return replace(sample, lip_distance=torch.zeros_like(sample.lip_distance))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the renderer, as what is done without it."""

    name: str
    seen: renderer.Seen = renderer.unchanged  # what the network is given of a sample
    choose: Choose = chosen  # the references of a judged frame
    sampling: Callable[[RendererSampling], RendererSampling] = renderer.unchanged  # of a training


PARTS = (
    Part("nothing"),
    Part("Lip-Attention", seen=without_lips),
    Part("Face-Attention", seen=without_face),
    Part("preference of like mouths", seen=without_preference),
    Part("frame selection", choose=at_random, sampling=anywhere),
)


def rendered_rows(
    network: DualAttentionRenderer, clips: Sequence[CroppedClip], maker: SampleMaker
) -> Iterator[RenderedRow]:
    """Yield a row for the whole renderer and for each part that it goes without."""
    for part in PARTS:
        yield rendered_row(network, clips, maker, part)


def rendered_row(
    network: DualAttentionRenderer, clips: Sequence[CroppedClip], maker: SampleMaker, part: Part
) -> RenderedRow:
    """Return the row of a renderer that goes without a part."""
    rows = [_measured(network, clip, maker, part) for clip in clips]
    return RenderedRow(part.name, len(rows), *np.mean(rows, axis=0).tolist())


@torch.no_grad()
def _measured(
    network: DualAttentionRenderer, clip: CroppedClip, maker: SampleMaker, part: Part
) -> Float:
    """Return a clip's figures, in the order of ``RenderedRow``."""
    rows = []
    device = next(network.parameters()).device
    for index in np.linspace(0, len(clip) - 1, FRAMES_A_CLIP + 2).astype(int)[1:-1]:
        face, lip = part.choose(clip, int(index))
        sample = maker.make(clip, int(index), int(index), face, lip)
        rendered = render_sample(network, part.seen(sample).to(device))
        made, true = renderer.to_bytes(rendered.image), renderer.to_bytes(sample.picture)
        mask, lips = sample.face_mask.byte().numpy(), sample.lip_mask.byte().numpy()
        rows.append(
            (
                psnr(made, true, mask),
                ssim(made, true, mask),
                psnr(made, true, lips),
                detail_ratio(made, true, lips),
            )
        )
    return np.asarray(np.mean(rows, axis=0), dtype=np.float32)


def generated_rows(
    network: LipSyncNet,
    clips: Sequence[StoredSpeech],
    problem: GeometryProblem,
    styles: StyleSimEncoder,
) -> Iterator[GeneratedRow]:
    """Yield a row for the speaker's own style, the mean of all, and another speaker's."""
    with torch.no_grad():
        own = [network.style(problem.motion(c.versions[0].beta)[None])[0] for c in clips]
    total = torch.stack(own).sum(0)
    for without, given in (
        ("nothing", own),
        ("style (the others' mean instead)", [(total - s) / (len(own) - 1) for s in own]),
        ("style (the next speaker's instead)", [*own[1:], own[0]]),
    ):
        yield generated_row(network, clips, problem, styles, without, given)


def generated_row(
    network: LipSyncNet,
    clips: Sequence[StoredSpeech],
    problem: GeometryProblem,
    styles: StyleSimEncoder,
    without: str,
    given: Sequence[Tensor],
) -> GeneratedRow:
    """Return the row of a network that is given a style for each clip, [D] each."""
    rows = [
        _compared(network, clip, problem, styles, style)
        for clip, style in zip(clips, given, strict=True)
    ]
    return GeneratedRow(without, len(rows), *np.nanmedian(rows, axis=0).tolist())


@torch.no_grad()
def _compared(
    network: LipSyncNet,
    clip: StoredSpeech,
    problem: GeometryProblem,
    styles: StyleSimEncoder,
    style: Tensor,
) -> tuple[float, ...]:
    """Return a clip's figures, in the order of ``GeneratedRow``."""
    plain = clip.versions[0]
    true = problem.motion(plain.beta)
    made = network(as_tensor(plain.features)[None], style[None]).displacement[0]
    opening, wanted = problem.opening(made).numpy(), problem.opening(true).numpy()
    return (
        correlation(opening, wanted),
        deviation_ratio(opening, wanted),
        closure_recall(opening, wanted),
        style_similarity(_style_of(made, styles), _style_of(true, styles)),
    )


def _style_of(motion: Tensor, styles: StyleSimEncoder) -> Float:
    """Return the style of a motion at 25 Hz, [T, L, 3] -> [S], as StyleSim takes it of a video."""
    windows = plan_style_windows(len(motion))
    mean = torch.stack([styles(motion[w][None])[0] for w in windows]).mean(0)
    unit: Float = (mean / mean.norm()).numpy()
    return unit
