"""Measures StyleSim on people the encoder was not trained on: the table of examples/GUIDE.md.

Letters: E expression coefficients, N frames at 25 Hz, S embedding size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from dubcli.loading import StyleEncoder, load_style_encoder
from dubcli.metrics.style import roc_auc, style_similarity
from dubcli.records import Float
from dubcli.stages.style import RATE_HZ, encode_style
from dubcli.training.data import read_clips
from dubcli.training.prepare import track_clips
from dubcli.training.style_data import StyleClip, by_person, fit_styles, held_out

SHORT_S = (1.0, 2.0)  # halves are also compared cut to so many seconds
LESS = 0.5  # of its motion: what a half is compared at beside the other half as it is
TOGETHER = 10  # short clips that are compared together
MOST_STYLES = 10  # of one person, so that nobody with many clips owns the table
PERCENTILES = (5, 50, 95)
COPY = 0.7  # correlation from which two clips of a person show one recording: a copy, or a dub
COPY_FRAMES = 5  # that one of them may start later


@dataclass(frozen=True, slots=True)
class Spread:
    """Where nine tenths of the values lie, and the middle one."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class StyleRow:
    """StyleSim of the same people and of different people, in one comparison."""

    set: str
    comparison: str
    people: int
    same_pairs: int
    other_pairs: int
    same: Spread
    other: Spread
    auc: float  # share of (same pair, other pair) in which the same person's is the larger


def judge_style(data: Path, cache: Path, models: Path) -> tuple[StyleRow, ...]:
    """Return StyleSim's figures for the split ``val`` and for held-out speakers of ``train``.

    Args:
        data: Folder with ``clips.csv``.
        cache: Folder for landmarks and expression; what is missing is computed.
        models: Folder of checkpoints.
    """
    encoder = load_style_encoder(models)
    listed = read_clips(data)
    judged = [c for c in listed if c.split == "val" or (c.set == "wild" and held_out(c.speaker))]
    track_clips(judged, cache, models)
    styles = fit_styles(judged, cache, encoder.morphable)
    validation = {c.name for c in judged if c.split == "val"}
    rows: list[StyleRow | None] = []
    for name in sorted({s.set for s in styles if s.name in validation}):
        of_set = [s for s in styles if s.set == name and s.name in validation]
        rows += _validation_rows(f"val {name}", of_set, encoder)
    rest = [s for s in styles if s.name not in validation]
    clips = _clip_styles(different_recordings(rest), encoder)
    rows.append(compare("held out", "different clips", clips))
    return tuple(row for row in rows if row is not None)


def compare(name: str, comparison: str, styles: Mapping[str, Sequence[Float]]) -> StyleRow | None:
    """Return the row of a comparison, None unless there are two people, one with two styles.

    Args:
        name: Of the set.
        comparison: What is compared.
        styles: Person -> embeddings, [S] each.
    """
    kept = [list(of)[:MOST_STYLES] for of in styles.values()]
    same = [style_similarity(a, b) for of in kept for a, b in combinations(of, 2)]
    other = [style_similarity(a, b) for x, y in combinations(kept, 2) for a in x for b in y]
    if not same or not other:
        return None
    return StyleRow(
        name,
        comparison,
        len(kept),
        len(same),
        len(other),
        _spread(same),
        _spread(other),
        roc_auc(np.array(same), np.array(other)),
    )


def different_recordings(clips: Sequence[StyleClip]) -> list[StyleClip]:
    """Return the clips whose motion is not that of an earlier clip of the same person.

    Pages that demonstrate a method show one recording several times, before and after.
    """
    kept: list[StyleClip] = []
    for clip in clips:
        earlier = [k.parts[0] for k in kept if k.speaker == clip.speaker]
        if all(likeness(clip.parts[0], beta) < COPY for beta in earlier):
            kept.append(clip)
    return kept


def likeness(a: Float, b: Float) -> float:
    """Return the correlation of two motions in step, [N, E] and [M, E]: the best of a few lags."""
    found = []
    for lag in range(-COPY_FRAMES, COPY_FRAMES + 1):
        x, y = a[max(lag, 0) :], b[max(-lag, 0) :]
        count = min(len(x), len(y))
        x, y = x[:count] - x[:count].mean(axis=0), y[:count] - y[:count].mean(axis=0)
        found.append(float((x * y).sum() / np.sqrt(np.square(x).sum() * np.square(y).sum())))
    return max(found)


def _validation_rows(
    name: str, clips: Sequence[StyleClip], encoder: StyleEncoder
) -> list[StyleRow | None]:
    """Return the rows that a set has clips for."""
    halves = {c.speaker: c.halves for c in clips if len(c.halves) > 1}
    rows = [compare(name, "halves of a clip", _styles(halves, encoder))]
    for seconds in SHORT_S:
        count = int(seconds * RATE_HZ)
        cut = {
            who: [beta[:count] for beta in of]
            for who, of in halves.items()
            if min(map(len, of)) >= count
        }
        rows.append(compare(name, f"halves, {seconds:g} s each", _styles(cut, encoder)))
    timid = {who: [of[0], _less(of[1])] for who, of in halves.items()}
    rows.append(compare(name, f"halves, one x {LESS:g}", _styles(timid, encoder)))
    several = [
        c for of in by_person(different_recordings(clips)).values() if len(of) > 1 for c in of
    ]
    rows.append(compare(name, "different clips", _clip_styles(several, encoder)))
    groups = {
        who: [
            encode_style(encoder.network, encoder.morphable, [p for c in ten for p in c.parts])
            for ten in zip(*[iter(of)] * TOGETHER, strict=False)
        ]
        for who, of in by_person(several).items()
    }
    rows.append(compare(name, f"{TOGETHER} clips together", groups))
    return rows


def _clip_styles(clips: Sequence[StyleClip], encoder: StyleEncoder) -> dict[str, list[Float]]:
    """Return the style of each clip by person."""
    return {
        who: [encode_style(encoder.network, encoder.morphable, c.parts) for c in of[:MOST_STYLES]]
        for who, of in by_person(clips).items()
    }


def _styles(betas: Mapping[str, Sequence[Float]], encoder: StyleEncoder) -> dict[str, list[Float]]:
    """Return the style of each stretch by person."""
    return {
        who: [encode_style(encoder.network, encoder.morphable, [beta]) for beta in of]
        for who, of in betas.items()
    }


def _less(beta: Float) -> Float:
    """Return the same motion about the same mean, smaller."""
    mean = beta.mean(axis=0)
    less: Float = (mean + LESS * (beta - mean)).astype(np.float32)
    return less


def _spread(values: Sequence[float]) -> Spread:
    """Return the percentiles of values."""
    low, median, high = np.percentile(values, PERCENTILES).tolist()
    return Spread(low, median, high)
