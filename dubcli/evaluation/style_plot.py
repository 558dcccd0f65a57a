"""Draws a table of StyleSim: a heat map, and a map on which alike videos lie close.

matplotlib draws it: it comes with mediapipe anyway, and unlike OpenCV it has the letters of file
names that are not ASCII. Only its object interface is used; pyplot would look for a screen.
"""

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from dubcli.errors import InputError
from dubcli.evaluation.style import StyleMatrix
from dubcli.records import Float

MAX_NAME = 28  # characters of a file name that are shown
MAX_WRITTEN = 12  # videos up to which cells show their values, and points their names
CELL_INCH, LARGEST_INCH = 0.42, 24.0
MAP_INCH = 7.0
COLOURS = "viridis"
LIGHT = 0.6  # values from which text in a cell is dark
DOTS_PER_INCH = 120


def check_plot(path: Path, *, overwrite: bool) -> None:
    """Refuse a picture that could not be written, before any work is done.

    Args:
        path: The picture to be written.
        overwrite: Whether one of that name may be replaced.

    Raises:
        InputError: If its extension, its folder or what is there now does not allow it.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: the plot must end in .png")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: the folder {path.parent} may not be written to; choose another")
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give the name of a file to write")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; give another name, or --overwrite to replace it")


def plot_styles(matrix: StyleMatrix, path: Path) -> None:
    """Write heat map and map as a PNG, beside its place, then rename.

    Args:
        matrix: From ``style_matrix``.
        path: The picture.
    """
    count = len(matrix.videos)
    side = float(np.clip(CELL_INCH * count + 3, MAP_INCH, LARGEST_INCH))
    layout = ConstrainedLayoutEngine(wspace=0.06)  # room between the bar's label and the map's
    figure = Figure(figsize=(side + 1 + MAP_INCH, side), layout=layout)
    FigureCanvasAgg(figure)
    heat, points = figure.subplots(1, 2, width_ratios=(side + 1, MAP_INCH))
    names = [shortened(video.stem) for video in matrix.videos]
    numbered = [f"{k} {name}" for k, name in enumerate(names, start=1)]  # as in the text table
    _draw_heat_map(figure, heat, matrix.similarity, numbered)
    _draw_map(points, matrix.embeddings, numbered)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png", dpi=DOTS_PER_INCH)
    partial.replace(path)


def shortened(name: str) -> str:
    """Return a name that fits beside an axis: the middle of a long one is left out.

    Example:
        >>> shortened("interview"), shortened("a" * 20 + "b" * 20)
        ('interview', 'aaaaaaaaaaaaaa...bbbbbbbbbbb')
    """
    plain = name.replace("$", r"\$")  # matplotlib would read mathematics
    if len(name) <= MAX_NAME:
        return plain
    end = (MAX_NAME - 3) // 2 - 1
    return f"{name[: MAX_NAME - 3 - end]}...{name[-end:]}".replace("$", r"\$")


def flat_map(embeddings: Float) -> tuple[Float, float]:
    """Return the embeddings' first two principal components and their share of the variance.

    Of unit vectors this is also classical multidimensional scaling of their distances, whose
    squares are 2 - 2 cos: videos lie the closer, the larger their StyleSim.

    Args:
        embeddings: [N, S].

    Returns:
        Places, [N, 2]; 0 to 1.
    """
    centred = embeddings - embeddings.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    variance = np.square(singular)
    places = np.zeros((len(embeddings), 2), dtype=np.float32)
    kept = min(2, len(singular))
    places[:, :kept] = left[:, :kept] * singular[:kept]
    return places, float(variance[:2].sum() / max(float(variance.sum()), 1e-12))


def _draw_heat_map(figure: Figure, axes: Axes, similarity: Float, names: list[str]) -> None:
    """Draw the table as colours, with a bar that says which is which."""
    count = len(names)
    image = axes.imshow(similarity, cmap=COLOURS, vmin=0, vmax=1)
    axes.set_xticks(range(count), [str(k) for k in range(1, count + 1)])
    axes.set_yticks(range(count), names)
    axes.tick_params(labelsize=9, length=0)
    axes.set_title("StyleSim of all pairs")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label("StyleSim: 0 unlike, 1 alike")
    if count <= MAX_WRITTEN:
        for (row, column), value in np.ndenumerate(similarity):
            colour = "black" if value > LIGHT else "white"
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8
            )


def _draw_map(axes: Axes, embeddings: Float, names: list[str]) -> None:
    """Draw a point per video, named or, where names would hide each other, numbered."""
    places, share = flat_map(embeddings)
    axes.scatter(places[:, 0], places[:, 1], s=36, color="tab:blue", zorder=2)
    for name, (x, y) in zip(names, places, strict=True):
        label = name if len(names) <= MAX_WRITTEN else name.partition(" ")[0]
        axes.annotate(
            label, (float(x), float(y)), xytext=(5, 4), textcoords="offset points", fontsize=8
        )
    axes.set_title(f"Styles in two dimensions ({share:.0%} of their variance)")
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second principal component")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_box_aspect(1)
    axes.margins(0.2)
    axes.grid(visible=True, color="0.9", zorder=0)
