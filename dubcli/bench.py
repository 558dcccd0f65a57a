"""``dubcli bench``: how long a dub takes on this machine, at several sizes.

Every size is measured in a new process of this interpreter: cold is the first dub there, imports
and networks included; warm is the second one. Beside them stands what no dub can fall below:
decoding the clip, and decoding and encoding it.
"""

import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

from dubcli.config import BENCH_HEIGHTS, BENCH_SECONDS, DEFAULTS, CacheOptions, DubOptions
from dubcli.errors import InputError
from dubcli.media.excerpt import cut_speech, scale_clip
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.media.writer import FrameWriter
from dubcli.records import AudioInfo, Progress, VideoInfo

EXAMPLES = Path(__file__).parents[1] / "examples" / "media"  # of a checkout
HEIGHTS_PX = (64, 4320)
LENGTH_S = (Fraction(1, 10), Fraction(600))
KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True)
class Timing:
    """One dub."""

    total_s: float
    frames_per_s: float
    seconds: dict[str, float]  # wall-clock per stage


@dataclass(frozen=True, slots=True)
class Size:
    """What was measured at one size."""

    width: int
    height: int
    frames: int
    dubbed_frames: int
    cold: Timing  # from the start of the process
    warm: Timing  # the second dub of the process
    decode_s: float  # decoding the clip alone
    decode_encode_s: float  # decoding and encoding it alone
    peak_mib: float | None  # resident memory of the process, ffmpeg's not counted
    peak_gpu_mib: float | None  # what torch had allocated on a CUDA device


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured."""

    system: str
    cores: int  # that this process may use
    threads: int  # of torch
    python: str
    torch: str
    device: str
    load: float | None  # the system's load average over a minute, before measuring


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All of it."""

    video: Path
    speech: Path
    source_height: int  # larger sizes are enlarged from it
    clip_s: float
    machine: Machine
    sizes: tuple[Size, ...]


def bench(
    video: Path | None = None,
    speech: Path | None = None,
    *,
    heights: Sequence[int] = BENCH_HEIGHTS,
    seconds: Fraction = BENCH_SECONDS,
    options: DubOptions = DEFAULTS,
    on_progress: Callable[[Progress], None] | None = None,
) -> Benchmark:
    """Measure dubs of the beginning of a clip at several heights.

    Args:
        video: A talking face; None: the example clip of a checkout.
        speech: The speech; None: the example's. Both are given or neither.
        heights: Pixels; the clip is scaled to each.
        seconds: How much is dubbed; less where video or speech is shorter.
        options: ``device``, ``models``, ``threads``, ``crf`` and ``preset`` matter.
        on_progress: Called after each size.

    Raises:
        InputError: If an argument or a file cannot be used.
        CheckpointError: If a model file is unusable.
        MediaError: If ffmpeg fails.
    """
    for height in heights:
        if not HEIGHTS_PX[0] <= height <= HEIGHTS_PX[1]:
            raise InputError(
                f"--heights {height}: give heights from {HEIGHTS_PX[0]} to {HEIGHTS_PX[1]} pixels"
            )
    if not LENGTH_S[0] <= seconds <= LENGTH_S[1]:
        raise InputError(
            f"--seconds {float(seconds):g}: give a value from {float(LENGTH_S[0]):g} "
            f"to {float(LENGTH_S[1]):g}"
        )
    video, speech = _inputs(video, speech)
    info, sound = probe_video(video), probe_audio(speech)
    load = os.getloadavg()[0] if sys.platform != "win32" else None
    frames = _common_frames(info, sound, seconds)
    measured: list[tuple[Size, Machine]] = []
    with tempfile.TemporaryDirectory(prefix="dubcli-bench-") as name:
        folder = Path(name)
        spoken = cut_speech(sound, frames / info.frame_rate, folder / "speech.wav")
        for done, height in enumerate(heights):
            if on_progress is not None:
                on_progress(Progress("sizes", done, len(heights)))
            clip = folder / f"{height}.mp4"
            scale_clip(info, height, frames, speech=spoken, target=clip)
            measured.append(_in_new_process(clip, spoken.path, options))
    if on_progress is not None:
        on_progress(Progress("sizes", len(heights), len(heights)))
    machine = replace(measured[0][1], load=load)
    clip_s = float(frames / info.frame_rate)
    sizes = tuple(size for size, _ in measured)
    return Benchmark(video, speech, info.height, clip_s, machine, sizes)


def _inputs(video: Path | None, speech: Path | None) -> tuple[Path, Path]:
    """Return the user's files, or the examples that a checkout has."""
    if video is not None and speech is not None:
        return video, speech
    if video is not None or speech is not None:
        raise InputError("SPEECH is missing: give VIDEO and SPEECH, or neither in a checkout")
    if not EXAMPLES.is_dir():
        raise InputError(
            "VIDEO and SPEECH are missing: the installed package has no example clip; "
            "give both: dubcli bench VIDEO SPEECH"
        )
    return EXAMPLES / "franck.mp4", EXAMPLES / "speech.wav"


def _common_frames(info: VideoInfo, sound: AudioInfo, seconds: Fraction) -> int:
    """Return how many whole frames of video and speech there are, up to so many seconds."""
    wanted = math.floor(min(seconds, sound.duration_s) * info.frame_rate)
    if wanted < 1:
        raise InputError(f"{sound.path}: shorter than a frame; give longer speech")
    with FrameReader(info, 0, wanted) as reader:
        return sum(1 for _ in reader)


def _in_new_process(clip: Path, speech: Path, options: DubOptions) -> tuple[Size, Machine]:
    """Measure a clip in a process that has imported nothing yet."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        # perf_counter counts alike in all processes of a machine.
        future = pool.submit(_measure, clip, speech, options, time.perf_counter())
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"--heights {clip.stem}: the system ended the process, perhaps for want of memory; "
                "leave out this height"
            ) from error


def _measure(clip: Path, speech: Path, options: DubOptions, started: float) -> tuple[Size, Machine]:
    """Dub a clip twice and copy it once; runs in the new process."""
    began = time.perf_counter()
    import torch

    from dubcli.loading import load_models
    from dubcli.pipeline import dub

    imported = time.perf_counter()
    models = load_models(options)
    loaded = time.perf_counter()
    options = replace(options, overwrite=True, cache=CacheOptions(use=False))
    output = clip.with_name(f"{clip.stem}-out.mp4")
    first = dub(clip, speech, output, models=models, options=options)
    ended = time.perf_counter()
    second = dub(clip, speech, output, models=models, options=options)
    warm_s = time.perf_counter() - ended
    peak_mib = peak_memory_mib()
    cuda = models.device.type == "cuda"
    peak_gpu_mib = torch.cuda.max_memory_allocated() / KIB_PER_MIB**2 if cuda else None
    preparing = {"start": began - started, "import": imported - began, "load": loaded - imported}
    info = probe_video(clip)
    decode_s, decode_encode_s = _floor(info, probe_audio(speech), output, first.frames, options)
    size = Size(
        info.width,
        info.height,
        first.frames,
        first.dubbed_frames,
        _timing(ended - started, first.frames, preparing | _stages(first.seconds)),
        _timing(warm_s, second.frames, _stages(second.seconds)),
        decode_s,
        decode_encode_s,
        peak_mib,
        peak_gpu_mib,
    )
    machine = Machine(
        platform.platform(),
        _cores(),
        torch.get_num_threads(),
        platform.python_version(),
        str(torch.__version__),
        torch.cuda.get_device_name() if cuda else models.device.type,
        None,
    )
    return size, machine


def _stages(seconds: dict[str, float]) -> dict[str, float]:
    """Return a report's stages without loading: the networks were given."""
    return {stage: s for stage, s in seconds.items() if stage != "load"}


def _timing(total_s: float, frames: int, seconds: dict[str, float]) -> Timing:
    """Return a timing with its rate."""
    return Timing(total_s, frames / total_s, seconds)


def _floor(
    info: VideoInfo, speech: AudioInfo, output: Path, frames: int, options: DubOptions
) -> tuple[float, float]:
    """Return the seconds of decoding alone, and of decoding and encoding as ``dub`` does."""
    started = time.perf_counter()
    with FrameReader(info, 0, frames) as reader:
        for _ in reader:
            pass
    decoded = time.perf_counter()
    with (
        FrameReader(info, 0, frames) as reader,
        FrameWriter(output, info, speech=speech, frame_count=frames, options=options) as writer,
    ):
        for frame in reader:
            writer.write(frame.rgb)
    return decoded - started, time.perf_counter() - decoded


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_mib() -> float | None:
    """Return the most resident memory that this process has had, MiB; None where it is not told.

    Linux is asked for the mark of this very program: getrusage's includes what the process was
    before it became it, a copy of its parent.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / KIB_PER_MIB
    if sys.platform == "win32":
        return None
    import resource

    unit = KIB_PER_MIB**2 if sys.platform == "darwin" else KIB_PER_MIB  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
