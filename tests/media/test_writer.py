import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.config import DubOptions
from dubcli.errors import InputError, MediaError
from dubcli.media import parts
from dubcli.media import writer as module
from dubcli.media.files import refuse_overwriting_inputs
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.writer import FrameWriter
from dubcli.records import Bytes, VideoInfo

Make = Callable[..., Path]
Copy = Callable[..., tuple[str, ...]]
Samples = Callable[[Path], NDArray[np.float64]]
OPTIONS = DubOptions(preset="ultrafast")
# The file says where the sound ends, to the sample, and ffmpeg 9 ends there; older ones (7.0
# tried) go on to the end of the last AAC block.
PADDING = 1024


def writer_for(output: Path, video: Path, sound: Path, frame_count: int = 3) -> FrameWriter:
    return FrameWriter(
        output,
        probe_video(video),
        speech=probe_audio(sound),
        frame_count=frame_count,
        options=OPTIONS,
    )


def black(info: VideoInfo) -> Bytes:
    return np.zeros((info.height, info.width, 3), np.uint8)


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "50", "25"])
@pytest.mark.parametrize("extension", ["mp4", "m4v", "mov", "mkv"])
def test_frames_and_rate_out_equal_those_in(
    clip: Make, speech: Make, copy: Copy, tmp_path: Path, rate: str, extension: str
) -> None:
    output = tmp_path / f"out.{extension}"
    assert copy(clip("a.mp4", rate), speech(), output) == ()
    info = probe_video(output)
    assert info.frame_rate == Fraction(rate)
    assert info.frame_count == round(2 * Fraction(rate))
    assert not info.variable_rate
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("extension", ["mov", "mkv"])
@pytest.mark.parametrize(
    ("rate", "channels"), [(44100, 1), (44100, 2), (48000, 2), (16000, 1), (8000, 1), (96000, 1)]
)
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_f32le"])
def test_pcm_comes_back_bit_exact(
    bframes: Path,
    speech: Make,
    copy: Copy,
    samples: Samples,
    tmp_path: Path,
    *,
    extension: str,
    rate: int,
    channels: int,
    codec: str,
) -> None:
    sound = speech("a.wav", "-c:a", codec, rate=rate, channels=channels)
    output = tmp_path / f"out.{extension}"
    assert copy(bframes, sound, output) == ()
    assert probe_audio(output).codec == codec
    np.testing.assert_array_equal(samples(output), samples(sound))


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "pcm_s16le"), ("a.mp3", "pcm_f32le")])
def test_compressed_speech_becomes_the_pcm_it_decodes_to(
    bframes: Path, speech: Make, copy: Copy, samples: Samples, tmp_path: Path, name: str, codec: str
) -> None:
    sound = speech(name, "-sample_fmt", "s16" if name == "a.flac" else "fltp", rate=44100)
    output = tmp_path / "out.mkv"
    copy(bframes, sound, output)
    assert probe_audio(output).codec == codec
    np.testing.assert_array_equal(samples(output), samples(sound))


def shift(source: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    """Return by how many samples ``other`` is late, by cross-correlation."""
    size = 2 * len(source)
    spectrum = np.fft.rfft(other, size) * np.conj(np.fft.rfft(source, size))
    peak = int(np.argmax(np.fft.irfft(spectrum)))
    return peak if peak < size // 2 else peak - size


@pytest.mark.parametrize("rate", [44100, 48000, 16000, 8000])
@pytest.mark.parametrize("extension", ["mp4", "m4v"])
def test_aac_starts_and_ends_with_the_speech_to_the_sample(
    bframes: Path,
    speech: Make,
    copy: Copy,
    samples: Samples,
    tmp_path: Path,
    rate: int,
    extension: str,
) -> None:
    sound = speech("a.wav", rate=rate)
    output = tmp_path / f"out.{extension}"
    assert copy(bframes, sound, output) == ()
    assert probe_audio(output).codec == "aac"
    spoken = probe_audio(sound).sample_count
    assert 0 <= probe_audio(output).sample_count - spoken < PADDING
    assert shift(samples(sound)[:, 0], samples(output)[:spoken, 0]) == 0
    with av.open(str(output)) as container:
        starts = [stream.start_time for stream in container.streams]
        audio = container.streams.audio[0]
        assert starts == [0, 0]
        assert audio.duration == spoken
        assert audio.time_base == Fraction(1, rate)


def test_a_rate_that_aac_lacks_is_resampled_and_said(
    bframes: Path, speech: Make, copy: Copy, tmp_path: Path
) -> None:
    sound = speech("a.wav", rate=192000, s=0.5)
    output = tmp_path / "out.mp4"
    assert copy(bframes, sound, output) == (
        f"{sound}: AAC cannot hold this sound, so 192000 Hz became 96000 Hz; "
        "write .mkv or .mov to keep it exact",
    )
    assert probe_audio(output).rate_hz == 96000
    assert 0 <= probe_audio(output).sample_count - 48000 < PADDING


def test_channels_that_aac_lacks_become_stereo(
    bframes: Path, make: Make, copy: Copy, tmp_path: Path
) -> None:
    sound = make("a.wav", "-f", "lavfi", "-i", "sine=d=0.5", "-af", "aformat=cl=16,pan=16c|c0=c0")
    output = tmp_path / "out.mp4"
    (warning,) = copy(bframes, sound, output)
    assert "16 channels became 2" in warning
    assert probe_audio(output).channels == 2


def test_sound_is_taken_from_its_first_sample_whatever_its_timestamps(
    make: Make, bframes: Path, speech: Make, copy: Copy, samples: Samples, tmp_path: Path
) -> None:
    late = make("late.mkv", "-i", f"file:{speech('a.wav')}", "-c", "copy", "-output_ts_offset", "3")
    output = tmp_path / "out.mov"
    copy(bframes, late, output)
    np.testing.assert_array_equal(samples(output), samples(speech("a.wav")))


@pytest.mark.parametrize("size", ["65x48", "64x47", "65x47"])
def test_odd_sizes_are_kept(
    clip: Make, speech: Make, copy: Copy, tmp_path: Path, size: str
) -> None:
    wanted = size.replace("x", ":")
    video = clip("odd.mkv", "25", "-vf", f"scale={wanted},format=yuv444p", "-c:v", "libx264")
    copy(video, speech(), tmp_path / "out.mp4")
    info = probe_video(tmp_path / "out.mp4")
    assert f"{info.width}x{info.height}" == size
    assert info.pixel_format == "yuv444p"


def test_chroma_becomes_finer_by_repeating_it(
    clip: Make, speech: Make, copy: Copy, raw: Callable[..., bytes], tmp_path: Path
) -> None:
    video = clip("even.mkv", "25", "-c:v", "ffv1", "-pix_fmt", "yuv420p", s=0.2)
    finer = DubOptions(codec="ffv1", pixel_format="yuv444p")
    copy(video, speech(s=0.2), tmp_path / "out.mkv", finer)
    source, made = (
        np.frombuffer(raw(path, "-map", "0:v", "-f", "rawvideo"), np.uint8).reshape(5, -1)
        for path in (video, tmp_path / "out.mkv")
    )
    luma = 64 * 48
    np.testing.assert_array_equal(made[:, :luma], source[:, :luma])
    coarse = source[:, luma:].reshape(5, 2, 24, 32)
    np.testing.assert_array_equal(
        made[:, luma:].reshape(5, 2, 48, 64), coarse.repeat(2, axis=2).repeat(2, axis=3)
    )


def test_rotated_video_comes_out_upright(
    make: Make, bframes: Path, speech: Make, copy: Copy, tmp_path: Path
) -> None:
    turned = make("t.mp4", "-display_rotation", "90", "-i", f"file:{bframes}", "-c", "copy")
    copy(turned, speech(), tmp_path / "out.mp4")
    info = probe_video(tmp_path / "out.mp4")
    assert (info.width, info.height, info.rotation_deg) == (48, 64, 0)


def test_pixel_aspect_is_kept(clip: Make, speech: Make, copy: Copy, tmp_path: Path) -> None:
    copy(clip("a.mp4", "25", "-vf", "setsar=16/15"), speech(), tmp_path / "out.mp4")
    assert probe_video(tmp_path / "out.mp4").pixel_aspect == Fraction(16, 15)


PICTURE = (
    "nullsrc=s={size}:r=25:d=0.2,format=yuv444p,"
    "geq=lum='128+50*sin(X/9)*cos(Y/7+N)':cb='128+25*sin(X/5+Y/11)':cr='128+25*cos(X/13-Y/4)'"
)
TAGS = "setparams=range={}:color_primaries={}:color_trc={}:colorspace={}"
# crf 0 is lossless in x264, so what remains is the way through dubcli. crf 16 adds x264's loss.
EXACT, X264 = 0.0, 1.5
BIAS = 0.25  # levels, over all planes: a wrong matrix or range shifts by several


@pytest.mark.parametrize("crf", [0, 16])
@pytest.mark.parametrize(
    ("size", "pixels", "tags"),
    [
        ("160x120", "yuv420p", ""),
        ("160x120", "yuv422p", ""),
        ("160x120", "yuv444p", ""),
        ("160x720", "yuv420p", ""),
        ("160x120", "yuv420p", TAGS.format("tv", "bt709", "bt709", "bt709")),
        ("160x120", "yuv420p", TAGS.format("tv", "bt470bg", "smpte170m", "bt470bg")),
        ("160x120", "yuv420p", TAGS.format("tv", "bt2020", "smpte2084", "bt2020nc")),
        ("160x120", "yuv420p", TAGS.format("pc", "bt709", "bt709", "bt709")),
    ],
)
def test_colours_come_back_and_keep_their_tags(
    make: Make,
    speech: Make,
    copy: Copy,
    raw: Callable[..., bytes],
    tmp_path: Path,
    *,
    size: str,
    pixels: str,
    tags: str,
    crf: int,
) -> None:
    graph = ",".join(part for part in (PICTURE.format(size=size), f"format={pixels}", tags) if part)
    video = make("colour.mp4", "-f", "lavfi", "-i", graph, "-c:v", "libx264", "-qp", "0")
    output = tmp_path / "out.mp4"
    copy(video, speech(s=0.2), output, DubOptions(preset="ultrafast", crf=crf))
    before, after = probe_video(video), probe_video(output)
    for name in ("colour_space", "colour_primaries", "colour_transfer", "colour_range"):
        assert getattr(after, name) == getattr(before, name), name
    planes = [
        np.frombuffer(raw(path, "-map", "0:v", "-f", "rawvideo"), np.uint8).astype(float)
        for path in (video, output)
    ]
    error = planes[1] - planes[0]
    bound = X264 if crf else EXACT
    assert np.abs(error).mean() <= bound
    assert abs(error.mean()) <= BIAS


def test_an_exception_leaves_neither_output_nor_partial(
    bframes: Path, speech: Make, tmp_path: Path
) -> None:
    writer = writer_for(tmp_path / "out.mp4", bframes, speech())
    for failure in (RuntimeError("stop"), KeyboardInterrupt()):
        with pytest.raises(type(failure)), writer:
            writer.write(black(probe_video(bframes)))
            raise failure
        assert list(tmp_path.iterdir()) == []


def test_an_existing_output_survives_a_failure(bframes: Path, speech: Make, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    writer = writer_for(output, bframes, speech())
    with pytest.raises(RuntimeError), writer:
        writer.write(black(probe_video(bframes)))
        raise RuntimeError
    assert output.read_text() == "precious"


def shade(info: VideoInfo, k: int) -> Bytes:
    ramp = np.arange(info.width * 3, dtype=np.uint8).reshape(1, info.width, 3)
    return np.ascontiguousarray(np.tile(ramp + 11 * k, (info.height, 1, 1)).astype(np.uint8))


def segmented(output: Path, video: Path, sound: Path, identity: str = "this") -> FrameWriter:
    info, speech = probe_video(video), probe_audio(sound)
    return FrameWriter(
        output, info, speech=speech, frame_count=17, options=OPTIONS, identity=identity
    )


@pytest.fixture
def _five_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (module, parts):
        monkeypatch.setattr(each, "SEGMENT_FRAMES", 5)


@pytest.mark.usefixtures("_five_a_part")
@pytest.mark.parametrize("stop", [0, 4, 5, 9, 16, 17])
def test_interrupted_writer_goes_on_after_its_last_finished_part(
    bframes: Path, speech: Make, raw: Callable[..., bytes], tmp_path: Path, stop: int
) -> None:
    info, whole, output = probe_video(bframes), tmp_path / "whole.mp4", tmp_path / "out.mp4"
    with segmented(whole, bframes, speech()) as undisturbed:
        for k in range(17):
            undisturbed.write(shade(info, k))
    interrupted = segmented(output, bframes, speech())
    with pytest.raises(KeyboardInterrupt), interrupted:
        for k in range(stop):
            interrupted.write(shade(info, k))
        raise KeyboardInterrupt
    assert not output.exists()
    assert not list(tmp_path.glob(".out.mp4.parts/.*.partial.mov"))
    with segmented(output, bframes, speech()) as again:
        assert stop - 2 * 5 < again.written <= stop  # the last but one part may not be settled
        for k in range(again.written, 17):
            again.write(shade(info, k))
    assert raw(output, "-f", "framehash", "-map", "0") == raw(whole, "-f", "framehash", "-map", "0")
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "whole.mp4"}


@pytest.mark.usefixtures("_five_a_part")
def test_parts_are_kept_for_the_same_work_only(bframes: Path, speech: Make, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    info = probe_video(bframes)

    def stopped(identity: str) -> int:
        begun = segmented(output, bframes, speech(), identity)
        with pytest.raises(RuntimeError), begun:
            there = begun.written
            for k in range(there, 16):
                begun.write(shade(info, k))
            raise RuntimeError
        return there

    assert stopped("this") == 0
    assert stopped("this") >= 10
    assert stopped("that") == 0
    assert stopped("") == 0
    assert list(tmp_path.iterdir()) == []


def test_missing_frames_are_an_error_and_save_nothing(
    bframes: Path, speech: Make, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    writer = writer_for(output, bframes, speech())
    with pytest.raises(MediaError) as caught, writer:
        writer.write(black(probe_video(bframes)))
    assert str(caught.value) == f"{output}: 1 of 3 frames came; nothing was saved"
    assert list(tmp_path.iterdir()) == []


def test_ffmpegs_own_words_are_in_the_error(bframes: Path, speech: Make, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    info = probe_video(bframes)
    writer = FrameWriter(
        output,
        info,
        speech=probe_audio(speech()),
        frame_count=2000,
        options=DubOptions(preset="nonsense"),
    )
    with pytest.raises(MediaError) as caught, writer:
        for _ in range(2000):
            writer.write(black(info))
    assert str(caught.value).startswith(f"{output}: ffmpeg could not write the file (")
    assert "nonsense" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_shape_or_one_too_many_are_refused(
    bframes: Path, speech: Make, tmp_path: Path
) -> None:
    info = probe_video(bframes)
    writer = writer_for(tmp_path / "out.mp4", bframes, speech(), 1)
    with pytest.raises(ValueError, match="outside its with block"):
        writer.write(black(info))
    with writer:
        with pytest.raises(ValueError, match=r"frame is uint8 \(48, 63, 3\), the video is uint8"):
            writer.write(black(info)[:, 1:])
        writer.write(np.asfortranarray(black(info)))
        with pytest.raises(ValueError, match="frame 2 of 1 is one too many"):
            writer.write(black(info))
    assert probe_video(tmp_path / "out.mp4").frame_count == 1


@pytest.mark.parametrize("name", ["a b.mp4", "-x.mkv", "concat:a.mov", "fîlm-日本.mp4", "%03d.mp4"])
def test_any_name_can_be_written(
    bframes: Path,
    speech: Make,
    copy: Copy,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    copy(bframes, speech(), Path(name))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_it_works_without_ffmpeg_on_the_path(
    bframes: Path, speech: Make, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    copy(bframes, speech(), tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").exists()


class TestRefusals:
    def refused(self, output: Path, video: Path, sound: Path) -> str:
        with pytest.raises(InputError) as caught:
            writer_for(output, video, sound)
        return str(caught.value)

    def test_other_extension(self, bframes: Path, speech: Make, tmp_path: Path) -> None:
        output = tmp_path / "out.webm"
        assert self.refused(output, bframes, speech()) == (
            f"{output}: the output must end in one of .m4v, .mkv, .mov, .mp4"
        )

    def test_missing_folder(self, bframes: Path, speech: Make, tmp_path: Path) -> None:
        output = tmp_path / "no" / "out.mp4"
        assert self.refused(output, bframes, speech()) == (
            f"{output}: the folder {tmp_path / 'no'} does not exist; create it first"
        )

    def test_locked_folder(
        self, bframes: Path, speech: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        video, sound, output = bframes, speech(), tmp_path / "out.mp4"
        writer_for(output, video, sound)
        access = os.access  # chmod would not stop root, who runs the tests in containers
        monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK and access(path, mode))
        assert self.refused(output, video, sound) == (
            f"{output}: the folder {tmp_path} may not be written to; choose another"
        )

    def test_folder_as_output(self, bframes: Path, speech: Make, tmp_path: Path) -> None:
        output = tmp_path / "out.mp4"
        output.mkdir()
        assert self.refused(output, bframes, speech()) == (
            f"{output}: this is a folder; give the name of a file to write"
        )

    def test_output_that_is_an_input(self, bframes: Path, speech: Make, tmp_path: Path) -> None:
        video = tmp_path / "in.mp4"
        video.write_bytes(bframes.read_bytes())
        link, hard = tmp_path / "link.mp4", tmp_path / "hard.mp4"
        link.symlink_to(video)
        hard.hardlink_to(video)
        for output in (video, link, hard, tmp_path / "." / "in.mp4"):
            assert self.refused(output, video, speech()) == (
                f"{output}: this is the input {video}; choose another output"
            )
        refuse_overwriting_inputs(tmp_path / "other.mp4", [video])
