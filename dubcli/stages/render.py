"""Frames, fitted geometry and generated mouths to dubbed frames.

Letters: T source frames, N references, K lip references, L lower-face vertices, H, W window,
S crop size (256).
"""

from collections import deque
from collections.abc import Generator, Iterable, Sequence, Set
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dubcli.config import DubOptions
from dubcli.geometry.crop import (
    CROP_PX_PER_CM,
    FEATHER,
    FineDetail,
    colour_shift,
    crop_for_head,
    cut_out,
    feather,
    finer,
    lay_over,
    placed,
    tinted,
)
from dubcli.geometry.morphable import INNER_LIP_RING, MorphableModel
from dubcli.geometry.teeth import MouthPicture, carry, most_alike
from dubcli.geometry.window import COLUMNS, ROWS, WindowDrawer, outline_px
from dubcli.networks.mouth import MOUTHS
from dubcli.networks.precision import mixed
from dubcli.networks.renderer import (
    DualAttentionRenderer,
    LipBank,
    References,
    bank_of,
    join,
    prefer_alike,
)
from dubcli.records import Analysis, Bytes, Crop, Facts, Float, Frame, Integers, MouthTrack, Patch
from dubcli.stages.select import face_window

RENDERINGS = 2  # of each frame: the new geometry and the source's own
SHOW_FULLY = 0.34  # amount of effect at which the patch covers the source completely


@dataclass(frozen=True, slots=True, eq=False)
class DubbedFrame:
    """A frame of the output."""

    rgb: Bytes  # [H, W, 3]
    dubbed: bool  # whether any pixel was rendered
    mask: Bytes | None  # [S, S] what was rendered, in the crop
    source: Frame
    patch: Patch | None = None  # what was laid over the source


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A source frame with what the networks need of it."""

    frame: Frame
    crop: Crop | None  # None: no face, or none that is needed
    picture: Bytes | None  # [S, S, 3]
    face: References | None


@dataclass(frozen=True, slots=True)
class MaskShape:
    """The area that is replaced, in pixels of the crop."""

    grow_px: int  # beyond what the network learned to fill; negative: less
    feather_px: float  # over which it fades in inside its edge
    tint: bool  # show it


PLAIN_MASK = MaskShape(0, 2 * FEATHER, tint=False)


def mask_shape(options: DubOptions) -> MaskShape:
    """Return the area that is asked for, in pixels of the crop.

    Args:
        options: ``mask_grow`` and ``mask_feather`` in mm on the face, ``debug_mask``.

    Example:
        >>> mask_shape(DubOptions()) == PLAIN_MASK
        True
    """
    px_per_mm = CROP_PX_PER_CM / 10
    return MaskShape(
        round(options.mask_grow * px_per_mm), options.mask_feather * px_per_mm, options.debug_mask
    )


@dataclass(frozen=True, slots=True, eq=False)
class LipReference:
    """A lip reference: what attention looks at, and what the refiner may choose from."""

    tokens: References
    mouth: MouthPicture


@dataclass(frozen=True, slots=True, eq=False)
class _Lips:
    """The lip references of a person."""

    bank: LipBank
    shapes: Float  # [K, L, 3] of the mouth in each, cm
    mouths: tuple[MouthPicture, ...]  # K

    def like(self, distance_cm: Float) -> References:
        """Return the references, those with a wanted mouth foremost, from their distances, [K]."""
        return prefer_alike(self.bank, torch.from_numpy(distance_cm))

    def most_like(self, distance_cm: Float) -> list[MouthPicture]:
        """Return the mouths most like a wanted one, from their distances, [K]."""
        return [self.mouths[k] for k in most_alike(distance_cm, MOUTHS)]


def crop_of(analysis: Analysis, t: int) -> Crop:
    """Return the crop of frame t's head."""
    return crop_for_head(
        analysis.rotation[t], analysis.translation_px[t], float(analysis.scale_px[t])
    )


class FaceRenderer:
    """Renders generated mouths onto one analysed video.

    Args:
        network: The renderer.
        model: The basis.
        analysis: Of the source video.
        amount: How much of the effect each source frame may show, [T].
        face_references: N_f of Algorithm 1.
        person: Who is seen in each source frame, [T]: lip references are those of the same one.
            None: one person throughout.
        mask: The area that is replaced.
        bfloat16: Whether the network computes in it, and not in float32.
    """

    def __init__(
        self,
        network: DualAttentionRenderer,
        model: MorphableModel,
        analysis: Analysis,
        *,
        amount: Float,
        face_references: int,
        person: Integers | None = None,
        mask: MaskShape = PLAIN_MASK,
        bfloat16: bool = False,
    ) -> None:
        """Prepare; the lip bank comes with ``load_lip_bank``."""
        self._network, self._analysis, self._amount = network, analysis, amount
        self._draw, self._mask = WindowDrawer(model), mask
        self._face_references, self._bfloat16 = face_references, bfloat16
        self._device = next(network.parameters()).device
        self._near = _beside(amount > 0, face_references // 2)
        self._person = np.zeros(len(analysis), np.int64) if person is None else person
        self._banks: dict[int, _Lips] = {}  # of each person of whom a reference was found

    def load_lip_bank(self, frames: Iterable[Frame], wanted: Integers) -> int:
        """Encode the lip references, each once.

        Args:
            frames: The source video's frames; those not wanted pass by.
            wanted: Indices of the references, [K].

        Returns:
            How many were found.
        """
        return load_lip_banks([self], frames, [wanted])[0]

    def keep_lips(self, found: Sequence[tuple[int, LipReference]]) -> None:
        """Keep lip references.

        Args:
            found: Each with its frame, from ``encode_lips``.
        """
        people = self._person[[t for t, _ in found]]
        for number in np.unique(people):
            own = [item for item, who in zip(found, people, strict=True) if who == number]
            at = np.array([t for t, _ in own], dtype=np.int64)
            self._banks[int(number)] = _Lips(
                bank_of([reference.tokens for _, reference in own]),
                self._draw.own_displacement(self._analysis.beta[at]),
                tuple(reference.mouth for _, reference in own),
            )

    @torch.no_grad()
    def encode_lips(self, frame: Frame) -> LipReference:
        """Return a frame's lips as a reference."""
        t = frame.index
        crop = crop_of(self._analysis, t)
        picture, points = cut_out(frame.rgb, crop), self._source_points(t, crop)
        place = self._draw.teeth(self._analysis, t, crop, points)
        fine = finer(frame.rgb, crop, picture, points[list(INNER_LIP_RING)])
        return LipReference(
            self._encode("lip", picture, points, self._draw.lip_mask(points)),
            self._draw.mouth_picture(picture, points, place, fine),
        )

    def _source_points(self, t: int, crop: Crop) -> Float:
        """Return frame t's fitted mesh in its crop."""
        return self._draw.in_crop(
            self._draw.source_mesh(self._analysis, t), self._analysis, t, crop
        )

    def _encode(self, branch: str, picture: Bytes, points: Float, mask: Bytes) -> References:
        """Encode one reference."""
        inputs = (
            self._pictures(picture[ROWS, COLUMNS])[None],
            self._tensor(self._draw.pncc(points).transpose(2, 0, 1))[None],
            self._tensor(mask[ROWS, COLUMNS])[None],
        )
        with mixed(self._device, bfloat16=self._bfloat16):
            return self._network.encode(branch, *inputs)[0]

    def _pictures(self, rgb: Bytes) -> Tensor:
        """Return a picture for the network, [H, W, 3] uint8 -> [3, H, W] in [0, 1]."""
        return self._tensor(rgb.transpose(2, 0, 1)) / 255

    def _tensor(self, array: Bytes | Float) -> Tensor:
        """Return a float tensor on the network's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, torch.float32)

    @torch.no_grad()
    def _see(self, frame: Frame) -> _Seen:
        """Crop and encode a source frame as a face reference, if any frame can use it."""
        t = frame.index
        hidden = self._analysis.covered is not None and bool(self._analysis.covered[t])
        if not self._analysis.valid[t] or not self._near[t] or (hidden and not self._amount[t]):
            return _Seen(frame, None, None, None)
        crop = crop_of(self._analysis, t)
        picture = cut_out(frame.rgb, crop)
        points = self._source_points(t, crop)
        mask = self._draw.reference_mask(points)
        return _Seen(frame, crop, picture, self._encode("face", picture, points, mask))

    def render(
        self,
        frames: Iterable[Frame],
        mouths: Iterable[MouthTrack],
        wanted: Set[int] | None = None,
        order: Integers | None = None,
    ) -> Generator[DubbedFrame, None, None]:
        """Yield the dubbed frames, one for each source frame given, in their order.

        The face references of frame i are its neighbours in the source (Algorithm 1, inference), so
        frames are held back until their neighbours have been seen: N_f // 2 other frames at most.
        Where the order goes back by more than a frame, it starts anew.

        Args:
            frames: Source frames, in the order of the output.
            mouths: The generated mouth of each.
            wanted: Render only these, counted from 0 in the order given; None: all. They come out
                as they would among all.
            order: ``Frame.index`` of all the frames, [T]: with it, frames far from those wanted,
                and those alone, are not looked at.
        """
        ahead = self._face_references // 2
        near = None if wanted is None or order is None else _near(wanted, order, ahead)
        waiting: deque[tuple[int, _Seen, MouthTrack]] = deque()
        seen: dict[int, _Seen] = {}
        step, last = 0, -1  # steps: a frame that stays is one
        with self._workers() as workers:
            for position, (frame, mouth) in enumerate(zip(frames, mouths, strict=True)):
                if frame.index < last - 1:
                    while waiting:
                        yield self._finish(*waiting.popleft()[1:], seen, workers)
                    seen.clear()
                step, last = step + (frame.index != last), frame.index
                if near is None or position in near:
                    known = seen.get(frame.index)
                    item = replace(known, frame=frame) if known else self._see(frame)
                    seen[frame.index] = item
                    if wanted is None or position in wanted:
                        waiting.append((step, item, mouth))
                while waiting and (
                    waiting[0][0] <= step - ahead
                    or seen.keys() >= self._window(waiting[0][1].frame.index)
                ):
                    yield self._finish(*waiting.popleft()[1:], seen, workers)
                for old in [t for t in seen if abs(t - frame.index) > 2 * ahead + 1]:
                    del seen[old]
            while waiting:
                yield self._finish(*waiting.popleft()[1:], seen, workers)

    def first_seen(self, position: int, order: Integers) -> int:
        """Return the first position that must have a picture for frames from one on to be rendered.

        Args:
            position: Of the first wanted.
            order: As in ``render``.
        """
        return min(_near({position}, order, self._face_references // 2))

    def dubs(self, t: int) -> bool:
        """Return whether anything is rendered into source frame t; otherwise it stays as it is."""
        shown = bool(self._analysis.valid[t]) and float(self._amount[t]) > 0
        return int(self._person[t]) in self._banks and shown

    def _workers(self) -> Executor:
        """Return what runs the two renderings of a frame side by side.

        On a CPU that uses two cores a little better than torch's threads inside each operation do
        (250 frames: 37.0 s instead of 40.3); torch's threads are shared out among the two.
        """
        each = max(1, torch.get_num_threads() // RENDERINGS)
        return ThreadPoolExecutor(RENDERINGS, "render", torch.set_num_threads, (each,))

    def _window(self, t: int) -> set[int]:
        """Return the frames around frame t that may be its face references, itself included."""
        window = face_window(t, len(self._analysis), face=self._face_references)
        return set(window.tolist())

    def _neighbours(self, t: int, seen: dict[int, _Seen]) -> References:
        """Return the face references of frame t: its neighbours in its shot, itself included."""
        shot = self._analysis.shot[t]
        parts = [
            reference.face
            for s in sorted(self._window(t))
            if (reference := seen.get(s)) is not None
            and reference.face is not None
            and self._analysis.shot[s] == shot
        ]
        return join(parts)

    @torch.no_grad()
    def _finish(
        self, item: _Seen, mouth: MouthTrack, seen: dict[int, _Seen], workers: Executor
    ) -> DubbedFrame:
        """Render one frame and lay it over the source."""
        t, rgb = item.frame.index, item.frame.rgb
        amount = float(self._amount[t])
        own_lips = self._banks.get(int(self._person[t]))
        if item.crop is None or item.picture is None or own_lips is None or not self.dubs(t):
            return DubbedFrame(rgb, dubbed=False, mask=None, source=item.frame)
        source = self._draw.source_mesh(self._analysis, t)
        target = self._draw.target_mesh(source, self._analysis.beta[t], mouth.displacement, amount)
        here = self._draw.in_crop(source, self._analysis, t, item.crop)
        there = self._draw.in_crop(target, self._analysis, t, item.crop)
        mask = self._draw.face_mask(here, self._mask.grow_px + outline_px(here, there))
        mask |= self._draw.face_mask(there, self._mask.grow_px)
        lips = self._draw.lip_mask(here) | self._draw.lip_mask(there)
        own = self._draw.own_displacement(self._analysis.beta[t])
        changed = own + amount * (mouth.displacement - own)
        face, picture, crop = self._neighbours(t, seen), item.picture, item.crop

        def rendered(points: Float, shape: Float) -> tuple[Float, list[FineDetail]]:
            """Render a mouth of some shape, [V, 3] pixels and [L, 3] cm."""
            distance = self._draw.mouth_distance(shape, own_lips.shapes)
            references = (face, own_lips.like(distance))
            if self._network.refiner is None:
                return self._render_crop(points, picture, (mask, lips), references)[0], []
            place = self._draw.teeth(self._analysis, t, crop, points)
            mouths = own_lips.most_like(distance)
            carried = np.concatenate([carry(mouth, place) for mouth in mouths])
            made, choice = self._render_crop(points, picture, (mask, lips), references, carried)
            return made, self._draw.fine_details(mouths, place, choice)

        (patch, fine), (base, _) = workers.map(rendered, (there, here), (changed, own))
        shown = _inside_window(mask)
        shift = colour_shift(base, picture.astype(np.float32), shown)
        weight = feather(shown, self._mask.feather_px / 2) * min(1.0, amount / SHOW_FULLY)
        detail = self._draw.detail(base + shift, there, here)
        laid = placed(rgb, patch + shift, weight, item.crop, detail, fine)
        if self._mask.tint and laid is not None:
            laid = tinted(laid)
        return DubbedFrame(lay_over(rgb, laid), True, shown, item.frame, laid)

    @torch.no_grad()
    def _render_crop(
        self,
        points: Float,
        picture: Bytes,
        masks: tuple[Bytes, Bytes],
        references: tuple[References, References],
        mouths: Float | None = None,
    ) -> tuple[Float, Float]:
        """Return a crop with the face rendered in a given geometry, and the refiner's choice.

        [S, S, 3], 0 to 255, and [2 MOUTHS, H, W]; of no mouths where there is no refiner.
        """
        inputs = (
            self._tensor(self._draw.pncc(points).transpose(2, 0, 1)),
            self._pictures(picture[ROWS, COLUMNS]),
            *(self._tensor(mask[ROWS, COLUMNS]) for mask in masks),
        )
        carried = None if mouths is None else self._tensor(mouths)
        with mixed(self._device, bfloat16=self._bfloat16):  # of this thread
            rendered = self._network(*inputs, *references, carried)
        image = rendered.image.float().clamp(0, 1).permute(1, 2, 0)
        made = picture.astype(np.float32)
        made[ROWS, COLUMNS] = image.cpu().numpy() * 255
        choice = image.new_zeros(0) if rendered.choice is None else rendered.choice.float()
        return made, choice.cpu().numpy()


def load_lip_banks(
    faces: Sequence[FaceRenderer], frames: Iterable[Frame], wanted: Sequence[Integers]
) -> list[int]:
    """Encode the lip references of all faces of a video in one pass, and give each its own.

    Args:
        faces: Of the same video.
        frames: Its frames; those not wanted pass by.
        wanted: Indices of each one's references, [K].

    Returns:
        How many were found of each.
    """
    chosen = [set(indices.tolist()) for indices in wanted]
    found: list[list[tuple[int, LipReference]]] = [[] for _ in faces]
    for frame in frames:
        for face, indices, own in zip(faces, chosen, found, strict=True):
            if frame.index in indices:
                own.append((frame.index, face.encode_lips(frame)))
    for face, own in zip(faces, found, strict=True):
        face.keep_lips(own)
    return [len(own) for own in found]


def _beside(frames: Facts, reach: int) -> Facts:
    """Return the frames that have one of some frames within reach, [T] -> [T]."""
    window = np.ones(2 * reach + 1)
    near: Facts = np.convolve(frames, window)[reach : reach + len(frames)] > 0
    return near


def _inside_window(mask: Bytes) -> Bytes:
    """Return the part of a crop's mask that lies in the rendered window."""
    inside = np.zeros_like(mask)
    inside[ROWS, COLUMNS] = mask[ROWS, COLUMNS]
    return inside


def _near(wanted: Set[int], order: Integers, ahead: int) -> set[int]:
    """Return the positions at which a reference of a wanted one may have been seen last.

    A reference is forgotten when the frames are more than 2 ahead + 1 away from it, or go back by
    more than a frame. Since it was seen last they can only have gone that far and, by a turn,
    almost back: 4 ahead + 1 steps up to the newest one, which is the wanted one itself where the
    frames end, else ``ahead`` later. A frame that stays is one step, however long it stays.

    Args:
        wanted: Positions.
        order: The source frame of each position, [T].
        ahead: How many neighbours there are on each side.
    """
    change = np.diff(order, prepend=order[:1])
    starts = np.flatnonzero((change != 0) | (np.arange(len(order)) == 0))  # of each step
    step = np.cumsum(change != 0)
    near = set(wanted)
    for p in wanted:
        low, high = max(0, step[p] - 4 * ahead - 1), min(len(starts), step[p] + ahead + 1)
        near.update(starts[low:high].tolist())
    return near


def closed_mouth(analysis: Analysis, draw: WindowDrawer, usable: Facts) -> Float:
    """Return this person's own closed mouth, [L, 3] cm: their most closed twentieth of frames.

    Silence closes the mouth to a shape that the source has shown, so that there are pixels for it.
    """
    frames = np.flatnonzero(usable)
    order = frames[np.argsort(analysis.lip_aperture[frames], kind="stable")]
    most = order[: max(1, len(order) // 20)]
    closed: Float = draw.own_displacement(analysis.beta[most]).mean(axis=0)
    return closed
