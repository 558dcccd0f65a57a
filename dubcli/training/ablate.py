"""What each part of the method is worth: measured on the split ``val`` with one part switched off.

The networks are the shipped ones; nothing is trained again without the part, as the paper's Table 4
does. So a figure says what the part does in these networks, not what others could do without it.
References keep ``FAR_S`` away from the frame, as in ``training.judge``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dubcli.checkpoints import load_as
from dubcli.errors import InputError
from dubcli.loading import load_basis, load_style_encoder
from dubcli.metrics.image import detail_ratio, psnr, ssim
from dubcli.metrics.lip_sync import closure_recall, correlation, deviation_ratio
from dubcli.metrics.style import style_similarity
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.networks.renderer import DualAttentionRenderer, References, join
from dubcli.networks.style_encoder import StyleSimEncoder
from dubcli.records import Float, Integers
from dubcli.stages.samples import Sample, SampleMaker, render_sample
from dubcli.stages.style import plan_style_windows
from dubcli.training import renderer
from dubcli.training.crops import CroppedClip, load_crops
from dubcli.training.data import read_clips
from dubcli.training.geometry import GeometryProblem, GeometryTraining, StoredSpeech, load_speech
from dubcli.training.prepare import prepare_judged
from dubcli.training.renderer_data import FAR_S, distant_references
from dubcli.training.speech import as_tensor

JUDGED_SET = "wild"
FRAMES_A_CLIP = 4
LIPS, FACES = 25, 5
LEAST_FRAMES = 25  # of a clip whose style is compared
Choose = Callable[[CroppedClip, int], tuple[Integers, Integers]]
Render = Callable[[DualAttentionRenderer, Sample], Tensor]


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
    clips = [c for c in read_clips(data) if c.split == "val" and c.set == JUDGED_SET]
    lip_sync = load_as(models, "geometry", LipSyncNet)
    folder = prepare_judged(clips, cache, models, model, lip_sync.hyper.audio_encoder)
    cropped = [s for c in clips if (s := load_crops(cache / "crops", c.name)) is not None]
    files = [(folder / f"{c.name}.npz", c) for c in clips if c.kind == "speech"]
    stored = [load_speech(f, c.speaker, c.set) for f, c in files if f.exists()]
    stored = [clip for clip in stored if len(clip.versions[0].beta) >= LEAST_FRAMES]
    if not cropped or len(stored) < 2:
        raise InputError(f"{data}: too few usable clips in val, set {JUDGED_SET}")
    network = load_as(models, "renderer", DualAttentionRenderer)
    problem = GeometryProblem(model, GeometryTraining())
    styles = load_style_encoder(models).network
    return Ablation(
        tuple(rendered_rows(network, cropped, SampleMaker(model))),
        tuple(generated_rows(lip_sync, stored, problem, styles)),
    )


def rendered_rows(
    network: DualAttentionRenderer, clips: Sequence[CroppedClip], maker: SampleMaker
) -> Iterator[RenderedRow]:
    """Yield a row for the whole renderer and for each part that it goes without."""
    for without, choose, render in (
        ("nothing", _chosen, _whole),
        ("Lip-Attention", _chosen, without_lips),
        ("Face-Attention", _chosen, without_face),
        ("preference of like mouths", _chosen, without_preference),
        ("frame selection", at_random, _whole),
    ):
        rows = [_measured(network, clip, maker, choose, render) for clip in clips]
        yield RenderedRow(without, len(rows), *np.mean(rows, axis=0).tolist())


@torch.no_grad()
def _measured(
    network: DualAttentionRenderer,
    clip: CroppedClip,
    maker: SampleMaker,
    choose: Choose,
    render: Render,
) -> Float:
    """Return a clip's figures, in the order of ``RenderedRow``."""
    rows = []
    for index in np.linspace(0, len(clip) - 1, FRAMES_A_CLIP + 2).astype(int)[1:-1]:
        face, lip = choose(clip, int(index))
        sample = maker.make(clip, int(index), int(index), face, lip)
        made, true = renderer.to_bytes(render(network, sample)), renderer.to_bytes(sample.picture)
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


def _chosen(clip: CroppedClip, index: int) -> tuple[Integers, Integers]:
    """Return the references as Algorithm 1 chooses them, kept away."""
    return distant_references(clip, index, face=FACES, lip=LIPS)


def at_random(clip: CroppedClip, index: int) -> tuple[Integers, Integers]:
    """Return references of any mouth and any turn of the head, kept away as those chosen are."""
    away = np.abs(clip.time_s - clip.time_s[index])
    far = np.flatnonzero(away >= min(FAR_S, float(np.median(away))))
    generator = np.random.default_rng(index)
    face = generator.choice(far, min(FACES, len(far)), replace=False)
    return face, generator.choice(far, min(LIPS, len(far)), replace=False)


def _whole(network: DualAttentionRenderer, sample: Sample) -> Tensor:
    return render_sample(network, sample).image


def without_lips(network: DualAttentionRenderer, sample: Sample) -> Tensor:
    """Render with M^l = 0 in Eq. 4: Face-Attention alone, over the face references."""
    return _whole(network, replace(sample, lip_mask=torch.zeros_like(sample.lip_mask)))


def without_face(network: DualAttentionRenderer, sample: Sample) -> Tensor:
    """Render with M^l = 1 in Eq. 4: Lip-Attention alone, over the lip references' whole faces."""
    shown = (sample.lip.pncc.amax(1) > 0).to(sample.lip.masks)
    everywhere = replace(sample.lip, masks=shown)
    return _whole(network, replace(sample, lip=everywhere, lip_mask=sample.face_mask))


def without_preference(network: DualAttentionRenderer, sample: Sample) -> Tensor:
    """Render with lip references that count alike, whatever their mouth."""
    encoded: dict[str, References] = {
        branch: join(network.encode(branch, batch.frames, batch.pncc, batch.masks))
        for branch, batch in (("face", sample.face), ("lip", sample.lip))
    }
    rendered = network(
        sample.pncc,
        sample.picture,
        sample.face_mask,
        sample.lip_mask,
        encoded["face"],
        encoded["lip"],
    )
    image: Tensor = rendered.image
    return image


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
        for without, style in (
            ("nothing", own),
            ("style (the others' mean instead)", [(total - s) / (len(own) - 1) for s in own]),
            ("style (the next speaker's instead)", [*own[1:], own[0]]),
        ):
            rows = [
                _compared(network, clip, problem, styles, chosen)
                for clip, chosen in zip(clips, style, strict=True)
            ]
            yield GeneratedRow(without, len(rows), *np.nanmedian(rows, axis=0).tolist())


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
