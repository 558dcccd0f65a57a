"""The values that flow between stages: frozen, numpy only, unit and shape on each field.

Letters: T frames, V mesh vertices (468), I identity coefficients, E expression coefficients,
N samples, K references. Images are uint8 RGB [H, W, 3]. Time is a ``Fraction`` of a second.
``eq=False`` because ``==`` on a dataclass that holds arrays raises.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
Facts = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Stamps:
    """When each picture is shown."""

    ticks: Integers  # [T] strictly ascending
    end: int  # when the last picture is over
    unit_s: Fraction  # seconds of a tick


@dataclass(frozen=True, slots=True)
class Numbering:
    """How the files of a picture sequence are named: all alike but for the number."""

    folder: Path
    before: str  # "shot."
    digits: int  # of the number at least, with leading zeros: 4 for %04d
    after: str  # ".png"

    def name(self, number: int) -> str:
        """Return the file name of a picture.

        Example:
            >>> Numbering(Path("film"), "shot.", 4, ".png").name(12)
            'shot.0012.png'
        """
        return f"{self.before}{number:0{self.digits}d}{self.after}"

    def path(self, number: int) -> Path:
        """Return the file of a picture."""
        return self.folder / self.name(number)


@dataclass(frozen=True, slots=True)
class Pictures:
    """A video as a picture sequence: a file for each frame, numbered without a gap."""

    names: Numbering
    first: int  # number of the first picture
    count: int

    def paths(self) -> Iterator[Path]:
        """Yield the files, in order."""
        return map(self.names.path, range(self.first, self.first + self.count))


@dataclass(frozen=True, slots=True, eq=False)
class VideoInfo:
    """What a video stream is, as it will be decoded (rotation applied)."""

    path: Path
    width: int  # pixels as displayed, after the rotation tag is applied
    height: int
    frame_rate: Fraction  # frames per second; the average one where the rate varies
    frame_count: int | None  # None where the container does not say
    duration_s: Fraction | None
    rotation_deg: int  # the tag that decoding applies: 0, 90, 180, 270
    variable_rate: bool
    has_audio: bool
    codec: str  # "h264"
    pixel_format: str  # "yuv420p"
    colour_space: str | None  # ffmpeg's names: "bt709"; None where the file does not say
    colour_primaries: str | None
    colour_transfer: str | None
    colour_range: str | None  # "tv" or "pc"
    pixel_aspect: Fraction = Fraction(1)  # width of a pixel / its height, as displayed
    profile: str | None = None  # of the codec: "High 10", "HQ"
    interlaced: bool = False  # frames are made progressive as they are read
    mastering_display: str | None = None  # SMPTE ST 2086, as x264 and x265 write it
    content_light: tuple[int, int] | None = None  # cd/m2: brightest pixel, brightest frame
    stamps: Stamps | None = None  # of its frames, from tick 0 on; None: the rate is constant
    pictures: Pictures | None = None  # its files, where it is a picture sequence
    notes: tuple[str, ...] = ()  # what the user should know of how it was read

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is read from."""
        return (self.path,) if self.pictures is None else tuple(self.pictures.paths())


@dataclass(frozen=True, slots=True, eq=False)
class AudioInfo:
    """What an audio stream is."""

    path: Path
    rate_hz: int
    channels: int
    sample_count: int  # per channel, as decoded
    codec: str  # "pcm_s16le"
    sample_format: str  # "s16"
    layout: str = ""  # of the channels, ffmpeg's name: "stereo", "5.1(side)"; "": not known

    @property
    def duration_s(self) -> Fraction:
        """Length in seconds, exact."""
        return Fraction(self.sample_count, self.rate_hz)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What is done to the speech before it is stored; by default nothing, to the bit."""

    duration_s: Fraction | None = None  # where it is cut off, or until when silence follows it
    gain_db: float = 0.0
    start_s: Fraction = Fraction(0)  # of silence before it


@dataclass(frozen=True, slots=True)
class CarriedStream:
    """A stream of the source that an output has too."""

    index: int  # in the source
    codec: str = "copy"  # or ffmpeg's encoder, where the container needs another


@dataclass(frozen=True, slots=True)
class Carried:
    """What comes along from the source: its chapters, its metadata, and these streams."""

    path: Path
    streams: tuple[CarriedStream, ...] = ()
    timecode: str | None = None  # of the first frame: "01:00:00:00"
    until_s: Fraction | None = None  # where tracks and chapters end; None: with the source


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture."""

    index: int  # position in the source video, from 0
    rgb: Bytes  # [H, W, 3] as the networks see it
    planes: Bytes | None = None  # as the file holds it, one plane after another (media.planes)


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """What is laid over a rectangle of a frame."""

    top: int  # pixels of the frame
    left: int
    picture: Float  # [h, w, 3] 0 to 255
    share: Float  # [h, w] how much of it shows, 0 to 1


@dataclass(frozen=True, slots=True, eq=False)
class AudioWindow:
    """A stretch of mono sound."""

    start: int  # first sample, counted at ``rate_hz`` from the start of the file
    samples: Float  # [N], -1 to 1
    rate_hz: int


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """The landmarks of one face in one frame."""

    index: int  # frame
    shot: int  # counts up at every cut
    landmarks_px: Float  # [V, 3] x right, y down, z away from the camera; pixels of the frame
    track: int = 0  # the same face in neighbouring frames of a shot; counts through the video


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrame:
    """All faces of one frame."""

    index: int
    shot: int  # counts up at every cut
    faces: tuple[TrackedFace, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Every face of a fitted video. F rows, one a face and frame; K tracks; T frames."""

    frame: Integers  # [F], ascending
    track: Integers  # [F] 0 to K - 1
    alpha: Float  # [F, I] identity; constant within a track
    beta: Float  # [F, E] expression
    rotation: Float  # [F, 3] axis-angle, radians
    translation_px: Float  # [F, 2] where the head's origin falls in the frame
    scale_px: Float  # [F] pixels per centimetre
    lip_aperture: Float  # [F] cm
    shot: Integers  # [T] of every frame
    portrait: Bytes  # [K, S, S, 3] each track's most frontal and largest face, laid straight
    portrait_frame: Integers  # [K] the frame it is from

    def __len__(self) -> int:
        """Return the number of frames T."""
        return len(self.shot)


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """A fitted video, a row a frame; frames without a face hold zeros and are not ``valid``."""

    alpha: Float  # [T, I] identity; constant within a shot
    beta: Float  # [T, E] expression
    rotation: Float  # [T, 3] axis-angle, radians
    translation_px: Float  # [T, 2] where the head's origin falls in the frame
    scale_px: Float  # [T] pixels per centimetre
    shot: Integers  # [T]
    valid: Facts  # [T]
    lip_aperture: Float  # [T] cm between the inner lips, of the canonical geometry {alpha, beta, 0}

    def __len__(self) -> int:
        """Return the number of frames T."""
        return len(self.valid)


# Why a frame shows the source's own face; 0: it may be dubbed.
NO_FACE, OTHERS, TURNED_AWAY, OUTSIDE = 1, 2, 3, 4


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """Where a video's face may be dubbed, a value a source frame."""

    able: Float  # [T] 0 to 1: how much of the effect the picture allows
    amount: Float  # [T] 0 to 1: the same, and 0 outside the ranges that were asked for
    reason: Integers  # [T] why ``amount`` is 0: NO_FACE, ...; 0 where it is not


@dataclass(frozen=True, slots=True, eq=False)
class LipMotion:
    """Generated expression at 25 Hz, as coefficients of the vertex decoder's components."""

    coefficients: Float  # [T, K]
    closed: Float  # [T] 0 to 1: how far silence closes the mouth


@dataclass(frozen=True, slots=True, eq=False)
class MouthTrack:
    """Generated lower face for each output frame."""

    displacement: Float  # [L, 3] cm, head space, from the neutral mean face
    source: int  # index of the source frame it goes onto


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A similarity crop around a face."""

    matrix: Float  # [2, 3] frame pixels -> crop pixels
    size_px: int


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """How far a stage is."""

    stage: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True, eq=False)
class DubReport:
    """What a dub did."""

    output: Path
    frames: int
    dubbed_frames: int
    seconds: dict[str, float]  # wall-clock per stage
    warnings: tuple[str, ...]
    report: Path | None = None  # the QC report, where one was asked for


@dataclass(frozen=True, slots=True, eq=False)
class PreviewTile:
    """One moment of a contact sheet."""

    time_s: Fraction  # when the frame begins
    frame: int  # of the output, from 0
    kind: str  # "chosen" by time, "open" or "closed"
    opening_cm: float  # generated, between the inner lips of the mean face
    dubbed: bool  # False: the frame passes through


@dataclass(frozen=True, slots=True, eq=False)
class PreviewReport:
    """What a contact sheet shows."""

    output: Path
    frames: int  # that the dub would have
    tiles: tuple[PreviewTile, ...]  # in reading order
    seconds: dict[str, float]  # wall-clock per stage
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """One of those who are seen in a video."""

    number: int  # from 1, the largest and longest seen first
    frames: int
    share: float  # of all frames, 0 to 1
    width_px: float  # of the face, median
    smallest_px: float
    shots: int
    times: tuple[tuple[Fraction, Fraction], ...]  # from and to, seconds
    portrait_frame: int  # in which the face is large and looks at the camera
    portrait_time_s: Fraction


@dataclass(frozen=True, slots=True)
class FacesReport:
    """Who is seen in a video."""

    video: Path
    sheet: Path | None
    frames: int
    people: tuple[SeenPerson, ...]
    seconds: dict[str, float]  # wall-clock per stage
    warnings: tuple[str, ...]
