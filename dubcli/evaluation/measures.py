"""What is measured while two videos pass by side by side: a class each, update then rows.

A measure turns moments into what one or two of the pure metrics take, and their numbers into rows.

Letters: S crop size (256); D feature width.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Protocol

from dubcli.errors import InputError
from dubcli.evaluation.records import Quantity, Row
from dubcli.evaluation.streams import Moment
from dubcli.evaluation.sync import SyncMeter
from dubcli.geometry.window import COLUMNS, ROWS
from dubcli.metrics.flicker import Flicker
from dubcli.metrics.frechet import FrechetDistance
from dubcli.metrics.identity import Csim
from dubcli.metrics.image import Psnr, Ssim
from dubcli.metrics.landmarks import FACE, LIPS, LandmarkDistance
from dubcli.metrics.mean import MeanOf
from dubcli.metrics.sharpness import Cpbd
from dubcli.records import Bytes, Float

SAME_WORDS = "says something only where both videos say the same words"
OFFSET_SIGN = "at 25 frames a second; positive: the mouth comes late"
INFINITE = float("inf")
MOBILENET_WIDTH = 1280  # features of the last layer, averaged over the picture
WINDOW = (ROWS, COLUMNS)  # of the crop: what the renderer works on, the lower face and around it


class Measure(Protocol):
    """What the moments of a video are shown to, in order."""

    def update(self, moment: Moment) -> None:
        """Take in the next moment."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows, after the last moment."""


class Unmeasured:
    """Stands for a measure that cannot be had, and says why in its rows.

    Args:
        quantities: Of the rows.
        why: Their note.
    """

    def __init__(self, quantities: tuple[Quantity, ...], why: str) -> None:
        """Keep both."""
        self._quantities, self._why = quantities, why

    def update(self, moment: Moment) -> None:
        """Look away."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows without numbers."""
        for quantity in self._quantities:
            yield quantity.missing(self._why)


class Sampled:
    """Shows a costly measure one moment in so many, and says so in its rows.

    Args:
        measure: One that takes moments by themselves.
        every: Of so many moments the first is shown.
    """

    def __init__(self, measure: Measure, every: int) -> None:
        """Begin without a moment."""
        self._measure, self._every = measure, every

    def update(self, moment: Moment) -> None:
        """Take in a moment, or let it pass."""
        if moment.index % self._every == 0:
            self._measure.update(moment)

    def rows(self) -> Iterator[Row]:
        """Yield the measure's rows."""
        for row in self._measure.rows():
            if self._every == 1 or row.value is None:
                yield row
            else:
                note = f"on one frame in {self._every} (--every)"
                yield replace(row, note=f"{note}; {row.note}" if row.note else note)


def number(compute: Callable[[], float]) -> float:
    """Return what an accumulator computes; nan if nothing came to it."""
    try:
        return compute()
    except ValueError:
        return float("nan")


class Pictures:
    """PSNR and SSIM of the frame, the face and the lower face."""

    quantities: ClassVar = (
        Quantity("PSNR", "frame", "dB", "higher", INFINITE),
        Quantity("PSNR", "face", "dB", "higher", INFINITE),
        Quantity("PSNR", "lower", "dB", "higher", INFINITE),
        Quantity("SSIM", "frame", "", "higher", 1.0),
        Quantity("SSIM", "face", "", "higher", 1.0),
        Quantity("SSIM", "lower", "", "higher", 1.0),
    )

    def __init__(self) -> None:
        """Begin without a frame."""
        self._psnr = {region: Psnr() for region in ("frame", "face", "lower")}
        self._ssim = {region: Ssim() for region in ("frame", "face", "lower")}

    def update(self, moment: Moment) -> None:
        """Take in a moment of two videos."""
        made, true, masks = moment.made, moment.real, moment.masks
        if true is None:
            return
        for metrics in (self._psnr, self._ssim):
            metrics["frame"].update(made.rgb, true.rgb)
            if made.face is not None and true.face is not None and masks is not None:
                metrics["face"].update(made.face, true.face, masks.face)
                metrics["lower"].update(made.face, true.face, masks.lower)

    def rows(self) -> Iterator[Row]:
        """Yield the six rows."""
        for quantity in self.quantities:
            metrics = self._psnr if quantity.metric == "PSNR" else self._ssim
            yield quantity.row(number(metrics[quantity.region].compute))


class Sharpness:
    """CPBD of the frame and of the face crop, of both videos."""

    quantities: ClassVar = (
        Quantity("CPBD", "frame", "", "higher"),
        Quantity("CPBD", "face", "", "higher"),
    )

    def __init__(self) -> None:
        """Begin without a frame."""
        self._made, self._real = (
            {region: Cpbd() for region in ("frame", "face")} for _ in ("made", "real")
        )

    def update(self, moment: Moment) -> None:
        """Take in a moment."""
        for view, metrics in ((moment.made, self._made), (moment.real, self._real)):
            if view is not None:
                metrics["frame"].update(view.rgb)
                if view.face is not None:
                    metrics["face"].update(view.face)

    def rows(self) -> Iterator[Row]:
        """Yield the two rows."""
        for quantity in self.quantities:
            region = quantity.region
            yield quantity.row(
                number(self._made[region].compute), number(self._real[region].compute)
            )


class Stillness:
    """Flicker of the face and the lower face in the crop, which follows the head."""

    quantities: ClassVar = (
        Quantity("flicker", "face", "grey levels", "real"),
        Quantity("flicker", "lower", "grey levels", "real"),
    )

    def __init__(self) -> None:
        """Begin without a frame."""
        self._face, self._lower = Flicker(), Flicker()
        self._shot = 0

    def update(self, moment: Moment) -> None:
        """Take in a moment."""
        masks = moment.masks
        if masks is None or moment.made.face is None or moment.shot != self._shot:
            self._face.cut()
            self._lower.cut()
        self._shot = moment.shot
        if masks is None or moment.made.face is None:
            return
        true = None if moment.real is None else moment.real.face
        self._face.update(moment.made.face, true, masks.face)
        self._lower.update(moment.made.face, true, masks.lower)

    def rows(self) -> Iterator[Row]:
        """Yield the two rows."""
        for quantity, flicker in zip(self.quantities, (self._face, self._lower), strict=True):
            yield quantity.row(number(flicker.compute), number(flicker.compute_true))


class Landmarks:
    """LMD, F-LMD and M-LMD, in the picture plane, on every frame in which both show a face."""

    quantities: ClassVar = (
        Quantity("LMD", "lips", "% of face", "lower", 0.0, remark=SAME_WORDS),
        Quantity("F-LMD", "face", "% of face", "lower", 0.0, remark=SAME_WORDS),
        Quantity("M-LMD", "lips", "% of face", "lower", 0.0, remark=SAME_WORDS),
    )

    def __init__(self) -> None:
        """Begin without a frame."""
        self._distances = (
            LandmarkDistance(LIPS),
            LandmarkDistance(FACE),
            LandmarkDistance(LIPS, align=True),
        )

    def update(self, moment: Moment) -> None:
        """Take in a moment of two videos."""
        made = moment.made.landmarks_px
        true = None if moment.real is None else moment.real.landmarks_px
        if made is not None and true is not None:
            for distance in self._distances:
                distance.update(made, true)

    def rows(self) -> Iterator[Row]:
        """Yield the three rows."""
        for quantity, distance in zip(self.quantities, self._distances, strict=True):
            yield quantity.row(number(distance.compute))


class Perception:
    """ST-LPIPS of the face crop and of the window that is rendered.

    Args:
        distance: Two pictures to their perceptual distance.
    """

    quantities: ClassVar = (
        Quantity("ST-LPIPS", "face", "", "lower", 0.0),
        Quantity("ST-LPIPS", "lower", "", "lower", 0.0),
    )

    def __init__(self, distance: Callable[[Bytes, Bytes], float]) -> None:
        """Begin without a frame."""
        self._distance = distance
        self._face, self._lower = MeanOf(), MeanOf()

    def update(self, moment: Moment) -> None:
        """Take in a moment of two videos."""
        made, true = face_pair(moment)
        if made is not None and true is not None:
            self._face.update(self._distance(made, true))
            self._lower.update(self._distance(made[WINDOW], true[WINDOW]))

    def rows(self) -> Iterator[Row]:
        """Yield the two rows."""
        for quantity, mean in zip(self.quantities, (self._face, self._lower), strict=True):
            yield quantity.row(number(mean.compute))


class Features:
    """The Frechet distance between the face crops' MobileNetV2 features.

    Args:
        embed: A picture to its features, [D].
    """

    quantities: ClassVar = (Quantity("FD-MobileNetV2", "face", "", "lower", 0.0),)

    def __init__(self, embed: Callable[[Bytes], Float]) -> None:
        """Begin without a frame."""
        self._embed = embed
        self._distance = FrechetDistance(MOBILENET_WIDTH)
        self._count = 0

    def update(self, moment: Moment) -> None:
        """Take in a moment of two videos."""
        made, true = face_pair(moment)
        if made is not None and true is not None:
            self._distance.update(self._embed(made), self._embed(true))
            self._count += 1

    def rows(self) -> Iterator[Row]:
        """Yield the row; few frames bias it upward, so it says how many there were."""
        note = f"of {self._count} frames a side: compare only with as many"
        yield self.quantities[0].row(
            number(self._distance.compute),
            note=note,
            why_not=f"{self._count} frames measured, the distance needs two (--every)",
        )


class Identity:
    """CSIM: whether it is still the same person, by SFace.

    Args:
        embed: A frame and its landmarks to the face's embedding, [D].
    """

    quantities: ClassVar = (Quantity("CSIM", "face", "", "higher", 1.0),)

    def __init__(self, embed: Callable[[Bytes, Float], Float]) -> None:
        """Begin without a frame."""
        self._embed = embed
        self._csim = Csim()

    def update(self, moment: Moment) -> None:
        """Take in a moment of two videos."""
        made, true = moment.made, moment.real
        if true is None:
            return
        if made.landmarks_px is None or true.landmarks_px is None:
            return
        self._csim.update(
            self._embed(made.rgb, made.landmarks_px), self._embed(true.rgb, true.landmarks_px)
        )

    def rows(self) -> Iterator[Row]:
        """Yield the row."""
        yield self.quantities[0].row(number(self._csim.compute))


class Sync:
    """Confidence, distance and offset by the measuring expert, which saw no dub in training.

    Args:
        made: Listens to the video.
        made_sound: What the video's mouth should say.
        real: Listens to the reference; None: there is none.
        real_sound: The reference's own sound; None: it has none.
    """

    quantities: ClassVar = (
        Quantity("sync confidence (LSE-C)", "lips", "", "higher"),
        Quantity("sync distance (LSE-D)", "lips", "", "lower"),
        Quantity("sync offset", "lips", "frames", "real", remark=OFFSET_SIGN),
    )

    def __init__(
        self, made: SyncMeter, made_sound: Path, real: SyncMeter | None, real_sound: Path | None
    ) -> None:
        """Begin without a frame."""
        self._made, self._made_sound = made, made_sound
        self._real, self._real_sound = real, real_sound

    def update(self, moment: Moment) -> None:
        """Take in a moment."""
        made, true = moment.made, moment.real
        self._made.update(made.rgb, made.landmarks_px, moment.time_s)
        if true is not None and self._real is not None:
            self._real.update(true.rgb, true.landmarks_px, moment.time_s)

    def rows(self) -> Iterator[Row]:
        """Yield the three rows; a video that cannot be judged says why."""
        try:
            made = self._made.compute(self._made_sound)
            real = None
            if self._real is not None and self._real_sound is not None:
                real = self._real.compute(self._real_sound)
        except InputError as error:
            yield from Unmeasured(self.quantities, str(error)).rows()
            return
        for quantity, name in zip(
            self.quantities, ("confidence", "distance", "offset_frames"), strict=True
        ):
            beside = None if real is None else float(getattr(real, name))
            yield quantity.row(float(getattr(made, name)), beside)


def face_pair(moment: Moment) -> tuple[Bytes | None, Bytes | None]:
    """Return the face crops of both videos, [S, S, 3] each, as far as there are any."""
    return moment.made.face, None if moment.real is None else moment.real.face
