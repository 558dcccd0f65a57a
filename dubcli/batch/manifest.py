"""A list of jobs in CSV or JSON: every error of every row is told before anything starts.

Both have the same columns: ``video``, ``speech`` and ``output``, and any option that shapes an
output, by its name in ``DubOptions``. Rows of the same video and output are the lines of one dub:
each has its speech, ``face``, ``speech_at`` and ``ranges``; what else the first one says holds for
all. Nothing but a plan or an InputError comes out of a manifest,
whatever is in it.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from dubcli.batch.check import Named, problem_of_input, problem_of_video, problems_of_outputs
from dubcli.batch.records import Job, Plan
from dubcli.config import DEFAULTS, DubOptions
from dubcli.errors import CollectedInputError, InputError
from dubcli.line import Line
from dubcli.media.sequence import is_sequence
from dubcli.pipeline.fingerprint import settings
from dubcli.pipeline.lines import refuse_length

FILES = ("video", "speech", "output")
COLUMNS = (*FILES, *(name for name in settings(DEFAULTS) if name != "audio_encoder"))
OF_A_LINE = ("face", "speech_at", "ranges")
CHECKS = {"video": problem_of_video, "speech": problem_of_input}
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
BETWEEN = " \t\r\n,"  # what stands between the items of a JSON list


@dataclass(frozen=True, slots=True)
class _Row:
    """What a manifest says of one job, as it says it."""

    line: int  # on which it begins, from 1
    values: Mapping[str, Any]  # text from CSV, any JSON value from JSON; empty ones left out
    problems: tuple[str, ...] = ()  # with the row itself


def read_jobs(manifest: Path, folder: Path, options: DubOptions) -> Plan:
    """Return the jobs of a manifest.

    Args:
        manifest: A .csv or .json file. Its videos and speeches are found from its own folder.
        folder: From where its outputs are named, and of the status file.
        options: What holds where a row says nothing.

    Raises:
        InputError: If the manifest cannot be read or holds no job.
        CollectedInputError: If rows are wrong: a sentence for each error of each row.
    """
    text = _text(manifest)
    rows = list(_json_rows(manifest, text) if _is_json(manifest) else _csv_rows(manifest, text))
    problems: list[str] = []
    named: list[Named] = []
    dubs: dict[tuple[Path, Path], int] = {}  # video and output -> place in ``named``
    for row in rows:
        place = f"{manifest}: line {row.line}"
        found, job = _job(row, manifest.parent, folder, options)
        problems += [f"{place}: {sentence}" for sentence in found]
        if job is None:
            continue
        first = dubs.setdefault((job.video.absolute(), job.output.absolute()), len(named))
        if first == len(named):
            named.append(Named(place, job))
            continue
        problems += [f"{place}: {sentence}" for sentence in _strays(named[first], job, row)]
        named[first] = _joined(named[first], job)
    problems += problems_of_outputs(named)
    if problems:
        raise CollectedInputError(manifest, sorted(problems, key=_line_of))
    if not named:
        raise InputError(f"{manifest}: holds no job; give a row or an object for each")
    return Plan(folder, tuple(each.job for each in named), options)


def _line_of(problem: str) -> int:
    found = re.search(r": line (\d+): ", problem)
    return int(found[1]) if found else 0


def _is_json(manifest: Path) -> bool:
    return manifest.suffix.lower() == ".json"


def _text(manifest: Path) -> str:
    """Return the text of a manifest."""
    if manifest.suffix.lower() not in {".csv", ".json"}:
        raise InputError(f"{manifest}: give a folder of videos, or a list of jobs in .csv or .json")
    if problem := problem_of_input(manifest):
        raise InputError(problem)
    try:
        return manifest.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{manifest}: is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{manifest}: could not be read ({error.strerror})") from error


def _csv_rows(manifest: Path, text: str) -> Iterator[_Row]:
    """Yield the rows under the heading."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    heading: list[str] | None = None
    try:
        while True:
            line = reader.line_num + 1
            cells = [cell.strip() for cell in next(reader)]
            if not any(cells):
                continue
            if heading is None:
                heading = cells
                _check_heading(manifest, line, heading)
                continue
            wrong = len(cells) != len(heading)
            problem = f"has {len(cells)} cells, the heading {len(heading)}; quote texts with commas"
            values = {name: cell for name, cell in zip(heading, cells, strict=False) if cell}
            yield _Row(line, {} if wrong else values, (problem,) if wrong else ())
    except StopIteration:
        return
    except csv.Error as error:
        raise InputError(f"{manifest}: line {reader.line_num}: no CSV ({error})") from error


def _check_heading(manifest: Path, line: int, heading: list[str]) -> None:
    """Refuse a heading with which no row could be read."""
    problems = [f"no column {name}; the heading needs it" for name in FILES if name not in heading]
    for name in dict.fromkeys(heading):
        if name not in COLUMNS:
            problems.append(_unknown("column", name))
        if heading.count(name) > 1:
            problems.append(f"column {name!r} is there {heading.count(name)} times; leave one")
    if problems:
        raise CollectedInputError(
            manifest, [f"{manifest}: line {line}: {each}" for each in problems]
        )


def _json_rows(manifest: Path, text: str) -> Iterator[_Row]:
    """Yield the objects of the list."""
    try:
        items = _json_items(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{manifest}: line {error.lineno}: no JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{manifest}: no JSON that can be read ({error})") from error
    if items is None:
        raise InputError(f"{manifest}: is no list; write the jobs as [{{...}}, {{...}}]")
    for line, item in items:
        if not isinstance(item, _Pairs):
            yield _Row(line, {}, ('is no object; write {"video": ..., "speech": ..., ...}',))
            continue
        values = dict(item)
        problems = [_unknown("name", name) for name in values if name not in COLUMNS]
        if len(values) < len(item):
            problems.append("names a value twice; leave one")
        yield _Row(line, {k: v for k, v in values.items() if v is not None}, tuple(problems))


def _json_items(text: str) -> list[tuple[int, Any]] | None:
    """Return the items of a list, each with the line on which it begins; None of another value.

    Raises:
        ValueError: If it is no JSON.
        RecursionError: If it is nested too deeply.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs, parse_constant=_refuse_constant)
    listed = decoder.decode(text)
    if not isinstance(listed, list) or isinstance(listed, _Pairs):
        return None
    items: list[tuple[int, Any]] = []
    position, line, counted = text.index("[") + 1, 1, 0
    for item in listed:
        while text[position] in BETWEEN:
            position += 1
        line, counted = line + text.count("\n", counted, position), position
        items.append((line, item))
        position = decoder.raw_decode(text, position)[1]
    return items


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with every name as it was written, doubles included."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _unknown(what: str, name: str) -> str:
    return f"unknown {what} {name!r}; known are {', '.join(COLUMNS)}"


def _job(
    row: _Row, inputs: Path, folder: Path, options: DubOptions
) -> tuple[list[str], Job | None]:
    """Return what is wrong with a row, and its job if its files are named."""
    problems = list(row.problems)
    files: dict[str, Path] = {}
    for name in () if row.problems and not row.values else FILES:
        value = row.values.get(name, "")
        if not isinstance(value, str) or not value:
            problems.append(f"{name} is missing" if value == "" else f"{name} is no text")
            continue
        files[name] = (folder if name == "output" else inputs) / value
        if name in CHECKS and (problem := CHECKS[name](files[name])):
            problems.append(f"{name}: {problem}")
    for name, value in row.values.items():
        if name in FILES or name not in COLUMNS:
            continue
        try:
            options = replace(options, **{name: _as(_kind_of(name), name, value)})
        except InputError as error:
            problems.append(str(error))
    if len(files) < len(FILES):
        return problems, None
    if not is_sequence(files["video"]) and "frame_rate" not in row.values:
        options = replace(options, frame_rate=None)  # what holds for all rows is not for videos
    elif is_sequence(files["video"]) == (options.frame_rate is None):
        problems.append("frame_rate is for a picture sequence, which needs it, and for no video")
    return problems, Job(files["video"], files["speech"], files["output"], options)


def _strays(dub: Named, job: Job, row: _Row) -> Iterator[str]:
    """Yield what of a further row does not go with the first one of its dub."""
    for name in COLUMNS:
        if name in row.values and name not in (*FILES, *OF_A_LINE):
            value, other = getattr(job.options, name), getattr(dub.job.options, name)
            if value != other:
                yield (
                    f"{name} is {value}, and {other} at {dub.place}, of the same dub; the rows of "
                    f"a dub may differ in speech, {', '.join(OF_A_LINE)}"
                )
    options = dub.job.options
    taken = {(options.face, options.speech_at, options.ranges)}
    taken |= {(line.face, line.at, line.ranges) for line in dub.job.also}
    if (job.options.face, job.options.speech_at, job.options.ranges) in taken:
        yield (
            f"has one face say two things at once with {dub.place}, of the same dub; "
            f"give another {', '.join(OF_A_LINE[:-1])} or {OF_A_LINE[-1]}, or another output"
        )
    try:
        refuse_length(dub.job.options)
    except InputError as error:
        yield str(error)


def _joined(dub: Named, job: Job) -> Named:
    """Return a dub with the line of one more row."""
    options = job.options
    line = Line(job.speech, options.face, options.speech_at, options.ranges)
    return replace(dub, job=replace(dub.job, also=(*dub.job.also, line)))


def _kind_of(name: str) -> type:
    """Return the type of an option's values; what may also be None is left out by an empty cell."""
    hint = get_type_hints(DubOptions)[name]
    kinds: list[type] = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    return kinds[0]


def _as(kind: type, name: str, value: Any) -> Any:
    """Return a value as its option's type."""
    if isinstance(value, str) and kind is not str:
        try:
            return BOOLEANS[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError):
            pass
    elif type(value) is kind or (kind is float and type(value) is int):
        return value
    shown = f"{value!r:.40}" if isinstance(value, str | int | float) else "a list or an object"
    raise InputError(f"{name} is {shown}: give {KINDS[kind]}")
