"""Clips and speech synthesised by ffmpeg's lavfi; nothing is downloaded."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.config import DubOptions
from dubcli.media.binary import find_ffmpeg
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.media.writer import FrameWriter
from dubcli.records import AudioInfo, Bytes, VideoInfo

Make = Callable[..., Path]
Raw = Callable[..., bytes]
OPTIONS = DubOptions(preset="ultrafast", crf=10)


def run_ffmpeg(*arguments: str) -> bytes:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that makes a file with ffmpeg once and remembers it."""
    folder = tmp_path_factory.mktemp("made")
    made: dict[tuple[str, ...], Path] = {}

    def build(name: str, *arguments: str) -> Path:
        key = (name, *arguments)
        if key not in made:
            path = folder / str(len(made)) / name
            path.parent.mkdir()
            run_ffmpeg(*arguments, f"file:{path}")
            made[key] = path
        return made[key]

    return build


@pytest.fixture(scope="session")
def clip(make: Make) -> Make:
    """Return a function that makes a moving test picture: ``clip(name, rate, *options)``."""

    def build(
        name: str, rate: str = "25", *options: str, size: str = "64x48", s: float = 2
    ) -> Path:
        source = f"testsrc2=size={size}:rate={rate}:duration={s}"
        return make(name, "-f", "lavfi", "-i", source, "-preset", "ultrafast", *options)

    return build


@pytest.fixture(scope="session")
def bframes(clip: Make) -> Path:
    """Return two seconds of H.264 at 30000/1001 with B-frames and short groups."""
    return clip("bframes.mp4", "30000/1001", "-c:v", "libx264", "-bf", "3", "-g", "12",
                "-b_strategy", "0")  # fmt: skip


@pytest.fixture(scope="session")
def speech(make: Make) -> Make:
    """Return a function that makes band-limited noise as sound."""

    def build(
        name: str = "speech.wav",
        *options: str,
        rate: int = 16000,
        channels: int = 1,
        s: float = 1.2345,
    ) -> Path:
        noise = f"anoisesrc=r={rate}:d={s}:a=0.3:seed=7,lowpass=f=1500"
        if channels == 2:
            noise += ",asplit[a][b];[b]volume=-0.5[c];[a][c]amerge"
        return make(name, "-f", "lavfi", "-i", noise, *options)

    return build


@pytest.fixture(scope="session")
def raw() -> Raw:
    """Return a function that decodes by ffmpeg's own means: the oracle."""

    def decode(path: Path, *arguments: str) -> bytes:
        return run_ffmpeg("-i", f"file:{path}", *arguments, "pipe:1")

    return decode


@pytest.fixture(scope="session")
def samples(raw: Raw) -> Callable[[Path], NDArray[np.float64]]:
    """Return a function that decodes sound to float64, [N, channels]."""

    def decode(path: Path) -> NDArray[np.float64]:
        data = raw(path, "-map", "0:a:0", "-f", "f64le")
        return np.frombuffer(data, "<f8").reshape(-1, probe_audio(path).channels)

    return decode


@pytest.fixture(scope="session")
def read_all() -> Callable[..., list[Bytes]]:
    """Return a function that reads frames into a list."""

    def read(info: VideoInfo, start: int = 0, stop: int | None = None) -> list[Bytes]:
        with FrameReader(info, start, stop) as reader:
            return [frame.rgb for frame in reader]

    return read


@pytest.fixture(scope="session")
def copy() -> Callable[..., tuple[str, ...]]:
    """Return a function that copies frames through reader and writer, with speech."""

    def write(
        video: Path, sound: Path, output: Path, options: DubOptions = OPTIONS
    ) -> tuple[str, ...]:
        info: VideoInfo = probe_video(video)
        speech: AudioInfo = probe_audio(sound)
        assert info.frame_count is not None
        writer = FrameWriter(
            output, info, speech=speech, frame_count=info.frame_count, options=options, planes=True
        )
        with writer, FrameReader(info) as reader:
            for frame in reader:
                assert frame.planes is not None
                writer.write(frame.planes)
        return writer.warnings

    return write


@pytest.fixture(scope="session")
def cut_off(make: Make) -> Callable[[Path, float], Path]:
    """Return a function that keeps the first part of a file's bytes."""

    def cut(path: Path, part: float) -> Path:
        data = path.read_bytes()
        target = path.with_name(f"cut{path.suffix}")
        target.write_bytes(data[: int(len(data) * part)])
        return target

    return cut
