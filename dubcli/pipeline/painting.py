"""Frames with the faces that are laid over them: one, or several in the same frame."""

from collections.abc import Generator, Iterable, Sequence, Set
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import reduce
from itertools import tee

import numpy as np

from dubcli.geometry.crop import lay_over
from dubcli.media.planes import Canvas
from dubcli.records import Bytes, Frame, Integers, MouthTrack, Patch
from dubcli.stages.render import DubbedFrame, FaceRenderer


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A frame of the output: what each face of the dub adds to one source frame.

    Each was rendered from the source alone, so they depend on each other only where their patches
    overlap: there a later one lies over the earlier ones.
    """

    faces: tuple[DubbedFrame, ...]  # at least one

    @property
    def source(self) -> Frame:
        """The source frame."""
        return self.faces[0].source

    @property
    def dubbed(self) -> bool:
        """Whether any face was rendered."""
        return any(face.dubbed for face in self.faces)

    @property
    def patches(self) -> tuple[Patch, ...]:
        """What is laid over the source, in this order."""
        return tuple(face.patch for face in self.faces if face.patch is not None)

    @property
    def rgb(self) -> Bytes:
        """The picture, [H, W, 3]."""
        return reduce(lay_over, self.patches, self.source.rgb)

    def on(self, canvas: Canvas) -> Bytes:
        """Return the picture as planes of the source's own samples.

        Args:
            canvas: Of the video.
        """
        frame = self.source
        for patch in self.patches[:-1]:
            planes = canvas.lay_over(frame, patch)
            frame = Frame(frame.index, lay_over(frame.rgb, patch), planes)
        return canvas.lay_over(frame, self.patches[-1] if self.patches else None)

    def layer(self, canvas: Canvas) -> Bytes:
        """Return the patches alone, as one layer with alpha.

        Args:
            canvas: Of the video.
        """
        return canvas.layer(reduce(over, self.patches) if self.patches else None)


def over(below: Patch, above: Patch) -> Patch:
    """Return one patch that shows two as if they were laid over a frame one after the other.

    alpha = a + b (1 - a), and the picture weighted likewise        (Porter and Duff 1984, "over")

    Args:
        below: The first, b.
        above: The second, a.
    """
    top, left = min(below.top, above.top), min(below.left, above.left)
    bottom = max(each.top + each.share.shape[0] for each in (below, above))
    right = max(each.left + each.share.shape[1] for each in (below, above))
    share = np.zeros((bottom - top, right - left), np.float32)
    picture = np.zeros((*share.shape, 3), np.float32)
    for each in (below, above):
        rows = slice(each.top - top, each.top - top + each.share.shape[0])
        columns = slice(each.left - left, each.left - left + each.share.shape[1])
        kept = share[rows, columns] * (1 - each.share)
        total = kept + each.share
        mixed = kept[..., None] * picture[rows, columns] + each.share[..., None] * each.picture
        shown = total[..., None] > 0
        np.divide(mixed, total[..., None], out=picture[rows, columns], where=shown)
        share[rows, columns] = total
    return Patch(top, left, picture, share)


def render_together(
    faces: Sequence[FaceRenderer],
    frames: Iterable[Frame],
    mouths: Sequence[Iterable[MouthTrack]],
    wanted: Set[int] | None = None,
    order: Integers | None = None,
) -> Generator[Painted, None, None]:
    """Yield the frames of an output; each is decoded once, whatever number of faces is in it.

    Args:
        faces: At least one.
        frames: As in ``FaceRenderer.render``.
        mouths: Of each face.
        wanted: As there.
        order: As there.
    """
    copies = tee(frames, len(faces))  # they run in step: a few frames are held
    with ExitStack() as running:
        rendered = [
            running.enter_context(closing(face.render(copy, said, wanted, order)))
            for face, copy, said in zip(faces, copies, mouths, strict=True)
        ]
        for together in zip(*rendered, strict=True):
            yield Painted(together)
