"""Landmarks to coefficients: blocks of a shot are fitted together, and only numbers are kept.

Letters: T frames, V vertices (468).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dubcli.geometry.fitting import DEFAULT_WEIGHTS, FittedClip, FittingWeights, fit_clip
from dubcli.geometry.morphable import MorphableModel, lip_aperture
from dubcli.records import Analysis, Float, TrackedFace

BLOCK = 250  # frames fitted together; bounds memory, and identity is settled after the first
CONTEXT = 16  # frames on either side of a block, fitted with it and then dropped
Face = TrackedFace | None


@dataclass(slots=True)
class _Columns:
    """The analysis while it grows: one small tensor a frame and column."""

    alpha: list[Tensor] = field(default_factory=list)
    beta: list[Tensor] = field(default_factory=list)
    rotation: list[Tensor] = field(default_factory=list)
    translation_px: list[Tensor] = field(default_factory=list)
    scale_px: list[Tensor] = field(default_factory=list)
    aperture: list[Tensor] = field(default_factory=list)
    shot: list[int] = field(default_factory=list)
    valid: list[bool] = field(default_factory=list)

    def add_gap(self, model: MorphableModel, shot: int) -> None:
        """Add a row for a frame without a face."""
        zero = torch.zeros(())
        self._add(zero.expand(len(model.identity)), zero.expand(len(model.expression)), zero, shot)
        self.rotation.append(zero.expand(3))
        self.translation_px.append(zero.expand(2))
        self.scale_px.append(zero)
        self.valid.append(False)

    def add(self, fitted: FittedClip, aperture: Tensor, t: int, shot: int) -> None:
        """Add frame t of a fit."""
        self._add(fitted.alpha, fitted.beta[t], aperture[t], shot)
        self.rotation.append(fitted.rotation[t])
        self.translation_px.append(fitted.translation_px[t])
        self.scale_px.append(fitted.scale_px[t])
        self.valid.append(True)

    def _add(self, alpha: Tensor, beta: Tensor, aperture: Tensor, shot: int) -> None:
        """Add what gaps and faces have in common."""
        self.alpha.append(alpha)
        self.beta.append(beta)
        self.aperture.append(aperture)
        self.shot.append(shot)


def runs(faces: Iterable[Face]) -> Iterator[tuple[list[Face], int]]:
    """Split frames into stretches with an uninterrupted face in one shot, and gaps.

    Yields:
        A list and how many of its first frames belong to the stretch's past (context). Long
        stretches come in blocks: the last block's end is repeated as the next one's context, and
        ``CONTEXT`` frames of its future are held back until they can serve as context.
    """
    run: list[Face] = []
    past = 0
    for face in faces:
        same = bool(run) and face is not None and run[-1] is not None and face.shot == run[-1].shot
        if run and not same:
            yield run, past
            run, past = [], 0
        run.append(face)
        if len(run) == past + BLOCK + CONTEXT:
            yield run, past
            run = run[past + BLOCK - CONTEXT :]
            past = CONTEXT
    if run:
        yield run, past


def fit(
    faces: Iterable[Face], model: MorphableModel, weights: FittingWeights = DEFAULT_WEIGHTS
) -> Analysis:
    """Return the analysis of a video.

    Identity is estimated on the first block of each shot and kept for the rest of it.

    Args:
        faces: One item a frame, None where there is no face.
        model: The basis.
        weights: Of the clip optimisation.

    Returns:
        A row a frame.
    """
    columns = _Columns()
    identities: dict[int, Tensor] = {}
    for run, past in runs(faces):
        first = run[0]
        if first is None:
            for _ in run:
                columns.add_gap(model, columns.shot[-1] if columns.shot else 0)
            continue
        landmarks = torch.from_numpy(np.stack([f.landmarks_px for f in run if f is not None]))
        fitted = fit_clip(model, landmarks, alpha=identities.get(first.shot), weights=weights)
        identities.setdefault(first.shot, fitted.alpha)
        aperture = lip_aperture(fitted.mesh(model))
        full = len(run) == past + BLOCK + CONTEXT
        for t in range(past, past + BLOCK if full else len(run)):
            columns.add(fitted, aperture, t, first.shot)
    return _finish(columns, model)


def _finish(columns: _Columns, model: MorphableModel) -> Analysis:
    """Turn the columns into arrays."""

    def stack(rows: list[Tensor], *shape: int) -> Float:
        """Return rows as one float32 array, also if there are none."""
        return torch.stack(rows).numpy() if rows else np.zeros((0, *shape), dtype=np.float32)

    return Analysis(
        alpha=stack(columns.alpha, len(model.identity)),
        beta=stack(columns.beta, len(model.expression)),
        rotation=stack(columns.rotation, 3),
        translation_px=stack(columns.translation_px, 2),
        scale_px=stack(columns.scale_px),
        shot=np.array(columns.shot, dtype=np.int64),
        valid=np.array(columns.valid, dtype=np.bool_),
        lip_aperture=stack(columns.aperture),
    )
