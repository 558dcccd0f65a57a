"""The pictures of a self-dub: a clip's crops with the lower face made from other frames of it.

References keep ``FAR_S`` away from the frame that is made, as in ``training.judge``.

Letters: T frames, V mesh vertices (468), L lower-face vertices, E expression coefficients, S crop
size (256), H, W the rendered window, N references.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dubcli.config import DEFAULTS, CacheOptions
from dubcli.geometry.morphable import INNER_LIP_RING, MorphableModel
from dubcli.geometry.window import COLUMNS, ROWS, WindowDrawer
from dubcli.loading import Models
from dubcli.media.probe import probe_video
from dubcli.networks.precision import mixed
from dubcli.networks.renderer import DualAttentionRenderer, References, channels_last
from dubcli.pipeline import Clock, prepare, read_lines
from dubcli.records import Analysis, Bytes, Crop, Float
from dubcli.stages.samples import SampleMaker, render_sample
from dubcli.training.crops import CroppedClip
from dubcli.training.renderer import to_bytes
from dubcli.training.renderer_data import FAR_S, distant_references

WHOLE = 1.0  # amount of the generated mouth: nothing of the frame's own is left


def keeps_away(clip: CroppedClip) -> bool:
    """Return whether every frame has its face references at least ``FAR_S`` away.

    Short clips do not: ``distant_references`` would let some come nearer.
    """
    away = np.abs(clip.time_s[:, None] - clip.time_s) >= FAR_S
    return bool((away.sum(axis=1) >= DEFAULTS.face_references).all())


class SelfDubber:
    """Makes frames of one clip from its other frames.

    Args:
        clip: The frames; all of their crops are decoded, which are ``MAX_FRAMES`` at most.
        maker: Makes samples.
    """

    def __init__(self, clip: CroppedClip, maker: SampleMaker) -> None:
        """Decode the crops."""
        self.clip, self._maker = clip, maker
        self._draw = WindowDrawer(maker.model)
        self._crops = [clip.crop(t) for t in range(len(clip))]

    @property
    def analysis(self) -> Analysis:
        """A row a frame."""
        return self.clip.analysis

    def crop(self, t: int) -> Bytes:
        """Return frame t's crop, [S, S, 3]."""
        return self._crops[t]

    def points(self, model: MorphableModel, t: int, beta: Float | None = None) -> Float:
        """Return frame t's mesh in its crop, [V, 3] pixels; with another expression if given."""
        return self.clip.points(model, t, beta)

    def copied(self, t: int) -> Bytes:
        """Return frame t with the lower face of its nearest reference pasted, [S, S, 3].

        Nearest is the one whose head is turned most alike, as in ``training.renderer.judge``.
        """
        face, _ = distant_references(self.clip, t, face=DEFAULTS.face_references, lip=1)
        sample = self._maker.make(self, t, t, face[:1], face[:1])
        inside = sample.face_mask.numpy() > 0
        made = self.crop(t).copy()
        made[ROWS, COLUMNS][inside] = self.crop(int(face[0]))[ROWS, COLUMNS][inside]
        return made

    def rendered(self, t: int, models: Models, mouth: Float | None = None) -> Bytes:
        """Return frame t with its lower face rendered, [S, S, 3].

        Args:
            t: Which frame.
            models: The renderer, its device and its precision.
            mouth: The lower face's displacement, [L, 3] cm; None: the frame's own geometry.
        """
        face, lip = distant_references(
            self.clip, t, face=DEFAULTS.face_references, lip=DEFAULTS.lip_references
        )
        frames = self if mouth is None else OtherMouth(self, t, mouth, self._draw)
        sample = self._maker.make(frames, t, t, face, lip)
        with torch.no_grad(), mixed(models.device, bfloat16=models.bfloat16):
            image = render_sample(models.renderer, sample.to(models.device)).image
        made = self.crop(t).copy()
        made[ROWS, COLUMNS] = to_bytes(image.float())
        return made


class OtherMouth:
    """A clip in which one frame has another mouth, as ``stages.samples.CroppedFrames``.

    Asked for that frame's mesh with an expression, it gives the one that stands in the picture, so
    that the sample's masks hide both mouths.

    Args:
        frames: The clip.
        t: The frame.
        mouth: The lower face's displacement there, [L, 3] cm.
        draw: Of the clip's basis.
    """

    def __init__(self, frames: SelfDubber, t: int, mouth: Float, draw: WindowDrawer) -> None:
        """Place the other mouth."""
        self._frames, self._t = frames, t
        own = frames.analysis
        target = draw.target_mesh(draw.source_mesh(own, t), own.beta[t], mouth, WHOLE)
        self._points = draw.in_crop(target, own, t, Crop(frames.clip.matrix[t], 0))
        beta = own.beta.copy()
        beta[t] = expression_of(mouth, draw)
        self._analysis = replace(own, beta=beta)

    @property
    def analysis(self) -> Analysis:
        """A row a frame; the frame's expression is that of the other mouth."""
        return self._analysis

    def crop(self, t: int) -> Bytes:
        """Return frame t's crop, [S, S, 3]."""
        return self._frames.crop(t)

    def points(self, model: MorphableModel, t: int, beta: Float | None = None) -> Float:
        """Return frame t's mesh in its crop, [V, 3] pixels."""
        if t != self._t:
            return self._frames.points(model, t, beta)
        return self._points if beta is None else self._frames.points(model, t)


def expression_of(mouth: Float, draw: WindowDrawer) -> Float:
    """Return the expression whose inner lips are nearest to a displacement, [L, 3] cm -> [E].

    They are what ``WindowDrawer.mouth_distance`` compares mouths by.
    """
    ring = list(INNER_LIP_RING)
    basis = draw.model.expression[:, ring].flatten(1).numpy()
    wanted = mouth[np.searchsorted(draw.lower, ring)].reshape(-1)
    beta, *_ = np.linalg.lstsq(basis.T, wanted, rcond=None)
    return np.asarray(beta, dtype=np.float32)


class RememberingRenderer(DualAttentionRenderer):
    """A renderer that encodes each reference once, however many frames it serves.

    Made for one clip: nothing is forgotten.

    Args:
        network: Whose weights, on its device.
    """

    def __init__(self, network: DualAttentionRenderer) -> None:
        """Take over the weights."""
        super().__init__(network.hyper)
        self.load_state_dict(network.state_dict())
        channels_last(self)
        self.to(next(network.parameters()).device).eval().requires_grad_(False)
        self._known: dict[tuple[str, int], References] = {}

    def encode(self, branch: str, frames: Tensor, pncc: Tensor, masks: Tensor) -> list[References]:
        """Encode reference frames, those that are new; see ``DualAttentionRenderer.encode``."""
        both = torch.cat([frames, pncc, masks[:, None]], 1).cpu().numpy()
        keys = [(branch, hash(reference.tobytes())) for reference in both]
        new = [k for k, key in enumerate(keys) if key not in self._known]
        if new:
            made = super().encode(branch, frames[new], pncc[new], masks[new])
            self._known.update(zip((keys[k] for k in new), made, strict=True))
        return [self._known[key] for key in keys]


def spoken_mouths(video: Path, sound: Path, models: Models, cache: CacheOptions) -> Iterator[Float]:
    """Yield the mouth that ``dub`` would generate for each frame of a video, [L, 3] cm.

    In the speaker's own style, moved as far as the speaker's own, closed in silence: what
    ``pipeline.prepare`` gives a dub.

    Args:
        video: The clip.
        sound: What is said, as long as the video.
        models: The geometry network and what it hears with.
        cache: Where the video's analysis is kept.

    Raises:
        InputError: If the video shows no face that can be dubbed.
    """
    lines = read_lines(sound, (), DEFAULTS)
    options = replace(DEFAULTS, cache=cache)
    ready = prepare(probe_video(video), lines, Clock(None), [], models=models, options=options)
    for track in ready.mouths(ready.parts[0]):
        yield track.displacement
