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
from dubcli.loading import Models
from dubcli.media.binary import ffmpeg_facts
from dubcli.media.codecs import encoding_for
from dubcli.media.files import check_output, refuse_overwriting_inputs
from dubcli.media.mixing import output_sound
from dubcli.media.planes import canvas_for
from dubcli.media.prefetch import prefetch
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.provenance import Credentials, Mark
from dubcli.media.signing import credentials_of
from dubcli.media.tracks import tracks_of
from dubcli.media.writer import FrameWriter
from dubcli.pipeline.clock import Clock, OnProgress
from dubcli.pipeline.fingerprint import fingerprint
from dubcli.pipeline.preparation import Ready, prepare
from dubcli.records import Bytes, Carried, DubReport, Frame, MouthTrack
from dubcli.report.observe import Observer
from dubcli.report.records import Curves, QcReport, numbers_of
from dubcli.report.write import check_report, write_report
from dubcli.stages.render import DubbedFrame

MARGIN_S = Fraction(1, 1000)  # by which tracks of the source may outlast the output: rounding


def dub(
    video: Path,
    audio: Path,
    output: Path,
    *,
    models: Models | None = None,
    options: DubOptions = DEFAULTS,
    report: Path | None = None,
    resume: bool = False,
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
    info, speech = probe_video(video), probe_audio(audio)
    refuse_output(output, [video, audio], CONTAINERS, options)
    encoding_for(info, output.suffix.lower(), options)  # refuse before the work, not after it
    credentials = credentials_of(options, output)
    if report is not None:
        check_report(report, inputs=[video, audio], output=output, overwrite=options.overwrite)
    ready = prepare(info, speech, clock, warnings, models=models, options=options)
    length = len(ready)
    started = time.perf_counter()
    observer = None if report is None else Observer(ready.analysis, ready.coverage, ready.draw)
    dubbed, painted, canvas = 0, _painted(ready), canvas_for(info)
    carried, said = _carried(ready, output)
    warnings += said
    with (
        output_sound(info, speech, ready.plan, output, options) as sound,
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
        for was_dubbed in islice(painted, first):
            dubbed += was_dubbed
            if observer is not None:
                observer.note(dubbed=was_dubbed)
        mouths = ready.mouths() if observer is None else observer.watch(ready.mouths())
        with closing(_rendered_from(first, ready, mouths)) as rendered:
            for done in clock.watch("render", rendered, length - first):
                started = time.perf_counter()
                if options.patch_only:
                    writer.write(canvas.layer(done.patch))
                else:
                    writer.write(canvas.lay_over(done.source, done.patch))
                clock.add("encode", time.perf_counter() - started)
                dubbed += done.dubbed
                if observer is not None:
                    observer.note(dubbed=done.dubbed)
        started = time.perf_counter()
    clock.add("encode", time.perf_counter() - started)  # ffmpeg finishes the file
    warnings += [*writer.warnings, *_coverage_warnings(dubbed, ready)]
    if report is not None and observer is not None:
        started = time.perf_counter()
        observed = _observed(ready, observer.curves(), output, clock, warnings)
        write_report(observed, report, watch=partial(clock.watch, "report"))
        clock.seconds["report"] = time.perf_counter() - started
    return DubReport(output, length, dubbed, dict(clock.seconds), tuple(warnings), report=report)


def _identity(ready: Ready) -> str:
    """Return what the parts of an output follow from, to the bit."""
    weights = {entry.name: entry.sha256 for entry in ready.models.checkpoints}
    number = fingerprint(ready.info.path, ready.speech.path, ready.options, weights)
    computed = f"{ready.models.device.type} bfloat16={ready.models.bfloat16}"
    return f"{number} {computed} {ffmpeg_facts().version} {SEGMENT_FRAMES}"


def _painted(ready: Ready) -> Iterator[bool]:
    """Yield whether each output frame is rendered, and not left as it is."""
    return (ready.face.dubs(t) for t in ready.plan.indices())


def _rendered_from(
    first: int, ready: Ready, mouths: Iterable[MouthTrack]
) -> Generator[DubbedFrame, None, None]:
    """Yield the dubbed frames from one on; earlier ones are neither decoded nor rendered.

    Args:
        first: The first output frame wanted.
        ready: From ``prepare``.
        mouths: Of all output frames.
    """
    wanted, order, start = None, None, 0
    if first:
        wanted, order = set(range(first, len(ready))), np.fromiter(ready.plan.indices(), np.int64)
        start = ready.face.first_seen(first, order) if wanted else len(ready)
    with (
        closing(prefetch(ready.frames(start))) as frames,
        closing(ready.face.render(frames, mouths, wanted, order)) as rendered,
    ):
        yield from rendered


def _carried(ready: Ready, output: Path) -> tuple[Carried | None, tuple[str, ...]]:
    """Return what comes along from the video beside its picture, and what does not."""
    if ready.options.tracks == "drop":
        return None, ()
    plan = ready.plan
    until_s = max(plan.sound_s, plan.length_s) + MARGIN_S
    carried, said = tracks_of(ready.info.path, output.suffix.lower(), until_s)
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
        speech=ready.speech.path,
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
    )


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
        closing(prefetch(ready.frames())) as frames,
        closing(ready.face.render(noted(frames), ready.mouths(), wanted, order)) as rendered,
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


def _coverage_warnings(dubbed: int, ready: Ready) -> Iterator[str]:
    """Say how many of the frames that were asked for were left as they are."""
    within = ready.plan.within
    length = len(ready) if within is None else int(within.sum())
    if dubbed < length:
        asked = "" if within is None else " of the --range"
        yield (
            f"{length - dubbed} of {length} frames{asked} show no face that can be dubbed "
            "and are unchanged"
        )
