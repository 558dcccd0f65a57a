"""Joining encoded parts: every codec, every picture, every time."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dubcli.errors import MediaError
from dubcli.media.finish import Recipe, decoding_ticks, even_stamps, finish
from dubcli.media.probe import probe_audio
from dubcli.media.soundtrack import soundtrack_for
from dubcli.records import Arrangement, Carried, CarriedStream, Stamps

Make = Callable[..., Path]
Raw = Callable[..., bytes]
RATE = Fraction(30000, 1001)
COUNTS = (7, 1, 5)  # frames of the parts
TAGS = "setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "3", "-b_strategy", "0")
CODECS = [
    ("mp4", H264),
    ("mov", (*H264, "-pix_fmt", "yuv422p10le")),
    ("mkv", H264),
    ("mp4", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")),
    ("mov", ("-c:v", "prores_ks", "-profile:v", "3", "-pix_fmt", "yuv422p10le")),
    ("mov", ("-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le")),
    ("mov", ("-c:v", "dnxhd", "-profile:v", "dnxhr_hq", "-pix_fmt", "yuv422p")),
    ("mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv422p10le")),
]


@pytest.fixture
def recipe(make: Make, speech: Make) -> Callable[..., Recipe]:
    def build(suffix: str, codec: tuple[str, ...] = H264, **more: object) -> Recipe:
        parts = [
            make(
                f"{place}.mov",
                *("-f", "lavfi", "-i", f"testsrc2=s=256x120:r=30000/1001:d=9,hue=h={90 * place}"),
                *("-vf", f"{TAGS},setsar=4/3", "-frames:v", str(count), *codec),
            )
            for place, count in enumerate(COUNTS)
        ]
        sound = probe_audio(speech(s=0.4))
        soundtrack = soundtrack_for(suffix, sound)
        return Recipe(parts, RATE, sum(COUNTS), sound, soundtrack, Arrangement(), **more)  # type: ignore[arg-type]

    return build


def described(path: Path) -> tuple[object, ...]:
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        return (
            *(codec.name, codec.profile, codec.pix_fmt, codec.color_trc, codec.color_primaries),
            *(codec.colorspace, codec.color_range, container.streams.video[0].sample_aspect_ratio),
        )


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(p.pts * p.time_base for p in container.demux(stream) if p.size)  # type: ignore[operator]


@pytest.mark.parametrize(("suffix", "codec"), CODECS)
def test_joined_parts_are_their_pictures_to_the_bit_at_their_times(
    recipe: Callable[..., Recipe], raw: Raw, tmp_path: Path, suffix: str, codec: tuple[str, ...]
) -> None:
    output, made = tmp_path / f"out.{suffix}", recipe(f".{suffix}", codec)
    assert finish(made, output) == ""
    pictures = ("-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo")
    assert raw(output, *pictures) == b"".join(raw(part, *pictures) for part in made.parts)
    assert described(output) == described(made.parts[0])
    rounding = Fraction(1, 2000) if suffix == "mkv" else 0  # Matroska counts milliseconds
    for k, time in enumerate(times(output)):
        assert abs(time - k / RATE) <= rounding


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_each_picture_gets_the_time_that_it_is_given(
    recipe: Callable[..., Recipe], tmp_path: Path, suffix: str
) -> None:
    steps = np.random.default_rng(5).integers(1, 9000, sum(COUNTS) + 1)
    ticks = np.cumsum(steps) - steps[0]
    stamps = Stamps(ticks[:-1], int(ticks[-1]), Fraction(1, 90000))
    output = tmp_path / f"out.{suffix}"
    finish(recipe(f".{suffix}", stamps=stamps), output)
    rounding = Fraction(1, 2000) if suffix == "mkv" else 0
    for time, tick in zip(times(output), stamps.ticks, strict=True):
        assert abs(time - int(tick) * stamps.unit_s) <= rounding
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        if suffix != "mkv":
            assert stream.duration * stream.time_base == stamps.end * stamps.unit_s  # type: ignore[operator]


def test_decoding_is_never_later_than_showing_and_adds_up() -> None:
    ticks = np.cumsum(np.random.default_rng(1).integers(1, 50, 40))
    stamps = Stamps(ticks, int(ticks[-1]) + 7, Fraction(1, 600))
    for ahead in range(4):
        decoded = decoding_ticks(stamps, ahead)
        assert (np.diff(decoded) > 0).all()
        assert (decoded[:-1] <= ticks).all()
        assert decoded[-1] - decoded[0] == stamps.end - ticks[0]
    even = decoding_ticks(even_stamps(9, RATE), 2)
    np.testing.assert_array_equal(even, np.arange(-2, 8))


def test_streams_chapters_and_metadata_come_along(
    recipe: Callable[..., Recipe], make: Make, clip: Make, speech: Make, tmp_path: Path
) -> None:
    notes, words = tmp_path / "notes.txt", tmp_path / "words.srt"
    notes.write_text(
        ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
    )
    words.write_text("1\n00:00:00,000 --> 00:00:00,300\nHello\n")
    inputs = [clip("a.mp4"), speech(), words, notes]
    source = make(
        "source.mkv",
        *(argument for path in inputs for argument in ("-i", f"file:{path}")),
        *("-map", "0:v", "-map", "1:a", "-map", "2:s", "-map_metadata", "3", "-c:v", "copy"),
        *("-map_chapters", "3", "-c:a", "pcm_s16le"),
    )
    carried = Carried(source, (CarriedStream(1), CarriedStream(2, "mov_text")))
    output = tmp_path / "out.mov"
    finish(recipe(".mov", carried=carried), output)
    with av.open(str(output)) as container:
        assert [stream.type for stream in container.streams][:4] == [
            *("video", "audio", "audio", "subtitle")
        ]
        assert container.metadata["title"] == "A film"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One"]
        assert container.streams.subtitles[0].codec_context.name == "mov_text"


def test_parts_that_lack_a_frame_or_have_one_too_many_are_refused(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    made = recipe(".mp4")
    for count, said in ((14, "the parts have 13 of 14 frames"), (12, "too many frames")):
        wrong = Recipe(made.parts, RATE, count, made.speech, made.soundtrack, made.arrangement)
        with pytest.raises(MediaError, match=said):
            finish(wrong, tmp_path / "out.mp4")


def test_reason_of_ffmpeg_is_told(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="No such file or directory"):
        finish(recipe(".mp4"), tmp_path / "missing" / "out.mp4")
