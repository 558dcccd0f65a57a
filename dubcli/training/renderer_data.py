"""What the renderer is trained and judged on: targets, references and masks from cropped clips.

Letters: N references, H, W the rendered window, S crop size (256).
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from dubcli.geometry.morphable import MorphableModel
from dubcli.geometry.window import COLUMNS, ROWS, WindowDrawer
from dubcli.records import Bytes, Float, Integers
from dubcli.stages.select import lip_bank, training_references
from dubcli.training.crops import CroppedClip
from dubcli.training.recipe import Between

FAR_S = 1.0  # seconds that validation references keep away


@dataclass(frozen=True, slots=True)
class RendererSampling:
    """How training samples are drawn; the table [sampling] of the renderer's recipe."""

    face_references: Annotated[int, Between(1, 51)] = 3
    lip_references: Annotated[int, Between(1, 200)] = 5
    self_gap: Annotated[int, Between(1, 5)] = 2  # frames that references keep from their target
    self_share: Annotated[float, Between(0, 1)] = 0.35  # target among its own face references
    far_share: Annotated[float, Between(0, 1)] = 0.5  # face references from far away
    mirrored_share: Annotated[float, Between(0, 1)] = 0.5
    brightness: Annotated[float, Between(0, 1)] = 0.15  # largest change of exposure


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceBatch:
    """References of one branch, window-sized."""

    frames: Tensor  # [N, 3, H, W] in [0, 1]
    pncc: Tensor  # [N, 3, H, W]
    masks: Tensor  # [N, H, W]

    def to(self, device: torch.device) -> "ReferenceBatch":
        """Return the same references on another device."""
        return ReferenceBatch(self.frames.to(device), self.pncc.to(device), self.masks.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One target frame with its references."""

    picture: Tensor  # [3, H, W] the truth
    pncc: Tensor  # [3, H, W]
    face_mask: Tensor  # [H, W] what is rendered
    lip_mask: Tensor  # [H, W]
    face: ReferenceBatch
    lip: ReferenceBatch
    lip_distance: Tensor  # [N] cm, of each lip reference's mouth shape from the target's

    def to(self, device: torch.device) -> "Sample":
        """Return the same sample on another device."""
        return Sample(
            self.picture.to(device),
            self.pncc.to(device),
            self.face_mask.to(device),
            self.lip_mask.to(device),
            self.face.to(device),
            self.lip.to(device),
            self.lip_distance.to(device),
        )


class SampleMaker:
    """Turns frames of cropped clips into samples.

    Args:
        model: The basis.
    """

    def __init__(self, model: MorphableModel) -> None:
        """Prepare the drawing of meshes."""
        self.model = model
        self._draw = WindowDrawer(model)

    def make(
        self,
        clip: CroppedClip,
        index: int,
        other: int,
        face: Integers,
        lip: Integers,
        *,
        mirrored: bool = False,
    ) -> Sample:
        """Return the sample of one frame.

        Args:
            clip: The clip.
            index: The target frame.
            other: A frame whose mouth widens the masks, as the source's would in a dub; ``index``
                itself for none.
            face: Face references.
            lip: Lip references.
            mirrored: Swap left and right in everything.
        """
        points = clip.points(self.model, index)
        widened = clip.points(self.model, index, clip.analysis.beta[other])
        mask = self._draw.face_mask(points) | self._draw.face_mask(widened)
        lips = self._draw.lip_mask(points) | self._draw.lip_mask(widened)
        target_pncc = self._draw.pncc(points)
        pictures = [clip.crop(t) for t in (index, *face, *lip)]
        reference_points = [clip.points(self.model, t) for t in (*face, *lip)]
        reference_pncc = np.stack([self._draw.pncc(p) for p in reference_points])
        masks = [self._draw.reference_mask(p) for p in reference_points[: len(face)]] + [
            self._draw.lip_mask(p) for p in reference_points[len(face) :]
        ]
        frames = _pictures(np.stack(pictures), mirrored)
        geometry = _coordinates(np.concatenate([target_pncc[None], reference_pncc]), mirrored)
        shapes = _masks(np.stack([mask, lips, *masks]), mirrored)
        n = len(face)
        own = self._draw.own_displacement(clip.analysis.beta[np.array([index, *lip])])
        return Sample(
            frames[0],
            geometry[0],
            shapes[0],
            shapes[1],
            ReferenceBatch(frames[1 : n + 1], geometry[1 : n + 1], shapes[2 : n + 2]),
            ReferenceBatch(frames[n + 1 :], geometry[n + 1 :], shapes[n + 2 :]),
            torch.from_numpy(self._draw.mouth_distance(own[0], own[1:])),
        )


def _pictures(crops: Bytes, mirrored: bool) -> Tensor:
    """Cut the window out, [N, S, S, 3] uint8 -> [N, 3, H, W] in [0, 1]."""
    window = np.ascontiguousarray(crops[:, ROWS, COLUMNS].transpose(0, 3, 1, 2))
    tensor = torch.from_numpy(window).float() / 255
    return tensor.flip(-1) if mirrored else tensor


def _coordinates(pncc: Float, mirrored: bool) -> Tensor:
    """Return PNCC pictures for the network; mirrored, the coordinate's x axis is swapped too."""
    tensor = torch.from_numpy(np.ascontiguousarray(pncc.transpose(0, 3, 1, 2)))
    if not mirrored:
        return tensor
    tensor = tensor.flip(-1)
    on_face = (tensor.amax(1) > 0).to(tensor)
    tensor[:, 0] = on_face - tensor[:, 0]
    return tensor


def _masks(masks: Bytes, mirrored: bool) -> Tensor:
    """Cut the window out of masks, [N, S, S] -> [N, H, W]."""
    window = torch.from_numpy(np.ascontiguousarray(masks[:, ROWS, COLUMNS])).float()
    return window.flip(-1) if mirrored else window


def draw_training_indices(
    clip: CroppedClip, generator: np.random.Generator, sampling: RendererSampling
) -> tuple[int, int, Integers, Integers]:
    """Return (target, widening frame, face references, lip references) of a training sample.

    Half of the samples follow Algorithm 1's training window, the others take their face references
    from anywhere, which is what judging with distant references asks for. The lip references are
    never nearer than ``self_gap``: a network that may see its target's mouth learns to copy it. The
    target itself is among the face references in a share of the samples, as it is in use: there the
    frame's own skin is to be carried over as it is.
    """
    length, face, gap = len(clip), sampling.face_references, sampling.self_gap
    index = int(generator.integers(length))
    window, bank = training_references(
        index, length, generator, face=face, lip=sampling.lip_references
    )
    if generator.random() < sampling.far_share:
        window = generator.choice(length, face, replace=length < face)
    far = np.flatnonzero(np.abs(np.arange(length) - index) >= gap)

    def keep_away(chosen: Integers) -> Integers:
        """Replace references that are too near."""
        near = np.abs(chosen - index) < gap
        return np.where(near, generator.choice(far, len(chosen)), chosen)

    window = keep_away(window)
    if generator.random() < sampling.self_share:
        window[generator.integers(face)] = index
    return index, int(generator.integers(length)), window, keep_away(bank)


def distant_references(
    clip: CroppedClip, index: int, *, face: int = 5, lip: int = 25
) -> tuple[Integers, Integers]:
    """Return the references for judging: at least ``FAR_S`` away from the target.

    Face: of the frames beyond that distance, those whose head is turned most alike, the most alike
    first. Lip: Algorithm 1's bank over the frames beyond it. Clips too short for the distance give
    up as much of it as they must: the farther half of their frames serves.
    """
    away = np.abs(clip.time_s - clip.time_s[index])
    allowed = away >= FAR_S
    if allowed.sum() < face:
        allowed = away >= np.median(away)
    candidates = np.flatnonzero(allowed)
    turn = np.linalg.norm(
        clip.analysis.rotation[candidates] - clip.analysis.rotation[index], axis=1
    )
    alike = candidates[np.argsort(turn, kind="stable")[:face]]
    return alike, lip_bank(clip.aperture, allowed, lip=lip)
