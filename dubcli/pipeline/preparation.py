"""All that comes between the two passes: speech to motion, and the lip references."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.geometry.window import WindowDrawer
from dubcli.loading import Models, load_models
from dubcli.media.audio import AudioReader
from dubcli.media.lengths import LengthPlan, plan_output
from dubcli.media.limits import refuse_too_large
from dubcli.media.prefetch import prefetch
from dubcli.media.reader import FrameReader
from dubcli.media.replay import replayed_frames
from dubcli.pipeline.adaptation import adapted_models
from dubcli.pipeline.analysis import Speaker, choose_speaker, find_people
from dubcli.pipeline.clock import Clock
from dubcli.records import (
    Analysis,
    AudioInfo,
    Coverage,
    Facts,
    Float,
    Frame,
    Integers,
    LipMotion,
    MouthTrack,
    VideoInfo,
)
from dubcli.stages.coverage import cover
from dubcli.stages.render import FaceRenderer, closed_mouth, mask_shape
from dubcli.stages.select import lip_bank
from dubcli.stages.sync import (
    SpeechLevels,
    amplify,
    encode_speech,
    generate,
    placed,
    speaking_style,
    style_sample,
)

BLOCK_FRAMES = 1000  # whose vertices are in memory at once
AFTERWARDS_S = 1  # of silence after speech that is placed: enough for the mouth to close
HALF_CLOSED = 0.5  # closing by silence from which a frame does not count as speech


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A video and a speech, understood: all that is left to do is to render output frames."""

    info: VideoInfo
    speech: AudioInfo
    models: Models
    options: DubOptions
    plan: LengthPlan  # which source frame each output frame is
    analysis: Analysis
    coverage: Coverage  # where and how much
    motion: LipMotion  # a row for each output frame
    draw: WindowDrawer
    face: FaceRenderer  # with its lip references

    @property
    def amount(self) -> Float:
        """How much of the effect each source frame shows at most, [T]."""
        return self.coverage.amount

    def __len__(self) -> int:
        """Return the number of output frames."""
        return self.plan.frame_count

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield the source frame of each output frame; those before ``start`` have no picture."""
        return replayed_frames(self.info, self.plan, start=start)

    def mouths(self) -> Iterator[MouthTrack]:
        """Yield the generated mouth of each output frame."""
        closed = closed_mouth(self.analysis, self.draw, self.coverage.able > 0)
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
    _refuse_interlaced(info, options)
    refuse_too_large(info, speech, options)
    if info.frame_count is not None:  # refuse before the work, not after it
        plan_output(info.frame_count, speech.duration_s, info.frame_rate, options, info.stamps)
    started = time.perf_counter()
    models = models or load_models(options)
    clock.add("load", time.perf_counter() - started)

    people = find_people(info, models, clock, warnings, cache=options.cache)
    speaker = choose_speaker(info, people, models, options.face, warnings)
    analysis = speaker.analysis
    plan = plan_output(len(analysis), speech.duration_s, info.frame_rate, options, info.stamps)
    warnings += [*plan.warnings(), *sound_warnings(info, plan, options)]
    coverage = _coverage(info, speaker, plan)
    usable = coverage.able > 0
    if options.adapt:
        models = adapted_models(models, info, speaker, coverage, options, clock, warnings)
    draw = WindowDrawer(models.morphable)
    started = time.perf_counter()
    motion = _speak(speech, plan, models, analysis, draw)
    clock.add("speech", time.perf_counter() - started)
    times = plan.pace().times_s(plan.frame_count) - float(plan.speech_start_s)
    motion = placed(_in_style(motion, analysis, usable, models, draw), times.astype(np.float32))

    face = FaceRenderer(
        models.renderer,
        models.morphable,
        analysis,
        amount=coverage.amount,
        face_references=options.face_references,
        person=speaker.person,
        mask=mask_shape(options),
        bfloat16=models.bfloat16,
    )
    bank = _lip_banks(analysis, speaker.person, usable, options.lip_references)
    last = int(bank.max()) + 1
    with FrameReader(info, 0, last) as reader, closing(prefetch(reader)) as frames:
        face.load_lip_bank(clock.watch("references", frames, last), bank)
    return Ready(info, speech, models, options, plan, analysis, coverage, motion, draw, face)


def _refuse_interlaced(info: VideoInfo, options: DubOptions) -> None:
    """Refuse video that has to be made progressive, unless that is asked for."""
    if info.interlaced and not options.deinterlace:
        raise InputError(
            f"{info.path}: the video is interlaced; add --deinterlace to dub it as progressive "
            "video of the same frame rate, or convert it first"
        )


def _lip_banks(analysis: Analysis, person: Integers, usable: Facts, lip: int) -> Integers:
    """Return the lip references of everybody who is dubbed: nobody has another's mouth."""
    return np.concatenate(
        [
            lip_bank(analysis.lip_aperture, usable & (person == number), lip=lip)
            for number in np.unique(person[usable])
        ]
    )


def _coverage(info: VideoInfo, speaker: Speaker, plan: LengthPlan) -> Coverage:
    """Return where the face is dubbed; refuse if it is nowhere."""
    analysis = speaker.analysis
    rates_hz = plan.source.rates_hz(len(analysis))
    coverage = cover(analysis, rates_hz, plan.within, speaker.seen)
    if not coverage.able.any():
        raise InputError(
            f"{info.path}: the face is turned too far away in all of its {len(analysis)} frames; "
            "give a video in which the speaker's face is seen from the front"
        )
    if not coverage.amount.any():
        raise InputError(
            f"{info.path}: no frame of the --range given shows a face that can be dubbed; "
            "give another range"
        )
    return coverage


def sound_warnings(info: VideoInfo, plan: LengthPlan, options: DubOptions) -> Iterator[str]:
    """Say that a video of which only a part is dubbed loses all of its own sound.

    Args:
        info: The video.
        plan: Of the output.
        options: ``audio``.
    """
    if plan.asked and info.has_audio and options.audio == "replace":
        yield (
            "the video's own sound is left out everywhere, also where the face is not dubbed; "
            "--audio keep-bed keeps it"
        )


def _speak(
    speech: AudioInfo,
    plan: LengthPlan,
    models: Models,
    analysis: Analysis,
    draw: WindowDrawer,
) -> LipMotion:
    """The speech that is heard and the speaker's own style to motion at 25 Hz."""
    duration_s = plan.sound_s - plan.speech_start_s
    if plan.asked:  # of a long take only a little is spoken
        duration_s = min(duration_s, plan.speech_s + AFTERWARDS_S)
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
