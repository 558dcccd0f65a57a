"""``dubcli doctor``: whether everything that a dub needs is here and works.

Nothing is imported before the check that needs it, and what loads native code runs in a process of
its own: a library that is missing, broken or crashes is a failed line and not the end of the list.
"""

import ctypes
import multiprocessing
import os
import platform
import re
import shutil
import sys
import tempfile
import wave
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from dubcli import __version__
from dubcli.config import DEFAULTS
from dubcli.errors import DubError

Status = Literal["ok", "warning", "failed"]
REINSTALL = "reinstall dubcli: pip install --force-reinstall dubcli"
TRACKER = "face-landmarker"  # as in dubcli.loading, which needs torch
CV2_PROVIDERS = (
    "opencv-python",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)
CV2_WANTED = "opencv-contrib-python"
GL_LIBRARIES = ("libEGL.so.1", "libGLESv2.so.2")
GL_REMEDY = "on Debian or Ubuntu: apt-get install libegl1 libgles2"
FFMPEG_OLDEST = (5, 1)
ENCODERS = ("libx264", "aac")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
UNPUBLISHED_EXTRAS = {"dev"}  # for those who work on dubcli
ANSWER_S = 120.0  # torch and mediapipe are imported within, also on a slow disk
TRIAL_PX, TRIAL_FRAMES, TRIAL_RATE = 64, 3, Fraction(25)
TRIAL_ERROR = 12.0  # grey levels, mean: H.264 at crf 16 of flat frames stays below 3
SOUND_HZ, SOUND_SAMPLES = 16000, 1920  # of the trial: its three frames long
MEGABYTE, GIGABYTE = 1_000_000, 1_000_000_000
FREE_FEW, FREE_NONE = GIGABYTE, 50 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination."""

    name: str
    status: Status
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        """Refuse a fault without a remedy.

        Raises:
            ValueError: If there is none.
        """
        if self.status != "ok" and not self.remedy:
            raise ValueError(f"{self.name} is {self.status} without a remedy")


Step = Callable[[], Iterable[Check]]


def examine(models: Path | None = None, cache: Path | None = None) -> Iterator[Check]:
    """Yield one check after the other, as each is done; none raises.

    Args:
        models: Folder of checkpoints; None: the one that dubs use.
        cache: Folder of kept analyses; None: the one that dubs use.
    """
    steps: dict[str, Step] = {
        "python": check_python,
        "packages": check_packages,
        "cv2": check_cv2_providers,
        "ffmpeg": check_ffmpeg,
        "encode, decode": check_media,
        "graphics": check_graphics,
        "face tracker": partial(in_new_process, "face tracker", tracker_starts, models),
        "torch": partial(in_new_process, "torch", torch_devices),
        "models": partial(check_models, models),
        "temporary folder": lambda: check_disk("temporary folder", Path(tempfile.gettempdir())),
        "working folder": lambda: check_disk("working folder", Path.cwd()),
        "cache": partial(check_cache, cache),
        "terminal": check_terminal,
    }
    for name, step in steps.items():
        yield from _guarded(name, step)


def _guarded(name: str, step: Step) -> Iterator[Check]:
    """Yield a step's checks; whatever it raises is one more, failed."""
    try:
        yield from step()
    except Exception as error:
        yield _failure(name, error)


def _failure(name: str, error: Exception) -> Check:
    """Return an exception as a check; our own messages end in the remedy."""
    text = " ".join(str(error).split())
    if isinstance(error, DubError):
        found, separator, remedy = text.rpartition("; ")
        return Check(name, "failed", found if separator else text, remedy or REINSTALL)
    return Check(name, "failed", f"{type(error).__name__}: {text}", REINSTALL)


def in_new_process(
    name: str, function: Callable[..., object], *arguments: object, limit_s: float = ANSWER_S
) -> list[Check]:
    """Return the checks that a function makes in a new process, or how that process ended.

    Args:
        name: Of the check, if there is no other.
        function: Of a module's top level; returns a list of checks.
        arguments: Given to it.
        limit_s: How long it may take.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, name, function, arguments))
    process.start()
    theirs.close()  # so that its end is seen
    try:
        if not ours.poll(limit_s):
            return [Check(name, "failed", f"no answer within {limit_s:g} s", REINSTALL)]
        found: list[Check] = ours.recv()
    except EOFError:
        process.join()
        return [Check(name, "failed", f"its process crashed ({_end(process.exitcode)})", REINSTALL)]
    finally:
        ours.close()
        process.kill()
        process.join()
    return found


def _answer(
    answer: Connection,
    name: str,
    function: Callable[..., Iterable[Check]],
    arguments: tuple[object, ...],
) -> None:
    """Send what a function finds; runs in the new process."""
    answer.send(list(_guarded(name, partial(function, *arguments))))


def _end(exit_code: int | None) -> str:
    """Return how a process ended.

    Example:
        >>> _end(3), _end(-1234)
        ('exit status 3', 'signal 1234')
    """
    if exit_code is None or exit_code >= 0:
        return f"exit status {exit_code}"
    return f"signal {-exit_code}"


def check_python() -> Iterator[Check]:
    """Yield Python and dubcli themselves."""
    found = f"{platform.python_version()} on {platform.platform()}, {sys.executable}"
    try:
        wanted = metadata("dubcli")["Requires-Python"] or ""
        installed = version("dubcli")
    except PackageNotFoundError:
        yield Check("python", "ok", found)
        yield Check(
            "dubcli", "warning", f"{__version__}, not installed", "pip install . in the checkout"
        )
        return
    if Requirement(f"python{wanted}").specifier.contains(platform.python_version()):
        yield Check("python", "ok", f"{found} ({wanted})")
    else:
        yield Check("python", "failed", found, f"make an environment with Python {wanted}")
    place = Path(__file__).parent
    if installed == __version__:
        yield Check("dubcli", "ok", f"{installed}, {place}")
    else:
        found = f"{__version__} in {place}, but {installed} is installed"
        yield Check("dubcli", "warning", found, REINSTALL)


def check_packages() -> Iterator[Check]:
    """Yield each package that dubcli requires, and those of its extras."""
    try:
        needed = [Requirement(text) for text in requires("dubcli") or ()]
        extras = metadata("dubcli").get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return  # check_python has said it
    for each in needed:
        if each.marker is None or each.marker.evaluate({"extra": ""}):
            yield check_package(each)
        for extra in sorted(set(extras) - UNPUBLISHED_EXTRAS):
            if each.marker is not None and each.marker.evaluate({"extra": extra}):
                yield check_package(each, extra)


def check_package(needed: Requirement, extra: str | None = None) -> Check:
    """Return whether a package is installed in a version that is known to fit.

    Args:
        needed: Name and range.
        extra: Which extra of dubcli asks for it; None: dubcli itself.
    """
    wanted = str(needed.specifier)
    install = f"pip install '{needed.name}{wanted}'" if extra is None else _extra(extra)
    name = needed.name if extra is None else f"{needed.name} [{extra}]"
    bad: Status = "failed" if extra is None else "warning"  # one can dub without extras
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        return Check(name, bad, "not installed", install)
    if not needed.specifier.contains(found, prereleases=True):
        return Check(name, bad, f"{found}, wanted is {wanted}", install)
    return Check(name, "ok", f"{found} ({wanted})" if wanted else found)


def _extra(extra: str) -> str:
    return f"pip install 'dubcli[{extra}]'"


def check_cv2_providers() -> Iterator[Check]:
    """Yield whether one package alone provides cv2: two write over each other's files."""
    there = []
    for name in CV2_PROVIDERS:
        try:
            there.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    if len(there) == 1:
        yield Check("cv2", "ok", f"from {there[0]} alone")
        return
    names = " ".join(each.split()[0] for each in there)
    undo = f"pip uninstall -y {names} && " if there else ""
    found = f"{', '.join(there)} write over the same files" if there else "no package provides it"
    yield Check("cv2", "failed", found, f"{undo}pip install {CV2_WANTED}")


def check_ffmpeg() -> Iterator[Check]:
    """Yield ffmpeg's place, version and encoders."""
    from dubcli.media.binary import ffmpeg_facts

    facts = ffmpeg_facts()
    found = f"{facts.version}, {facts.path}"
    number = re.match(r"n?(\d+)\.(\d+)", facts.version)
    missing = [name for name in ENCODERS if name not in facts.encoders]
    install = "install ffmpeg 5.1 or newer, or take it off PATH: imageio-ffmpeg brings one"
    if missing:
        yield Check("ffmpeg", "failed", f"{found}, without {' and '.join(missing)}", install)
    elif number is not None and (int(number[1]), int(number[2])) < FFMPEG_OLDEST:
        yield Check("ffmpeg", "warning", f"{found}, untested", install)
    else:
        yield Check("ffmpeg", "ok", f"{found}, with {' and '.join(ENCODERS)}")


def check_media() -> Iterator[Check]:
    """Yield whether three small frames with sound come back from ffmpeg as they were."""
    try:
        found = _come_back()
    except DubError as error:  # of a user's file it says what to do; this is ours
        found = " ".join(str(error).split())
    if found:
        yield Check("encode, decode", "failed", found, "install another ffmpeg, 5.1 or newer")
    else:
        yield Check("encode, decode", "ok", f"{TRIAL_FRAMES} frames and sound came back")


def _come_back() -> str:
    """Write three small frames with sound, read them back, and return what is wrong with them."""
    import numpy as np

    from dubcli.media.probe import probe_audio, probe_video
    from dubcli.media.reader import FrameReader
    from dubcli.media.writer import FrameWriter
    from dubcli.records import VideoInfo

    frames = [
        np.full((TRIAL_PX, TRIAL_PX, 3), level, dtype=np.uint8)
        for level in np.linspace(60, 180, TRIAL_FRAMES)
    ]
    with tempfile.TemporaryDirectory(prefix="dubcli-doctor-") as name:
        sound, target = Path(name) / "sound.wav", Path(name) / "trial.mp4"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SOUND_HZ)
            file.writeframes(bytes(2 * SOUND_SAMPLES))
        info = VideoInfo(
            path=Path(name) / "source.mp4",
            width=TRIAL_PX,
            height=TRIAL_PX,
            frame_rate=TRIAL_RATE,
            frame_count=TRIAL_FRAMES,
            duration_s=TRIAL_FRAMES / TRIAL_RATE,
            rotation_deg=0,
            variable_rate=False,
            has_audio=False,
            codec="h264",
            pixel_format="yuv420p",
            colour_space=None,
            colour_primaries=None,
            colour_transfer=None,
            colour_range=None,
        )
        speech = probe_audio(sound)
        with FrameWriter(
            target, info, speech=speech, frame_count=TRIAL_FRAMES, options=DEFAULTS
        ) as writer:
            for frame in frames:
                writer.write(frame)
        with FrameReader(probe_video(target)) as reader:
            read = [frame.rgb for frame in reader]
    same = len(read) == len(frames) and all(
        np.abs(a.astype(float) - b).mean() < TRIAL_ERROR for a, b in zip(read, frames, strict=True)
    )
    return "" if same else f"{len(read)} of {TRIAL_FRAMES} frames came back, or other pictures"


def check_graphics() -> Iterator[Check]:
    """Yield the libraries that MediaPipe loads on Linux, also without a screen."""
    if sys.platform != "linux":
        return
    for name in GL_LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError as error:
            yield Check(name, "failed", str(error), GL_REMEDY)
        else:
            yield Check(name, "ok", "can be loaded")


def tracker_starts(models: Path | None) -> list[Check]:
    """Start the face tracker on a blank picture; runs in a process of its own.

    Args:
        models: As for ``examine``.
    """
    import numpy as np

    from dubcli.checkpoints import models_root, verified_file
    from dubcli.stages.track import Tracker

    with Tracker(verified_file(models_root(models), TRACKER)) as tracker:
        face = tracker.landmarks_px(np.zeros((TRIAL_PX, TRIAL_PX, 3), dtype=np.uint8))
    if face is None:
        return [Check("face tracker", "ok", "started; sees no face in a blank picture")]
    return [Check("face tracker", "failed", "sees a face in a blank picture", REINSTALL)]


def torch_devices() -> list[Check]:
    """Return where networks can run; runs in a process of its own."""
    import torch

    found = [f"cpu, {torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            each = torch.cuda.get_device_properties(index)
            found.append(f"cuda:{index} {each.name}, {each.total_memory / GIGABYTE:.1f} GB")
        torch.ones(8, device="cuda").sum().item()  # a driver that is too old fails here
    if torch.backends.mps.is_available():
        found.append("mps")
    text = "; ".join(found)
    if NVIDIA_DRIVER.exists() and not torch.cuda.is_available():
        remedy = "install the torch for this driver, as pytorch.org's Get started says"
        return [Check("torch device", "warning", f"{text}; an NVIDIA driver, but no CUDA", remedy)]
    return [Check("torch device", "ok", text)]


def check_models(models: Path | None) -> Iterator[Check]:
    """Yield whether each checkpoint has the size and SHA-256 that the manifest promises."""
    from dubcli.checkpoints import models_root, read_manifest, verified_file

    root = models_root(models)
    for name, entry in read_manifest(root).items():
        try:
            verified_file(root, name)
        except DubError as error:
            yield _failure(f"model {name}", error)
        else:
            yield Check(f"model {name}", "ok", f"verified, {entry.bytes / MEGABYTE:.1f} MB")


def check_disk(name: str, folder: Path) -> Iterator[Check]:
    """Yield whether a folder can be written and has room.

    Args:
        name: What it is for.
        folder: Where it is.
    """
    remedy = "set TMPDIR" if name == "temporary folder" else "work in another folder"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        yield Check(name, "failed", f"{folder}: cannot be written ({error.strerror})", remedy)
        return
    free = shutil.disk_usage(folder).free
    found = f"{folder}: {free / GIGABYTE:.1f} GB free"
    if free < FREE_FEW:
        status: Status = "failed" if free < FREE_NONE else "warning"
        yield Check(name, status, found, f"free space, or {remedy}")
    else:
        yield Check(name, "ok", found)


def check_cache(folder: Path | None) -> Iterator[Check]:
    """Yield where analyses are kept, and how much."""
    from dubcli.cache import cache_folder, entries

    place = cache_folder(folder)
    kept = entries(place)
    size = sum(entry.bytes for entry in kept) / MEGABYTE
    found = f"{place}: {len(kept)} analyses, {size:.1f} MB"
    existing = next(each for each in (place, *place.absolute().parents) if each.exists())
    damaged = sum(entry.video is None for entry in kept)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        remedy = "mend its permissions, or set DUBCLI_CACHE"
        yield Check("cache", "warning", f"{found}; cannot be written", remedy)
    elif damaged:
        yield Check("cache", "warning", f"{found}; damaged: {damaged}", "dubcli cache clear")
    else:
        yield Check("cache", "ok", found)


def check_terminal() -> Iterator[Check]:
    """Yield whether names and bars can be printed."""
    encoding = sys.stdout.encoding or "unknown"
    try:
        "é━".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        yield Check("terminal", "warning", f"{encoding}: not all names print", "set PYTHONUTF8=1")
    else:
        yield Check("terminal", "ok", encoding)
