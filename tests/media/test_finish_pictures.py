"""Sequences written: pixels, names, sound, colours, and what is left when something goes wrong."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.config import DubOptions
from dubcli.errors import InputError, MediaError
from dubcli.media import parts
from dubcli.media import writer as module
from dubcli.media.probe import probe_audio, probe_source
from dubcli.media.provenance import Mark
from dubcli.media.reader import FrameReader
from dubcli.media.stills import ColourTags, colour_tags, read_still, tagged_png, tagged_tiff
from dubcli.media.writer import FrameWriter

Make = Callable[..., Path]
H, W, FRAMES = 22, 26, 3
PROFILE = bytes(range(256))
MARK = Mark("dubcli 1", (("renderer", "ab12"),))
SHAPES = {"grey": (H, W), "RGB": (H, W, 3), "RGBA": (H, W, 4)}


def source(folder: Path, suffix: str, colour: str = "RGB", depth: int = 16, first: int = 7) -> Path:
    """Write a sequence of random pixels with OpenCV; return its pattern."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(first, first + FRAMES):
        pixels = rng.integers(0, 1 << depth, SHAPES[colour])
        pixels = pixels.astype(np.uint8 if depth == 8 else np.uint16)
        assert cv2.imwrite(str(folder / f"in.{number:03d}{suffix}"), pixels)
    return folder / f"in.%03d{suffix}"


def write(
    video: Path, sound: Path, output: Path, frames: int = FRAMES, **how: object
) -> tuple[str, ...]:
    """Copy a sequence, its samples as they are."""
    info = probe_source(video, "24")
    options = DubOptions(**{k: v for k, v in how.items() if k != "mark"})  # type: ignore[arg-type]
    mark = how.get("mark")
    with (
        FrameReader(info) as reader,
        FrameWriter(
            output,
            info,
            speech=probe_audio(sound),
            frame_count=frames,
            options=options,
            planes=True,
            mark=mark if isinstance(mark, Mark) else None,
        ) as writer,
    ):
        for frame in reader:
            assert frame.planes is not None
            writer.write(frame.planes)
    return writer.warnings


def read(path: Path) -> NDArray[np.uint16]:
    """Return the pixels as OpenCV reads them, which multiplies those of 8-bit TIFF by alpha."""
    if path.suffix != ".png" and read_still(path).depth == 8:
        with av.open(str(path)) as container:
            frame = next(container.decode(container.streams.video[0]))
        order = {"rgb24": [2, 1, 0], "rgba": [2, 1, 0, 3]}.get(frame.format.name)
        pixels = frame.to_ndarray()
        return np.asarray(pixels if order is None else pixels[:, :, order])
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", SHAPES)
@pytest.mark.parametrize(("came", "goes"), [(".png", ".png"), (".tif", ".tif"), (".png", ".tiff")])
def test_pixels_depth_alpha_numbers_and_sound_are_the_sources(
    speech: Make, samples: Callable[[Path], NDArray[np.float64]], tmp_path: Path, *,
    came: str, goes: str, colour: str, depth: int,
) -> None:  # fmt: skip
    video, output = source(tmp_path / "in", came, colour, depth), tmp_path / f"out/shot.%04d{goes}"
    sound = speech("a.wav", "-c:a", "pcm_s24le", rate=44100)
    assert write(video, sound, output) == ()
    names = [f"shot.{number:04d}{goes}" for number in range(7, 10)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*names, "shot.wav"]
    for number, name in enumerate(names, 7):
        made, given = (
            read(tmp_path / "out" / name),
            read(tmp_path / "in" / f"in.{number:03d}{came}"),
        )
        assert made.dtype == given.dtype
        np.testing.assert_array_equal(made, given)
    assert probe_audio(tmp_path / "out/shot.wav").codec == "pcm_s24le"
    np.testing.assert_array_equal(samples(tmp_path / "out/shot.wav"), samples(sound))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize(
    ("noise", "goes"),
    [
        ("geq=lum='random(1)*255':a='random(2)*255',format=ya8", ".png"),
        ("geq=lum='random(1)*255':a='random(2)*255',format=ya16be", ".png"),
        ("format=rgb8,noise=alls=90,split[a][b];[a]palettegen[c];[b][c]paletteuse", ".png"),
        ("format=rgb8,noise=alls=90,split[a][b];[a]palettegen[c];[b][c]paletteuse", ".tif"),
    ],
)
def test_palettes_and_grey_with_alpha_become_rgba_of_the_same_pixels(
    make: Make, speech: Make, tmp_path: Path, noise: str, goes: str
) -> None:
    picture = make(
        "a.png", "-f", "lavfi", "-i", f"nullsrc=s=26x22:d=0.04,{noise}", "-frames:v", "1"
    )
    assert read_still(picture).colour in {"grey with alpha", "palette"}
    write(shutil.copy(picture, tmp_path / "a1.png"), speech(), tmp_path / f"out/a.%d{goes}", 1)
    given, made = read(tmp_path / "a1.png"), read(tmp_path / f"out/a.1{goes}")
    assert made.shape == (H, W, 4)
    np.testing.assert_array_equal(made[..., : given.shape[-1]], given)


def test_eight_bits_of_sixteen_are_refused_or_asked_for(speech: Make, tmp_path: Path) -> None:
    video, output = source(tmp_path / "in", ".png"), tmp_path / "out/a.%d.png"
    with pytest.raises(InputError, match="the video has 16 bits, the output would have 8"):
        write(video, speech(), output, pixel_format="rgb24")
    said = write(video, speech(), output, pixel_format="rgb24", allow_8bit=True)
    assert said == ("the video has 16 bits, the output has 8",)
    assert read(tmp_path / "out/a.7.png").dtype == np.uint8


def test_pictures_take_no_other_codec(speech: Make, tmp_path: Path) -> None:
    video = source(tmp_path / "in", ".png")
    with pytest.raises(
        InputError, match=r"--codec prores: \.tif pictures have their own; leave it"
    ):
        write(video, speech(), tmp_path / "out/a.%d.tif", codec="prores")


@pytest.mark.parametrize(("came", "goes"), [(".png", ".png"), (".png", ".tif"), (".tif", ".png")])
def test_colours_are_said_to_mean_what_they_meant(
    speech: Make, tmp_path: Path, came: str, goes: str
) -> None:
    video = source(tmp_path / "in", came)
    given = ColourTags(((b"gAMA", struct.pack(">I", 45455)), (b"cICP", b"\x09\x10\0\1")), PROFILE)
    for path in sorted((tmp_path / "in").iterdir()):
        tag = tagged_png if came == ".png" else tagged_tiff
        path.write_bytes(tag(path.read_bytes(), given, b""))
    write(video, speech(), tmp_path / f"out/a.%d{goes}", mark=MARK)
    kept = given if came == goes == ".png" else ColourTags(profile=PROFILE)
    for number in (7, 8, 9):
        path = tmp_path / f"out/a.{number}{goes}"
        found = colour_tags(path)
        told = tuple(each for each in found.chunks if each[0] != b"pHYs")
        assert (told, found.profile) == (kept.chunks, kept.profile)
        assert path.read_bytes().count(b"compositeWithTrainedAlgorithmicMedia") == 1
        assert b"renderer sha256:ab12" in path.read_bytes()
        np.testing.assert_array_equal(read(path), read(tmp_path / f"in/in.{number:03d}{came}"))


def test_video_becomes_pictures_from_number_one(
    clip: Make, speech: Make, tmp_path: Path, raw: Callable[..., bytes]
) -> None:
    video = clip("a.mov", "25", "-c:v", "prores_ks", "-frames:v", "3")
    info = probe_source(video, None)
    output = tmp_path / "out/%04d.tif"
    with (
        FrameReader(info) as reader,
        FrameWriter(
            output, info, speech=probe_audio(speech()), frame_count=3, options=DubOptions(),
            planes=True,
        ) as writer,
    ):  # fmt: skip
        for frame in reader:
            assert frame.planes is not None
            writer.write(frame.planes)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["0001.tif", "0002.tif", "0003.tif", "sound.wav"]
    assert str(read_still(tmp_path / "out/0001.tif")) == "TIFF, 64 x 48, 16 bits, RGB"
    theirs = np.frombuffer(raw(video, "-f", "rawvideo", "-pix_fmt", "rgb48le"), "<u2")
    ours = np.stack([read(tmp_path / "out" / name)[:, :, ::-1] for name in names[:3]])
    assert np.abs(ours.reshape(-1).astype(int) - theirs).mean() / 65535 < 0.02  # chroma's edges


@pytest.fixture
def _two_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (module, parts):
        monkeypatch.setattr(each, "SEGMENT_FRAMES", 2)


@pytest.mark.usefixtures("_two_a_part")
@pytest.mark.parametrize("goes", [".png", ".tif"])
def test_interrupted_sequence_leaves_nothing_and_goes_on(
    speech: Make, tmp_path: Path, goes: str
) -> None:
    info = probe_source(source(tmp_path / "in", ".png"), "24")
    with FrameReader(info) as reader:
        frames = [frame.planes for frame in reader if frame.planes is not None]

    def opened(name: str, identity: str) -> FrameWriter:
        return FrameWriter(
            tmp_path / name, info, speech=probe_audio(speech()), frame_count=7,
            options=DubOptions(), planes=True, identity=identity,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt), opened(f"out/a.%d{goes}", "x") as writer:
        for k in range(6):
            writer.write(frames[k % 3])
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.parts", "in"]
    with opened(f"out/a.%d{goes}", "x") as writer:
        assert writer.written >= 2
        for k in range(writer.written, 7):
            writer.write(frames[k % 3])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    for k in range(7):
        given = read(tmp_path / f"in/in.{7 + k % 3:03d}.png")
        np.testing.assert_array_equal(read(tmp_path / f"out/a.{7 + k}{goes}"), given)


@pytest.mark.usefixtures("_two_a_part")
def test_parts_of_another_kind_of_picture_are_not_taken(speech: Make, tmp_path: Path) -> None:
    info = probe_source(source(tmp_path / "in", ".png"), "24")
    for goes, there in ((".png", 0), (".png", 2), (".tif", 0)):
        writer = FrameWriter(
            tmp_path / f"out/a.%d{goes}", info, speech=probe_audio(speech()), frame_count=9,
            options=DubOptions(), planes=True, identity="x",
        )  # fmt: skip
        with pytest.raises(KeyboardInterrupt), writer, FrameReader(info) as reader:
            assert (writer.written > 0) == (there > 0)
            for frame in reader:
                assert frame.planes is not None
                writer.write(frame.planes)
            for _ in range(2):
                writer.write(frame.planes)
            raise KeyboardInterrupt


def test_full_disk_leaves_the_earlier_sequence(
    speech: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, output = source(tmp_path / "in", ".png"), tmp_path / "out/a.%d.png"
    write(video, speech(), output)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    stored = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "a.8.png":
            raise OSError(28, "No space left on device")
        return stored(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        MediaError, match=r"could not write the pictures \(No space left on device\); nothing was"
    ):
        write(video, speech(), output)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
