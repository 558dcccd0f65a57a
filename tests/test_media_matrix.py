"""What becomes of each kind of file: a faithful output, or one exact line and an exit code.

Every row goes through the command line, in this process. Tracking, fitting, decoding, pasting,
encoding and muxing are the real ones; the renderer is a tiny untrained one, which repaints the
lower face only. Sources are four frames of the example clip, or made by ffmpeg's lavfi.
"""

import struct
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dubcli import loading
from dubcli.cli.app import main
from dubcli.config import DubOptions
from dubcli.media.binary import find_ffmpeg
from dubcli.media.sequence import is_sequence
from dubcli.networks.renderer import DualAttentionRenderer, RendererHyper
from dubcli.pipeline import preparation

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "examples/media/franck.mp4"
WIDTH, HEIGHT, FRAMES = 360, 288, 4
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "12")
PCM_HZ = 16000
ABOVE = 3  # the upper third of the picture lies outside the mask
EXACT_DB = 40.0  # PSNR there: one generation of H.264 at crf 16
RGB_DB = 30.0  # of what was RGB and became yuv
NO_PICTURE = "no picture can be decoded; check that the file is complete"
NO_MEDIA = (
    "not a video or sound file that can be read; check that it is complete, or convert it to "
    ".mp4 or .wav"
)
NO_FACE = (
    "no face in any of its 4 frames; give a video in which the speaker's face is seen from the "
    "front and not too small"
)
INTERLACED = (
    "the video is interlaced; add --deinterlace to dub it as progressive video of the same frame "
    "rate, or convert it first"
)
PLAYLIST = "a playlist that points to other files; give the video or sound file itself"


@dataclass(frozen=True)
class Kept:
    """An output with the source's size, rate, frames, length, pixel shape and colour tags."""

    rate: str = "25"
    frames: int = FRAMES
    size: tuple[int, int] = (WIDTH, HEIGHT)
    pixels: str = "yuv420p"
    codec: str = "h264"
    psnr_db: float = EXACT_DB
    output: str = "out.mp4"
    says: str = ""  # part of the warnings
    retimed: bool = False  # frames are not the source's one by one
    timed: bool = False  # each frame is shown when it is in the source
    sounds: int = 1


@dataclass(frozen=True)
class KeptPictures:
    """A picture sequence; outside the mask its samples are the source's, bit for bit."""

    numbers: range
    depth: int = 8
    channels: int = 3
    output: str = "out/shot.%04d.png"
    psnr_db: float = np.inf  # of a source that is yuv
    says: str = ""


@dataclass(frozen=True)
class Refused:
    """No output, and on stderr ``error: FILE: SAYS``."""

    says: str
    code: int = 2
    names: str = ""  # the file that is named; empty: the source


@dataclass(frozen=True)
class Row:
    file: str
    how: tuple[str, ...] | Callable[[Path, Path], None]  # ffmpeg's arguments, or what makes it
    expected: Kept | KeptPictures | Refused
    options: tuple[str, ...] = ()


def base(*options: str, rate: str = "25") -> tuple[str, ...]:
    """Return the arguments for four frames of the clip, at another rate."""
    return ("-r", rate, "-i", str(CLIP), "-frames:v", str(FRAMES), *options)


def face(*options: str, rate: str = "25") -> tuple[str, ...]:
    return base(*X264, *options, rate=rate)


def two_steps(
    first: tuple[str, ...], before: tuple[str, ...], after: tuple[str, ...]
) -> Callable[[Path, Path], None]:
    """Return what makes a file of a file."""

    def make(folder: Path, target: Path) -> None:
        between = folder / f"between{target.suffix}"
        ffmpeg(*first, between)
        ffmpeg(*before, "-i", between, "-c", "copy", *after, f"file:{target}")

    return make


def bytes_of(data: bytes) -> Callable[[Path, Path], None]:
    return lambda folder, target: void(target.write_bytes(data))


def cut(first: tuple[str, ...], part: float) -> Callable[[Path, Path], None]:
    def make(folder: Path, target: Path) -> None:
        ffmpeg(*first, f"file:{target}")
        data = target.read_bytes()
        target.write_bytes(data[: int(len(data) * part)])

    return make


def claims_two_hours(folder: Path, target: Path) -> None:
    """Make four frames whose header says two hours, in every box that has a duration."""
    ffmpeg(*face(), f"file:{target}")
    data = bytearray(target.read_bytes())
    for kind, scale_at, duration_at in ((b"mvhd", 12, 16), (b"mdhd", 12, 16), (b"tkhd", None, 20)):
        at = data.index(kind) + 4
        scale = 1000 if scale_at is None else struct.unpack_from(">I", data, at + scale_at)[0]
        struct.pack_into(">I", data, at + duration_at, 7200 * scale)
    target.write_bytes(data)


def points_elsewhere(folder: Path, target: Path) -> None:
    """Make a .mov whose pictures are said to lie in another file, by an absolute path.

    ffmpeg -enable_drefs 1 -use_absolute_path 1 decodes all four from there.
    """
    ffmpeg(*face(), f"file:{target}")
    secret = folder / "secret.mov"
    secret.write_bytes(target.read_bytes())
    data = bytearray(target.read_bytes())
    path = str(secret).encode()
    alias = bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12)
    alias += bytes([10]) + b"secret.mov".ljust(63, b"\0") + bytes(16)
    alias += struct.pack(">hh", 1, 1) + bytes(16)
    alias += struct.pack(">hh", 2, len(path)) + path + bytes(len(path) % 2)
    alias += struct.pack(">hh", -1, 0) + bytes(40)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = data.index(b"dref") + 12  # after the name, the version and the count
    old = struct.unpack_from(">I", data, at)[0]
    data[at : at + old] = entry
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = data.rindex(kind, 0, at) - 4
        struct.pack_into(
            ">I", data, place, struct.unpack_from(">I", data, place)[0] + len(entry) - old
        )
    start = data.index(b"mdat") + 4  # nothing of the pictures is in this file
    size = struct.unpack_from(">I", data, start - 8)[0]
    data[start : start + size - 8] = bytes(size - 8)
    target.write_bytes(data)


def shots(
    pixels: str, *filters: str, first: int = 1, named: str = "a.%04d.png"
) -> Callable[[Path, Path], None]:
    """Return what makes four frames of the clip a picture sequence in the folder ``in``.

    Noise fills all bits of a sample; ffmpeg writes through a name without a ``%`` of its own.
    """

    def make(folder: Path, target: Path) -> None:
        place = target if target.suffix == "" else target.parent
        place.mkdir(parents=True)
        chain = ",".join(["format=gbrap16le,noise=alls=2", *filters])
        plain = folder / f"plain-%04d{Path(named).suffix}"
        ffmpeg(*base("-vf", chain, "-pix_fmt", pixels, "-start_number", str(first)), plain)
        for number in range(first, first + FRAMES):
            (folder / (plain.name % number)).rename(place / (named % number))

    return make


def spoilt(how: Callable[[Path], object]) -> Callable[[Path, Path], None]:
    """Return what makes a sequence and does something to its third picture."""

    def make(folder: Path, target: Path) -> None:
        shots("rgb24")(folder, target)
        how(target.parent / "a.0003.png")

    return make


def smaller(path: Path) -> None:
    ffmpeg(*base("-vf", "scale=180:144", "-frames:v", "1", "-update", "1"), path)


def a_folder(folder: Path, target: Path) -> None:
    target.mkdir()


def nothing(folder: Path, target: Path) -> None:
    pass


TWO_TRACKS = ("-f", "lavfi", "-i", "sine=300:d=0.2", "-f", "lavfi", "-i", "sine=500:d=0.2")
BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
PQ = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084")
SRT = "1\n00:00:00,000 --> 00:00:00,100\nword\n"
TEN = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p10le")
PRORES_4444 = ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le")
FIELDS = ("-flags", "+ilme+ildct", "-x264opts", "tff=1")
TEST_PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=360x288:rate=25:duration=0.16")

RATE = ("--frame-rate", "25")

# The table. To change what is promised, change a row here.
ROWS = {
    # rates
    "25": Row("a.mp4", face(), Kept()),
    "23.976": Row("a.mp4", face(rate="24000/1001"), Kept("24000/1001")),
    "29.97": Row("a.mp4", face(rate="30000/1001"), Kept("30000/1001")),
    "59.94": Row("a.mp4", face(rate="60000/1001"), Kept("60000/1001")),
    "120": Row("a.mp4", face(rate="120"), Kept("120")),
    "variable rate": Row(
        "a.mkv",
        face("-vf", "setpts='(N+2*gte(N,2))/25/TB'", "-fps_mode", "vfr"),
        Kept("50/3", timed=True),
    ),
    "variable rate in mp4": Row(
        "a.mp4",
        face("-vf", "setpts='(N+2*gte(N,2)+5*gte(N,3))/25/TB'", "-fps_mode", "vfr"),
        Kept("100/11", says="for 0.24 s at 00:00:00.160", timed=True),
    ),
    # turned, and odd
    "turned by 90": Row(
        "a.mp4",
        two_steps(face("-vf", "transpose=cclock"), ("-display_rotation", "-90"), ()),
        Kept(),
    ),
    "turned by 180": Row(
        "a.mov", two_steps(face("-vf", "hflip,vflip"), ("-display_rotation", "180"), ()), Kept()
    ),
    "turned by 270": Row(
        "a.mp4",
        two_steps(face("-vf", "transpose=clock"), ("-display_rotation", "90"), ()),
        Kept(),
    ),
    "odd width": Row(
        "a.mp4",
        face("-vf", "format=yuv444p,crop=359:288:0:0"),
        Kept(size=(359, 288), pixels="yuv444p"),
    ),
    "odd height": Row(
        "a.mkv",
        base("-vf", "format=gbrp,crop=360:287:0:0", "-c:v", "ffv1", "-pix_fmt", "yuv420p"),
        Kept(size=(360, 287), pixels="yuv422p"),
    ),
    "wide pixels": Row("a.mp4", face("-vf", "setsar=16/11"), Kept()),
    "interlaced": Row("a.mp4", face(*FIELDS), Refused(INTERLACED)),
    "deinterlaced": Row("a.mp4", face(*FIELDS), Kept(retimed=True), ("--deinterlace",)),
    # depth, chroma, colour
    "4:2:2": Row("a.mp4", face("-pix_fmt", "yuv422p"), Kept(pixels="yuv422p")),
    "4:4:4": Row("a.mp4", face("-pix_fmt", "yuv444p"), Kept(pixels="yuv444p")),
    "10 bits": Row("a.mp4", base(*TEN), Kept(pixels="yuv420p10le")),
    "HDR": Row("a.mp4", base(*TEN, *PQ), Kept(pixels="yuv420p10le")),
    "full range": Row("a.mp4", face("-pix_fmt", "yuvj420p"), Kept(pixels="yuvj420p")),
    "bt709 tags": Row("a.mp4", face(*BT709), Kept()),
    "alpha": Row(
        "a.mov", base(*PRORES_4444), Kept(pixels="yuva444p12le", codec="prores", output="out.mov")
    ),
    "alpha in mp4": Row(
        "a.mov", base(*PRORES_4444), Kept(pixels="yuv444p10le", says="alpha is left out")
    ),
    "alpha in webm": Row(
        "a.webm",
        base("-c:v", "libvpx-vp9", "-cpu-used", "8", "-crf", "10", "-pix_fmt", "yuva420p"),
        Kept(
            pixels="yuva444p12le",
            codec="prores",
            output="out.mov",
            says="the output is ProRes 4444",
        ),
    ),
    "RGB": Row(
        "a.mkv", base("-c:v", "libx264rgb", "-crf", "5"), Kept(pixels="yuv444p", psnr_db=RGB_DB)
    ),
    # containers and codecs
    "mov": Row("a.mov", face(), Kept(output="out.mov")),
    "mkv": Row("a.mkv", face(), Kept(output="out.mkv")),
    "fragmented mp4": Row("a.mp4", face("-movflags", "frag_keyframe+empty_moov"), Kept()),
    "webm": Row("a.webm", base("-c:v", "libvpx-vp9", "-cpu-used", "8", "-crf", "10"), Kept()),
    "avi": Row("a.avi", base("-c:v", "mpeg4", "-q:v", "2"), Kept()),
    "ts": Row("a.ts", face(), Kept()),
    "mxf": Row("a.mxf", base("-c:v", "mpeg2video", "-q:v", "2"), Kept()),
    "mpg": Row("a.mpg", base("-c:v", "mpeg2video", "-q:v", "2", "-bf", "0"), Kept()),
    "wmv": Row("a.wmv", base("-c:v", "wmv2", "-q:v", "2"), Kept()),
    "gif": Row("a.gif", base(), Kept(pixels="yuv444p", psnr_db=RGB_DB)),
    "ProRes": Row(
        "a.mov",
        base("-c:v", "prores_ks", "-profile:v", "hq"),
        Kept(pixels="yuv422p10le", codec="prores", output="out.mov"),
    ),
    "ProRes to mp4": Row(
        "a.mov", base("-c:v", "prores_ks"), Kept(pixels="yuv422p10le", says="the output is H.264")
    ),
    "DNxHR": Row(
        "a.mov",
        base("-c:v", "dnxhd", "-profile:v", "dnxhr_hqx", "-pix_fmt", "yuv422p10le"),
        Kept(pixels="yuv422p10le", codec="dnxhd", output="out.mov"),
    ),
    "HEVC": Row(
        "a.mp4",
        base("-c:v", "libx265", "-x265-params", "log-level=error", "-preset", "ultrafast"),
        Kept(codec="hevc"),
    ),
    "late start": Row("a.ts", face("-output_ts_offset", "5"), Kept()),
    # picture sequences
    "PNG": Row("in/a.%04d.png", shots("rgb24"), KeptPictures(range(1, 5)), RATE),
    "PNG of 16 bits": Row(
        "in/a.%04d.png", shots("rgb48be", first=1001), KeptPictures(range(1001, 1005), 16), RATE
    ),
    "PNG with alpha": Row("in/a.%04d.png", shots("rgba"), KeptPictures(range(1, 5), 8, 4), RATE),
    "PNG with alpha to TIFF": Row(
        "in/a.0001.png",
        shots("rgba64be"),
        KeptPictures(range(1, 5), 16, 4, output="out/b_%d.tif"),
        RATE,
    ),
    "TIFF": Row(
        "in/a.%04d.tif",
        shots("rgb24", named="a.%04d.tif"),
        KeptPictures(range(1, 5), output="out/b_%d.tiff"),
        RATE,
    ),
    "TIFF of 16 bits, a folder": Row(
        "in",
        shots("rgb48le", first=0, named="%d.tif"),
        KeptPictures(range(4), 16, output="out/%05d.tif"),
        RATE,
    ),
    "grey PNG": Row("in/a.%04d.png", shots("gray"), KeptPictures(range(1, 5), 8, 1), RATE),
    "% in a folder": Row("a%04d 100%/a.%04d.png", shots("rgb24"), KeptPictures(range(1, 5)), RATE),
    "a later picture": Row(
        "in/a.0003.png",
        shots("rgb24"),
        KeptPictures(range(3, 5), says="2 with lower numbers are left out"),
        RATE,
    ),
    "PNG to mp4": Row(
        "in/a.%04d.png",
        shots("rgb24"),
        Kept(rate="24000/1001", pixels="yuv444p", retimed=True, says="the output is H.264"),
        ("--frame-rate", "23.976"),
    ),
    "PNG of 16 bits to mov": Row(
        "in/a.%04d.png",
        shots("rgb48be"),
        Kept(pixels="gbrp16le", codec="ffv1", output="out.mkv", retimed=True),
        (*RATE, "--codec", "ffv1"),
    ),
    "video to PNG": Row("a.mp4", face(), KeptPictures(range(1, 5), psnr_db=EXACT_DB)),
    "10 bits to PNG": Row("a.mp4", base(*TEN), KeptPictures(range(1, 5), 16, psnr_db=EXACT_DB)),
    "layer of patches": Row(
        "a.mp4", face(), KeptPictures(range(1, 5), 16, 4, psnr_db=0.0), ("--patch-only",)
    ),
    "missing picture": Row(
        "in/a.%04d.png",
        spoilt(Path.unlink),
        Refused(
            "1 picture is missing between a.0001.png and a.0004.png: 0003; add them, or move the "
            "others apart"
        ),
        RATE,
    ),
    "picture of another size": Row(
        "in/a.%04d.png",
        spoilt(smaller),
        Refused(
            "is PNG, 180 x 144, 8 bits, RGB, but a.0001.png is PNG, 360 x 288, 8 bits, RGB; make "
            "all pictures alike",
            names="in/a.0003.png",
        ),
        RATE,
    ),
    "picture cut short": Row(
        "in/a.%04d.png",
        spoilt(lambda path: path.write_bytes(path.read_bytes()[:5000])),
        Refused("the picture is cut short; make it again", names="in/a.0003.png"),
        RATE,
    ),
    "no frame rate": Row(
        "in/a.%04d.png",
        shots("rgb24"),
        Refused(
            "pictures do not say how fast they play; give --frame-rate, such as 25, 23.976 or "
            "30000/1001"
        ),
    ),
    "frame rate of a video": Row(
        "a.mp4", face(), Refused("has its own frame rate; leave out --frame-rate"), RATE
    ),
    "single picture": Row(
        "in/still.png",
        spoilt(lambda path: path.rename(path.with_name("still.png"))),
        Refused(
            "a single picture without a number is no video; give a sequence, as shot.%04d.png"
        ),
        RATE,
    ),
    # streams
    "two sounds": Row(
        "a.mp4",
        ("-r", "25", "-i", str(CLIP), *TWO_TRACKS, "-map", "0:v", "-map", "1", "-map", "2",
         "-frames:v", str(FRAMES), *X264),
        Kept(sounds=2),
    ),
    "subtitles": Row(
        "a.mkv",
        lambda folder, target: subtitled(folder, target),
        Kept(),
    ),
    # what is seen
    "two faces": Row(
        "a.mp4", face("-vf", "split[a][b];[a][b]hstack"), Kept(size=(2 * WIDTH, HEIGHT))
    ),
    "cut": Row("a.mp4", face("-vf", "hflip=enable='gte(n,2)'"), Kept()),
    "no face": Row("a.mp4", (*TEST_PICTURE, *X264), Refused(NO_FACE)),
    "one frame": Row("a.mp4", face("-frames:v", "1"), Kept(frames=1)),
    # damaged, or not a video
    "no frame": Row(
        "a.avi", (*TEST_PICTURE, "-frames:v", "0", "-c:v", "rawvideo"), Refused(NO_PICTURE)
    ),
    "cut off, index lost": Row("a.mp4", cut(face(), 0.6), Refused(NO_MEDIA)),
    "cut off": Row(
        "a.mkv",
        cut(base("-c:v", "mjpeg", "-q:v", "2"), 0.6),
        Kept(frames=2, pixels="yuvj420p", says="damaged"),
    ),
    "sound only": Row(
        "a.mp4",
        ("-f", "lavfi", "-i", "sine=d=0.2"),
        Refused("no video stream; give a video file"),
    ),
    "0 bytes": Row(
        "a.mp4", bytes_of(b""), Refused("the file is empty (0 bytes); check where it came from")
    ),
    "text": Row("a.mp4", bytes_of(b"hello " * 99), Refused(NO_MEDIA)),
    "folder": Row(
        "a.mp4", a_folder, Refused("this is a folder without numbered PNG or TIFF; give a file")
    ),
    "missing": Row("a.mp4", nothing, Refused("there is no such file; check the path")),
    "2 h header": Row("a.mp4", claims_two_hours, Kept()),
    "too many pixels": Row(
        "a.mp4",
        face(),
        Refused(
            "its pictures have 360 x 288 = 103680 pixels, --max-pixels allows 100000; raise it, "
            "or make the video smaller"
        ),
        ("--max-pixels", "100000"),
    ),
    "too long": Row(
        "a.mp4",
        face(rate="1"),
        Refused("lasts 4.0 s, --max-seconds allows 3; raise it, or cut the file"),
        ("--max-seconds", "3"),
    ),
    # names and references
    "dash": Row("-x.mp4", face(), Kept()),
    "unicode": Row("fîlm 日本 %d.mp4", face(), Kept()),
    "concat:": Row("concat:a.mp4|b.mp4", face("-f", "mp4"), Kept()),
    "m3u8": Row(
        "a.m3u8", bytes_of(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), Refused(PLAYLIST)
    ),
    "hidden playlist": Row(
        "a.mp4", bytes_of(b"ffconcat version 1.0\nfile /etc/passwd\n"), Refused(PLAYLIST)
    ),
    "external data": Row("a.mov", points_elsewhere, Refused(NO_PICTURE)),
}  # fmt: skip


def subtitled(folder: Path, target: Path) -> None:
    (folder / "a.srt").write_text(SRT)
    ffmpeg("-r", "25", "-i", CLIP, "-i", folder / "a.srt", "-frames:v", FRAMES, *X264, target)


def void(_: object) -> None:
    """Forget a value."""


def ffmpeg(*arguments: object) -> bytes:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def models() -> loading.Models:
    """Return the real models with a tiny renderer."""
    torch.manual_seed(0)
    tiny = RendererHyper(
        channels=8, geometry_channels=4, decoder_channels=4, half_channels=4, full_channels=4,
        key_channels=24, pncc_frequencies=8, position_frequencies=8,
    )  # fmt: skip
    renderer = DualAttentionRenderer(tiny).eval().requires_grad_(False)
    return replace(loading.load_models(DubOptions(device="cpu", threads=1)), renderer=renderer)


@pytest.fixture
def speak(tmp_path: Path) -> Iterator[Callable[[Fraction], Path]]:
    def build(seconds: Fraction) -> Path:
        path = tmp_path / "speech.wav"
        noise = np.random.default_rng(0).normal(0, 3000, int(seconds * PCM_HZ))
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(PCM_HZ)
            file.writeframes(noise.astype("<i2").tobytes())
        return path

    yield build


def pictures(path: Path, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return all frames as ffmpeg's own command line decodes and turns them, [T, H, W, 3]."""
    raw = ffmpeg("-i", f"file:{path}", "-map", "0:V:0", "-fps_mode", "passthrough",
                 "-f", "rawvideo", "-pix_fmt", "rgb24", "-")  # fmt: skip
    return np.frombuffer(raw, np.uint8).reshape(-1, size[1], size[0], 3).astype(np.float64)


def tags(path: Path) -> dict[str, object]:
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        context = stream.codec_context
        aspect = stream.sample_aspect_ratio or Fraction(1)
        turned = frame.rotation % 180 != 0
        return {
            "primaries": context.color_primaries,
            "transfer": context.color_trc,
            "matrix": context.colorspace,
            "pixel aspect": 1 / aspect if turned else aspect,
        }


def times_ms(path: Path) -> NDArray[np.float64]:
    """Return when each frame is shown after the first, as ffmpeg's library reads the packets."""
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        shown = sorted(packet.pts or 0 for packet in container.demux(stream) if packet.size)
        return (np.array(shown) - shown[0]) * float(1000 * (stream.time_base or 0))


def check_kept(source: Path, output: Path, expected: Kept) -> None:
    with av.open(f"file:{output}") as container:
        stream = container.streams.video[0]
        shown = [packet.pts for packet in container.demux(stream) if packet.size]
        assert (stream.width, stream.height) == expected.size
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == (
            expected.codec,
            expected.pixels,
        )
        assert len(shown) == expected.frames
        if expected.frames > 1:
            assert stream.average_rate == Fraction(expected.rate)
        length_s = expected.frames / Fraction(expected.rate)
        assert abs(float(container.duration or 0) / av.time_base - length_s) < 0.03  # AAC: a frame
        assert len(container.streams.audio) == expected.sounds
    if expected.timed:
        np.testing.assert_allclose(times_ms(output), times_ms(source), atol=1)  # Matroska's unit
    if not is_sequence(source):
        found = tags(output)
        for name, value in tags(source).items():
            if value not in {0, 2, None}:  # reserved and unspecified: what players assume
                assert found[name] == value, name
    if not expected.retimed:
        above = expected.size[1] // ABOVE
        ours, theirs = (pictures(path, expected.size)[:, :above] for path in (output, source))
        error = ((ours - theirs[: len(ours)]) ** 2).mean()
        assert 10 * np.log10(255**2 / max(error, 1e-9)) >= expected.psnr_db


def check_pictures(source: Path, speech: Path, output: Path, expected: KeptPictures) -> None:
    """Compare with OpenCV's and ffmpeg's readings of the source."""
    names = [output.name % number for number in expected.numbers]
    sounds = [path.name for path in output.parent.iterdir() if path.suffix == ".wav"]
    assert len(sounds) == 1
    assert sorted(path.name for path in output.parent.iterdir()) == sorted([*names, *sounds])
    assert (output.parent / sounds[0]).read_bytes().endswith(speech.read_bytes()[44:])
    ours = np.stack([still(output.parent / name) for name in names])
    kind = np.uint8 if expected.depth == 8 else np.uint16
    channels = () if expected.channels == 1 else (expected.channels,)
    assert (ours.dtype, ours.shape[1:]) == (kind, (HEIGHT, WIDTH, *channels))
    if expected.psnr_db < np.inf:
        theirs = pictures(source, (WIDTH, HEIGHT))
        ours = ours[..., 2::-1] / (1 if expected.depth == 8 else 257)
    else:
        files = sorted(source.parent.iterdir() if source.suffix else source.iterdir())
        theirs = np.stack([still(path) for path in files[-len(names) :]])
    assert (ours != theirs).any()  # the mouth
    error = ((ours.astype(float) - theirs)[:, : HEIGHT // ABOVE] ** 2).mean()
    if expected.psnr_db == np.inf:
        assert error == 0
    else:
        assert 10 * np.log10(255**2 / max(error, 1e-9)) >= expected.psnr_db


def still(path: Path) -> NDArray[Any]:
    """Return a picture's samples, BGR; OpenCV multiplies colours of 8-bit TIFF by alpha."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("name", ROWS)
def test_file_is_dubbed_faithfully_or_refused_in_a_line(
    name: str,
    models: loading.Models,
    speak: Callable[[Fraction], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = ROWS[name]
    source, expected = tmp_path / row.file, row.expected
    if callable(row.how):
        row.how(tmp_path, source)
    else:
        ffmpeg(*row.how, f"file:{source}")
    seconds = Fraction(1, 5)
    output = tmp_path / "out.mp4"
    if isinstance(expected, KeptPictures):
        seconds, output = Fraction(len(expected.numbers), 25), tmp_path / expected.output
    if isinstance(expected, Kept):
        seconds, output = expected.frames / Fraction(expected.rate), tmp_path / expected.output
    speech = speak(seconds)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(preparation, "load_models", lambda options: models)
    monkeypatch.chdir(tmp_path)
    quick = ["--lip-references=3", "--face-references=3", "--preset=ultrafast", "--no-cache"]
    named = [row.file, str(speech)]
    arguments = ["dub", "-o", str(output), *quick, *row.options, "--", *named]
    monkeypatch.setattr(sys, "argv", ["dubcli", *arguments])

    with pytest.raises(SystemExit) as leaving:
        main()

    said = capsys.readouterr()
    if isinstance(expected, Refused):
        assert said.err == f"error: {expected.names or row.file}: {expected.says}\n"
        assert leaving.value.code == expected.code
        assert sorted(tmp_path.iterdir()) == before
        return
    assert (leaving.value.code or 0, said.err) == (0, "")
    assert expected.says in " ".join(said.out.split())
    if isinstance(expected, KeptPictures):
        check_pictures(source, speech, output, expected)
        assert sorted(tmp_path.iterdir()) == sorted([*before, output.parent])
        return
    check_kept(source, output, expected)
    assert sorted(tmp_path.iterdir()) == sorted([*before, output])


def test_there_are_enough_rows() -> None:
    assert len(ROWS) >= 30
