"""``dubcli evaluate``: measure finished videos, and what that prints."""

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dubcli.cli import console
from dubcli.cli.options import (
    CacheFolderOption,
    CacheLimitOption,
    DeviceOption,
    ModelsOption,
    ThreadsOption,
    UseCacheOption,
)
from dubcli.config import EVALUATION_DEFAULTS, CacheOptions, EvaluationOptions
from dubcli.errors import InputError

if TYPE_CHECKING:
    from dubcli.evaluation.records import Evaluation, Failure, Row

WIDTH = 100  # columns of the table, its notes included
SMALL = 0.01  # numbers nearer to zero are shown with more digits
DIRECTION = {"higher": "higher", "lower": "lower", "real": "as real"}
NOTHING = 1e-6  # and these as zero: what rounding leaves

VideosArgument = Annotated[
    Path, typer.Argument(metavar="INPUT", help="Video to judge, or a folder.", show_default=False)
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(
        help="The real video; of a folder: a folder with the same names, or one video for all.",
        show_default="none",
    ),
]
JudgedSpeechOption = Annotated[
    Path | None,
    typer.Option(help="What the mouth should say.", show_default="the video's own sound"),
]
EveryOption = Annotated[
    int, typer.Option(help="The costly measures look at one frame in so many, 1 to 1000.")
]
LeakTestOption = Annotated[
    bool,
    typer.Option(
        "--leak-test", help="Also dub the reference, else INPUT, with silence: the mouth must stop."
    ),
]
LeakSecondsOption = Annotated[float, typer.Option(help="Silence of the leak test, 0.5 to 60 s.")]
JsonRowsOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CsvRowsOption = Annotated[bool, typer.Option("--csv", help="Print CSV, a line a row.")]


def evaluate(
    video: VideosArgument,
    reference: ReferenceOption = None,
    speech: JudgedSpeechOption = None,
    every: EveryOption = EVALUATION_DEFAULTS.every,
    leak_test: LeakTestOption = EVALUATION_DEFAULTS.leak_test,
    leak_seconds: LeakSecondsOption = EVALUATION_DEFAULTS.leak_seconds,
    device: DeviceOption = EVALUATION_DEFAULTS.device,
    models: ModelsOption = EVALUATION_DEFAULTS.models,
    threads: ThreadsOption = EVALUATION_DEFAULTS.threads,
    cache: UseCacheOption = EVALUATION_DEFAULTS.cache.use,
    cache_folder: CacheFolderOption = EVALUATION_DEFAULTS.cache.folder,
    cache_limit: CacheLimitOption = EVALUATION_DEFAULTS.cache.limit_mb,
    as_json: JsonRowsOption = False,
    as_csv: CsvRowsOption = False,
) -> None:
    """Measure how good a dubbed video is, alone or beside the real one.

    A folder's videos are measured one by one; one that fails is a line on stderr.
    """
    if as_json and as_csv:
        raise InputError("--json and --csv: give one of them")
    options = EvaluationOptions(
        device=device,
        models=models,
        threads=threads,
        every=every,
        leak_test=leak_test,
        leak_seconds=leak_seconds,
        cache=CacheOptions(cache, cache_folder, cache_limit),
    )
    from dubcli.evaluation.batch import attempt, pairs
    from dubcli.evaluation.evaluate import load_for
    from dubcli.evaluation.records import Evaluation, Failure

    chosen, loaded = pairs(video, reference), load_for(options)
    done: list[Evaluation] = []
    failed: list[Failure] = []
    for pair in chosen:
        with console.progress() as on_progress:
            result = attempt(
                pair, speech=speech, models=loaded, options=options, on_progress=on_progress
            )
        if isinstance(result, Failure):
            failed.append(result)
            console.print_error(f"error: {result.message}")
            continue
        done.append(result)
        if as_csv:
            typer.echo(csv_text(result, header=len(done) == 1), nl=False)
        elif not as_json:
            typer.echo("\n".join(table(result)))
    if as_json and (done or video.is_dir()):
        typer.echo(json_text(done, failed, folder=video.is_dir()))
    elif len(done) > 1 and not (as_json or as_csv):
        typer.echo("\n".join(mean_table(done)))
    if failed:
        raise typer.Exit(failed[0].exit_code)


def table(evaluation: "Evaluation") -> list[str]:
    """Return the lines of one evaluation: heading, rows, notes, warnings; at most 100 columns."""
    lines = [f"{'video':<12}{evaluation.video}"]
    if evaluation.reference is not None:
        lines.append(f"{'reference':<12}{evaluation.reference}")
    lines += [f"{'frames':<12}{evaluation.frames}", ""]
    lines += _rows(evaluation.rows)
    for warning in evaluation.warnings:
        lines += _wrapped("warning", warning)
    return [*lines, ""]


def mean_table(evaluations: list["Evaluation"]) -> list[str]:
    """Return the lines of the means over several videos."""
    from dubcli.evaluation.records import mean_rows

    return [f"{'mean of':<12}{len(evaluations)} videos", "", *_rows(mean_rows(evaluations))]


def _rows(rows: Iterable["Row"]) -> list[str]:
    """Return rows under their heading, then the notes by number; equal notes share one."""
    notes: dict[str, int] = {}
    lines = [f"{'':26}{'region':<8}{'value':>10}{'real':>10}  {'unit':<13}{'better':<9}note"]
    for row in rows:
        mark = "" if row.note is None else f"{notes.setdefault(row.note, len(notes) + 1):>4}"
        lines.append(
            f"{row.metric:<26}{row.region:<8}{shown(row.value):>10}{shown(row.real):>10}  "
            f"{row.unit:<13}{DIRECTION[row.better]:<9}{mark}".rstrip()
        )
    lines.append("")
    for note, mark_number in notes.items():
        lines += _wrapped(f"note {mark_number}", note)
    return lines


def shown(value: float | None) -> str:
    """Return a number for the table.

    Example:
        >>> [shown(v) for v in (None, float("inf"), 31.25, 4e-14, 0.00123, -5.0)]
        ['-', 'inf', '31.250', '0.000', '0.00123', '-5.000']
    """
    if value is None:
        return "-"
    if abs(value) < NOTHING:
        value = 0.0
    if 0 < abs(value) < SMALL:
        return f"{value:.3g}"
    return f"{value:.3f}"


def _wrapped(name: str, text: str) -> Iterator[str]:
    """Yield a named text in lines that fit."""
    flat = " ".join(text.split())
    yield from textwrap.wrap(flat, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=" " * 12)


def csv_text(evaluation: "Evaluation", *, header: bool) -> str:
    """Return one evaluation as CSV, a line a row; the video's name is in each.

    Args:
        evaluation: What was measured.
        header: Whether the first line names the columns.
    """
    from dubcli.evaluation.records import Row

    columns = [each.name for each in fields(Row)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        writer.writerow(["video", "reference", *columns])
    for row in evaluation.rows:
        values = ["" if value is None else value for value in asdict(row).values()]
        writer.writerow([evaluation.video, evaluation.reference or "", *values])
    return buffer.getvalue()


def json_text(done: list["Evaluation"], failed: list["Failure"], *, folder: bool) -> str:
    """Return evaluations as JSON: of one file an object, of a folder an object of lists.

    JSON has no infinity, so the PSNR of equal pictures is the text "inf".
    """
    if not folder:
        return json.dumps(_plain(asdict(done[0])), indent=2)
    from dubcli.evaluation.records import mean_rows

    everything: dict[str, Any] = {
        "evaluations": [asdict(each) for each in done],
        "means": [asdict(row) for row in mean_rows(done)] if done else [],
        "failures": [asdict(each) for each in failed],
    }
    return json.dumps(_plain(everything), indent=2)


def _plain(value: Any) -> Any:
    """Return a value in what JSON knows."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
