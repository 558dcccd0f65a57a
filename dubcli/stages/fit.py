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
from dubcli.records import Analysis, Faces, Float, Integers, TrackedFace, TrackedFrame
from dubcli.stages.portraits import Portraits

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


@dataclass(slots=True)
class _Run:
    """A stretch with an uninterrupted face in one shot, while it grows."""

    faces: list[Face] = field(default_factory=list)
    past: int = 0  # how many of the first are context

    def take(self, face: Face) -> Iterator[tuple[list[Face], int]]:
        """Add a face; yield what is complete, as ``runs`` does."""
        last = self.faces[-1] if self.faces else None
        same = (
            face is not None
            and last is not None
            and (face.shot, face.index) == (last.shot, last.index + 1)
        )
        if self.faces and not same:
            yield from self.end()
        self.faces.append(face)
        if len(self.faces) == self.past + BLOCK + CONTEXT:
            yield self.faces, self.past
            self.faces, self.past = self.faces[self.past + BLOCK - CONTEXT :], CONTEXT

    def end(self) -> Iterator[tuple[list[Face], int]]:
        """Yield what is left, if anything, and start anew."""
        if self.faces:
            yield self.faces, self.past
        self.faces, self.past = [], 0


def runs(faces: Iterable[Face]) -> Iterator[tuple[list[Face], int]]:
    """Split frames into stretches with an uninterrupted face in one shot, and gaps.

    Yields:
        A list and how many of its first frames belong to the stretch's past (context). Long
        stretches come in blocks: the last block's end is repeated as the next one's context, and
        ``CONTEXT`` frames of its future are held back until they can serve as context.
    """
    run = _Run()
    for face in faces:
        yield from run.take(face)
    yield from run.end()


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


@dataclass(slots=True)
class _Rows:
    """Every face of a video while it is fitted: arrays of a block each."""

    model: MorphableModel
    weights: FittingWeights
    blocks: dict[str, list[np.ndarray]] = field(default_factory=dict)
    running: dict[int, _Run] = field(default_factory=dict)
    identities: dict[int, Tensor] = field(default_factory=dict)

    def take(self, face: TrackedFace) -> None:
        """Add a face to its track."""
        run = self.running.setdefault(face.track, _Run())
        for complete in run.take(face):
            self._fit(face.track, *complete)

    def end(self, tracks: Iterable[int]) -> None:
        """Fit what is left of some tracks."""
        for track in tracks:
            for complete in self.running.pop(track).end():
                self._fit(track, *complete)

    def _fit(self, track: int, run: list[Face], past: int) -> None:
        """Fit a stretch; identity is that of the track's first."""
        faces = [face for face in run if face is not None]
        fitted = fit_clip(
            self.model,
            torch.from_numpy(np.stack([face.landmarks_px for face in faces])),
            alpha=self.identities.get(track),
            weights=self.weights,
        )
        self.identities.setdefault(track, fitted.alpha)
        full = len(run) == past + BLOCK + CONTEXT
        own = slice(past, past + BLOCK if full else len(run))
        frame = np.array([face.index for face in faces[own]], dtype=np.int64)
        for name, array in (
            ("frame", frame),
            ("track", np.full(len(frame), track, dtype=np.int64)),
            ("covered", np.array([face.covered for face in faces[own]], dtype=np.bool_)),
            ("alpha", fitted.alpha.expand(len(frame), -1).numpy()),
            ("beta", fitted.beta[own].numpy()),
            ("rotation", fitted.rotation[own].numpy()),
            ("translation_px", fitted.translation_px[own].numpy()),
            ("scale_px", fitted.scale_px[own].numpy()),
            ("lip_aperture", lip_aperture(fitted.mesh(self.model))[own].numpy()),
        ):
            self.blocks.setdefault(name, []).append(array)


def fit_faces(
    frames: Iterable[TrackedFrame],
    model: MorphableModel,
    portraits: Portraits,
    weights: FittingWeights = DEFAULT_WEIGHTS,
) -> Faces:
    """Return the fit of every face of a video, each track as ``fit`` fits a single one.

    Args:
        frames: In order.
        model: The basis.
        portraits: Of the tracks, complete once the frames have gone by.
        weights: Of the clip optimisation.
    """
    rows = _Rows(model, weights)
    shots: list[int] = []
    for frame in frames:
        if shots and frame.shot != shots[-1]:
            rows.end(list(rows.running))
            rows.identities.clear()
        shots.append(frame.shot)
        for face in frame.faces:
            rows.take(face)
    rows.end(list(rows.running))
    widths = {
        "alpha": (len(model.identity),),
        "beta": (len(model.expression),),
        "rotation": (3,),
        "translation_px": (2,),
        "scale_px": (),
        "lip_aperture": (),
    }
    at, track = (
        np.concatenate([np.zeros(0, np.int64), *rows.blocks.get(name, [])])
        for name in ("frame", "track")
    )
    order: Integers = np.lexsort((track, at))
    covered = np.concatenate([np.zeros(0, np.bool_), *rows.blocks.get("covered", [])])
    arrays = {
        name: np.concatenate([np.zeros((0, *width), np.float32), *rows.blocks.get(name, [])])[order]
        for name, width in widths.items()
    }
    return Faces(
        frame=at[order],
        track=track[order],
        **arrays,
        covered=covered[order],
        shot=np.array(shots, dtype=np.int64),
        portrait=portraits.pictures(),
        portrait_frame=portraits.frames(),
    )
