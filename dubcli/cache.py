"""Analyses of videos, kept by content: a second dub of the same video need not track it again.

An entry is a safetensors file of a few hundred bytes a frame, named after a SHA-256 of all that an
analysis follows from: the video's bytes, the tracker's file, the basis, the code that tracks and
fits, and the versions of the libraries it calls. The name, size and date of the video are not in
it: a copy is found again, and an edit that keeps the date is not mistaken for the old file. The
decoder's version is left out, because asking ffmpeg would start a program for it. An entry holds
every face of its video, so whom a dub is for is not asked: that is chosen among them afterwards.

Nothing here ends a dub: a folder that cannot be written or an entry that cannot be read is a
warning, and the video is tracked.
"""

import hashlib
import json
import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dubcli.config import CacheOptions
from dubcli.errors import InputError
from dubcli.records import Faces

if TYPE_CHECKING:
    from dubcli.geometry.morphable import MorphableModel

log = logging.getLogger(__name__)

ENVIRONMENT = "DUBCLI_CACHE"
FORMAT = "2"  # of the entries
BLOCK_BYTES = 1 << 20
MEGABYTE = 1_000_000
DAY_S = 86400
ABANDONED_S = 3600  # age of an unfinished entry that nobody writes any more
ENTRY = re.compile(r"analysis-[0-9a-f]{64}\.safetensors")
UNFINISHED = re.compile(r"\.analysis-.*\.partial")
MADE_BY = (  # modules whose code an analysis follows from
    "dubcli.media.reader",
    "dubcli.media.command",
    "dubcli.stages.track",
    "dubcli.stages.fit",
    "dubcli.stages.portraits",
    "dubcli.geometry.camera",
    "dubcli.geometry.fitting",
    "dubcli.geometry.morphable",
)
MADE_WITH = ("mediapipe", "torch", "numpy")  # packages whose version it follows from


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What was found in the cache."""

    faces: Faces
    warnings: tuple[str, ...]  # that reading the video raised when it was tracked


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the cache."""

    file: Path
    video: str | None  # the video's file name when it was last used; None: damaged
    frames: int
    bytes: int
    used: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed from the cache."""

    entries: int
    bytes: int


class _DamagedError(Exception):
    """An entry does not hold what was written."""


def cache_folder(chosen: Path | None = None) -> Path:
    """Return where analyses are kept; it may not exist yet.

    The first that applies: ``chosen`` (--cache-folder), the environment's DUBCLI_CACHE, the
    platform's folder for caches: ~/.cache/dubcli or $XDG_CACHE_HOME/dubcli, on macOS
    ~/Library/Caches/dubcli, on Windows %LOCALAPPDATA%/dubcli/Cache.

    Args:
        chosen: The user's folder, or None.
    """
    if chosen is not None:
        return chosen
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    return user_cache_path("dubcli", appauthor=False)


class AnalysisCache:
    """The place of one video's analysis in the cache.

    Call ``identify`` to its end, then ``read``; if that finds nothing, ``write`` what was computed.

    Args:
        video: The file.
        tracker: The tracker's file.
        morphable: The basis.
        options: Where, and how much.
        warnings: Receives what the user should know.
        files: What it is read from, in order; empty: the file alone.
    """

    def __init__(
        self,
        video: Path,
        tracker: Path,
        morphable: "MorphableModel",
        *,
        options: CacheOptions,
        warnings: list[str],
        files: Sequence[Path] = (),
    ) -> None:
        """Prepare; nothing is read yet."""
        self._video = video
        self._files = files or (video,)
        self._name = video.name.encode(errors="backslashreplace").decode()
        self._tracker, self._morphable = tracker, morphable
        self._folder = cache_folder(options.folder)
        self._limit_bytes = options.limit_mb * MEGABYTE
        self._warnings = warnings
        self._state: list[tuple[int, int]] = []  # of the files, before they were read
        self._target: Path | None = None  # None: not identified, so nothing is found or kept

    @property
    def blocks(self) -> int:
        """How many times ``identify`` yields: once a MiB of the video."""
        return sum(math.ceil(path.stat().st_size / BLOCK_BYTES) for path in self._files)

    def identify(self) -> Iterator[None]:
        """Read the video's bytes, yielding after each MiB, and find out which entry is its own."""
        if not self._folder.is_absolute() and self._folder.parts[:1] == ("~",):
            self._warn(
                f"no home folder, so no cache; name one with --cache-folder or {ENVIRONMENT}"
            )
            return
        digest = hashlib.sha256()
        try:
            self._state = [_state(path) for path in self._files]
            for path, (size, _) in zip(self._files, self._state, strict=True):
                if len(self._files) > 1:  # where one picture ends counts
                    digest.update(f"{size} ".encode())
                with path.open("rb") as stream:
                    while block := stream.read(BLOCK_BYTES):
                        digest.update(block)
                        yield
            parts = [digest.hexdigest(), *_provenance(self._tracker, self._morphable)]
        except (OSError, PackageNotFoundError) as error:
            self._warn(f"{self._video}: cannot be looked up in the cache ({error})")
            return
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        self._target = self._folder / f"analysis-{key}.safetensors"

    def read(self) -> Kept | None:
        """Return the kept analysis; None if there is none that can be used."""
        if self._target is None:
            return None
        try:
            faces, noted = _load(self._target)
            warnings = _texts(noted)
        except FileNotFoundError:
            return None
        except (_DamagedError, OSError) as error:
            self._warn(f"{self._target}: damaged ({error}); the video is tracked again")
            return None
        try:
            os.utime(self._target)
            if noted.get("video") != self._name:
                self._store(self._target, faces, warnings)
        except OSError as error:  # only the order of removal and the listed name suffer
            log.info("%s: could not be marked as used: %s", self._target, error)
        return Kept(faces, tuple(f"{self._video}: {text}" for text in warnings))

    def write(self, faces: Faces, warnings: list[str]) -> None:
        """Keep an analysis, and remove what has not been used for longest over the limit.

        Args:
            faces: Of the video.
            warnings: That reading the video raised.
        """
        if self._target is None:
            return
        told = [text.removeprefix(f"{self._video}: ") for text in warnings]
        try:
            if [_state(path) for path in self._files] != self._state:
                self._warn(f"{self._video}: changed while it was read; its analysis is not kept")
                return
            self._store(self._target, faces, told)
        except OSError as error:
            self._warn(
                f"{self._folder}: the analysis cannot be kept there ({error.strerror}); free space "
                "or mend permissions, or give --cache-folder or --no-cache"
            )
            return
        _trim(self._folder, self._limit_bytes)

    def _store(self, target: Path, faces: Faces, warnings: list[str]) -> None:
        """Write an entry beside its place, under a name of this process alone, then rename."""
        arrays = {each.name: getattr(faces, each.name) for each in fields(Faces)}
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        payload = save(
            arrays,
            metadata={
                "video": self._name,
                "frames": str(len(faces)),
                "warnings": json.dumps(warnings),
                "sha256": _checksum(arrays),
            },
        )
        if len(payload) > self._limit_bytes:
            log.info("%s: larger than the whole cache may be; not kept", self._video)
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(".partial", f".{target.stem}-", self._folder)
        partial = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(payload)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _warn(self, text: str) -> None:
        log.warning("%s", text)
        self._warnings.append(text)


def entries(folder: Path) -> list[Entry]:
    """Return what is in the cache, the last used first.

    Args:
        folder: From ``cache_folder``.
    """
    found = [entry for path in _files(folder, ENTRY) if (entry := _described(path)) is not None]
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def clear(folder: Path, older_than_days: float = 0.0) -> Removed:
    """Remove entries, and what killed processes left unfinished; other files stay.

    Args:
        folder: From ``cache_folder``.
        older_than_days: Only entries that have not been used for so long.

    Raises:
        InputError: If a file may not be removed.
    """
    now, count, size = time.time(), 0, 0
    for entry in entries(folder):
        if now - entry.used >= older_than_days * DAY_S:
            try:
                entry.file.unlink(missing_ok=True)
            except OSError as error:
                raise InputError(
                    f"{entry.file}: cannot be removed ({error.strerror}); "
                    "check the folder's permissions, or end what uses it"
                ) from error
            count, size = count + 1, size + entry.bytes
    _remove_abandoned(folder)
    return Removed(count, size)


def _provenance(tracker: Path, morphable: "MorphableModel") -> Iterator[str]:
    """Yield all but the video that an analysis follows from."""
    yield " ".join([FORMAT, *(each.name for each in fields(Faces))])
    yield hashlib.sha256(tracker.read_bytes()).hexdigest()
    basis = {each.name: np.asarray(getattr(morphable, each.name)) for each in fields(morphable)}
    yield _checksum(basis)
    for name in MADE_BY:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise OSError(f"the source of {name} is not there")
        yield hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    for package in MADE_WITH:
        yield f"{package} {version(package)}"


def _state(video: Path) -> tuple[int, int]:
    """Return what changes when a file is written to."""
    status = video.stat()
    return status.st_size, status.st_mtime_ns


def _checksum(arrays: dict[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of arrays: their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _load(path: Path) -> tuple[Faces, dict[str, str]]:
    """Return an entry's analysis and what is noted beside it."""
    try:
        with safe_open(path, framework="numpy") as stream:
            noted = dict(stream.metadata() or {})
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _DamagedError(error) from error
    if _checksum(arrays) != noted.get("sha256"):
        raise _DamagedError("its checksum is another")
    return Faces(**arrays), noted


def _texts(noted: dict[str, str]) -> list[str]:
    """Return the warnings of an entry."""
    try:
        return [str(text) for text in json.loads(noted.get("warnings", ""))]
    except (ValueError, TypeError) as error:
        raise _DamagedError("its warnings are not JSON") from error


def _described(path: Path) -> Entry | None:
    """Return a file of the cache as it is listed; None if it cannot be opened."""
    try:
        status = path.stat()
        with safe_open(path, framework="numpy") as stream:
            noted = dict(stream.metadata() or {})
    except OSError:
        return None
    except SafetensorError:
        noted = {}
    video, frames = noted.get("video"), int(noted.get("frames", 0))
    return Entry(path, video, frames, status.st_size, status.st_mtime)


def _files(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """Return the files of a folder whose names are of a kind; none if it cannot be read."""
    try:
        return [path for path in folder.iterdir() if name.fullmatch(path.name) and path.is_file()]
    except OSError:
        return []


def _trim(folder: Path, limit_bytes: int) -> None:
    """Remove the entries that have not been used for longest until the rest is in the limit."""
    _remove_abandoned(folder)
    ages: list[tuple[float, int, Path]] = []
    for path in _files(folder, ENTRY):
        try:
            status = path.stat()
        except OSError:  # another process has removed it
            continue
        ages.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in ages)
    for _, size, path in sorted(ages):
        if total <= limit_bytes:
            return
        _unlink(path)
        total -= size


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left unfinished."""
    for path in _files(folder, UNFINISHED):
        try:
            abandoned = time.time() - path.stat().st_mtime > ABANDONED_S
        except OSError:
            continue
        if abandoned:
            _unlink(path)


def _unlink(path: Path) -> None:
    """Remove a file that need not be there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # in use by another process, on Windows
        log.info("%s: could not be removed: %s", path, error)
