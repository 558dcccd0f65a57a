"""``dubcli bench``: seconds, frames a second and memory on this machine."""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dubcli.cli import console
from dubcli.cli.options import DeviceOption, JsonOption, ModelsOption, ThreadsOption
from dubcli.config import BENCH_HEIGHTS, BENCH_SECONDS, DEFAULTS, DubOptions
from dubcli.errors import InputError

if TYPE_CHECKING:
    from dubcli.bench import Benchmark, Size

BenchVideoArgument = Annotated[
    Path | None,
    typer.Argument(metavar="VIDEO", help="Video of a talking face.", show_default="the example"),
]
BenchSpeechArgument = Annotated[
    Path | None, typer.Argument(metavar="SPEECH", help="Speech.", show_default="the example")
]
HeightsOption = Annotated[str, typer.Option(help="Sizes to measure: heights with commas between.")]
SecondsOption = Annotated[float, typer.Option(help="Length to dub, 0.1 to 600 s.")]
HEIGHTS = ",".join(map(str, BENCH_HEIGHTS))
COLUMN = 10  # characters


def bench(
    video: BenchVideoArgument = None,
    speech: BenchSpeechArgument = None,
    heights: HeightsOption = HEIGHTS,
    seconds: SecondsOption = float(BENCH_SECONDS),
    device: DeviceOption = DEFAULTS.device,
    models: ModelsOption = DEFAULTS.models,
    threads: ThreadsOption = DEFAULTS.threads,
    as_json: JsonOption = False,
) -> None:
    """Measure how long a dub takes here at several sizes, cold and warm.

    Without VIDEO and SPEECH the example clip of a checkout is used. Run nothing beside it.
    """
    from dubcli.bench import bench as run

    options = DubOptions(device=device, models=models, threads=threads)
    with console.progress() as on_progress:
        result = run(
            video,
            speech,
            heights=parse_heights(heights),
            seconds=Fraction(str(seconds)),
            options=options,
            on_progress=on_progress,
        )
    _print(result, as_json=as_json)


def parse_heights(text: str) -> list[int]:
    """Return the heights in a list such as "256,720".

    Args:
        text: Whole numbers with commas between.

    Raises:
        InputError: If it is not that.

    Example:
        >>> parse_heights("256, 720")
        [256, 720]
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise InputError(f"--heights {text}: give whole numbers with commas between: 256,720")
    return [int(word) for word in words]


def _print(result: "Benchmark", *, as_json: bool) -> None:
    """Print the figures to stdout: a column for each size."""
    if as_json:
        typer.echo(json.dumps(asdict(result), default=str, indent=2))
        return
    machine = result.machine
    load = "" if machine.load is None else f", load {machine.load:.2f} before"
    console.print_rows(
        [
            ("clip", f"{result.video}, {result.clip_s:.2f} s, {result.source_height} lines"),
            ("speech", str(result.speech)),
            ("machine", f"{machine.cores} cores, {machine.system}{load}"),
            ("software", f"python {machine.python}, torch {machine.torch}"),
            ("networks on", f"{machine.device}, {machine.threads} threads"),
            *_table(result.sizes),
        ]
    )


def _table(sizes: "tuple[Size, ...]") -> list[tuple[str, str]]:
    """Return the lines of the table, seconds but for the rates and the memory."""
    rows: list[tuple[str, list[str]]] = [
        ("size", [f"{size.width}x{size.height}" for size in sizes]),
        ("frames", [str(size.frames) for size in sizes]),
    ]
    for name in ("cold", "warm"):
        timings = [getattr(size, name) for size in sizes]
        for stage in timings[0].seconds:
            rows.append((f"{name} {stage} s", [f"{t.seconds[stage]:.2f}" for t in timings]))
        rows.append((f"{name} all s", [f"{t.total_s:.2f}" for t in timings]))
        rows.append((f"{name} frames/s", [f"{t.frames_per_s:.2f}" for t in timings]))
    rows += [
        ("decoding alone s", [f"{size.decode_s:.2f}" for size in sizes]),
        ("with encoding s", [f"{size.decode_encode_s:.2f}" for size in sizes]),
        ("peak MiB", [_mib(size.peak_mib) for size in sizes]),
    ]
    if any(size.peak_gpu_mib is not None for size in sizes):
        rows.append(("peak GPU MiB", [_mib(size.peak_gpu_mib) for size in sizes]))
    return [(name, "".join(f"{cell:>{COLUMN}}" for cell in cells)) for name, cells in rows]


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
