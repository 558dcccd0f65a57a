"""Every default, written once."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dubcli.errors import InputError
from dubcli.line import LARGEST, refuse_nobody
from dubcli.timecode import parse_moment, parse_rate, parse_spans

PCM_CONTAINERS = frozenset({".mov", ".mkv"})
CONTAINERS = PCM_CONTAINERS | {".mp4", ".m4v"}
VIDEO_SUFFIXES = CONTAINERS | {".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv"}
PICTURE_SUFFIXES = frozenset({".png", ".tif", ".tiff"})  # of picture sequences, in and out
SOUND_SUFFIXES = frozenset(
    {".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".wma"}
)

TIMELINE_SUFFIXES = {  # and who reads them
    ".otio": "otio_json",
    ".edl": "cmx_3600",
    ".fcpxml": "fcpx_xml",
}

REPORT_KINDS = ("html", "json")  # of QC reports
ENGINES = ("local", "ray")  # processes of this machine, or tasks of a Ray cluster

LENGTH_MODES = ("bounce", "loop", "cut", "freeze", "remap", "error")
AUDIO_MODES = ("replace", "mix", "keep-bed")
TRACK_MODES = ("keep", "drop")
COVERED_MODES = ("leave", "dub")
PRECISIONS = ("auto", "float32", "bfloat16")  # "auto": bfloat16 on CPUs that are built for it
CODECS = ("source", "h264", "hevc", "prores", "dnxhr", "ffv1")  # "source": the video's own

MAX_PIXELS, MAX_SECONDS = 10**9, 10**7  # the largest limits that may be asked for
BENCH_HEIGHTS = (256, 360, 480, 720, 1080)  # pixels
BENCH_SECONDS = Fraction(4)  # of video that are dubbed at each height
CACHE_LIMIT_MB = 1_000_000  # the largest limit of the cache that may be asked for
SEGMENT_FRAMES = 250  # of an output that are encoded as one part: what a crash may cost
SELF_DUB_S = (
    2.4  # of each clip that is dubbed with its own sound to judge networks: the shortest has it
)
FACE_CM = 15.0  # what a face is wide
FADE_S = Fraction(1, 5)  # the effect fades in and out over this long beside frames without it
PREVIEW_MOMENTS = 8  # tiles of a contact sheet whose moments are chosen automatically


def _refuse_outside(options: object, *ranges: tuple[str, float, float]) -> None:
    """Raise InputError for the first named option that lies outside its range."""
    for name, low, high in ranges:
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} is {value}: give a value from {low} to {high}")


def _refuse_others(options: object, name: str, choices: tuple[str, ...]) -> None:
    """Raise InputError if the named option is none of its choices."""
    if getattr(options, name) not in choices:
        option = "--" + name.replace("_", "-")
        raise InputError(f"{option} is {getattr(options, name)}: give one of {', '.join(choices)}")


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Whether and where analyses of videos are kept."""

    use: bool = True
    folder: Path | None = None  # None: $DUBCLI_CACHE, else where the system keeps caches
    limit_mb: int = 1000  # megabytes of all entries; those unused for longest are removed

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InputError: Naming the option, its value and its range.
        """
        if not 1 <= self.limit_mb <= CACHE_LIMIT_MB:
            raise InputError(
                f"--cache-limit is {self.limit_mb}: give a value from 1 to {CACHE_LIMIT_MB}"
            )


@dataclass(frozen=True, slots=True)
class DubOptions:
    """What a user may choose about a dub."""

    device: str = "auto"  # "auto", "cpu", "cuda" or "mps"
    models: Path | None = None  # folder of checkpoints; None: the shipped ones
    audio_encoder: str = (
        "whisper-tiny-en-enc3"  # a name in the manifest, a local folder, or a hub name
    )
    lip_references: int = 25  # N_l of Algorithm 1
    face_references: int = 5  # N_f of Algorithm 1
    mouth_scale: float = 1.0  # how far the mouth opens, 1: as the style says
    close_in_silence: bool = True
    length: str = "bounce"  # where video and speech differ in length: one of LENGTH_MODES
    face: str = LARGEST  # who is dubbed: "largest", a number of ``dubcli faces``, or a picture
    ranges: str = ""  # START-STOP, ...: only there the face is dubbed; empty: everywhere
    speech_at: str | None = None  # when the speech begins; None: see ``media.lengths.place``
    covered: str = "leave"  # frames in which a hand hides the mouth: one of COVERED_MODES
    mask_grow: float = 0.0  # mm on the face by which the replaced area is larger
    mask_feather: float = 3.125  # mm on the face over which it fades in inside its edge
    adapt: int = 0  # steps of fine-tuning the renderer on the video's own frames; 0: none
    debug_mask: bool = False  # tint what is replaced
    loudness: float | None = None  # LUFS of the output's sound; None: the speech's own
    audio: str = "replace"  # what becomes of the video's own sound: one of AUDIO_MODES
    bed_level: float = -18.0  # dB, of the video's own sound under the speech
    bed_fade: float = 0.5  # seconds in which it comes back after the speech: keep-bed
    provenance: bool = True  # whether the output says that it was altered
    c2pa_certificate: str | None = None  # PEM file of who signs that; None: nobody
    c2pa_key: str | None = None  # PEM file of the key
    max_pixels: int = 36_000_000  # of a picture: 8192 x 4320
    max_seconds: int = 14_400  # of video or speech: 4 hours
    crf: int = 16  # H.264 and HEVC quality of the output, lower is better
    preset: str = "medium"  # x264's and x265's speed
    codec: str = "source"  # one of CODECS
    pixel_format: str | None = None  # ffmpeg's name; None: the source's own, if the codec has it
    tracks: str = "keep"  # the video's other tracks, chapters, metadata: one of TRACK_MODES
    patch_only: bool = False  # write the face patch alone, as a layer with alpha
    allow_8bit: bool = False  # write 8 bits a channel where the source has more
    deinterlace: bool = False  # dub interlaced video, made progressive
    frame_rate: str | None = None  # of a picture sequence, which does not say it
    threads: int = 0  # CPU threads of torch; 0: torch's own choice
    precision: str = "auto"  # in which the renderer computes: one of PRECISIONS
    overwrite: bool = False
    cache: CacheOptions = CacheOptions()

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InputError: Naming the option, its value and its range or choices.
        """
        _refuse_outside(
            self,
            ("lip_references", 1, 200),
            ("face_references", 1, 51),
            ("mouth_scale", 0.0, 3.0),
            ("mask_grow", -8.0, 8.0),
            ("mask_feather", 0.8, 30.0),
            ("adapt", 0, 10_000),
            ("loudness", -70.0, -5.0),
            ("bed_level", -80.0, 0.0),
            ("bed_fade", 0.0, 10.0),
            ("max_pixels", 1, MAX_PIXELS),
            ("max_seconds", 1, MAX_SECONDS),
            ("crf", 0, 51),
            ("threads", 0, 1024),
        )
        _refuse_others(self, "length", LENGTH_MODES)
        _refuse_others(self, "codec", CODECS)
        _refuse_others(self, "tracks", TRACK_MODES)
        _refuse_others(self, "covered", COVERED_MODES)
        _refuse_others(self, "precision", PRECISIONS)
        refuse_nobody(self.face)
        _refuse_others(self, "audio", AUDIO_MODES)
        parse_spans(self.ranges, "--range")
        if self.speech_at is not None:
            parse_moment(self.speech_at, "--speech-at")
        if self.frame_rate is not None:
            parse_rate(self.frame_rate, "--frame-rate")


DEFAULTS = DubOptions()


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What a user may choose about an evaluation."""

    device: str = DEFAULTS.device
    models: Path | None = DEFAULTS.models
    threads: int = DEFAULTS.threads
    every: int = 5  # the costly measures look at one frame in so many
    leak_test: bool = False  # dub the source with silence: the mouth must stop
    leak_seconds: float = 5.0  # of silence
    cache: CacheOptions = DEFAULTS.cache

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InputError: Naming the option, its value and its range.
        """
        _refuse_outside(self, ("threads", 0, 1024), ("every", 1, 1000), ("leak_seconds", 0.5, 60.0))


EVALUATION_DEFAULTS = EvaluationOptions()


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What a user may choose about the training of any network."""

    recipe: Path | None = None  # TOML file that changes what it names; None: the shipped recipe
    minutes: float | None = None  # budget of the training itself; None: the recipe's
    seed: int | None = None  # of every random choice; None: the recipe's
    resume: bool = False  # go on from the last saved state of the cache folder
    device: str = DEFAULTS.device  # where the network is trained


TRAINING_DEFAULTS = TrainingOptions()


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a user may choose about how a batch runs."""

    workers: int | None = None  # jobs at the same time; None: one for each GPU, 1 on a CPU
    halt_on_error: bool = False  # start nothing more once a job has failed
    resume: bool = True  # leave out what is done already, and go on after finished parts
    engine: str = "local"  # one of ENGINES
    address: str = "auto"  # of the Ray cluster
    report: str | None = None  # QC report beside each output: one of REPORT_KINDS; None: none

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InputError: Naming the option, its value and its range.
        """
        _refuse_outside(self, ("workers", 1, 256))
        _refuse_others(self, "engine", ENGINES)
        if self.report is not None:
            _refuse_others(self, "report", REPORT_KINDS)


BATCH_DEFAULTS = BatchOptions()
