"""Wires stages to media: what ``dubcli dub`` does, in the order in which it does it.

Pass 1 keeps numbers: frames -> landmarks -> coefficients. Between: speech -> motion. A quick pass
picks the lip references out of the video. Pass 2 makes pixels: frames -> dubbed frames -> file.
"""

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from dubcli.cache import AnalysisCache
from dubcli.config import CONTAINERS, DEFAULTS, CacheOptions, DubOptions
from dubcli.errors import InputError
from dubcli.geometry.window import WindowDrawer
from dubcli.loading import FaceModels, Models, load_face_models, load_models
from dubcli.media.audio import AudioReader
from dubcli.media.files import check_output, refuse_overwriting_inputs
from dubcli.media.lengths import LengthPlan, plan_length
from dubcli.media.loudness import arrange
from dubcli.media.prefetch import prefetch
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.media.replay import replayed_frames
from dubcli.media.writer import FrameWriter
from dubcli.records import (
    Analysis,
    AudioInfo,
    Bytes,
    DubReport,
    Facts,
    Float,
    Frame,
    LipMotion,
    MouthTrack,
    Progress,
    VideoInfo,
)
from dubcli.report.observe import Observer
from dubcli.report.records import QcReport, numbers_of
from dubcli.report.write import check_report, write_report
from dubcli.stages.fit import fit
from dubcli.stages.render import DubbedFrame, FaceRenderer, closed_mouth, effect_amount
from dubcli.stages.select import lip_bank
from dubcli.stages.sync import (
    SpeechLevels,
    amplify,
    at_times,
    encode_speech,
    generate,
    speaking_style,
    style_sample,
)
from dubcli.stages.track import Tracker, track

log = logging.getLogger(__name__)

Item = TypeVar("Item")
BLOCK_FRAMES = 1000  # whose vertices are in memory at once
HALF_CLOSED = 0.5  # closing by silence from which a frame does not count as speech
DEEP = re.compile(r"(9|10|12|14|16)(?:le|be)$")  # pixel formats of more than 8 bits a channel
OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Clock:
    """Measures stages and tells the caller how far they are."""

    on_progress: OnProgress | None
    seconds: dict[str, float] = field(default_factory=dict)

    def watch(self, stage: str, items: Iterable[Item], total: int | None) -> Iterator[Item]:
        """Yield items, counting the time that making them takes."""
        done = 0
        iterator = iter(items)
        self.tell(stage, 0, total)
        while True:
            started = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                self.add(stage, time.perf_counter() - started)
                return
            self.add(stage, time.perf_counter() - started)
            done += 1
            self.tell(stage, done, total)
            yield item

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage's time."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def tell(self, stage: str, done: int, total: int | None) -> None:
        """Report progress."""
        if self.on_progress is not None:
            self.on_progress(Progress(stage, done, total))


def analyze(
    video: Path,
    *,
    models: FaceModels | None = None,
    options: DubOptions = DEFAULTS,
    on_progress: OnProgress | None = None,
) -> Analysis:
    """Return identity, expression and pose of the speaker in every frame of a video.

    Args:
        video: The file.
        models: From ``load_models`` or ``load_face_models``; None: the latter, as the options say.
        options: See ``DubOptions``.
        on_progress: Called with the progress of the pass.

    Raises:
        InputError: If the file is no video or shows no face.
    """
    models = models or load_face_models(options)
    return _analyze(probe_video(video), models, Clock(on_progress), [], cache=options.cache)


def _analyze(
    info: VideoInfo,
    models: FaceModels,
    clock: Clock,
    warnings: list[str],
    *,
    cache: CacheOptions,
) -> Analysis:
    """Pass 1: frames to numbers, or the same numbers as an earlier run found them.

    The seconds have a stage "cache" where they were found, else "track" and "fit".
    """
    if not cache.use:
        return _track_and_fit(info, models, clock, warnings)
    place = AnalysisCache(
        info.path, models.tracker, models.morphable, options=cache, warnings=warnings
    )
    for _ in clock.watch("hash", place.identify(), place.blocks):
        pass
    started = time.perf_counter()
    if (kept := place.read()) is not None:
        clock.add("cache", time.perf_counter() - started)
        warnings += kept.warnings
        return kept.analysis
    raised: list[str] = []
    analysis = _track_and_fit(info, models, clock, raised)
    warnings += raised
    started = time.perf_counter()
    place.write(analysis, raised)
    clock.add("store", time.perf_counter() - started)
    return analysis


def _track_and_fit(
    info: VideoInfo, models: FaceModels, clock: Clock, warnings: list[str]
) -> Analysis:
    """Frames to landmarks to coefficients."""
    started = time.perf_counter()
    with (
        FrameReader(info) as reader,
        Tracker(models.tracker) as tracker,
        closing(_ahead(reader)) as frames,
    ):
        faces = clock.watch("track", track(frames, tracker), info.frame_count)
        analysis = fit(faces, models.morphable)
        if reader.warning:
            warnings.append(reader.warning)
    clock.add("fit", time.perf_counter() - started - clock.seconds["track"])
    if not analysis.valid.any():
        raise InputError(
            f"{info.path}: no face in any of its {len(analysis)} frames; "
            "give a video in which the speaker's face is seen from the front and not too small"
        )
    return analysis


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A video and a speech, understood: all that is left to do is to render output frames."""

    info: VideoInfo
    speech: AudioInfo
    models: Models
    options: DubOptions
    plan: LengthPlan  # which source frame each output frame is
    analysis: Analysis
    amount: Float  # [T] how much of the effect each source frame may show
    motion: LipMotion  # a row for each output frame
    draw: WindowDrawer
    face: FaceRenderer  # with its lip references

    def __len__(self) -> int:
        """Return the number of output frames."""
        return self.plan.frame_count

    def frames(self) -> Iterator[Frame]:
        """Yield the source frame of each output frame."""
        return replayed_frames(self.info, self.plan)

    def mouths(self) -> Iterator[MouthTrack]:
        """Yield the generated mouth of each output frame."""
        closed = closed_mouth(self.analysis, self.draw, self.amount > 0)
        order = self.plan.indices()
        return _mouths(self.motion, order, closed, self.models, self.options)


def prepare(
    info: VideoInfo,
    speech: AudioInfo,
    clock: Clock,
    warnings: list[str],
    *,
    models: Models | None,
    options: DubOptions,
) -> Ready:
    """Return what there is to know before the first output frame can be rendered.

    Args:
        info: The video whose speaker is dubbed.
        speech: The speech.
        clock: Takes the seconds of each stage and the progress.
        warnings: Receives what the user should know.
        models: From ``load_models``; None: loaded as the options say.
        options: See ``DubOptions``.

    Raises:
        InputError: If an input cannot be used, or no frame shows a face.
        CheckpointError: If a model file is unusable.
        MediaError: If ffmpeg fails.
    """
    if info.frame_count is not None:  # refuse before the work, not after it
        plan_length(options.length, info.frame_count, speech.duration_s, info.frame_rate)
    started = time.perf_counter()
    models = models or load_models(options)
    clock.add("load", time.perf_counter() - started)

    analysis = _analyze(info, models, clock, warnings, cache=options.cache)
    plan = plan_length(options.length, len(analysis), speech.duration_s, info.frame_rate)
    warnings += [*plan.warnings(), *_format_warnings(info)]
    amount = _effect_amount(info, analysis)
    draw = WindowDrawer(models.morphable)
    started = time.perf_counter()
    motion = _speak(speech, plan.sound_s, models, analysis, draw)
    clock.add("speech", time.perf_counter() - started)
    times = (np.arange(plan.frame_count) / float(info.frame_rate)).astype(np.float32)
    motion = at_times(_in_style(motion, analysis, amount > 0, models, draw), times)

    face = FaceRenderer(
        models.renderer,
        models.morphable,
        analysis,
        amount=amount,
        face_references=options.face_references,
    )
    bank = lip_bank(analysis.lip_aperture, amount > 0, lip=options.lip_references)
    last = int(bank.max()) + 1
    with FrameReader(info, 0, last) as reader, closing(_ahead(reader)) as frames:
        face.load_lip_bank(clock.watch("references", frames, last), bank)
    return Ready(info, speech, models, options, plan, analysis, amount, motion, draw, face)


def render_chosen(ready: Ready, chosen: Sequence[int]) -> Iterator[tuple[Bytes, DubbedFrame]]:
    """Yield chosen output frames as ``dub`` renders them, each with its source picture.

    Only the frames around them are encoded as references; all up to the last are decoded.

    Args:
        ready: From ``prepare``.
        chosen: Output frames, ascending, none twice.
    """
    wanted, order = set(chosen), np.fromiter(ready.plan.indices(), np.int64)
    sources: deque[Bytes] = deque()

    def noted(frames: Iterable[Frame]) -> Iterator[Frame]:
        for position, frame in enumerate(frames):
            if position in wanted:
                sources.append(frame.rgb)
            yield frame

    with (
        closing(_ahead(ready.frames())) as frames,
        closing(ready.face.render(noted(frames), ready.mouths(), wanted, order)) as rendered,
    ):
        for _, done in zip(chosen, rendered, strict=False):  # stops after the last one
            yield sources.popleft(), done


def dub(
    video: Path,
    audio: Path,
    output: Path,
    *,
    models: Models | None = None,
    options: DubOptions = DEFAULTS,
    report: Path | None = None,
    on_progress: OnProgress | None = None,
) -> DubReport:
    """Make the mouth in a video say other words, and write the result.

    Args:
        video: The file whose speaker is dubbed.
        audio: The speech: the output's sound, and what its mouth says.
        output: Where the result goes: .mp4, .m4v, .mov or .mkv.
        models: From ``load_models``; None: loaded as the options say.
        options: See ``DubOptions``.
        report: Where a QC report goes once the output is complete: .html or .json; None: nowhere.
        on_progress: Called often with the running stage's progress.

    Returns:
        What was done.

    Raises:
        InputError: If an input, the output or the report cannot be used, or no frame shows a face.
        CheckpointError: If a model file is unusable.
        MediaError: If ffmpeg fails.
    """
    clock, warnings = Clock(on_progress), list[str]()
    info, speech = probe_video(video), probe_audio(audio)
    refuse_output(output, [video, audio], CONTAINERS, options)
    if report is not None:
        check_report(report, inputs=[video, audio], output=output, overwrite=options.overwrite)
    ready = prepare(info, speech, clock, warnings, models=models, options=options)
    length = len(ready)
    started = time.perf_counter()
    arrangement, said = arrange(speech, ready.plan.sound_s, options)
    clock.add("sound", time.perf_counter() - started)
    warnings += said
    observer = Observer(ready.analysis, ready.amount, ready.draw)
    with (
        FrameWriter(
            output,
            info,
            speech=speech,
            arrangement=arrangement,
            frame_count=length,
            options=options,
        ) as writer,
        closing(_ahead(ready.frames())) as frames,
    ):
        mouths = observer.watch(ready.mouths())
        for done in clock.watch("render", ready.face.render(frames, mouths), length):
            started = time.perf_counter()
            writer.write(done.rgb)
            clock.add("encode", time.perf_counter() - started)
            observer.note(dubbed=done.dubbed)
        started = time.perf_counter()
    clock.add("encode", time.perf_counter() - started)  # ffmpeg finishes the file
    warnings += writer.warnings
    curves = observer.curves()
    dubbed = int(curves.dubbed.sum())
    warnings += _coverage_warnings(dubbed, length)
    if report is not None:
        observed = QcReport(
            video=video,
            speech=audio,
            output=output,
            info=info,
            plan=ready.plan,
            curves=curves,
            numbers=numbers_of(curves, info.frame_rate),
            options=options,
            device=str(ready.models.device),
            models=ready.models.checkpoints,
            seconds=dict(clock.seconds),
            warnings=tuple(warnings),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        started = time.perf_counter()
        write_report(observed, report, watch=partial(clock.watch, "report"))
        clock.seconds["report"] = time.perf_counter() - started
    return DubReport(output, length, dubbed, dict(clock.seconds), tuple(warnings), report=report)


def refuse_output(
    output: Path, inputs: Sequence[Path], extensions: Collection[str], options: DubOptions
) -> None:
    """Refuse an output that could not or must not be written, before any work is done.

    Args:
        output: The file to be written.
        inputs: The files to be read.
        extensions: What the output may end in.
        options: ``overwrite`` is read.

    Raises:
        InputError: If it is refused.
    """
    check_output(output, extensions)
    refuse_overwriting_inputs(output, inputs)
    if output.exists() and not options.overwrite:
        raise InputError(f"{output}: exists already; give another name or --overwrite")


def _ahead(frames: Iterable[Frame]) -> Generator[Frame, None, None]:
    """Yield frames that a thread reads ahead; closing it ends the thread, then and there."""
    yield from prefetch(frames)


def _effect_amount(info: VideoInfo, analysis: Analysis) -> Float:
    """Return how much of the effect each frame may show; refuse if it is nowhere any."""
    amount = effect_amount(analysis, float(info.frame_rate))
    if not amount.any():
        raise InputError(
            f"{info.path}: the face is turned too far away in all of its {len(analysis)} frames; "
            "give a video in which the speaker's face is seen from the front"
        )
    return amount


def _format_warnings(info: VideoInfo) -> Iterator[str]:
    """Say what of the video's format the output does not keep."""
    if info.variable_rate:
        yield (
            f"the video's frame rate varies; the output has a constant "
            f"{float(info.frame_rate):.3f} frames a second"
        )
    if depth := DEEP.search(info.pixel_format):
        yield (
            f"the video has {depth[1]} bits a channel ({info.pixel_format}); the output has 8: "
            "expect banding, most of all in HDR"
        )


def _coverage_warnings(dubbed: int, length: int) -> Iterator[str]:
    """Say how many frames were left as they are."""
    if dubbed < length:
        yield (
            f"{length - dubbed} of {length} frames show no face that can be dubbed "
            "and are unchanged"
        )


def _speak(
    speech: AudioInfo,
    duration_s: Fraction,
    models: Models,
    analysis: Analysis,
    draw: WindowDrawer,
) -> LipMotion:
    """So many seconds of speech and the speaker's own style to motion at 25 Hz."""
    levels = SpeechLevels()
    with AudioReader(speech, duration_s=duration_s) as reader:
        levels.listen(reader)
    own = draw.own_displacement(style_sample(analysis.beta[analysis.valid]))
    style = speaking_style(models.lip_sync, own)
    with AudioReader(speech, duration_s=duration_s) as reader:
        features = encode_speech(models.audio_encoder, reader, levels.gain)
        return generate(models.lip_sync, features, style, levels.closed())


def _in_style(
    motion: LipMotion, analysis: Analysis, usable: Facts, models: Models, draw: WindowDrawer
) -> LipMotion:
    """Let the mouth move as far as this speaker's does.

    Works on the coefficients, in which every step of the vertex decoder is linear.
    """
    gaps = [np.zeros(0, dtype=np.float32)]
    for start in range(0, len(motion.coefficients), BLOCK_FRAMES):
        block = torch.from_numpy(motion.coefficients[start : start + BLOCK_FRAMES])
        with torch.no_grad():
            shapes = models.lip_sync.decode(block.to(models.device))
        gaps.append(draw.gap(shapes.cpu().numpy()))
    beta = analysis.beta[usable]
    blocks = range(0, len(beta), BLOCK_FRAMES)
    own = np.concatenate(
        [draw.gap(draw.own_displacement(beta[k : k + BLOCK_FRAMES])) for k in blocks]
    )
    speaking = motion.closed < HALF_CLOSED
    factors = amplify(np.concatenate(gaps), speaking, own, float(own.min()))
    mean = motion.coefficients[speaking].mean(axis=0) if speaking.any() else 0.0
    coefficients = mean + factors[:, None] * (motion.coefficients - mean)
    return LipMotion(coefficients.astype(np.float32), motion.closed)


def _mouths(
    motion: LipMotion,
    order: Iterable[int],
    closed: Float,
    models: Models,
    options: DubOptions,
) -> Iterator[MouthTrack]:
    """Yield the lower face of each output frame: amount and silence applied."""
    for index, row, silence in zip(order, motion.coefficients, motion.closed, strict=True):
        with torch.no_grad():
            tensor = torch.from_numpy(row).to(models.device)
            shape: Float = models.lip_sync.decode(tensor).cpu().numpy()
        shape = closed + options.mouth_scale * (shape - closed)
        if options.close_in_silence:
            shape = shape + silence * (closed - shape)
        yield MouthTrack(shape.astype(np.float32), index)
