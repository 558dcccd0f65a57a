"""Writes a report: checked before the work, beside its place and renamed after it."""

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import dubcli
from dubcli.errors import InputError, MediaError
from dubcli.media.files import check_place, refuse_overwriting_inputs
from dubcli.media.writer import partial_path
from dubcli.pace import Pace
from dubcli.records import Float
from dubcli.report.page import Watch, clip_path, write_page
from dubcli.report.records import (
    DOUBTFUL,
    PASSED,
    REASONS,
    NumberLike,
    QcReport,
    Range,
    SaidLine,
    cuts,
    ranges,
    settings_fields,
    states,
)
from dubcli.report.timecode import timecode_at

SUFFIXES = (".html", ".json")
FORMAT_VERSION = 1
DECIMALS = 4  # of the curves: a hundredth of a millimetre


def check_report(path: Path, *, inputs: Iterable[Path], output: Path, overwrite: bool) -> None:
    """Refuse a report that could not be written, before any work is done.

    Args:
        path: The report: .html or .json.
        inputs: Files that are read.
        output: The dub.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        InputError: If its extension, its folder or what is there now does not allow it.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: the report must end in one of {', '.join(SUFFIXES)}")
    check_place(path)
    refuse_overwriting_inputs(path, inputs)
    if path.resolve() == output.resolve():
        raise InputError(f"{path}: the report would replace the output; choose another name")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; give another name or --overwrite")


def write_report(report: QcReport, path: Path, *, watch: Watch) -> None:
    """Write a report in the format that its name asks for.

    Args:
        report: What to write; its output is complete.
        path: .html or .json.
        watch: Passes the frames on that the page embeds, told how many there will be.

    Raises:
        MediaError: If the file cannot be written, or the page's video not be made.
    """
    if path.suffix.lower() == ".json":
        write_json(report, path)
    else:
        write_html(report, path, watch=watch)


def write_json(report: QcReport, path: Path) -> None:
    """Write a report for machines; examples/GUIDE.md describes the fields.

    Args:
        report: What to write.
        path: The file; replaced if it is there.

    Raises:
        MediaError: If the file cannot be written.
    """
    with _replaced(path, report.output) as partial:
        text = json.dumps(json_fields(report), indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="ascii")


def write_html(report: QcReport, path: Path, *, watch: Watch) -> None:
    """Write a report as one page that needs no other file and no network.

    Args:
        report: What to write; the dub and the source video are read again.
        path: The file; replaced if it is there.
        watch: As in ``write_report``.

    Raises:
        MediaError: If the file cannot be written, or the video not be made.
    """
    with _replaced(path, report.output) as partial:
        write_page(report, partial, watch=watch)


def unfinished(path: Path) -> tuple[Path, ...]:
    """Return what lies beside the place of a report while it is written.

    Args:
        path: The report.
    """
    partial = partial_path(path)
    return partial, clip_path(partial)


@contextmanager
def _replaced(path: Path, output: Path) -> Iterator[Path]:
    """Give a name beside ``path``; what is written there takes its place, or is removed."""
    partial = partial_path(path)
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise MediaError(
            f"{path}: the report could not be written ({error.strerror}); "
            f"the dub itself is complete: {output}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def json_fields(report: QcReport) -> dict[str, Any]:
    """Return a report as plain values: no nan, exact rates as text, paths as they are named."""
    curves, rate, pace = report.curves, report.frame_rate, report.pace
    state = states(curves)
    return {
        "format": "dubcli-report",
        "format_version": FORMAT_VERSION,
        "dubcli": dubcli.__version__,
        "made": report.made,
        "video": str(report.video),
        "speech": str(report.speech),
        "lines": [_line(line) for line in report.lines],
        "output": str(report.output),
        "width": report.info.width,
        "height": report.info.height,
        "frame_rate": f"{rate.numerator}/{rate.denominator}",
        "frames": len(curves),
        "dubbed_frames": int(curves.dubbed.sum()),
        "source_frames": report.plan.source_count,
        "warnings": list(report.warnings),
        "pass_through": [_range(each, pace) for each in ranges(state, PASSED)],
        "low_confidence": [_range(each, pace) for each in ranges(state, DOUBTFUL)],
        "cuts": [{"frame": frame, "timecode": timecode_at(frame, pace)} for frame in cuts(curves)],
        "numbers": [number_fields(number) for number in report.numbers],
        "settings": settings_fields(report),
        "models": [asdict(entry) for entry in report.models],
        "seconds": {stage: round(value, 3) for stage, value in report.seconds.items()},
        "curves": {
            **({} if pace.stamps is None else {"time_s": _times(report)}),
            "source_frame": curves.source.tolist(),
            "effect": _plain(curves.amount),
            "turn_deg": _plain(np.degrees(curves.turn_rad)),
            "opening_cm": _plain(curves.opening_cm),
            "source_opening_cm": _plain(curves.source_opening_cm),
        },
    }


def _line(line: SaidLine) -> dict[str, Any]:
    return {
        "speech": str(line.speech),
        "face": line.face,
        "start_s": round(float(line.start_s), DECIMALS),
        "stop_s": round(float(line.stop_s), DECIMALS),
    }


def _times(report: QcReport) -> list[float]:
    """Return when each frame of a variable rate is shown, in seconds."""
    times: list[float] = report.pace.times_s(len(report.curves)).round(DECIMALS).tolist()
    return times


def _range(each: Range, pace: Pace) -> dict[str, Any]:
    return {
        "start": each.start,
        "stop": each.stop,
        "start_timecode": timecode_at(each.start, pace),
        "reason": REASONS[each.state],
    }


def number_fields(number: NumberLike) -> dict[str, Any]:
    """Return a figure as plain values; what is not finite is None."""
    return {
        "metric": number.metric,
        "region": number.region,
        "value": _finite(number.value),
        "real": _finite(number.real),
        "unit": number.unit,
        "better": number.better,
        "note": number.note,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(curve: Float) -> list[float | None]:
    """Return a curve as numbers, None where it is nan."""
    return [None if math.isnan(v) else round(v, DECIMALS) for v in curve.astype(float).tolist()]
