"""The report as one HTML page: its text, drawings and scripts, and the two videos to compare."""

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, BinaryIO

import numpy as np

import dubcli
from dubcli.media.audio import AudioReader
from dubcli.media.outputs import sound_of
from dubcli.media.pair import PairWriter, pair_size
from dubcli.media.prefetch import prefetch
from dubcli.media.probe import probe_audio, probe_source
from dubcli.media.reader import FrameReader
from dubcli.media.replay import replayed_frames
from dubcli.media.sequence import is_pictures
from dubcli.pace import Pace
from dubcli.records import Float, Frame
from dubcli.report.drawing import (
    COLUMNS,
    HEIGHT,
    curve_path,
    cut_marks,
    opening_limits,
    peaks,
    range_marks,
    waveform_path,
)
from dubcli.report.records import (
    DOUBTFUL,
    PASSED,
    REASONS,
    NumberLike,
    QcReport,
    Range,
    cuts,
    ranges,
    settings_fields,
    states,
)
from dubcli.report.timecode import timecode_at
from dubcli.timecode import format_time

EMBEDDED_S = 300  # of video, at most: 85 MB of page
RATE_HZ = 16000  # of the waveform's samples
BLOCK_BYTES = 3 * 2**20  # of video in a script element; a multiple of 3 needs no padding
LISTED = 300  # passages in the page's list, at most
UNSET = {  # what an option means that was not given
    "models": "the shipped ones",
    "ranges": "everywhere",
    "adapt": "no",
    "loudness": "as given",
    "speech_at": "start of the first range, else of the video",
    "pixel_format": "the video's own",
    "threads": "torch's choice",
}
BETTER = {"higher": "higher", "lower": "lower", "real": "near real"}
Watch = Callable[[Iterable[Frame], int], Iterable[Frame]]


def write_page(report: QcReport, target: Path, *, watch: Watch) -> None:
    """Write the page; its video is made beside it, embedded block by block, and removed.

    Args:
        report: What to show; the dub, its sound and the source video are read again.
        target: The file to write.
        watch: Passes the frames on that the page embeds, told how many there will be.

    Raises:
        MediaError: If the video cannot be made.
        OSError: If the page cannot be written.
    """
    playable = min(len(report.curves), report.pace.frame_at(Fraction(EMBEDDED_S)))
    clip = clip_path(target)
    try:
        _write_clip(report, clip, playable, watch)
        head, tail = _page(report, playable).split("<!-- clip -->")
        with target.open("wb") as page, clip.open("rb") as video:
            page.write(head.encode("utf-8"))
            _embed(video, page)
            page.write(tail.encode("utf-8"))
    finally:
        clip.unlink(missing_ok=True)


def clip_path(target: Path) -> Path:
    """Return where a page's video lies until it is embedded.

    Args:
        target: The page.
    """
    return target.with_suffix(".clip.mp4")


def _write_clip(report: QcReport, clip: Path, playable: int, watch: Watch) -> None:
    """Encode the dub above the source, frame by frame as they belong together."""
    rate = str(report.frame_rate) if is_pictures(report.output) else None
    made = probe_source(report.output, rate)
    with (
        FrameReader(made, 0, playable) as reader,
        closing(prefetch(reader)) as dubbed,
        closing(prefetch(replayed_frames(report.info, report.plan, playable))) as source,
        PairWriter(
            clip,
            report.info,
            sound=sound_of(report.output),
            frame_count=playable,
            stamps=report.plan.stamps(),
        ) as writer,
    ):
        for upper, lower in zip(watch(dubbed, playable), source, strict=True):
            writer.write(upper.rgb, lower.rgb)


def _embed(video: BinaryIO, page: BinaryIO) -> None:
    """Copy a file into a page as base64, in elements that no browser runs."""
    while block := video.read(BLOCK_BYTES):
        page.write(b'<script class="clip" type="text/plain">')
        page.write(base64.b64encode(block))
        page.write(b"</script>\n")


def printable(text: object) -> str:
    r"""Return text as UTF-8 can hold it: bytes of a file name that are no text become escapes.

    Example:
        >>> printable("na\udcffme")
        'na\\udcffme'
    """
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def shown(text: object) -> str:
    """Return text for HTML: printable, with <, >, &, " and ' escaped."""
    return escape(printable(text), quote=True)


def _page(report: QcReport, playable: int) -> str:
    """Return the whole page but for the video."""
    style, script = _asset("page.css"), _asset("page.js")
    curves, pace = report.curves, report.pace
    state = states(curves)
    passed, doubtful, found_cuts = ranges(state, PASSED), ranges(state, DOUBTFUL), cuts(curves)
    low, high = opening_limits(curves.opening_cm, curves.source_opening_cm)
    zero = high / (high - low)
    return Template(_asset("page.html")).substitute(
        policy=(
            f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
            "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
        ),
        style=style,
        script=script,
        title=shown(report.output.name),
        facts=_facts(report),
        warnings="".join(f"<li>{shown(warning)}</li>" for warning in report.warnings),
        partial=_partial(report, playable),
        frames=len(curves),
        height=HEIGHT,
        columns=COLUMNS,
        zero=f"{HEIGHT * zero:.2f}",
        top=f"{high:.1f} cm",
        waveform=waveform_path(_loudness(report)),
        source_curve=curve_path(curves.source_opening_cm, low, high),
        curve=curve_path(curves.opening_cm, low, high),
        passed=range_marks(passed, "passed", [_title(each, pace) for each in passed]),
        doubtful=range_marks(doubtful, "doubtful", [_title(each, pace) for each in doubtful]),
        cuts=cut_marks(found_cuts, [f"cut, {timecode_at(frame, pace)}" for frame in found_cuts]),
        passed_count=_count(passed),
        doubtful_count=_count(doubtful),
        cut_count=len(found_cuts),
        passages=_passages(report, [*passed, *doubtful], found_cuts),
        numbers="".join(_number(number) for number in report.numbers),
        settings=_pairs(_settings(report)),
        models="".join(
            f"<tr><th scope=row>{shown(entry.name)}</th><td>{shown(entry.licence)}</td>"
            f"<td class=hash>{shown(entry.sha256)}</td></tr>"
            for entry in report.models
        ),
        seconds=_pairs((stage, f"{value:.1f} s") for stage, value in report.seconds.items()),
        data=_script_safe(_data(report, playable, zero)),
        version=shown(dubcli.__version__),
        made=shown(report.made),
    )


def _asset(name: str) -> str:
    return (files("dubcli.report") / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """Return a source expression of the content security policy for an inline element."""
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _facts(report: QcReport) -> str:
    """Return the head of the page: what was made of what."""
    info, curves = report.info, report.curves
    rate = info.frame_rate
    whole = rate.denominator == 1
    shown_rate = f"{rate} fps" if whole else f"{float(rate):.3f} fps ({rate})"
    if info.variable_rate:
        shown_rate = f"{float(rate):.3f} fps on average (variable)"
    return _pairs(
        (
            ("Video", report.video),
            *(_lines(report) or [("Speech", report.speech)]),
            ("Output", report.output),
            ("Picture", f"{info.width} x {info.height}, {shown_rate}"),
            (
                "Length",
                f"{float(report.plan.length_s):.2f} s, {len(curves)} frames, "
                f"{int(curves.dubbed.sum())} dubbed",
            ),
        )
    )


def _lines(report: QcReport) -> list[tuple[str, object]]:
    """Return a row for each line of several: who says it, when, and which file it is."""
    return [
        (
            f"Line {number}",
            f"face {line.face}, {format_time(line.start_s)} to {format_time(line.stop_s)}: "
            f"{line.speech}",
        )
        for number, line in enumerate(report.lines, 1)
    ]


def _pairs(rows: Iterable[tuple[str, object]]) -> str:
    return "".join(
        f"<div><dt>{shown(name)}</dt><dd>{shown(value)}</dd></div>" for name, value in rows
    )


def _settings(report: QcReport) -> Iterator[tuple[str, object]]:
    """Yield all options, as the command line names them."""
    for name, value in settings_fields(report).items():
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif not value and name in UNSET:
            value = UNSET[name]
        yield name.replace("_", " "), "none" if value is None else value


def _partial(report: QcReport, playable: int) -> str:
    if playable == len(report.curves):
        return ""
    return (
        f"<p class=notice>The video in this page ends at {timecode_at(playable, report.pace)}: "
        f"it holds the first {EMBEDDED_S // 60} minutes. Curves, marks and numbers are those of "
        "the whole dub.</p>"
    )


def _loudness(report: QcReport) -> Float:
    """Return the waveform of the dub's own sound, over the length of its picture."""
    total = max(1, round(report.plan.length_s * RATE_HZ))
    with AudioReader(probe_audio(sound_of(report.output)), RATE_HZ) as reader:
        loudness = peaks(reader, total)
    if report.pace.stamps is None:
        return loudness
    # The drawing gives every frame the same width, however long it is shown.
    count = len(report.curves)
    edges_s = report.pace.times_s(count + 1)
    middle = (np.arange(COLUMNS) + 0.5) * count / COLUMNS
    time_s = np.interp(middle, np.arange(count + 1), edges_s)
    column = (time_s / edges_s[-1] * COLUMNS).astype(int).clip(0, COLUMNS - 1)
    shown_there: Float = loudness[column]
    return shown_there


def _title(each: Range, pace: Pace) -> str:
    start, last = (timecode_at(t, pace) for t in (each.start, each.stop - 1))
    return f"{start} to {last}: {REASONS[each.state]}"


def _count(found: tuple[Range, ...]) -> str:
    frames = sum(each.stop - each.start for each in found)
    return f"{len(found)} ({frames} {'frame' if frames == 1 else 'frames'})" if found else "0"


def _passages(report: QcReport, found: list[Range], found_cuts: tuple[int, ...]) -> str:
    """Return the rows of the list of passages to look at, in order of time."""
    pace = report.pace
    rows = [
        (each.start, each.stop - each.start, "passed" if each.state in PASSED else "doubtful",
         "Pass-through" if each.state in PASSED else "Low confidence", REASONS[each.state])
        for each in found
    ]  # fmt: skip
    rows += [(frame, 1, "cut", "Cut", "new shot") for frame in found_cuts]
    rows.sort()
    more = len(rows) - LISTED
    listed = "".join(
        f'<tr><td><button type="button" class="jump" data-frame="{start}" title="frame {start}">'
        f"{timecode_at(start, pace)}</button></td>"
        f'<td class=n>{count if kind != "cut" else ""}</td><td><span class="key {kind}"></span>'
        f"{name}</td><td>{shown(reason)}</td></tr>"
        for start, count, kind, name, reason in rows[:LISTED]
    )
    if more > 0:
        listed += f"<tr><td colspan=4>and {more} more: see the report as .json</td></tr>"
    return listed or "<tr><td colspan=4>None: every frame has the full effect.</td></tr>"


def _number(number: NumberLike) -> str:
    """Return a row of the table of figures."""
    return (
        f"<tr><th scope=row>{shown(number.metric)}<small>{shown(number.region)}</small></th>"
        f"<td class=n>{_figure(number.value)}</td><td class=n>{_figure(number.real)}</td>"
        f"<td>{shown(number.unit)}</td>"
        f"<td>{shown(BETTER.get(number.better, number.better))}</td>"
        f"<td>{shown(number.note or '')}</td></tr>"
    )


def _figure(value: float | None) -> str:
    """Return a figure with three digits that count.

    Example:
        >>> [_figure(value) for value in (None, float("inf"), 0.0412, 3.14159, 98.765, 1234.5)]
        ['-', 'inf', '0.041', '3.14', '98.8', '1234']
    """
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return str(value)
    size = abs(value)
    digits = 0 if size >= 1000 or size == 0 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"


def _data(report: QcReport, playable: int, zero: float) -> dict[str, Any]:
    """Return what the script needs, of the frames that can be played.

    Args:
        report: The report.
        playable: How many frames that is.
        zero: Where an opening of 0 is drawn, as a share of the drawing's height.
    """
    curves, pace = report.curves, report.pace
    width, height = pair_size(report.info)
    return {
        "rate": [report.frame_rate.numerator, report.frame_rate.denominator],
        "edges": None if pace.stamps is None else _edges(report),
        "frames": len(curves),
        "playable": playable,
        "zero": round(zero, 4),
        "width": width,
        "height": height,
        "reasons": REASONS,
        "passed": sorted(PASSED),
        "state": states(curves)[:playable].tolist(),
        "source": curves.source[:playable].tolist(),
        "effect": np.round(100 * curves.amount[:playable]).astype(int).tolist(),
        "opening": _rounded(curves.opening_cm[:playable]),
        "sourceOpening": _rounded(curves.source_opening_cm[:playable]),
    }


def _edges(report: QcReport) -> list[float]:
    """Return when each frame of a variable rate begins, and when the last one is over, seconds."""
    edges: list[float] = report.pace.times_s(len(report.curves) + 1).round(5).tolist()
    return edges


def _rounded(curve: Float) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 2) for value in curve.astype(float)]


def _script_safe(value: object) -> str:
    """Return JSON that cannot end the element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
