"""Measures the shipped networks on the split ``val``: the tables of the README.

Renderer: each clip dubbed with its own geometry, references at least ``FAR_S`` away from the frame,
beside copying the nearest of those references and the untrained network. Geometry: the generated
inner-lip opening beside the true one, with the clip's own sound and with another clip's.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from dubcli.checkpoints import load_as, read_manifest
from dubcli.loading import load_basis
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.networks.renderer import DualAttentionRenderer
from dubcli.stages.samples import SampleMaker
from dubcli.training import geometry, renderer
from dubcli.training.crops import load_crops
from dubcli.training.data import Clip, read_clips
from dubcli.training.prepare import prepare_judged

FRAMES_A_CLIP = 4
UNTRAINED_SEED = 0


@dataclass(frozen=True, slots=True)
class RendererRow:
    """Means over clips."""

    set: str
    network: str
    clips: int
    psnr_db: float
    ssim: float
    lip_psnr_db: float


@dataclass(frozen=True, slots=True)
class GeometryRow:
    """Medians over clips."""

    set: str
    network: str  # its name: "geometry" is the one that dubs unless --audio-encoder says otherwise
    clips: int
    correlation: float
    deviation_ratio: float
    closure_recall: float
    closure_precision: float
    correlation_with_other_sound: float
    vertex_error_cm: float


@dataclass(frozen=True, slots=True)
class Validation:
    """Everything measured."""

    renderer: tuple[RendererRow, ...]
    geometry: tuple[GeometryRow, ...]


def judge_models(data: Path, cache: Path, models: Path) -> Validation:
    """Return the figures of a models folder on the split ``val``.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks, crops and features; what is missing is computed.
        models: Folder of checkpoints.
    """
    model = load_basis(models)
    clips = [c for c in read_clips(data) if c.split == "val"]
    shipped = load_as(models, "renderer", DualAttentionRenderer)
    spoken = [c for c in clips if c.kind == "speech"]
    names = sorted(n for n, e in read_manifest(models).items() if e.network == LipSyncNet.__name__)
    lip_syncs = {name: load_as(models, name, LipSyncNet) for name in names}
    folders = {
        name: prepare_judged(clips, cache, models, model, network.hyper.audio_encoder)
        for name, network in lip_syncs.items()
    }
    torch.manual_seed(UNTRAINED_SEED)
    untrained = DualAttentionRenderer(shipped.hyper).eval()
    problem = geometry.GeometryProblem(model, geometry.GeometryTraining())
    rendered: list[RendererRow] = []
    generated: list[GeometryRow] = []
    for of in sorted({c.set for c in clips}):
        of_set = [c for c in clips if c.set == of]
        rendered += _renderer_rows(of, of_set, cache, SampleMaker(model), shipped, untrained)
        for name, network in lip_syncs.items():
            heard = [c for c in spoken if c.set == of]
            row = _geometry_row((of, name), heard, folders[name], problem, network)
            generated += [row] if row else []
    return Validation((*rendered, *over_all(rendered)), tuple(generated))


def over_all(rows: list[RendererRow]) -> list[RendererRow]:
    """Return a row per network for all sets together: means over all clips.

    Example:
        >>> rows = [RendererRow("a", "x", 1, 20, 0.5, 10), RendererRow("b", "x", 3, 24, 0.9, 14)]
        >>> [(r.set, r.clips, r.psnr_db) for r in over_all(rows)]
        [('all', 4, 23.0)]
    """
    together = []
    for network in dict.fromkeys(row.network for row in rows):
        same = [row for row in rows if row.network == network]
        clips = sum(row.clips for row in same)

        def mean(name: str, same: list[RendererRow] = same, clips: int = clips) -> float:
            """Return a figure's mean over clips."""
            return float(sum(getattr(row, name) * row.clips for row in same)) / clips

        figures = (mean("psnr_db"), mean("ssim"), mean("lip_psnr_db"))
        together.append(RendererRow("all", network, clips, *figures))
    return together


def _renderer_rows(
    name: str,
    clips: list[Clip],
    cache: Path,
    maker: SampleMaker,
    shipped: DualAttentionRenderer,
    untrained: DualAttentionRenderer,
) -> list[RendererRow]:
    """Return the rows of one set: copying, untrained, shipped."""
    cropped = [s for c in clips if (s := load_crops(cache / "crops", c.name)) is not None]
    if not cropped:
        return []
    rows: list[RendererRow] = []
    for label, network in (("untrained", untrained), ("shipped", shipped)):
        f, _ = renderer.judge(network, cropped, maker, frames_a_clip=FRAMES_A_CLIP)
        if not rows:
            copy = (f.copy_psnr, f.copy_ssim, f.copy_lip_psnr)
            rows.append(RendererRow(name, "copy the nearest reference", len(cropped), *copy))
        rows.append(RendererRow(name, label, len(cropped), f.psnr, f.ssim, f.lip_psnr))
    return rows


def _geometry_row(
    of: tuple[str, str],
    clips: list[Clip],
    folder: Path,
    problem: geometry.GeometryProblem,
    network: LipSyncNet,
) -> GeometryRow | None:
    """Return the row of one set and network, None if no clip could be encoded."""
    files = [(folder / f"{c.name}.npz", c) for c in clips]
    stored = [geometry.load_speech(f, c.speaker, c.set) for f, c in files if f.exists()]
    if not stored:
        return None
    f = geometry.judge(network, problem, stored)
    return GeometryRow(
        *of,
        len(stored),
        f["correlation"],
        f["deviation"],
        f["closure"],
        f["precision"],
        f["swapped"],
        f["error_cm"],
    )
