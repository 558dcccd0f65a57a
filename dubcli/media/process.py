"""A running ffmpeg whose pipes can neither block nor be left behind."""

import os
import re
import subprocess
import tempfile
from abc import ABC, abstractmethod
from typing import IO, Self

from dubcli.errors import MediaError

_END_BYTES = 4096
_KEPT_LINES = 3
_SOURCE = re.compile(r"^(\[[^\]]* @ [^\]]*\] ?)+")


class FfmpegProcess:
    """An ffmpeg process; its standard error goes to a temporary file, never to an unread pipe."""

    def __init__(self, arguments: list[str], *, feed: bool = False) -> None:
        """Start ffmpeg.

        Args:
            arguments: The whole command, from ``command``.
            feed: True: we write to its standard input and its standard output is kept in a
                temporary file. False: we read its standard output.

        Raises:
            MediaError: If it cannot be started.
        """
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._report = tempfile.TemporaryFile() if feed else None  # noqa: SIM115
        try:
            # A session of its own: Ctrl-C reaches us only, and we end it in order.
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=self._report if self._report is not None else subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            self._close_files()
            raise MediaError(
                f"{arguments[0]}: ffmpeg could not be started ({error.strerror}); "
                "check the installation of ffmpeg"
            ) from error

    def read_into(self, buffer: bytearray) -> int:
        """Fill ``buffer`` from standard output, over as many short reads as it takes.

        Args:
            buffer: Where the bytes go.

        Returns:
            How many bytes came; fewer than asked for only at the end of the stream.

        Raises:
            ValueError: If the process was started with ``feed``.
        """
        stdout = self._process.stdout
        if stdout is None:
            raise ValueError("this ffmpeg was started to be fed, not to be read")
        view = memoryview(buffer)
        filled = 0
        while filled < len(view):
            count = stdout.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                break
            filled += count
        return filled

    def write(self, data: memoryview) -> None:
        """Write all of ``data`` to standard input.

        Args:
            data: Bytes, one-dimensional.

        Raises:
            BrokenPipeError: If ffmpeg has ended.
            ValueError: If the process was started without ``feed``.
        """
        stdin = self._process.stdin
        if stdin is None:
            raise ValueError("this ffmpeg was started to be read, not to be fed")
        while len(data):
            data = data[stdin.write(data) :]

    def end_input(self) -> None:
        """Close standard input: ffmpeg finishes its work meanwhile."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    @property
    def ended(self) -> bool:
        """Whether ffmpeg has ended."""
        return self._process.poll() is not None

    def finish(self) -> int:
        """Close standard input, wait for the end and return the exit status."""
        self.end_input()
        return self._process.wait()

    def complaint(self) -> str:
        """Return what ffmpeg wrote to standard error, shortened to one line; may be empty.

        The first lines name the cause, the last one the effect. Module names and addresses
        ("[h264 @ 0x5582e0]") are left out.
        """
        lines = [_SOURCE.sub("", line).strip() for line in _ends(self._stderr).splitlines()]
        lines = list(dict.fromkeys(line for line in lines if line))
        if len(lines) > _KEPT_LINES:
            lines = [*lines[: _KEPT_LINES - 1], lines[-1]]
        return "; ".join(lines)

    def last_words(self) -> str:
        """Return the beginning and the end of what ffmpeg wrote to standard error, as it is."""
        return _ends(self._stderr)

    def frames_written(self) -> int:
        """Return the frame count of the last progress report; -1 if there is none."""
        if self._report is None:
            return -1
        counts = [
            line.partition("=")[2]
            for line in _ends(self._report).splitlines()
            if line.startswith("frame=")
        ]
        return int(counts[-1]) if counts else -1

    def close(self) -> None:
        """End the process if it runs, and release every handle. May be called twice."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._close_files()

    def _close_files(self) -> None:
        self._stderr.close()
        if self._report is not None:
            self._report.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class Decoding(ABC):
    """A context manager that has an ffmpeg decode: from entering until leaving."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: FfmpegProcess | None = None

    @abstractmethod
    def _command(self) -> list[str] | None:
        """Return the whole command; None: there is nothing to decode."""

    def __enter__(self) -> Self:
        command = self._command()
        self._process = None if command is None else FfmpegProcess(command)
        return self

    def __exit__(self, *raised: object) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _running(self) -> FfmpegProcess:
        """Return the process.

        Raises:
            ValueError: If the context has not been entered.
        """
        if self._process is None:
            raise ValueError(f"{type(self).__name__} is iterated outside its with block")
        return self._process


def _ends(file: IO[bytes]) -> str:
    """Return the beginning and the end of a file as text."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_END_BYTES)
    file.seek(max(len(head), size - _END_BYTES))
    return (head + file.read()).decode(errors="replace")
