"""``dubcli style-sim``: how alike two videos' people move the mouth."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dubcli.cli import console
from dubcli.cli.options import (
    CacheFolderOption,
    CacheLimitOption,
    JsonOption,
    ModelsOption,
    OverwriteOption,
    ThreadsOption,
    UseCacheOption,
)
from dubcli.config import DEFAULTS, CacheOptions, DubOptions
from dubcli.errors import InputError

if TYPE_CHECKING:
    from dubcli.evaluation.style import StyleMatrix, StyleSimilarity

FirstArgument = Annotated[
    Path | None, typer.Argument(metavar="A", help="Video of a talking face.", show_default=False)
]
SecondArgument = Annotated[
    Path | None, typer.Argument(metavar="B", help="Video to compare with A.", show_default=False)
]
MatrixOption = Annotated[
    Path | None, typer.Option("--matrix", help="Folder of videos: compare all of its pairs.")
]
PlotOption = Annotated[
    Path | None,
    typer.Option("--plot", help="With --matrix: PNG for a heat map and a map of the styles."),
]


def style_sim(
    a: FirstArgument = None,
    b: SecondArgument = None,
    matrix: MatrixOption = None,
    plot: PlotOption = None,
    models: ModelsOption = DEFAULTS.models,
    threads: ThreadsOption = DEFAULTS.threads,
    overwrite: OverwriteOption = DEFAULTS.overwrite,
    cache: UseCacheOption = DEFAULTS.cache.use,
    cache_folder: CacheFolderOption = DEFAULTS.cache.folder,
    cache_limit: CacheLimitOption = DEFAULTS.cache.limit_mb,
    as_json: JsonOption = False,
) -> None:
    """Print StyleSim of A and B: 1.000 moves the mouth alike, 0.000 unlike.

    Put -- before file names that begin with a dash.
    """
    kept = CacheOptions(cache, cache_folder, cache_limit)
    options = DubOptions(models=models, threads=threads, cache=kept)
    if matrix is None:
        if a is None or b is None:
            raise InputError("style-sim: give two videos, or --matrix FOLDER")
        if plot is not None:
            raise InputError("--plot: draws all pairs of a folder; give --matrix FOLDER as well")
        _compare_two(a, b, options, as_json=as_json)
        return
    if a is not None:
        raise InputError(f"{a}: --matrix compares the videos of its folder; leave {a} out")
    _compare_all(matrix, plot, options, overwrite=overwrite, as_json=as_json)


def _compare_two(a: Path, b: Path, options: DubOptions, *, as_json: bool) -> None:
    """Compare two videos and print the result."""
    from dubcli.evaluation.style import style_sim as run

    with console.progress() as on_progress:
        found = run(a, b, options=options, on_progress=on_progress)
    print_similarity(found, as_json=as_json)


def _compare_all(
    folder: Path, plot: Path | None, options: DubOptions, *, overwrite: bool, as_json: bool
) -> None:
    """Compare a folder's videos, draw if asked, print the table."""
    from dubcli.evaluation.style import style_matrix
    from dubcli.evaluation.style_plot import check_plot, plot_styles

    if plot is not None:
        check_plot(plot, overwrite=overwrite)
    with console.progress() as on_progress:
        found = style_matrix(folder, options=options, on_progress=on_progress)
    if plot is not None:
        plot_styles(found, plot)
    print_matrix(found, as_json=as_json)


def print_similarity(found: "StyleSimilarity", *, as_json: bool) -> None:
    """Print StyleSim of two videos to stdout.

    Args:
        found: The comparison.
        as_json: One JSON object, rather than the number alone.
    """
    if as_json:
        shown = asdict(found) | {"similarity": round(found.similarity, 3)}
        typer.echo(json.dumps(shown, indent=2))
        return
    typer.echo(f"{found.similarity:.3f}")


def print_matrix(found: "StyleMatrix", *, as_json: bool) -> None:
    """Print the table of all pairs to stdout, and what was left out.

    Args:
        found: The table.
        as_json: One JSON object, rather than a table.
    """
    if as_json:
        shown = {
            "videos": [str(video) for video in found.videos],
            "frames": list(found.frames),
            "similarity": [[round(float(value), 3) for value in row] for row in found.similarity],
            "failures": [{"video": str(f.video), "reason": f.reason} for f in found.failures],
            "encoder": found.encoder,
            "sha256": found.sha256,
        }
        typer.echo(json.dumps(shown, indent=2))
        return
    names = [f"{k} {video.name}" for k, video in enumerate(found.videos, start=1)]
    width = max(map(len, names))
    typer.echo(" " * width + "".join(f"{k:>7}" for k in range(1, len(names) + 1)))
    for name, row in zip(names, found.similarity, strict=True):
        typer.echo(f"{name:<{width}}" + "".join(f"{value:7.3f}" for value in row))
    for failure in found.failures:
        typer.echo(f"left out: {failure.reason}")
