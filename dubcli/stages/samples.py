"""One frame and its references as the renderer learns from them: pictures, geometry and masks.

Letters: V vertices (468), E expression coefficients, N references, H, W the rendered window, S crop
size (256).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dubcli.geometry.camera import project
from dubcli.geometry.crop import transform
from dubcli.geometry.morphable import MorphableModel, vertices
from dubcli.geometry.teeth import TeethPlace, carry, most_alike
from dubcli.geometry.window import COLUMNS, HEIGHT, ROWS, WIDTH, WindowDrawer
from dubcli.networks.losses import multiscale_l1
from dubcli.networks.mouth import CARRIED, MOUTHS
from dubcli.networks.renderer import DualAttentionRenderer, Rendered, bank_of, join, prefer_alike
from dubcli.records import Analysis, Bytes, Crop, Float, Integers
from dubcli.stages.render import crop_of


class CroppedFrames(Protocol):
    """Fitted frames of one person, cropped."""

    @property
    def analysis(self) -> Analysis:
        """A row a frame."""
        ...

    def crop(self, t: int) -> Bytes:
        """Return frame t's crop, [S, S, 3]."""
        ...

    def points(self, model: MorphableModel, t: int, beta: Float | None = None) -> Float:
        """Return frame t's mesh in its crop, [V, 3] pixels; with another expression if given."""
        ...


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
    mouths: Tensor  # [8 K, H, W] of the lip references most alike, carried to the target's teeth

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
            self.mouths.to(device),
        )


def points_in_crop(
    model: MorphableModel, analysis: Analysis, t: int, crop: Crop, beta: Float | None = None
) -> Float:
    """Return frame t's mesh in its crop, [V, 3] pixels; with another expression if given.

    Args:
        model: The basis.
        analysis: Of the frames.
        t: Which of them.
        crop: Its crop.
        beta: Expression, [E]; None: the frame's own.
    """
    expression = torch.from_numpy(analysis.beta[t] if beta is None else beta)
    projected = project(
        vertices(model, torch.from_numpy(analysis.alpha[t]), expression),
        torch.from_numpy(analysis.rotation[t]),
        torch.from_numpy(analysis.translation_px[t]),
        torch.tensor(float(analysis.scale_px[t])),
    )
    return transform(crop, projected.numpy())


class SampleMaker:
    """Turns cropped frames into samples.

    Args:
        model: The basis.
    """

    def __init__(self, model: MorphableModel) -> None:
        """Prepare the drawing of meshes."""
        self.model = model
        self._draw = WindowDrawer(model)

    def make(
        self,
        clip: CroppedFrames,
        index: int,
        other: int,
        face: Integers,
        lip: Integers,
        *,
        mirrored: bool = False,
    ) -> Sample:
        """Return the sample of one frame.

        Args:
            clip: The frames.
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
        n = len(face)
        reference_points = [clip.points(self.model, t) for t in (*face, *lip)]
        reference_pncc = np.stack([self._draw.pncc(p) for p in reference_points])
        masks = [self._draw.reference_mask(p) for p in reference_points[: len(face)]] + [
            self._draw.lip_mask(p) for p in reference_points[len(face) :]
        ]
        frames = _pictures(np.stack(pictures), mirrored)
        geometry = _coordinates(np.concatenate([target_pncc[None], reference_pncc]), mirrored)
        shapes = _masks(np.stack([mask, lips, *masks]), mirrored)
        own = self._draw.own_displacement(clip.analysis.beta[np.array([index, *lip])])
        distance = self._draw.mouth_distance(own[0], own[1:])
        mouths = np.zeros((MOUTHS * CARRIED, HEIGHT, WIDTH), np.float32)
        if len(lip):
            there = self._teeth(clip, index, points)
            alike = most_alike(distance, MOUTHS)
            views = {
                k: self._draw.mouth_picture(
                    pictures[1 + n + k],
                    reference_points[n + k],
                    self._teeth(clip, int(lip[k]), reference_points[n + k]),
                )
                for k in set(alike)
            }
            mouths = np.concatenate([carry(views[k], there) for k in alike])
        carried = torch.from_numpy(mouths)
        return Sample(
            frames[0],
            geometry[0],
            shapes[0],
            shapes[1],
            ReferenceBatch(frames[1 : n + 1], geometry[1 : n + 1], shapes[2 : n + 2]),
            ReferenceBatch(frames[n + 1 :], geometry[n + 1 :], shapes[n + 2 :]),
            torch.from_numpy(distance),
            carried.flip(-1) if mirrored else carried,
        )

    def _teeth(self, clip: CroppedFrames, t: int, points: Float) -> TeethPlace:
        """Return where the teeth of a frame are, [V, 3] pixels."""
        return self._draw.teeth(clip.analysis, t, crop_of(clip.analysis, t), points)


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


def render_sample(network: DualAttentionRenderer, sample: Sample) -> Rendered:
    """Run the network on one sample."""
    return network(  # type: ignore[no-any-return]
        sample.pncc,
        sample.picture,
        sample.face_mask,
        sample.lip_mask,
        join(network.encode("face", sample.face.frames, sample.face.pncc, sample.face.masks)),
        prefer_alike(
            bank_of(network.encode("lip", sample.lip.frames, sample.lip.pncc, sample.lip.masks)),
            sample.lip_distance,
        ),
        sample.mouths,
    )


def picture_losses(
    rendered: Rendered,
    sample: Sample,
    *,
    lip_weight: float,
    gradient_weight: float,
    warp_weight: float,
) -> dict[str, Tensor]:
    """Return the named losses on the pixels of one rendered sample.

    Args:
        rendered: Of the sample.
        sample: The truth.
        lip_weight: Of the lips beside the rest of the mask.
        gradient_weight: Of the pictures' gradients beside their pixels.
        warp_weight: Of the plain warp beside the picture.
    """
    weight = (sample.face_mask + lip_weight * sample.lip_mask)[None]
    image, warp = (
        multiscale_l1(made, sample.picture, weight, gradient_weight)
        for made in (rendered.image, rendered.warp)
    )
    return {"image": image, "warp": warp_weight * warp}


def expose(sample: Sample, factor: float) -> Sample:
    """Brighten or darken every picture of a sample alike."""
    moved = sample.mouths.view(-1, CARRIED // 2, *sample.mouths.shape[1:])
    colours = moved[:, :3]  # the fourth channel is where the mouth is open
    for tensor in (sample.picture, sample.face.frames, sample.lip.frames, colours):
        tensor.mul_(factor).clamp_(0, 1)
    return sample
