"""The clips of ``val`` dubbed with their own sound, and measured by ``dubcli evaluate``.

A row a version of the networks: its renderer in the clip's own geometry, then with the mouth that
its geometry network makes of the clip's sound. Beside them the copy of the nearest reference, and
what the measures that need no reference say of the real video.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dubcli.checkpoints import load_as, read_manifest
from dubcli.config import SELF_DUB_S, CacheOptions, DubOptions, EvaluationOptions
from dubcli.errors import InputError
from dubcli.evaluation.evaluate import evaluate
from dubcli.evaluation.records import Evaluation
from dubcli.loading import (
    BASIS,
    GEOMETRY,
    RENDERER,
    STYLE_ENCODER,
    SYNC_MEASURE,
    TRACKER,
    WHISPER,
    Models,
    load_models,
)
from dubcli.media.probe import probe_video
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.networks.renderer import DualAttentionRenderer, channels_last
from dubcli.records import Bytes
from dubcli.stages.samples import SampleMaker
from dubcli.training.crops import CroppedClip
from dubcli.training.data import Clip, read_clips
from dubcli.training.prepare import prepare_crops, waveform_of
from dubcli.training.self_dub_frames import (
    RememberingRenderer,
    SelfDubber,
    keeps_away,
    spoken_mouths,
)
from dubcli.training.self_dub_videos import in_time, write_crops, write_sound
from dubcli.training.speech import RATE_HZ

log = logging.getLogger(__name__)

JUDGED_SET = "wild"
EVERY = 8  # the costly measures look at one frame in so many
COPY, OWN, SAID = "copied", "the clip's own", "of its sound"  # mouths
REAL = "the real videos"
MEASURED_BY = (TRACKER, BASIS, STYLE_ENCODER, SYNC_MEASURE, "st-lpips")


@dataclass(frozen=True, slots=True)
class Figures:
    """What ``evaluate`` says of one video beside the real one; None: not measured."""

    psnr_db: float | None  # of the lower face
    ssim: float | None
    crop_psnr_db: float | None  # of the whole crop
    crop_ssim: float | None
    st_lpips: float | None  # of the rendered window
    csim: float | None
    lmd: float | None  # % of the face's width
    correlation: float | None  # of the inner lips' opening
    deviation_ratio: float | None
    closure_recall: float | None
    sync_confidence: float | None  # LSE-C
    style_similarity: float | None
    flicker: float | None  # grey levels from frame to frame, of the lower face


MEDIANS = frozenset({"correlation", "deviation_ratio", "closure_recall"})  # of the others: means


@dataclass(frozen=True, slots=True)
class SelfDub:
    """One clip's dub, measured."""

    clip: str
    frames: int
    made: Figures
    real: Figures  # of the real video: where it has a value of its own


@dataclass(frozen=True, slots=True)
class SelfDubRow:
    """A line of the table: over clips."""

    version: str
    weights: str  # the beginnings of the renderer's and the geometry network's hashes
    mouth: str
    clips: int
    figures: Figures


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """Networks that are measured."""

    name: str
    models: Models
    renderer: str  # SHA-256 of the weights
    geometry: str


@dataclass(frozen=True, slots=True, eq=False)
class Dub:
    """One line of the table: whose networks, and which mouth."""

    version: Version | None  # None: nothing is rendered, but copied
    mouth: str

    @property
    def weights(self) -> str:
        """The beginnings of the hashes of what makes it."""
        if self.version is None:
            return ""
        hashes = [self.version.renderer, *([self.version.geometry] if self.mouth == SAID else [])]
        return " ".join(each[:8] for each in hashes)


def self_dubs(
    data: Path,
    cache: Path,
    models: Path,
    *,
    beside: Sequence[Path] = (),
    seconds: float = SELF_DUB_S,
    most: int | None = None,
) -> list[SelfDubRow]:
    """Return the table of self-dubs on ``val`` wild.

    Each clip's figures are kept in ``CACHE/self-dubs``, under the hashes of all weights that made
    or measured them: a killed run goes on, and another version costs only its own dubs.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks, crops and figures; what is missing is computed.
        models: Folder of checkpoints: a version, and what everything is measured by.
        beside: Folders of other versions, with the same basis.
        seconds: How much of each clip is dubbed, from its beginning; its references come from the
            whole of its crops.
        most: How many clips are dubbed, of those that are long enough; None: all.

    Returns:
        The copy, each version's rows, and the real videos.

    Raises:
        InputError: If there is no clip to judge by, or a version has another basis.
        CheckpointError: If a model file is unusable.
    """
    loaded = load_models(DubOptions(models=models))
    _refuse_other_bases(models, beside)
    versions = [load_version(root, loaded) for root in (models, *beside)]
    dubs = [Dub(None, COPY), *(Dub(v, mouth) for v in versions for mouth in (OWN, SAID))]
    spoken = [c for c in read_clips(data) if c.split == "val" and c.kind == "speech"]
    clips = [c for c in spoken if c.set == JUDGED_SET]
    found: list[list[SelfDub]] = []
    kept = Kept(cache / "self-dubs", measuring(models), seconds)
    for prepared in prepare_crops(clips, cache, models, loaded.morphable):
        if len(found) == most:
            break
        if keeps_away(prepared.content):
            measured = measure_clip(prepared.clip, prepared.content, dubs, loaded, models, kept)
            found += [measured] if measured else []
        else:
            log.info("%s: too short for references that keep away", prepared.clip.name)
    if not found:
        raise InputError(f"{data}: no usable clips in the split val, set {JUDGED_SET}")
    return table(dubs, found)


def load_version(root: Path, models: Models) -> Version:
    """Return a folder's renderer and geometry network; all else is as everywhere.

    So the folder may be that of an older dubcli, which lacks what came later.

    Args:
        root: The folder; the end of its path is the version's name.
        models: All else.
    """
    entries = read_manifest(root)
    renderer = load_as(root, RENDERER, DualAttentionRenderer)
    lip_sync = load_as(root, GEOMETRY, LipSyncNet)
    channels_last(renderer)
    device = models.device
    own = replace(models, renderer=renderer.to(device), lip_sync=lip_sync.to(device))
    name = "/".join(root.parts[-2:])
    return Version(name, own, entries[RENDERER].sha256, entries[GEOMETRY].sha256)


def _refuse_other_bases(models: Path, beside: Sequence[Path]) -> None:
    """Refuse a version whose coefficients mean something else than those of the cached crops."""
    wanted = read_manifest(models)[BASIS].sha256
    for root in beside:
        if read_manifest(root)[BASIS].sha256 != wanted:
            raise InputError(f"{root}: has another basis than {models}; give it a cache of its own")


def measuring(models: Path) -> str:
    """Return what figures depend on beside the networks that are measured."""
    entries = read_manifest(models)
    hashes = [entries[name].sha256 for name in (*MEASURED_BY, WHISPER) if name in entries]
    return " ".join([*hashes, f"every {EVERY}"])


class Kept:
    """Figures that are measured already: a file each.

    Args:
        folder: Where they are.
        measured_by: What they depend on beside the networks.
        seconds: Of each clip.
    """

    def __init__(self, folder: Path, measured_by: str, seconds: float) -> None:
        """Keep what all files have in common."""
        self._folder, self._common, self.seconds = folder, f"{measured_by} {seconds} s", seconds

    def load(self, clip: Clip, dub: Dub) -> SelfDub | None:
        """Return a clip's figures, None if they are not measured yet."""
        file = self._file(clip, dub)
        if not file.exists():
            return None
        stored = json.loads(file.read_text(encoding="utf-8"))
        return SelfDub(
            stored["clip"], stored["frames"], Figures(**stored["made"]), Figures(**stored["real"])
        )

    def store(self, clip: Clip, dub: Dub, measured: SelfDub) -> None:
        """Keep a clip's figures; no half file is ever read."""
        file = self._file(clip, dub)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(measured), indent=1), encoding="utf-8")
        partial.replace(file)

    def _file(self, clip: Clip, dub: Dub) -> Path:
        """Return where the figures of a dub are kept."""
        made_by = "copy"
        if dub.version is not None:
            v = dub.version
            made_by = f"{v.renderer} {v.geometry if dub.mouth == SAID else ''} {v.models.bfloat16}"
        key = hashlib.sha256(f"{made_by} {dub.mouth} {self._common}".encode()).hexdigest()
        return self._folder / f"{clip.name}-{key[:16]}.json"


def measure_clip(
    clip: Clip,
    crops: CroppedClip,
    dubs: Sequence[Dub],
    models: Models,
    root: Path,
    kept: Kept,
) -> list[SelfDub]:
    """Return a clip's figures, a dub each; none if its face cannot be dubbed.

    Args:
        clip: The clip.
        crops: Its crops.
        dubs: What is wanted.
        models: Finds and fits the faces of what is measured.
        root: Their folder: the measures' networks are there too.
        kept: What is measured already, and how much of the clip is dubbed.
    """
    missing = [dub for dub in dubs if kept.load(clip, dub) is None]
    try:
        for dub, measured in _measured(clip, crops, missing, models, root, kept.seconds):
            log.info("%s: %s %s", clip.name, dub.version.name if dub.version else "", dub.mouth)
            kept.store(clip, dub, measured)
    except InputError as error:
        log.warning("%s left out: %s", clip.name, error)
    found = [kept.load(clip, dub) for dub in dubs]
    complete = [each for each in found if each is not None]
    return complete if len(complete) == len(dubs) else []


def _measured(
    clip: Clip,
    crops: CroppedClip,
    dubs: Sequence[Dub],
    models: Models,
    root: Path,
    seconds: float,
) -> Iterator[tuple[Dub, SelfDub]]:
    """Yield the figures of dubs that are made for this alone."""
    if not dubs:
        return
    info = probe_video(clip.path)
    count = min(len(crops), round(seconds * info.frame_rate))
    maker = SampleMaker(models.morphable)
    dubber = SelfDubber(crops, maker)
    with TemporaryDirectory(prefix="dubcli-") as folder:
        place = Path(folder)
        keep = CacheOptions(folder=place / "analyses")
        options = EvaluationOptions(models=root, every=EVERY, cache=keep)
        sound, true, made = (place / name for name in ("sound.wav", "true.mkv", "made.mkv"))
        samples = round((info.frame_count or len(crops)) / info.frame_rate * RATE_HZ)
        write_sound(in_time(waveform_of(clip.path), clip.sync_lag_s, samples), sound)
        real = (dubber.crop(t) for t in range(count))
        write_crops(real, count, info.frame_rate, sound, true)
        for dub in dubs:
            pictures = _pictures(dubber, dub, count, clip.path, sound, keep)
            write_crops(pictures, count, info.frame_rate, sound, made)
            done = evaluate(made, true, models=models, options=options)
            yield dub, SelfDub(clip.name, done.frames, *figures_of(done))


def _pictures(
    dubber: SelfDubber, dub: Dub, count: int, video: Path, sound: Path, cache: CacheOptions
) -> Iterator[Bytes]:
    """Yield the first frames of a dub."""
    if dub.version is None:
        yield from (dubber.copied(t) for t in range(count))
        return
    models = dub.version.models
    once = replace(models, renderer=RememberingRenderer(models.renderer))
    if dub.mouth == OWN:
        yield from (dubber.rendered(t, once) for t in range(count))
        return
    mouths = spoken_mouths(video, sound, models, cache)
    for t, mouth in zip(range(count), mouths, strict=False):
        yield dubber.rendered(t, once, mouth)


def figures_of(done: Evaluation) -> tuple[Figures, Figures]:
    """Return an evaluation's figures, of the video and of the real one."""
    deviation = done.row("opening deviation")
    rows = {
        "psnr_db": done.row("PSNR", "lower"),
        "ssim": done.row("SSIM", "lower"),
        "crop_psnr_db": done.row("PSNR", "frame"),
        "crop_ssim": done.row("SSIM", "frame"),
        "st_lpips": done.row("ST-LPIPS", "lower"),
        "csim": done.row("CSIM"),
        "lmd": done.row("LMD"),
        "correlation": done.row("opening correlation"),
        "closure_recall": done.row("closures met"),
        "sync_confidence": done.row("sync confidence (LSE-C)"),
        "style_similarity": done.row("StyleSim"),
        "flicker": done.row("flicker", "lower"),
    }
    ratio = None
    if deviation.value is not None and deviation.real:
        ratio = deviation.value / deviation.real
    made = {name: row.value for name, row in rows.items()}
    real = {name: row.real for name, row in rows.items()}
    real["psnr_db"] = real["crop_psnr_db"] = None  # infinite
    return Figures(**made, deviation_ratio=ratio), Figures(**real, deviation_ratio=1.0)


def table(dubs: Sequence[Dub], found: Sequence[Sequence[SelfDub]]) -> list[SelfDubRow]:
    """Return the rows: one for each dub, then the real videos.

    Args:
        dubs: What was measured.
        found: Of each clip, a measured dub each; at least one clip.
    """
    rows = []
    for k, dub in enumerate(dubs):
        name = "the nearest reference" if dub.version is None else dub.version.name
        made = over_clips([of_clip[k].made for of_clip in found])
        rows.append(SelfDubRow(name, dub.weights, dub.mouth, len(found), made))
    real = over_clips([of_clip[0].real for of_clip in found])
    return [*rows, SelfDubRow(REAL, "", "", len(found), real)]


def over_clips(clips: Sequence[Figures]) -> Figures:
    """Return medians of the mouth's motion and means of the rest, over clips that have them."""
    over: dict[str, float | None] = {}
    for field in fields(Figures):
        values = [v for figures in clips if (v := getattr(figures, field.name)) is not None]
        middle = np.median if field.name in MEDIANS else np.mean
        over[field.name] = float(middle(values)) if values else None
    return Figures(**over)
