"""Which frames of cropped clips the renderer is trained and judged on."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from dubcli.records import Integers
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
