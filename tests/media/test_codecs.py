from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dubcli.config import CODECS, DubOptions
from dubcli.errors import InputError
from dubcli.media import codecs
from dubcli.media.binary import FfmpegFacts
from dubcli.media.codecs import Encoding, encoding_for
from dubcli.records import VideoInfo

INFO = VideoInfo(
    path=Path("in.mov"),
    width=320,
    height=240,
    frame_rate=Fraction(25),
    frame_count=1,
    duration_s=None,
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
ENCODERS = frozenset({"libx264", "libx265", "prores_ks", "dnxhd", "ffv1"})


@pytest.fixture(autouse=True)
def _full_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "ffmpeg_facts", lambda: FfmpegFacts("ffmpeg", "9", ENCODERS))


def chosen(own: str, stored: str, extension: str = ".mov", **options: object) -> Encoding:
    info = replace(INFO, codec=own, pixel_format=stored)
    return encoding_for(info, extension, DubOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codec", "pixel_format", "extension", "expected"),
    [
        ("h264", "yuv420p", ".mp4", ("h264", "yuv420p")),
        ("h264", "yuvj420p", ".mp4", ("h264", "yuv420p")),
        ("h264", "yuv420p10le", ".mp4", ("h264", "yuv420p10le")),
        ("h264", "yuv422p10le", ".mkv", ("h264", "yuv422p10le")),
        ("hevc", "yuv444p12le", ".mp4", ("hevc", "yuv444p12le")),
        ("prores", "yuv422p10le", ".mov", ("prores", "yuv422p10le")),
        ("prores", "yuva444p12le", ".mov", ("prores", "yuva444p10le")),
        ("dnxhd", "yuv422p", ".mov", ("dnxhr", "yuv422p")),
        ("dnxhd", "yuv422p10le", ".mkv", ("dnxhr", "yuv422p10le")),
        ("ffv1", "bgr0", ".mkv", ("ffv1", "bgr0")),
        ("ffv1", "yuv420p16le", ".mkv", ("ffv1", "yuv420p16le")),
    ],
)
def test_the_sources_own_codec_and_format_are_kept(
    codec: str, pixel_format: str, extension: str, expected: tuple[str, str]
) -> None:
    made = chosen(codec, pixel_format, extension)
    assert (made.codec, made.pixel_format) == expected
    lost = ("the video has 12 bits, the output has 10",) if "a444p12" in pixel_format else ()
    assert made.warnings == lost


@pytest.mark.parametrize(
    ("codec", "pixel_format", "extension", "expected", "said"),
    [
        ("vp9", "yuv420p", ".mp4", ("h264", "yuv420p"), "codec vp9 is not written"),
        ("png", "rgb24", ".mov", ("h264", "yuv444p"), "codec png is not written"),
        ("prores", "yuv422p10le", ".mp4", ("h264", "yuv422p10le"), "do not hold the video's codec"),
        ("qtrle", "argb", ".mov", ("prores", "yuva444p10le"), "the output is ProRes 4444"),
        ("vp9", "yuva420p", ".mp4", ("h264", "yuv420p"), "the video's alpha is left out"),
        ("ffv1", "yuv444p16le", ".mp4", ("h264", "yuv444p10le"), "has 16 bits, the output has 10"),
    ],
)
def test_what_cannot_be_kept_is_said(
    codec: str, pixel_format: str, extension: str, expected: tuple[str, str], said: str
) -> None:
    made = chosen(codec, pixel_format, extension)
    assert (made.codec, made.pixel_format) == expected
    assert any(said in warning for warning in made.warnings)


@pytest.mark.parametrize(
    ("size", "source", "output"),
    [
        ((64, 48), "yuv422p", "yuv422p"),
        ((64, 48), "gray", "yuv420p"),
        ((65, 48), "yuv420p", "yuv444p"),
        ((64, 47), "yuv420p10le", "yuv422p10le"),
        ((64, 47), "yuv422p", "yuv422p"),
        ((65, 47), "yuv422p", "yuv444p"),
    ],
)
def test_chroma_is_kept_and_finer_for_odd_sizes(
    size: tuple[int, int], source: str, output: str
) -> None:
    info = replace(INFO, width=size[0], height=size[1], pixel_format=source)
    assert encoding_for(info, ".mp4", DubOptions()).pixel_format == output


@pytest.mark.parametrize(
    ("codec", "profile", "pixel_format", "setting"),
    [
        ("prores", "LT", "yuv422p10le", ("profile:v", 1)),
        ("prores", "HQ", "yuv422p10le", ("profile:v", 3)),
        ("prores", "4444", "yuv444p10le", ("profile:v", 4)),
        ("prores", "XQ", "yuva444p10le", ("profile:v", 5)),
        ("dnxhd", "DNXHR SQ", "yuv422p", ("profile:v", "dnxhr_sq")),
        ("dnxhd", "DNXHR HQX", "yuv422p10le", ("profile:v", "dnxhr_hqx")),
        ("dnxhd", "DNXHR 444", "yuv444p10le", ("profile:v", "dnxhr_444")),
    ],
)
def test_the_profile_is_kept(
    codec: str, profile: str, pixel_format: str, setting: tuple[str, str | int]
) -> None:
    info = replace(INFO, codec=codec, profile=profile, pixel_format=pixel_format)
    assert setting in encoding_for(info, ".mov", DubOptions()).arguments


def test_light_of_hdr_is_told_to_the_encoder() -> None:
    info = replace(
        INFO,
        codec="hevc",
        pixel_format="yuv420p10le",
        colour_transfer="smpte2084",
        mastering_display="G(1,2)B(3,4)R(5,6)WP(7,8)L(9,1)",
        content_light=(1000, 400),
    )
    parameters = dict(encoding_for(info, ".mp4", DubOptions()).arguments)["x265-params"]
    assert parameters == (
        "log-level=error:master-display=G(1,2)B(3,4)R(5,6)WP(7,8)L(9,1):max-cll=1000,400"
    )


@pytest.mark.parametrize(
    ("changes", "extension", "options", "said"),
    [
        (
            {},
            ".mp4",
            {"codec": "prores"},
            "--codec prores: .mp4 files do not hold it; write .mkv or .mov, "
            "or choose another codec",
        ),
        (
            {},
            ".mp4",
            {"pixel_format": "rgb565"},
            "--pixel-format rgb565: h264 takes yuv420p, yuv420p10le, yuv422p, yuv422p10le, "
            "yuv444p, yuv444p10le",
        ),
        (
            {"width": 321},
            ".mp4",
            {"pixel_format": "yuv420p"},
            "--pixel-format yuv420p: it cannot hold pictures of 321 x 240; "
            "give one of yuv444p, yuv444p10le",
        ),
        (
            {"pixel_format": "yuv420p10le", "colour_transfer": "arib-std-b67"},
            ".mp4",
            {"pixel_format": "yuv420p"},
            "in.mov: the video has 10 bits of HDR (HLG), the output would have 8 and show bands; "
            "choose another --pixel-format or --codec, or add --allow-8bit",
        ),
        (
            {"width": 128, "height": 96},
            ".mov",
            {"codec": "dnxhr"},
            "--codec dnxhr: pictures of 128 x 96 are too small, it takes 256 x 120 and more; "
            "choose another codec",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_sentence(
    changes: dict[str, object], extension: str, options: dict[str, object], said: str
) -> None:
    info = replace(INFO, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        encoding_for(info, extension, DubOptions(**options))  # type: ignore[arg-type]
    assert str(caught.value) == said


def test_eight_bits_for_more_are_written_where_allowed() -> None:
    made = chosen("hevc", "yuv420p10le", pixel_format="yuv420p", allow_8bit=True)
    assert made.pixel_format == "yuv420p"
    assert made.warnings == ("the video has 10 bits, the output has 8",)


def test_a_build_without_the_encoder_is_named_or_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = FfmpegFacts("/bin/ffmpeg", "5", frozenset({"libx264"}))
    monkeypatch.setattr(codecs, "ffmpeg_facts", lambda: facts)
    monkeypatch.setattr(codecs, "find_ffmpeg", lambda: facts.path)
    with pytest.raises(InputError, match="--codec hevc: /bin/ffmpeg has no encoder libx265"):
        chosen("h264", "yuv420p", codec="hevc")
    made = chosen("hevc", "yuv420p10le")
    assert (made.codec, made.pixel_format) == ("h264", "yuv420p10le")
    assert made.warnings == ("this ffmpeg has no encoder libx265: the output is H.264",)


@pytest.mark.parametrize(
    ("extension", "expected"),
    [(".mov", ("prores", "yuva444p10le")), (".mkv", ("ffv1", "gbrap10le"))],
)
def test_a_layer_has_alpha(extension: str, expected: tuple[str, str]) -> None:
    made = chosen("h264", "yuv420p", extension, patch_only=True)
    assert (made.codec, made.pixel_format, made.warnings) == (*expected, ())
    with pytest.raises(InputError, match="--patch-only: h264 does not hold alpha in yuv444p10le"):
        chosen("h264", "yuv420p", extension, patch_only=True, codec="h264")
    with pytest.raises(InputError, match=r"--patch-only: .mp4 files do not hold"):
        chosen("h264", "yuv420p", ".mp4", patch_only=True)


def test_every_codec_that_can_be_asked_for_can_be_written() -> None:
    for codec in set(CODECS) - {"source"}:
        assert encoding_for(INFO, ".mov", DubOptions(codec=codec)).codec == codec
