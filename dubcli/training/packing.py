"""``dubcli train pack``: prepares a folder of clips once, for machines that only train.

Letters: T frames, S crop size (256).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dubcli.errors import InputError
from dubcli.geometry.window import COLUMNS, ROWS
from dubcli.loading import GEOMETRY, RENDERER, load_basis
from dubcli.metrics.image import psnr
from dubcli.records import Bytes, Integers
from dubcli.training.crops import CroppedClip, arrays_of_crops
from dubcli.training.data import Prepared
from dubcli.training.pack import MEGABYTE, Arrays, Pack, basis_of, is_pack, write_pack
from dubcli.training.recipe import read_recipe, shipped_recipe
from dubcli.training.speech import arrays_of_speech
from dubcli.training.train_geometry import GeometryRecipe, spoken_clips, with_encoder
from dubcli.training.train_renderer import RendererRecipe, cropped_clips

KINDS = (RENDERER, GEOMETRY)
WEBP_QUALITY = 92  # 4.4 kB a picture; JPEG needs twice that for the same error
OUTSIDE = 128  # grey level of a crop outside the rendered window, which training never reads


@dataclass(frozen=True, slots=True)
class PackReport:
    """What was packed."""

    folder: Path
    clips: int
    shards: int
    megabytes: float
    largest_shard_megabytes: float
    pictures: int
    psnr_db: float | None  # of the pictures beside the cached ones, median; None without pictures


def make_pack(
    data: Path,
    cache: Path,
    models: Path,
    output: Path,
    *,
    kind: str = RENDERER,
    max_mb: float = 60.0,
    faces: int = 40,
    recipe: Path | None = None,
    audio_encoder: str | None = None,
) -> PackReport:
    """Prepare a folder's clips and pack what one training command needs.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks, crops and features; what is missing is computed.
        models: Folder of checkpoints, whose basis the clips are fitted with.
        output: The pack to make; its name ends in .dubpack.
        kind: The training command: "renderer" or "geometry".
        max_mb: No shard is larger, MB.
        faces: Pictures a clip, evenly spread (renderer).
        recipe: TOML file that says which clips; None: the shipped one.
        audio_encoder: Whose features (geometry); None: the recipe's.

    Returns:
        What was packed.

    Raises:
        InputError: If an option cannot be used, the output exists, or no clip is usable.
    """
    if kind not in KINDS:
        raise InputError(f"--for {kind}: give one of: {', '.join(KINDS)}")
    if output.suffix != ".dubpack":
        raise InputError(f"{output}: the name of a pack ends in .dubpack")
    if is_pack(data):
        raise InputError(f"{data}: is a pack already; give a folder with clips.csv")
    model, limit = load_basis(models), int(max_mb * MEGABYTE)
    facts = {"basis": basis_of(models)}
    file = recipe or shipped_recipe(kind)
    if kind == GEOMETRY:
        settings = with_encoder(read_recipe(file, GeometryRecipe()), audio_encoder)
        facts["audio_encoder"] = settings.network.audio_encoder
        spoken = spoken_clips(data, cache, models, model, settings)
        arrays = (Prepared(c.clip, arrays_of_speech(c.content.versions)) for c in spoken)
        return _report(write_pack(output, kind, facts, arrays, max_bytes=limit), [])
    wanted = read_recipe(file, RendererRecipe()).data
    errors: list[float] = []
    crops = cropped_clips(data, cache, models, model, wanted)
    compact = _compacted(crops, faces, errors)
    return _report(write_pack(output, kind, facts, compact, max_bytes=limit), errors)


def _compacted(
    clips: Iterator[Prepared[CroppedClip]], faces: int, errors: list[float]
) -> Iterator[Prepared[Arrays]]:
    """Yield the clips with fewer and smaller pictures, and note each picture's PSNR."""
    for one in clips:
        length = len(one.content)
        chosen = np.unique(np.linspace(0, length - 1, min(faces, length)).round().astype(np.int64))
        small = at_frames(one.content, chosen)
        true = [small.crop(t) for t in range(len(small))]
        packed = replace(small, pictures=tuple(compress(crop) for crop in true))
        for t, crop in enumerate(true):
            errors.append(psnr(packed.crop(t)[ROWS, COLUMNS], crop[ROWS, COLUMNS]))
        yield Prepared(one.clip, arrays_of_crops(packed))


def at_frames(clip: CroppedClip, chosen: Integers) -> CroppedClip:
    """Return the clip of some of its frames, [K] indices that increase."""
    a = clip.analysis
    return CroppedClip(
        tuple(clip.pictures[t] for t in chosen),
        clip.time_s[chosen],
        clip.aperture[chosen],
        replace(
            a,
            alpha=a.alpha[chosen],
            beta=a.beta[chosen],
            rotation=a.rotation[chosen],
            translation_px=a.translation_px[chosen],
            scale_px=a.scale_px[chosen],
            shot=a.shot[chosen],
            valid=a.valid[chosen],
            lip_aperture=a.lip_aperture[chosen],
        ),
        clip.matrix[chosen],
    )


def compress(crop: Bytes) -> Bytes:
    """Return a crop as WebP, grey outside the rendered window, [S, S, 3] -> encoded."""
    seen = np.full_like(crop, OUTSIDE)
    seen[ROWS, COLUMNS] = crop[ROWS, COLUMNS]
    _, encoded = cv2.imencode(".webp", seen[:, :, ::-1], (cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY))
    return np.asarray(encoded, dtype=np.uint8).reshape(-1)


def _report(pack: Pack, errors: list[float]) -> PackReport:
    """Return what was packed."""
    return PackReport(
        pack.folder,
        pack.clips,
        len(pack.shards),
        pack.bytes / MEGABYTE,
        max(shard.bytes for shard in pack.shards) / MEGABYTE,
        len(errors),
        float(np.median(errors)) if errors else None,
    )
