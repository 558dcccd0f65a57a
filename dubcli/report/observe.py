"""Notes, while a dub is made, what its report will say: a few bytes a frame."""

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from dubcli.geometry.camera import yaw
from dubcli.geometry.window import WindowDrawer
from dubcli.records import Analysis, Coverage, MouthTrack
from dubcli.report.records import Curves


class Observer:
    """Watches the generated mouths go by, and what became of each frame.

    Args:
        analysis: Of the source video.
        coverage: Where and how much its face may be dubbed.
        draw: Measures openings.
    """

    def __init__(self, analysis: Analysis, coverage: Coverage, draw: WindowDrawer) -> None:
        """Start with no frame."""
        self._analysis, self._coverage, self._draw = analysis, coverage, draw
        self._source = array("q")
        self._generated, self._own = array("f"), array("f")
        self._dubbed = array("b")

    def watch(self, mouths: Iterable[MouthTrack]) -> Iterator[MouthTrack]:
        """Yield the mouths unchanged, noting their openings and the source's."""
        for mouth in mouths:
            own = self._draw.own_displacement(self._analysis.beta[mouth.source])
            generated, real = self._draw.gap(np.stack([mouth.displacement, own]))
            self._source.append(mouth.source)
            self._generated.append(float(generated))
            self._own.append(float(real))
            yield mouth

    def note(self, *, dubbed: bool) -> None:
        """Note whether the next frame of the output was painted."""
        self._dubbed.append(dubbed)

    def curves(self) -> Curves:
        """Return what was noted, once every frame is done."""
        source = np.array(self._source, dtype=np.int64)
        generated, own = (
            np.array(values, dtype=np.float32) for values in (self._generated, self._own)
        )
        dubbed = np.array(self._dubbed, dtype=np.bool_)
        analysis, amount = self._analysis, self._coverage.amount[source]
        turn = yaw(torch.from_numpy(analysis.rotation)).numpy()[source].astype(np.float32)
        valid = analysis.valid[source]
        nothing = np.float32(np.nan)
        return Curves(
            source=source,
            shot=analysis.shot[source],
            dubbed=dubbed,
            reason=self._coverage.reason[source],
            amount=np.where(dubbed, amount, np.float32(0)),
            turn_rad=np.where(valid, turn, nothing),
            opening_cm=np.where(dubbed, own + amount * (generated - own), nothing),
            source_opening_cm=np.where(valid, own, nothing),
        )
