"""Before rendering: the renderer, fine-tuned on the video's own frames, for this dub alone."""

import copy
import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
from safetensors.torch import save

from dubcli.checkpoints import ManifestEntry
from dubcli.config import DubOptions
from dubcli.loading import RENDERER, Models
from dubcli.media.prefetch import prefetch
from dubcli.media.reader import FrameReader
from dubcli.networks.renderer import DualAttentionRenderer
from dubcli.pipeline.analysis import Speaker
from dubcli.pipeline.clock import Clock
from dubcli.records import Coverage, VideoInfo
from dubcli.stages.adapt import LEAST_FRAMES, adapt, frames_to_learn, gather

ADAPTED = f"{RENDERER}-adapted"  # how reports and outputs call it, before its hash


def adapted_models(
    models: Models,
    info: VideoInfo,
    speaker: Speaker,
    coverage: Coverage,
    options: DubOptions,
    clock: Clock,
    warnings: list[str],
) -> Models:
    """Return the models with a renderer that has learned from the video; those given stay.

    Everybody who is dubbed is learned from, also in frames outside the ranges that are dubbed. The
    hash of the new weights is among ``checkpoints``: parts of an output that were rendered by other
    weights are not gone on with.

    Args:
        models: From ``load_models``.
        info: The video, which is decoded once more.
        speaker: Who is dubbed.
        coverage: Where the face can be used.
        options: ``adapt`` steps.
        clock: Takes the seconds of "gather" and "adapt".
        warnings: Says so where there are too few frames to learn from.

    Raises:
        MediaError: If the video cannot be decoded.
    """
    dubbed = np.unique(speaker.person[coverage.amount > 0])
    usable = (coverage.able > 0) & np.isin(speaker.person, dubbed)
    wanted = frames_to_learn(usable, speaker.person)
    if not len(wanted):
        warnings.append(
            f"--adapt: nobody is seen in {LEAST_FRAMES} frames or more, too few to learn from; "
            "rendered with the renderer as it is"
        )
        return models
    last = int(wanted[-1]) + 1
    with FrameReader(info, 0, last) as reader, closing(prefetch(reader)) as frames:
        watched = clock.watch("gather", frames, last)
        own = gather(watched, wanted, speaker.analysis, speaker.person)
    network = copy.deepcopy(models.renderer)
    steps = options.adapt
    tuning = adapt(network, own, models.morphable, steps, bfloat16=models.bfloat16)
    for _ in clock.watch("adapt", tuning, steps):
        pass
    entry = _entry(network, models.checkpoints, steps, len(own))
    return replace(models, renderer=network, checkpoints=(*models.checkpoints, entry))


def _entry(
    network: DualAttentionRenderer, checkpoints: Sequence[ManifestEntry], steps: int, frames: int
) -> ManifestEntry:
    """Describe the adapted weights, which no file holds."""
    payload = save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()})
    sha256 = hashlib.sha256(payload).hexdigest()
    return ManifestEntry(
        name=f"{ADAPTED}-{sha256[:8]}",  # of two faces there are two
        file="",
        sha256=sha256,
        bytes=len(payload),
        network=type(network).__name__,
        licence=next((entry.licence for entry in checkpoints if entry.name == RENDERER), ""),
        trained_on=f"{frames} frames of the video, {steps} steps, from {RENDERER}",
        card="",
    )
