from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.errors import InputError
from dubcli.media.probe import probe_audio, probe_video

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("rate", "exact"),
    [
        ("24000/1001", Fraction(24000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        ("50", Fraction(50)),
        ("25", Fraction(25)),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_rate_and_count_are_exact(clip: Make, name: str, rate: str, exact: Fraction) -> None:
    info = probe_video(clip(name, rate))
    assert info.frame_rate == exact
    assert info.frame_count == round(2 * exact)
    assert info.duration_s == info.frame_count / exact
    assert not info.variable_rate


def test_size_is_that_of_the_displayed_picture(make: Make, clip: Make) -> None:
    upright = clip("a.mp4")
    for degrees, size in ((90, (48, 64)), (180, (64, 48)), (270, (48, 64))):
        turned = make(
            "turned.mp4", "-display_rotation", str(degrees), "-i", f"file:{upright}", "-c", "copy"
        )
        info = probe_video(turned)
        assert (info.width, info.height) == size
        assert info.rotation_deg == degrees


def test_pixel_aspect_is_that_of_the_displayed_picture(make: Make, clip: Make) -> None:
    wide = clip("a.mp4", "25", "-vf", "setsar=16/15")
    assert probe_video(wide).pixel_aspect == Fraction(16, 15)
    turned = make("t.mp4", "-display_rotation", "90", "-i", f"file:{wide}", "-c", "copy")
    assert probe_video(turned).pixel_aspect == Fraction(15, 16)


def test_colour_tags_have_ffmpegs_names(clip: Make) -> None:
    tags = "range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    info = probe_video(clip("a.mp4", "25", "-vf", f"format=yuv420p,setparams={tags}"))
    assert (info.colour_range, info.colour_space) == ("tv", "bt2020nc")
    assert (info.colour_primaries, info.colour_transfer) == ("bt2020", "smpte2084")
    assert (info.codec, info.pixel_format) == ("h264", "yuv420p")


def test_untagged_colour_is_none(clip: Make) -> None:
    info = probe_video(clip("a.mp4"))
    assert (info.colour_space, info.colour_primaries, info.colour_transfer) == (None, None, None)


def test_dropped_frames_make_the_rate_variable(clip: Make) -> None:
    gaps = ("-vf", "select='not(between(n,10,25))'", "-fps_mode", "vfr")
    info = probe_video(clip("gaps.mkv", "30", *gaps))
    assert info.variable_rate
    assert info.frame_rate == Fraction(22)
    assert info.frame_count == 44
    assert info.duration_s == 2
    assert info.stamps is not None
    kept = [index for index in range(60) if not 10 <= index <= 25]
    times = info.stamps.ticks * float(info.stamps.unit_s)
    np.testing.assert_allclose(times, np.array(kept) / 30, atol=5e-4)  # Matroska's milliseconds


def test_frames_of_a_constant_rate_need_no_timestamps(bframes: Path) -> None:
    assert probe_video(bframes).stamps is None


def test_a_cut_off_end_does_not_make_the_rate_variable(
    clip: Make, cut_off: Callable[[Path, float], Path]
) -> None:
    whole = clip(
        "a.mp4",
        "25",
        "-bf",
        "3",
        "-b_strategy",
        "0",
        "-movflags",
        "+faststart",
        size="160x120",
        s=4,
    )
    info = probe_video(cut_off(whole, 0.6))
    assert not info.variable_rate
    assert info.frame_rate == 25


@pytest.mark.parametrize("has_audio", [True, False])
def test_whether_there_is_sound(make: Make, clip: Make, has_audio: bool) -> None:
    sound = ["-f", "lavfi", "-i", "sine=d=1", "-shortest"] if has_audio else []
    path = make("a.mp4", "-i", f"file:{clip('a.mp4')}", *sound)
    assert probe_video(path).has_audio == has_audio


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", ()),
        ("a.wav", ("-c:a", "pcm_s24le")),
        ("a.wav", ("-c:a", "pcm_f32le")),
        ("a.flac", ()),
        ("a.m4a", ()),
        ("a.mp3", ()),
        ("a.ogg", ("-c:a", "libvorbis")),
        ("a.opus", ("-ar", "48000")),
        ("a.aac", ()),
        ("a.mkv", ("-c:a", "aac")),
    ],
)
@pytest.mark.parametrize("rate", [44100, 16000])
def test_sample_count_is_what_ffmpeg_decodes(
    speech: Make,
    samples: Callable[[Path], NDArray[np.float64]],
    name: str,
    options: tuple[str, ...],
    rate: int,
) -> None:
    path = speech(name, *options, rate=rate)
    info = probe_audio(path)
    assert info.sample_count == len(samples(path))
    if name in {"a.wav", "a.flac"}:
        assert info.sample_count == int(1.2345 * rate)


def test_priming_of_aac_is_not_counted(speech: Make) -> None:
    count = probe_audio(speech("a.m4a", rate=48000)).sample_count
    assert 0 <= count - int(1.2345 * 48000) < 1024  # ffmpeg before 9 plays the padding at the end


def test_sound_is_described(speech: Make) -> None:
    info = probe_audio(speech("a.wav", "-c:a", "pcm_s24le", rate=44100, channels=2))
    assert (info.rate_hz, info.channels) == (44100, 2)
    assert (info.codec, info.sample_format) == ("pcm_s24le", "s32")


@pytest.mark.parametrize("probe", [probe_video, probe_audio])
class TestRefusals:
    def test_missing_file(self, probe: Make, tmp_path: Path) -> None:
        path = tmp_path / "no.mp4"
        self.refused(probe, path, f"{path}: there is no such file; check the path")

    def test_folder(self, probe: Make, tmp_path: Path) -> None:
        self.refused(probe, tmp_path, f"{tmp_path}: this is a folder; give a file")

    def test_empty_file(self, probe: Make, tmp_path: Path) -> None:
        path = tmp_path / "empty.mp4"
        path.touch()
        self.refused(probe, path, f"{path}: the file is empty (0 bytes); check where it came from")

    def test_device(self, probe: Make) -> None:
        path = Path("/dev/null")
        self.refused(probe, path, "/dev/null: not a regular file; save it to a file first")

    @pytest.mark.parametrize(
        ("name", "content"), [("a.mp4", b"no media here\n" * 99), ("a.txt", b"hello"), ("-", b"\0")]
    )
    def test_not_media(self, probe: Make, tmp_path: Path, name: str, content: bytes) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        self.refused(
            probe,
            path,
            f"{path}: not a video or sound file that can be read; "
            "check that it is complete, or convert it to .mp4 or .wav",
        )

    def test_picture(self, probe: Make, make: Make) -> None:
        path = make("a.png", "-f", "lavfi", "-i", "testsrc2", "-frames:v", "1")
        with pytest.raises(InputError, match=r"not a video or sound file|a picture, where a video"):
            probe(path)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.m3u8", "#EXTM3U\n#EXTINF:1,\nhttp://example.invalid/a.ts\n"),
            ("a.mp4", "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"),
            ("a.mp4", "ffconcat version 1.0\nfile /etc/passwd\n"),
            ("a.mp4", "\ufeff<?xml version='1.0'?>\n<MPD xmlns='urn:mpeg:dash'></MPD>\n"),
            ("a.sdp", "v=0\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n"),
        ],
    )
    def test_playlist(self, probe: Make, tmp_path: Path, name: str, content: str) -> None:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        self.refused(
            probe,
            path,
            f"{path}: a playlist that points to other files; give the video or sound file itself",
        )

    def refused(self, probe: Make, path: Path, message: str) -> None:
        with pytest.raises(InputError) as caught:
            probe(path)
        assert str(caught.value) == message


def test_sound_is_no_video(speech: Make) -> None:
    path = speech("a.wav")
    with pytest.raises(InputError) as caught:
        probe_video(path)
    assert str(caught.value) == f"{path}: no video stream; give a video file"


def test_a_cover_picture_is_no_video(make: Make, speech: Make) -> None:
    cover = make("a.png", "-f", "lavfi", "-i", "testsrc2", "-frames:v", "1")
    path = make(
        "song.m4a", "-i", f"file:{speech('a.wav')}", "-i", f"file:{cover}", "-map", "0:a",
        "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic",
    )  # fmt: skip
    with pytest.raises(InputError, match="no video stream"):
        probe_video(path)


def test_video_is_no_sound(clip: Make) -> None:
    path = clip("a.mp4")
    with pytest.raises(InputError) as caught:
        probe_audio(path)
    assert str(caught.value) == f"{path}: no audio stream; give a file with speech"


def test_sound_without_samples_is_refused(make: Make) -> None:
    path = make("none.wav", "-f", "lavfi", "-i", "sine=d=1", "-af", "atrim=end_sample=0")
    with pytest.raises(InputError) as caught:
        probe_audio(path)
    assert str(caught.value) == f"{path}: the sound has no samples; check that the file is complete"
