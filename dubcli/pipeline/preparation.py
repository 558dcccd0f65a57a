"""All that comes between the two passes: speech to motion, and the lip references."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
import torch
from torch import Tensor

from dubcli.checkpoints import ManifestEntry
from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.geometry.window import WindowDrawer
from dubcli.loading import Models, load_models
from dubcli.media.audio import AudioReader
from dubcli.media.lengths import LengthPlan
from dubcli.media.limits import refuse_too_large
from dubcli.media.prefetch import prefetch
from dubcli.media.reader import FrameReader
from dubcli.media.replay import replayed_frames
from dubcli.pace import Pace
from dubcli.pipeline.adaptation import adapted_models
from dubcli.pipeline.analysis import Speaker, choose_speaker, find_people, identify
from dubcli.pipeline.clock import Clock
from dubcli.pipeline.lines import (
    Speech,
    Spoken,
    line_warnings,
    plan_lines,
    refuse_overlaps,
    whole_plan,
)
from dubcli.records import (
    COVERED,
    TOO_SMALL,
    TURNED_AWAY,
    Analysis,
    Coverage,
    Facts,
    Float,
    Frame,
    Integers,
    LipMotion,
    MouthTrack,
    VideoInfo,
)
from dubcli.stages.coverage import WIDTH_NONE_PX, cover
from dubcli.stages.render import FaceRenderer, closed_mouth, load_lip_banks, mask_shape
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
from dubcli.timecode import format_time

BLOCK_FRAMES = 1000  # whose vertices are in memory at once
AFTERWARDS_S = 1  # of silence after speech that is placed: enough for the mouth to close
FAULTS = {  # why a face may be dubbed nowhere, and how it should be
    TURNED_AWAY: ("turned too far away", "seen from the front"),
    TOO_SMALL: (f"narrower than {WIDTH_NONE_PX:.0f} pixels", "larger"),
    COVERED: ("hidden by a hand", "seen freely, or add --covered dub"),
}
HALF_CLOSED = 0.5  # closing by silence from which a frame does not count as speech


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A face of a dub, and all that it says: each is rendered from the source alone."""

    face: str  # its number among the people of the video; "largest": several people's
    lines: tuple[Spoken, ...]  # at least one
    speaker: Speaker
    coverage: Coverage  # where and how much
    motion: LipMotion  # a row for each output frame
    renderer: FaceRenderer  # with its lip references
    checkpoints: tuple[ManifestEntry, ...]  # what it is rendered by

    @property
    def analysis(self) -> Analysis:
        """The face in each source frame."""
        return self.speaker.analysis


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A video and its speech, understood: all that is left to do is to render output frames."""

    info: VideoInfo
    lines: tuple[Spoken, ...]  # at least one, in the order given
    models: Models
    options: DubOptions
    plan: LengthPlan  # which source frame each output frame is
    parts: tuple[Part, ...]  # at least one; where patches overlap, a later one lies on top
    draw: WindowDrawer

    def __len__(self) -> int:
        """Return the number of output frames."""
        return self.plan.frame_count

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield the source frame of each output frame; those before ``start`` have no picture."""
        return replayed_frames(self.info, self.plan, start=start)

    def mouths(self, part: Part) -> Iterator[MouthTrack]:
        """Yield the generated mouth of a part in each output frame."""
        closed = closed_mouth(part.analysis, self.draw, part.coverage.able > 0)
        order = self.plan.indices()
        return _mouths(part.motion, order, closed, self.models, self.options)

    def foremost(self) -> Integers:
        """Return the part that shows most of the effect in each source frame, [T]."""
        whose: Integers = np.argmax([part.coverage.amount for part in self.parts], axis=0)
        return whose


def prepare(
    info: VideoInfo,
    speeches: Sequence[Speech],
    clock: Clock,
    warnings: list[str],
    *,
    models: Models | None,
    options: DubOptions,
) -> Ready:
    """Return what there is to know before the first output frame can be rendered.

    Args:
        info: The video whose speakers are dubbed.
        speeches: What they say, from ``read_lines``.
        clock: Takes the seconds of each stage and the progress.
        warnings: Receives what the user should know.
        models: From ``load_models``; None: loaded as the options say.
        options: See ``DubOptions``.

    Raises:
        InputError: If an input cannot be used, lines do not go together, or no frame shows a face.
        CheckpointError: If a model file is unusable.
        MediaError: If ffmpeg fails.
    """
    _refuse_interlaced(info, options)
    for each in speeches:
        refuse_too_large(info, each.info, options)
    source = Pace(info.frame_rate, info.stamps)
    if info.frame_count is not None:  # refuse before the work, not after it
        asked = plan_lines(speeches, info.frame_count, source, options)
        refuse_overlaps(asked, [each.line.face for each in speeches])
    started = time.perf_counter()
    models = models or load_models(options)
    clock.add("load", time.perf_counter() - started)

    people = find_people(info, models, clock, warnings, cache=options.cache)
    faces = [identify(info, people, models, each.line.face, each.prefix) for each in speeches]
    speakers = {
        face: choose_speaker(info, people, models, face, warnings) for face in dict.fromkeys(faces)
    }
    lines = plan_lines(speeches, len(people.faces), source, options)
    refuse_overlaps(lines, faces)
    plan = whole_plan(lines)
    warnings += [*line_warnings(lines), *sound_warnings(info, plan, options)]
    draw = WindowDrawer(models.morphable)
    parts = tuple(
        _part(
            info,
            face,
            speaker,
            [line for line, who in zip(lines, faces, strict=True) if who == face],
            models=models,
            options=options,
            draw=draw,
            clock=clock,
            warnings=warnings,
        )
        for face, speaker in speakers.items()
    )
    _refuse_unseen(info, parts)
    warnings += _unseen(parts)
    _refuse_two_in_one(info, parts)
    banks = [
        _lip_banks(part.speaker, part.coverage.able > 0, options.lip_references) for part in parts
    ]
    last = max(int(bank.max()) for bank in banks) + 1
    with FrameReader(info, 0, last) as reader, closing(prefetch(reader)) as frames:
        watched = clock.watch("references", frames, last)
        load_lip_banks([part.renderer for part in parts], watched, banks)
    used = dict.fromkeys(entry for part in parts for entry in part.checkpoints)
    return Ready(info, lines, replace(models, checkpoints=tuple(used)), options, plan, parts, draw)


def _part(
    info: VideoInfo,
    face: str,
    speaker: Speaker,
    lines: Sequence[Spoken],
    *,
    models: Models,
    options: DubOptions,
    draw: WindowDrawer,
    clock: Clock,
    warnings: list[str],
) -> Part:
    """Return a face with the motion of all of its lines; its renderer has no references yet."""
    analysis, plan = speaker.analysis, whole_plan(lines)
    coverage = _coverage(info, speaker, plan, options)
    started = time.perf_counter()
    motion = _motion(lines, plan, analysis, coverage.able > 0, models, draw)
    clock.add("speech", time.perf_counter() - started)
    if options.adapt:
        models = adapted_models(models, info, speaker, coverage, options, clock, warnings)
    renderer = FaceRenderer(
        models.renderer,
        models.morphable,
        analysis,
        amount=coverage.amount,
        face_references=options.face_references,
        person=speaker.person,
        mask=mask_shape(options),
        bfloat16=models.bfloat16,
    )
    return Part(face, tuple(lines), speaker, coverage, motion, renderer, models.checkpoints)


def _refuse_interlaced(info: VideoInfo, options: DubOptions) -> None:
    """Refuse video that has to be made progressive, unless that is asked for."""
    if info.interlaced and not options.deinterlace:
        raise InputError(
            f"{info.path}: the video is interlaced; add --deinterlace to dub it as progressive "
            "video of the same frame rate, or convert it first"
        )


def _lip_banks(speaker: Speaker, usable: Facts, lip: int) -> Integers:
    """Return the lip references of everybody who is dubbed: nobody has another's mouth."""
    analysis, person = speaker.analysis, speaker.person
    return np.concatenate(
        [
            lip_bank(analysis.lip_aperture, usable & (person == number), lip=lip)
            for number in np.unique(person[usable])
        ]
    )


def _coverage(info: VideoInfo, speaker: Speaker, plan: LengthPlan, options: DubOptions) -> Coverage:
    """Return where a face is dubbed; refuse if it could be nowhere."""
    analysis = speaker.analysis
    rates_hz = plan.source.rates_hz(len(analysis))
    leave = options.covered == "leave"
    coverage = cover(analysis, rates_hz, plan.within, speaker.seen, leave_covered=leave)
    if not coverage.able.any():
        counts = {number: int((coverage.reason == number).sum()) for number in FAULTS}
        fault, wanted = FAULTS[max(FAULTS, key=counts.__getitem__)]
        raise InputError(
            f"{info.path}: the face is {fault} in all of its {len(analysis)} frames; "
            f"give a video in which the speaker's face is {wanted}"
        )
    return coverage


def _refuse_unseen(info: VideoInfo, parts: Sequence[Part]) -> None:
    """Refuse a dub in which nothing would be seen of any line."""
    if not any(part.coverage.amount.any() for part in parts):
        raise InputError(
            f"{info.path}: no frame of the --range given shows a face that can be dubbed; "
            "give another range"
        )


def _unseen(parts: Sequence[Part]) -> Iterator[str]:
    """Say which lines are heard alone."""
    for part in parts:
        for line in part.lines:
            within = line.plan.within
            if within is not None and not part.coverage.amount[within].any():
                yield (
                    f"{line.speech.line.speech}: is heard alone; its face (--face "
                    f"{line.speech.line.face}) is not to be seen meanwhile, or is turned away"
                )


def _refuse_two_in_one(info: VideoInfo, parts: Sequence[Part]) -> None:
    """Refuse two parts that have one face at the same moment: "largest" may be anybody."""
    for one, other in combinations(parts, 2):
        both = (one.coverage.amount > 0) & (other.coverage.amount > 0)
        same = np.flatnonzero(both & (one.speaker.person == other.speaker.person))
        if len(same):
            pace = one.lines[0].plan.source
            raise InputError(
                f"{other.lines[0].speech.line.speech}: its face is also the largest of the shot "
                f"at {format_time(pace.begins_s(int(same[0])))}, which says "
                f"{one.lines[0].speech.line.speech}; give each line a number of "
                f"`dubcli faces {info.path}`"
            )


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


def _motion(
    lines: Sequence[Spoken],
    plan: LengthPlan,
    analysis: Analysis,
    usable: Facts,
    models: Models,
    draw: WindowDrawer,
) -> LipMotion:
    """Return what a face says in each output frame, in its own style."""
    own = draw.own_displacement(style_sample(analysis.beta[analysis.valid]))
    style = speaking_style(models.lip_sync, own)
    said = [_speak(line, style, models) for line in lines]
    ends = np.cumsum([len(each.coefficients) for each in said])[:-1]
    together = LipMotion(
        np.concatenate([each.coefficients for each in said]),
        np.concatenate([each.closed for each in said]),
    )
    alike = _in_style(together, analysis, usable, models, draw)
    pieces = zip(np.split(alike.coefficients, ends), np.split(alike.closed, ends), strict=True)
    return _in_turn([LipMotion(*each) for each in pieces], lines, plan)


def _speak(line: Spoken, style: Tensor, models: Models) -> LipMotion:
    """The speech that is heard and the speaker's own style to motion at 25 Hz."""
    plan, speech = line.plan, line.speech.info
    duration_s = plan.sound_s - plan.speech_start_s
    if plan.asked:  # of a long take only a little is spoken
        duration_s = min(duration_s, plan.speech_s + AFTERWARDS_S)
    levels = SpeechLevels()
    with AudioReader(speech, duration_s=duration_s) as reader:
        levels.listen(reader)
    with AudioReader(speech, duration_s=duration_s) as reader:
        features = encode_speech(models.audio_encoder, reader, levels.gain)
        return generate(models.lip_sync, features, style, levels.closed())


def _in_turn(motions: Sequence[LipMotion], lines: Sequence[Spoken], plan: LengthPlan) -> LipMotion:
    """Return one motion of all output frames: each has the line that it is nearest to."""
    times = plan.pace().times_s(plan.frame_count)
    order = sorted(range(len(lines)), key=lambda k: lines[k].start_s)
    turns = [(lines[one].stop_s + lines[other].start_s) / 2 for one, other in pairwise(order)]
    whose = np.searchsorted([float(turn) for turn in turns], times, side="right")
    coefficients = np.empty((len(times), motions[0].coefficients.shape[1]), np.float32)
    closed = np.empty(len(times), np.float32)
    for turn, k in enumerate(order):
        rows = whose == turn
        time_s = (times[rows] - float(lines[k].start_s)).astype(np.float32)
        here = placed(motions[k], time_s)
        coefficients[rows], closed[rows] = here.coefficients, here.closed
    return LipMotion(coefficients, closed)


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
