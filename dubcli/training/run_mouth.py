"""``dubcli train mouth``: a refiner and its critic on top of the models folder's renderer."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dubcli.checkpoints import load_as
from dubcli.loading import load_basis
from dubcli.networks.mouth import MouthRefiner
from dubcli.networks.renderer import DualAttentionRenderer, channels_last
from dubcli.records import Bytes
from dubcli.training import mouth
from dubcli.training.crops import CroppedClip, load_crops, wanted_for_rendering
from dubcli.training.data import read_clips
from dubcli.training.loop import Loop, LoopOptions
from dubcli.training.perceptual import VggFeatures
from dubcli.training.prepare import crop_clips, track_clips
from dubcli.training.renderer_data import SampleMaker
from dubcli.training.run import MIN_FACE_PX, MIN_FRAMES, export

REFINER_CHANNELS = 24
SHEET_STEP = 4  # every so many validation mouths go onto the sheet
ENLARGED = 3  # times, on the sheet


def with_refiner(renderer: DualAttentionRenderer, channels: int) -> DualAttentionRenderer:
    """Return the same renderer with an untrained refiner, which changes nothing."""
    hyper = dataclasses.replace(renderer.hyper, refiner_channels=channels)
    made = DualAttentionRenderer(hyper)
    made.load_state_dict(renderer.state_dict(), strict=False)
    made.refiner = MouthRefiner(hyper.channels, channels)
    return made.eval()


def train_mouth(
    data: Path,
    cache: Path,
    models: Path,
    *,
    vgg: Path,
    minutes: float,
    seed: int = 0,
    resume: bool = False,
) -> Path:
    """Train a refiner for the renderer in the models folder; the best by validation is kept.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks and crops.
        models: Folder of checkpoints: the renderer is read, and recorded again with its refiner.
        vgg: Weights of the perceptual loss (``training.perceptual``).
        minutes: Budget of the training itself.
        seed: Of every random choice.
        resume: Go on from the last saved state of this cache folder.

    Returns:
        The checkpoint.
    """
    model = load_basis(models)
    clips = [
        c for c in read_clips(data) if c.set == "wild" and wanted_for_rendering(c, MIN_FACE_PX)
    ]
    track_clips(clips, cache, models)
    crop_clips(clips, cache, model)
    training: dict[str, list[CroppedClip]] = {}
    judged: list[CroppedClip] = []
    for clip in clips:
        stored = load_crops(cache / "crops", clip.name)
        if stored is None:
            continue
        if clip.split == "val":
            judged.append(stored)
        elif len(stored) >= MIN_FRAMES:
            training.setdefault(clip.speaker, []).append(stored)
    torch.manual_seed(seed)
    renderer = with_refiner(load_as(models, "renderer", DualAttentionRenderer), REFINER_CHANNELS)
    channels_last(renderer)
    renderer.requires_grad_(False)
    refiner = renderer.refiner
    assert refiner is not None  # noqa: S101  # for the type checker: with_refiner made it
    refiner.requires_grad_(True)
    both = mouth.RefinerAndCritic(refiner)
    maker, settings, features = SampleMaker(model), mouth.MouthTraining(), VggFeatures(vgg)
    folder = cache / "runs" / "mouth"
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    pool = mouth.MouthPool(
        lambda generator: mouth.draw_mouth(renderer, training, maker, settings, generator),
        seed,
        settings,
    )
    validation = mouth.validation_mouths(renderer, judged, maker)
    folder.mkdir(parents=True, exist_ok=True)
    plain, _ = mouth.judge(None, validation, features)
    (folder / "before.txt").write_text(f"{plain}\n", encoding="utf-8")

    def loss(generator: np.random.Generator) -> dict[str, Tensor]:
        """Return the losses of a batch."""
        batch = pool.batch(loop.step, generator)
        return mouth.losses(both, batch, settings, features, step=loop.step)

    def judge(_: nn.Module) -> tuple[float, dict[str, float]]:
        """Score the mean weights by the features' distance; also leave a sheet."""
        figures, pictures = mouth.judge(both.refiner, validation, features)
        _write_sheet(folder / f"sheet-{loop.step:06d}.png", pictures[2::3])
        return -figures.perceptual, dataclasses.asdict(figures)

    options = LoopOptions(
        minutes=minutes, seed=seed, rate=4e-4, judge_minutes=8.0, mean_decay=0.998
    )
    loop = Loop(both, folder, options, loss=loss, judge=judge)
    loop.run()
    both.load_state_dict(load_file(folder / "best.safetensors"))
    return export(renderer, "renderer", models, {"refiner_seed": str(seed)})


def _write_sheet(path: Path, pictures: list[tuple[Bytes, Bytes, Bytes]]) -> None:
    """Write truth, before and after side by side, two to a row."""
    rows = [np.concatenate(row, axis=1) for row in pictures]
    if len(rows) % 2:
        rows.append(np.zeros_like(rows[0]))
    pairs = [np.concatenate(rows[k : k + 2], axis=1) for k in range(0, len(rows), 2)]
    sheet = np.concatenate(pairs)[:, :, ::-1]
    cv2.imwrite(
        str(path), cv2.resize(sheet, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    )
