"""The finished parts of an output that is not whole yet, in a folder beside it."""

import os
import re
from pathlib import Path

import av

from dubcli.config import SEGMENT_FRAMES
from dubcli.errors import DubError, MediaError
from dubcli.media.files import open_media

IDENTITY = "made-from"
_OURS = re.compile(r"\d{6}\.mov|\.\d{6}-\d+\.partial\.mov|made-from|\.made-from\.partial")


def parts_path(output: Path) -> Path:
    """Return the folder of an output's parts.

    Args:
        output: The output.

    Example:
        >>> parts_path(Path("films/out.mp4")).name
        '.out.mp4.parts'
    """
    return output.with_name(f".{output.name}.parts")


def remove_parts(folder: Path) -> None:
    """Remove a folder of parts; whatever else somebody has put there stays.

    Args:
        folder: From ``parts_path``; it may be missing.
    """
    if not folder.is_dir():
        return
    names = [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
    for path in sorted(names, key=lambda path: path.name == IDENTITY):  # last: it vouches for them
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


class Parts:
    """The parts of one output: part n begins with frame n * SEGMENT_FRAMES.

    A part is written beside its place and renamed when the disk has all of it. A file beside them
    says what they are made from: parts of anything else are removed, never used.
    """

    def __init__(self, output: Path, frame_count: int, identity: str) -> None:
        """Find the parts that are there.

        Args:
            output: The output.
            frame_count: How many frames it has.
            identity: What it is made from, in a line.

        Raises:
            MediaError: If the folder cannot be written.
        """
        self.folder = parts_path(output)
        self.count = 0  # of finished parts
        if self.folder.is_symlink():
            raise MediaError(f"{self.folder}: is a link; remove it, parts are written there")
        try:
            if not identity or self._identity() != identity:
                remove_parts(self.folder)
            self.folder.mkdir(exist_ok=True)
            self.sweep()
            self._note(identity)
        except OSError as error:
            raise MediaError(
                f"{self.folder}: could not be written ({error.strerror}); make room on the disk "
                "or mend permissions"
            ) from error
        while self.frames < frame_count and _holds(
            self.finished(self.count), min(SEGMENT_FRAMES, frame_count - self.frames)
        ):
            self.count += 1

    @property
    def frames(self) -> int:
        """Where the next part begins."""
        return self.count * SEGMENT_FRAMES

    def finished(self, number: int) -> Path:
        """Return the name of a finished part."""
        return self.folder / f"{number:06d}.mov"

    def unfinished(self, number: int) -> Path:
        """Return where a part is written.

        No other process uses the name: the ffmpeg of one that was killed may still be at work.
        """
        return self.folder / f".{number:06d}-{os.getpid()}.partial.mov"

    def sweep(self) -> None:
        """Remove what is not finished."""
        for left in self.folder.glob(".??????-*.partial.mov"):
            left.unlink(missing_ok=True)

    def add(self) -> None:
        """Take the next part as finished.

        Raises:
            OSError: If the disk does not take it.
        """
        unfinished = self.unfinished(self.count)
        _settle(unfinished)
        unfinished.replace(self.finished(self.count))
        self.count += 1

    def files(self) -> tuple[Path, ...]:
        """Return the finished parts, in order."""
        return tuple(self.finished(number) for number in range(self.count))

    def _identity(self) -> str:
        try:
            return (self.folder / IDENTITY).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _note(self, identity: str) -> None:
        partial = self.folder / f".{IDENTITY}.partial"
        partial.write_text(identity, encoding="utf-8")
        _settle(partial)
        partial.replace(self.folder / IDENTITY)


def _settle(path: Path) -> None:
    """Wait until the disk has a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _holds(part: Path, count: int) -> bool:
    """Return whether a part is there with all its frames."""
    try:
        with open_media(part) as container:
            packets = container.demux(container.streams.video[0])
            return sum(packet.size > 0 for packet in packets) == count
    except (DubError, av.FFmpegError, IndexError):
        return False
