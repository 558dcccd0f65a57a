"""Pass 2: frames to dubbed frames to a file."""

import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from dubcli import __version__
from dubcli.config import CONTAINERS, DEFAULTS, SEGMENT_FRAMES, DubOptions
from dubcli.errors import InputError
from dubcli.line import Line
from dubcli.loading import Models
from dubcli.media.binary import ffmpeg_facts
from dubcli.media.codecs import encoding_for
from dubcli.media.files import check_output, refuse_overwriting_inputs
from dubcli.media.line_mix import Placed
from dubcli.media.mixing import output_sound
from dubcli.media.outputs import check_sequence_output
from dubcli.media.planes import canvas_for
from dubcli.media.prefetch import prefetch
from dubcli.media.probe import probe_source
from dubcli.media.provenance import Credentials, Mark
from dubcli.media.sequence import is_pictures
from dubcli.media.signing import credentials_of
from dubcli.media.tracks import tracks_of
from dubcli.media.writer import FrameWriter
from dubcli.pipeline.clock import Clock, OnProgress
from dubcli.pipeline.fingerprint import fingerprint
from dubcli.pipeline.lines import Spoken, read_lines, whole_plan
from dubcli.pipeline.painting import Painted, render_together
from dubcli.pipeline.preparation import Ready, prepare
from dubcli.records import Bytes, Carried, DubReport, Frame, MouthTrack
from dubcli.report.observe import Observer
from dubcli.report.records import Curves, QcReport, SaidLine, foremost, numbers_of
from dubcli.report.write import check_report, write_report

MARGIN_S = Fraction(1, 1000)  # by which tracks of the source may outlast the output: rounding


def dub(
    video: Path,
    audio: Path,
    output: Path,
    *,
    also: Sequence[Line] = (),
    models: Models | None = None,
    options: DubOptions = DEFAULTS,
    report: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress | None = None,
) -> DubReport:
    """Make the mouth in a video say other words, and write the result.

    Args:
        video: The file whose speaker is dubbed; or a picture sequence of PNG or TIFF: its pattern
            (``shot.%04d.png``), its first picture, or its folder.
        audio: The speech: the output's sound, and what its mouth says.
        output: Where the result goes: .mp4, .m4v, .mov or .mkv; or a pattern in a folder of its own
            (``film/shot.%04d.png``, .tif).
        also: Further lines, of the same face at other times or of other faces. The options
            ``face``, ``speech_at`` and ``ranges`` say who says ``audio``, and when; with further
            lines the output is as long as the video.
        models: From ``load_models``; None: loaded as the options say.
        options: See ``DubOptions``.
        report: Where a QC report goes once the output is complete: .html or .json; None: nowhere.
        resume: Keep finished parts of the output beside it if this is interrupted, and go on after
            those that an earlier run with the same inputs, settings and weights has left. The
            output is the same, to the bit.
        on_progress: Called often with the running stage's progress.

    Returns:
        What was done.

    Raises:
        InputError: If an input, the output or the report cannot be used, or no frame shows a face.
        CheckpointError: If a model file is unusable.
        MediaError: If ffmpeg fails.
    """
    clock, warnings = Clock(on_progress), list[str]()
    info, speeches = probe_source(video, options.frame_rate), read_lines(audio, also, options)
    inputs = [*info.files, *(each.info.path for each in speeches)]
    if is_pictures(output):
        check_sequence_output(output, inputs, overwrite=options.overwrite)
    else:
        refuse_output(output, inputs, CONTAINERS, options)
    encoding_for(info, output.suffix.lower(), options)  # refuse before the work, not after it
    credentials = credentials_of(options, output)
    if report is not None:
        check_report(report, inputs=inputs, output=output, overwrite=options.overwrite)
    ready = prepare(info, speeches, clock, warnings, models=models, options=options)
    length = len(ready)
    started = time.perf_counter()
    tally = _Tally(ready, observed=report is not None)
    painted, canvas = _painted(ready), canvas_for(info)
    carried, said = _carried(ready, output)
    warnings += said
    with (
        output_sound(info, _placed(ready.lines), ready.plan, output, options) as sound,
        FrameWriter(
            output,
            info,
            speech=sound.info,
            arrangement=sound.arrangement,
            frame_count=length,
            options=options,
            identity=_identity(ready) if resume else "",
            carried=carried,
            planes=True,
            mark=_mark(ready, credentials),
            stamps=ready.plan.stamps(),
        ) as writer,
    ):
        clock.add("sound", time.perf_counter() - started)
        warnings += sound.warnings
        first = writer.written
        if first:
            warnings.append(f"went on after the {first} frames that an earlier run had finished")
        for faces in islice(painted, first):
            tally.note(faces)
        with closing(_rendered_from(first, ready, tally.mouths())) as rendered:
            for done in clock.watch("render", rendered, length - first):
                started = time.perf_counter()
                writer.write(done.layer(canvas) if options.patch_only else done.on(canvas))
                clock.add("encode", time.perf_counter() - started)
                tally.note([face.dubbed for face in done.faces])
        started = time.perf_counter()
    clock.add("encode", time.perf_counter() - started)  # ffmpeg finishes the file
    warnings += [*writer.warnings, *tally.warnings()]
    if report is not None:
        started = time.perf_counter()
        observed = _observed(ready, tally.curves(), output, clock, warnings)
        write_report(observed, report, watch=partial(clock.watch, "report"))
        clock.seconds["report"] = time.perf_counter() - started
    seconds = dict(clock.seconds)
    return DubReport(output, length, tally.dubbed, seconds, tuple(warnings), report=report)


class _Tally:
    """Counts the frames in which each face is dubbed, and notes what a report says of them."""

    def __init__(self, ready: Ready, *, observed: bool) -> None:
        """Start with no frame."""
        self.dubbed = 0  # frames with any face dubbed
        self._ready, self._counts = ready, [0] * len(ready.parts)
        self._observers = [
            Observer(part.analysis, part.coverage, ready.draw) for part in ready.parts if observed
        ]

    def mouths(self) -> list[Iterator[MouthTrack]]:
        """Return the generated mouths of each part."""
        mouths = [self._ready.mouths(part) for part in self._ready.parts]
        if not self._observers:
            return mouths
        pairs = zip(self._observers, mouths, strict=True)
        return [observer.watch(said) for observer, said in pairs]

    def note(self, faces: Sequence[bool]) -> None:
        """Note in the next frame of the output which faces are dubbed."""
        self.dubbed += any(faces)
        self._counts = [count + was for count, was in zip(self._counts, faces, strict=True)]
        for observer, was in zip(self._observers, faces, strict=False):
            observer.note(dubbed=was)

    def curves(self) -> Curves:
        """Return what a report draws."""
        return foremost([observer.curves() for observer in self._observers])

    def warnings(self) -> Iterator[str]:
        """Say how many of the frames that were asked for were left as they are."""
        for part, dubbed in zip(self._ready.parts, self._counts, strict=True):
            plan = whole_plan(part.lines)
            length = plan.frame_count if plan.within is None else int(plan.within.sum())
            if dubbed >= length:
                continue
            asked = "" if plan.within is None else " of the --range"
            yield (
                f"{length - dubbed} of {length} frames{asked} show no face that can be dubbed "
                "and are unchanged"
                if len(self._ready.lines) == 1
                else f"--face {part.lines[0].speech.line.face}: in {length - dubbed} of the "
                f"{length} frames of its lines it cannot be dubbed, and is unchanged"
            )


def _placed(lines: Sequence[Spoken]) -> list[Placed]:
    """Return the sounds of lines, each with its time."""
    return [Placed(line.speech.info, line.start_s) for line in lines]


def _identity(ready: Ready) -> str:
    """Return what the parts of an output follow from, to the bit."""
    weights = {entry.name: entry.sha256 for entry in ready.models.checkpoints}
    first, *also = (line.speech.line for line in ready.lines)
    number = fingerprint(ready.info.path, first.speech, ready.options, weights, also)
    computed = f"{ready.models.device.type} bfloat16={ready.models.bfloat16}"
    return f"{number} {computed} {ffmpeg_facts().version} {SEGMENT_FRAMES}"


def _painted(ready: Ready) -> Iterator[list[bool]]:
    """Yield which faces of each output frame are rendered, and not left as they are."""
    return ([part.renderer.dubs(t) for part in ready.parts] for t in ready.plan.indices())


def _rendered_from(
    first: int, ready: Ready, mouths: Sequence[Iterable[MouthTrack]]
) -> Generator[Painted, None, None]:
    """Yield the dubbed frames from one on; earlier ones are neither decoded nor rendered.

    Args:
        first: The first output frame wanted.
        ready: From ``prepare``.
        mouths: Of all output frames, for each part.
    """
    faces = [part.renderer for part in ready.parts]
    wanted, order, start = None, None, 0
    if first:
        wanted, order = set(range(first, len(ready))), np.fromiter(ready.plan.indices(), np.int64)
        start = min(face.first_seen(first, order) for face in faces) if wanted else len(ready)
    with (
        closing(prefetch(ready.frames(start))) as frames,
        closing(render_together(faces, frames, mouths, wanted, order)) as rendered,
    ):
        yield from rendered


def _carried(ready: Ready, output: Path) -> tuple[Carried | None, tuple[str, ...]]:
    """Return what comes along from the video beside its picture, and what does not."""
    if ready.options.tracks == "drop" or ready.info.pictures is not None:
        return None, ()
    plan = ready.plan
    until_s = max(plan.sound_s, plan.length_s) + MARGIN_S
    carried, said = tracks_of(ready.info.path, output.suffix.lower(), until_s)
    if is_pictures(output):
        return None, said
    if ready.options.patch_only:  # belongs to a film, and is none
        return replace(carried, streams=()), ()
    return carried, said


def _mark(ready: Ready, credentials: Credentials | None) -> Mark | None:
    """Return what the output is to say about how it was made."""
    if not ready.options.provenance:
        return None
    weights = tuple((entry.name, entry.sha256) for entry in ready.models.checkpoints)
    return Mark(f"dubcli {__version__}", weights, credentials)


def _observed(
    ready: Ready, curves: Curves, output: Path, clock: Clock, warnings: Sequence[str]
) -> QcReport:
    """Return what a QC report is made from."""
    return QcReport(
        video=ready.info.path,
        speech=ready.lines[0].speech.line.speech,
        output=output,
        info=ready.info,
        plan=ready.plan,
        curves=curves,
        numbers=numbers_of(curves, ready.info.frame_rate),
        options=ready.options,
        device=str(ready.models.device),
        models=ready.models.checkpoints,
        seconds=dict(clock.seconds),
        warnings=tuple(warnings),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        lines=_said(ready),
    )


def _said(ready: Ready) -> tuple[SaidLine, ...]:
    """Return what is said in a dub of several lines, in order of time."""
    if len(ready.lines) == 1:
        return ()
    lines = [
        SaidLine(line.speech.line.speech, part.face, line.start_s, line.stop_s)
        for part in ready.parts
        for line in part.lines
    ]
    return tuple(sorted(lines, key=lambda line: line.start_s))


def render_chosen(ready: Ready, chosen: Sequence[int]) -> Iterator[tuple[Bytes, Painted]]:
    """Yield chosen output frames as ``dub`` renders them, each with its source picture.

    Only the frames around them are encoded as references; all up to the last are decoded.

    Args:
        ready: From ``prepare``.
        chosen: Output frames, ascending, none twice.
    """
    wanted, order = set(chosen), np.fromiter(ready.plan.indices(), np.int64)
    sources: deque[Bytes] = deque()
    faces, mouths = zip(*((part.renderer, ready.mouths(part)) for part in ready.parts), strict=True)

    def noted(frames: Iterable[Frame]) -> Iterator[Frame]:
        for position, frame in enumerate(frames):
            if position in wanted:
                sources.append(frame.rgb)
            yield frame

    with (
        closing(prefetch(ready.frames())) as frames,
        closing(render_together(faces, noted(frames), mouths, wanted, order)) as rendered,
    ):
        for _, done in zip(chosen, rendered, strict=False):  # stops after the last one
            yield sources.popleft(), done


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
