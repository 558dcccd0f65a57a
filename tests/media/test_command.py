from fractions import Fraction
from pathlib import Path

import pytest

from dubcli.config import DubOptions
from dubcli.media.codecs import encoding_for
from dubcli.media.command import (
    FORMATS,
    Carrier,
    FrameRange,
    count_audio,
    decode_audio,
    decode_video,
    encode,
    file_url,
    finish,
)
from dubcli.media.soundtrack import soundtrack_for
from dubcli.records import Arrangement, AudioInfo, Carried, CarriedStream, VideoInfo

QUIET = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error"]
GUARDED = ["-format_whitelist", FORMATS, "-protocol_whitelist", "file,pipe"]


def video_info(**changes: object) -> VideoInfo:
    values: dict[str, object] = {
        "path": Path("/clips/a.mp4"),
        "width": 64,
        "height": 48,
        "frame_rate": Fraction(30000, 1001),
        "frame_count": 60,
        "duration_s": Fraction(2),
        "rotation_deg": 0,
        "variable_rate": False,
        "has_audio": True,
        "codec": "h264",
        "pixel_format": "yuv420p",
        "colour_space": "bt709",
        "colour_primaries": "bt709",
        "colour_transfer": None,
        "colour_range": "tv",
    }
    return VideoInfo(**(values | changes))  # type: ignore[arg-type]


def audio_info(**changes: object) -> AudioInfo:
    values: dict[str, object] = {
        "path": Path("/clips/s.wav"),
        "rate_hz": 44100,
        "channels": 1,
        "sample_count": 100,
        "codec": "pcm_s16le",
        "sample_format": "s16",
    }
    return AudioInfo(**(values | changes))  # type: ignore[arg-type]


def test_constant_rate_decoding_passes_every_frame_through() -> None:
    arguments = decode_video("ffmpeg", video_info(), FrameRange())
    assert arguments == [
        *QUIET,
        *GUARDED,
        "-i",
        "file:/clips/a.mp4",
        "-filter_complex",
        "[0:V:0]scale=64:48:flags=neighbor+accurate_rnd+full_chroma_int+full_chroma_inp"
        ":in_range=tv:out_range=tv[s0];[s0]format=yuv420p[s1]",
        "-map",
        "[s1]",
        "-f",
        "rawvideo",
        "-fps_mode",
        "passthrough",
        "pipe:1",
    ]


def test_a_range_seeks_before_the_input_and_limits_the_frames() -> None:
    wanted = FrameRange(count=5, seek_s=Fraction(1, 3))
    arguments = decode_video("ffmpeg", video_info(), wanted)
    assert arguments.index("-ss") < arguments.index("-i")
    assert arguments[arguments.index("-ss") + 1] == "0.333333"
    assert arguments[arguments.index("-frames:v") + 1] == "5"


def test_a_range_without_an_index_drops_frames_after_decoding() -> None:
    arguments = decode_video("ffmpeg", video_info(), FrameRange(skip=7))
    assert "-ss" not in arguments
    assert "[0:V:0]trim=start_frame=7[s0]" in arguments[arguments.index("-filter_complex") + 1]


def test_frames_of_a_variable_rate_are_counted_and_not_timed() -> None:
    arguments = decode_video("ffmpeg", video_info(variable_rate=True), FrameRange())
    assert "settb=1/1000" in arguments[arguments.index("-filter_complex") + 1]
    assert arguments[arguments.index("-enc_time_base") + 1] == "1:1000"
    assert "-enc_time_base" not in decode_video("ffmpeg", video_info(), FrameRange())


def test_audio_decoding_averages_the_channels() -> None:
    assert decode_audio("ffmpeg", audio_info(channels=2), 16000) == [
        *QUIET,
        *GUARDED,
        "-i",
        "file:/clips/s.wav",
        "-filter_complex",
        "[0:a:0]asetpts=N/SR/TB[s0];[s0]aformat=sample_fmts=fltp[s1];"
        "[s1]aeval=(val(0)+val(1))/2:channel_layout=mono[s2];[s2]aresample=16000[s3]",
        "-map",
        "[s3]",
        "-f",
        "f32le",
        "-acodec",
        "pcm_f32le",
        "pipe:1",
    ]


def test_counting_writes_one_byte_per_sample() -> None:
    arguments = count_audio("ffmpeg", Path("/clips/s.wav"))
    assert arguments[-7:] == ["-map", "[s1]", "-f", "u8", "-acodec", "pcm_u8", "pipe:1"]


def test_encoding_names_rate_size_and_quality() -> None:
    encoding = encoding_for(video_info(), ".mp4", DubOptions(crf=20, preset="fast"))
    arguments = encode("ffmpeg", Path("/out/0.mov"), video_info(), encoding, "rgb24")
    text = " ".join(arguments)
    assert "-f rawvideo -video_size 64x48 -framerate 30000/1001 -pixel_format rgb24" in text
    assert "-i pipe:0" in text
    assert "-crf 20" in text
    assert "-preset fast" in text
    assert "-r 30000/1001" in text
    assert arguments[-5:] == ["file:/out/0.mov", "-y", "-nostats", "-progress", "pipe:1"]


def finishing(name: str, carried: Carried | None = None) -> list[str]:
    speech = audio_info()
    return finish(
        "ffmpeg",
        Path("/out") / name,
        Carrier("mov"),
        speech=speech,
        soundtrack=soundtrack_for(Path(name).suffix, speech),
        arrangement=Arrangement(),
        carried=carried,
    )


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("o.mkv", ["-c:a:0", "pcm_s16le"]),
        ("o.mov", ["-c:a:0", "pcm_s16le"]),
        ("o.mp4", ["-b:a:0", "256000", "-c:a:0", "aac"]),
    ],
)
def test_finishing_copies_the_pictures_and_encodes_the_sound(name: str, sound: list[str]) -> None:
    arguments = finishing(name)
    text = " ".join(arguments)
    assert "-i pipe:0" in text
    assert "-c:v:0 copy" in text
    assert "-shortest" not in arguments
    assert " ".join(sound) in text
    assert arguments[-5:] == [f"file:/out/{name}", "-y", "-nostats", "-progress", "pipe:1"]


def test_what_is_carried_comes_from_a_further_guarded_input() -> None:
    streams = (CarriedStream(3), CarriedStream(5, "mov_text"))
    arguments = finishing("o.mp4", Carried(Path("/clips/a.mkv"), streams))
    named = [k + 1 for k, argument in enumerate(arguments) if argument == "-i"]
    assert [arguments[k] for k in named] == ["pipe:0", "file:/clips/s.wav", "file:/clips/a.mkv"]
    assert arguments[named[2] - 5 : named[2] - 1] == [*GUARDED[2:], *GUARDED[:2]]
    copied = "-map_metadata 2 -map_chapters 2 -map 2:3 -c:2 copy -map 2:5 -c:3 mov_text file:/out"
    assert copied in " ".join(arguments)


def test_colour_is_converted_with_the_matrix_of_the_source_and_tagged_the_same() -> None:
    info = video_info(pixel_aspect=Fraction(16, 15))
    encoding = encoding_for(info, ".mp4", DubOptions())
    arguments = encode("ffmpeg", Path("/out/0.mov"), info, encoding, "rgb24")
    graph = arguments[arguments.index("-filter_complex") + 1]
    assert "in_range=pc:out_color_matrix=bt709:out_range=tv" in graph
    assert "setsar=16/15" in graph
    assert "color_primaries=bt709:color_trc=unknown:colorspace=bt709:range=tv" in graph


@pytest.mark.parametrize("name", ["-x.mp4", "concat:a", "http://x", "a b.mp4", "é:ü.mkv"])
def test_a_file_is_a_file_whatever_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert file_url(Path(name)) == f"file:/{Path(name)}"
