"""The whole of ``dub`` on a real clip with the checkpoints we ship."""

import base64
import json
import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dubcli.checkpoints import read_manifest
from dubcli.config import PRECISIONS, DubOptions
from dubcli.errors import CheckpointError, DubError, InputError
from dubcli.geometry.crop import Detail, FineDetail, lay_over, placed
from dubcli.loading import Models, device_for, load_models, worker_devices
from dubcli.media import parts, process, writer
from dubcli.media.binary import find_ffmpeg
from dubcli.media.bounce import bounced_indices
from dubcli.media.lengths import plan_output
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.process import FfmpegProcess
from dubcli.media.reader import FrameReader
from dubcli.media.writer import FrameWriter
from dubcli.networks.compact_hubert import CompactHubert
from dubcli.pipeline import adaptation, analyze, dub, dubbing, preparation
from dubcli.pipeline import analysis as first_pass
from dubcli.pipeline.clock import Clock
from dubcli.pipeline.dubbing import render_chosen
from dubcli.pipeline.lines import read_lines
from dubcli.pipeline.preparation import prepare, sound_warnings
from dubcli.records import (
    Bytes,
    Coverage,
    Crop,
    DubReport,
    Faces,
    Float,
    LipMotion,
    Patch,
    Progress,
)
from dubcli.stages import render, sync

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"
FRANCK, SPEECH = (ROOT / "examples/media" / name for name in ("franck.mp4", "speech.wav"))
# 1.5 s in which the mouth opens and closes. A band on top of each frame says its number.
START, STOP, RATE = 48, 84, 24
BAND_PX, BAND_BLACK, BAND_STEP = 16, 16, 6
NUMBER = f"if(lt(Y,{BAND_PX}),{BAND_BLACK}+{BAND_STEP}*N,lum(X,Y))"
LINGER_S = 1.5  # far more than 12 small frames take to encode
OPTIONS = DubOptions(threads=1, models=MODELS)

# Where nothing was rendered: how much worse than the re-encoded source. x264 gives its bits to the
# new mouth, so single frames differ by up to 0.8 dB either way; their mean by 0.1.
FRAME_DB, MEAN_DB = 2.0, 0.5
PASSED_DB = 42.0  # a frame that went through x264 at crf 16: 44.3 measured, its neighbour 40.2
CHANGED_TIMES = 1.5  # the rendered part differs from the source by this many codec errors; 2 seen
AAC_PADDING = 1024  # samples by which decoders before ffmpeg 9 may run past the sound's end
CLOSED_CM = 0.2  # a mouth that is tracked as no wider open than this is closed, with margin
OPEN_CM = 0.4  # and this is open


def run_ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def excerpt(target: Path, frames: int, *filters: str) -> Path:
    chain = ",".join(
        [
            f"trim=start_frame={START}:end_frame={START + frames}",
            "setpts=PTS-STARTPTS",
            *filters,
            f"geq=lum='{NUMBER}':cb='if(lt(Y,{BAND_PX}),128,cb(X,Y))':"
            f"cr='if(lt(Y,{BAND_PX}),128,cr(X,Y))'",
        ]
    )
    run_ffmpeg("-i", FRANCK, "-an", "-vf", chain, "-preset", "veryfast", "-crf", "8", target)
    return target


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="session")
def clip(folder: Path) -> Path:
    """Return 36 frames, 1.5 s."""
    return excerpt(folder / "clip.mp4", STOP - START)


@pytest.fixture(scope="session")
def short_clip(folder: Path) -> Path:
    """Return 12 frames, half a second."""
    return excerpt(folder / "short.mp4", 12)


@pytest.fixture(scope="session")
def speech(folder: Path) -> Callable[[str], Path]:
    """Return a function that cuts the speech to a length in seconds; "silence" has no sound."""

    def build(seconds: str, source: str = "speech") -> Path:
        target = folder / f"{source}-{seconds}.wav"
        given = ["-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono"]
        start = ["-ss", "1"] if source == "speech" else []
        run_ffmpeg(*start, *(["-i", SPEECH] if start else given), "-t", seconds, target)
        return target

    return build


@pytest.fixture(scope="session")
def models() -> Iterator[Models]:
    before = torch.get_num_threads()
    yield load_models(OPTIONS)
    torch.set_num_threads(before)


@dataclass
class Dub:
    """A finished dub and what was seen of it on the way."""

    source: Path
    sound: Path
    report: DubReport
    progress: list[Progress] = field(default_factory=list)
    masks: list[NDArray[np.bool_]] = field(default_factory=list)  # [H, W], one a rendered frame


@pytest.fixture(scope="session")
def dubbed(
    folder: Path, clip: Path, speech: Callable[[str], Path], models: Models
) -> Iterator[Dub]:
    """Return the clip with 1.2 s of speech: 29 frames."""
    masks: list[NDArray[np.bool_]] = []

    def note(
        rgb: Bytes,
        patch: Float,
        weight: Float,
        crop: Crop,
        detail: Detail,
        fine: Sequence[FineDetail],
    ) -> Patch | None:
        black, white = np.zeros_like(rgb), np.full_like(patch, 255)
        masks.append(lay_over(black, placed(black, white, weight, crop)).any(-1))
        return placed(rgb, patch, weight, crop, detail, fine)

    progress: list[Progress] = []
    output, sound = folder / "out.mp4", speech("1.2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "placed", note)
        report = dub(
            clip, sound, output, models=models, options=OPTIONS, on_progress=progress.append
        )
    yield Dub(clip, sound, report, progress, masks)


def read(path: Path) -> list[Bytes]:
    with FrameReader(probe_video(path)) as frames:
        return [frame.rgb for frame in frames]


def numbers(frames: Iterable[Bytes]) -> list[int]:
    """Return the numbers that the bands of frames say."""
    per_step = BAND_STEP * 255 / 219  # luma 16..235 is grey 0..255
    return [round(float(f[: BAND_PX - 4].mean()) / per_step) for f in frames]


def psnr(one: Bytes, other: Bytes, where: NDArray[np.bool_] | None = None) -> float:
    error = (one.astype(float) - other.astype(float)) ** 2
    mean = error.mean() if where is None else error[where].mean()
    return float(10 * np.log10(255**2 / max(float(mean), 1e-9)))


def samples(path: Path) -> NDArray[np.int16]:
    command = [find_ffmpeg(), "-v", "error", "-i", path, "-map", "0:a:0", "-f", "s16le", "pipe:1"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, "<i2")


def refused(error: type[DubError], *arguments: Path, **named: object) -> str:
    with pytest.raises(error) as caught:
        dub(*arguments, **named)
    return str(caught.value)


def test_frames_size_and_rate_out_are_those_in(dubbed: Dub) -> None:
    before, after = probe_video(dubbed.source), probe_video(dubbed.report.output)
    assert after.frame_count == 29  # ceil(1.2 s * 24)
    assert (after.width, after.height) == (before.width, before.height)
    assert after.frame_rate == before.frame_rate == Fraction(RATE)
    assert after.pixel_aspect == before.pixel_aspect
    assert not after.variable_rate
    assert numbers(read(dubbed.report.output)) == list(range(29))


def test_sound_in_mp4_starts_and_ends_with_the_speech(dubbed: Dub) -> None:
    spoken = samples(dubbed.sound)
    with av.open(str(dubbed.report.output)) as container:
        assert [stream.start_time for stream in container.streams] == [0, 0]
        assert container.streams.audio[0].duration == len(spoken)
    given = samples(dubbed.report.output)
    assert 0 <= len(given) - len(spoken) < AAC_PADDING
    size = 2 * len(spoken)
    spectrum = np.fft.rfft(given[: len(spoken)], size) * np.conj(np.fft.rfft(spoken, size))
    assert int(np.argmax(np.fft.irfft(spectrum))) == 0  # not late by a single sample


def test_report_says_what_was_done(dubbed: Dub, folder: Path) -> None:
    report = dubbed.report
    assert report.output == folder / "out.mp4"
    assert report.frames == report.dubbed_frames == len(dubbed.masks) == 29
    stages = {"load", "track", "fit", "speech", "references", "render", "sound", "encode"}
    assert set(report.seconds) == stages | {"hash", "store"}  # the cache's
    assert all(seconds >= 0 for seconds in report.seconds.values())
    assert report.warnings == (
        "the speech (1.20 s) is 0.30 s shorter than the video (1.50 s): "
        "the output ends with the speech",
    )


def test_only_the_output_is_left_in_its_folder(dubbed: Dub, folder: Path) -> None:
    assert [path.name for path in folder.glob("*out*")] == ["out.mp4"]


def test_progress_counts_every_stage_from_nothing_to_its_total(dubbed: Dub) -> None:
    stages = list(dict.fromkeys(progress.stage for progress in dubbed.progress))
    assert stages == ["hash", "track", "references", "render"]
    for stage in stages:
        told = [progress for progress in dubbed.progress if progress.stage == stage]
        assert [progress.done for progress in told] == list(range(len(told)))
        assert {progress.total for progress in told} == {told[-1].done}
    assert dubbed.progress[-1].total == 29
    assert next(p.total for p in dubbed.progress if p.stage == "track") == 36


@pytest.fixture(scope="session")
def coded(dubbed: Dub, folder: Path) -> list[Bytes]:
    """Return the source of the dub, encoded as the dub was."""
    info, sound = probe_video(dubbed.source), probe_audio(dubbed.sound)
    output = folder / "plain.mp4"
    with FrameWriter(output, info, speech=sound, frame_count=29, options=OPTIONS) as plainly:
        for frame in read(dubbed.source)[:29]:
            plainly.write(frame)
    return read(output)


def test_outside_the_mask_is_the_source_within_the_codecs_error(
    dubbed: Dub, coded: list[Bytes]
) -> None:
    source, frames = read(dubbed.source)[:29], read(dubbed.report.output)
    better = []
    for before, plain, after, mask in zip(source, coded, frames, dubbed.masks, strict=True):
        assert 0.01 < mask.mean() < 0.3
        better.append(psnr(before, after, ~mask) - psnr(before, plain, ~mask))
        assert psnr(before, after, ~mask) > PASSED_DB
    assert min(better) > -FRAME_DB
    assert np.mean(better) > -MEAN_DB


def test_the_lower_face_changes(dubbed: Dub, coded: list[Bytes]) -> None:
    source, frames = read(dubbed.source)[:29], read(dubbed.report.output)
    times = []
    for before, plain, after, mask in zip(source, coded, frames, dubbed.masks, strict=True):
        changed, lost = (
            np.abs(before[mask].astype(float) - picture[mask]).mean() for picture in (after, plain)
        )
        times.append(changed / lost)
    assert np.median(times) > CHANGED_TIMES


def test_longer_speech_bounces_the_video_and_mkv_keeps_every_sample(
    short_clip: Path, speech: Callable[[str], Path], models: Models, tmp_path: Path
) -> None:
    output, sound, page = tmp_path / "out.mkv", speech("0.75"), tmp_path / "qc.html"
    report = dub(short_clip, sound, output, models=models, options=OPTIONS, report=page)
    frames = read(output)
    assert report.frames == report.dubbed_frames == len(frames) == 18
    assert numbers(frames) == list(bounced_indices(12, 18)) == [*range(12), 10, 9, 8, 7, 6, 5]
    assert report.warnings == (
        "the speech (0.75 s) is 0.25 s longer than the video (0.50 s): "
        "the video runs forward and backward to fill it",
    )
    np.testing.assert_array_equal(samples(output), samples(sound))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "qc.html"]
    text = page.read_text("utf-8")
    told = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert told["source"] == list(bounced_indices(12, 18))
    embedded = text.partition('<script class="clip" type="text/plain">')[2].partition("<")[0]
    video = tmp_path / "embedded.mp4"
    video.write_bytes(base64.b64decode(embedded))
    pair = [np.split(frame, 2) for frame in read(video)]
    assert numbers(upper for upper, _ in pair) == numbers(lower for _, lower in pair)
    assert numbers(lower for _, lower in pair) == list(bounced_indices(12, 18))


@pytest.mark.parametrize(
    ("length", "seconds", "order", "warning"),
    [
        ("loop", "0.75", [*range(12), *range(6)], "the video starts again from its first frame"),
        ("cut", "0.75", [*range(12)], "the last 0.25 s of the speech are cut off"),
        ("freeze", "0.75", [*range(12), *[11] * 6], "the video's last frame stays"),
        ("freeze", "0.25", [*range(12)], "silence follows the speech"),
        (
            "remap",
            "0.75",
            [(2 * k + 1) // 3 for k in range(18)],
            "the video runs at 0.667 of its speed",
        ),
        ("remap", "0.25", [*range(1, 12, 2)], "the video runs at 2.000 of its speed"),
    ],
)
def test_picture_and_sound_are_as_long_as_the_option_says(
    short_clip: Path,
    speech: Callable[[str], Path],
    models: Models,
    tmp_path: Path,
    *,
    length: str,
    seconds: str,
    order: list[int],
    warning: str,
) -> None:
    output, sound = tmp_path / "out.mkv", speech(seconds)
    options = replace(OPTIONS, length=length, preset="veryfast")
    report = dub(short_clip, sound, output, models=models, options=options)
    assert numbers(read(output)) == order
    assert report.frames == report.dubbed_frames == len(order)
    assert warning in report.warnings[0]
    made, given = samples(output), samples(sound)
    assert len(made) == (len(order) * 16000 // RATE)
    kept = min(len(made), len(given))
    np.testing.assert_array_equal(made[:kept], given[:kept])
    assert not made[kept:].any()


def test_lengths_that_differ_are_refused_before_any_work_where_asked(
    short_clip: Path, speech: Callable[[str], Path], tmp_path: Path
) -> None:
    done: list[Progress] = []
    options = replace(OPTIONS, length="error")
    with pytest.raises(InputError, match=r"speech \(0.75 s\) and the video \(0.50 s\) differ"):
        dub(
            short_clip, speech("0.75"), tmp_path / "o.mp4", options=options, on_progress=done.append
        )
    assert done == []


def test_frames_without_a_face_pass_through_and_mov_keeps_every_sample(
    speech: Callable[[str], Path], models: Models, tmp_path: Path
) -> None:
    grey = "drawbox=color=gray:t=fill:enable='between(n,7,11)'"
    video = excerpt(tmp_path / "grey.mp4", 18, grey)
    output, sound = tmp_path / "out.mov", speech("0.75")
    output.write_text("to be replaced")
    page = tmp_path / "qc.json"
    report = dub(
        video, sound, output, models=models, options=replace(OPTIONS, overwrite=True), report=page
    )
    source, frames = read(video), read(output)
    assert numbers(frames) == list(range(18))
    assert (report.frames, report.dubbed_frames) == (18, 13)
    assert report.warnings == (
        "5 of 18 frames show no face that can be dubbed and are unchanged (no face: 5)",
    )
    assert report.report == page
    assert "report" in report.seconds
    noted = json.loads(page.read_text())
    assert [(each["start"], each["stop"]) for each in noted["pass_through"]] == [(7, 12)]
    assert [(each["start"], each["stop"]) for each in noted["low_confidence"]] == [(3, 7), (12, 16)]
    assert noted["curves"]["source_frame"] == list(range(18))
    openings = noted["curves"]["opening_cm"]
    assert [t for t, opening in enumerate(openings) if opening is None] == list(range(7, 12))
    used = {entry["name"]: entry["sha256"] for entry in noted["models"]}
    entries = read_manifest(MODELS)
    assert used == {name: entries[name].sha256 for name in used}
    assert len(used) == 6
    for t in range(7, 12):
        assert psnr(source[t], frames[t]) > PASSED_DB
    np.testing.assert_array_equal(samples(output), samples(sound))


def test_speech_of_a_hundredth_of_a_second_makes_one_frame(
    short_clip: Path, speech: Callable[[str], Path], models: Models, tmp_path: Path
) -> None:
    report = dub(short_clip, speech("0.01"), tmp_path / "out.mp4", models=models, options=OPTIONS)
    assert report.frames == len(read(report.output)) == 1


def test_silence_closes_the_mouth(
    clip: Path, speech: Callable[..., Path], models: Models, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    dub(clip, speech("1", "silence"), output, models=models, options=OPTIONS)
    before, after = (analyze(path, models=models).lip_aperture for path in (clip, output))
    assert len(after) == 24
    assert before[:24].max() > OPEN_CM
    closed = np.sort(before)[: len(before) // 6].mean()
    assert after.max() < OPEN_CM
    assert np.median(after) < max(CLOSED_CM, closed)


def test_analysis_has_a_row_a_frame(short_clip: Path, models: Models) -> None:
    told: list[Progress] = []
    analysis = analyze(short_clip, models=models, on_progress=told.append)
    assert len(analysis) == len(analysis.beta) == len(analysis.lip_aperture) == 12
    assert analysis.valid.all()
    assert told[-1].done == told[-1].total == 12


def test_video_without_a_face_is_refused_and_nothing_is_left(
    speech: Callable[[str], Path], models: Models, tmp_path: Path
) -> None:
    video, output = tmp_path / "bars.mp4", tmp_path / "out.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=0.2", video)
    said = refused(InputError, video, speech("0.5"), output, models=models, options=OPTIONS)
    assert said == (
        f"{video}: no face in any of its 5 frames; "
        "give a video in which the speaker's face is seen from the front and not too small"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bars.mp4"]


def test_video_of_a_face_always_in_profile_is_refused(
    short_clip: Path,
    speech: Callable[[str], Path],
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit = first_pass.fit_faces

    def turned(*given: Any) -> Faces:
        found = fit(*given)
        profile = np.tile(np.float32([0, 1.4, 0]), (len(found.frame), 1))
        return replace(found, rotation=profile)

    monkeypatch.setattr(first_pass, "fit_faces", turned)
    said = refused(
        InputError, short_clip, speech("0.5"), tmp_path / "out.mp4", models=models, options=OPTIONS
    )
    assert said == (
        f"{short_clip}: the face is turned too far away in all of its 12 frames; "
        "give a video in which the speaker's face is seen from the front"
    )
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_refused_and_kept(
    short_clip: Path, speech: Callable[[str], Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    said = refused(InputError, short_clip, speech("0.5"), output, options=OPTIONS)
    assert said == f"{output}: exists already; give another name or --overwrite"
    assert output.read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_report_that_cannot_be_written_is_refused_before_the_work(
    short_clip: Path, speech: Callable[[str], Path], tmp_path: Path
) -> None:
    output, page = tmp_path / "out.mp4", tmp_path / "qc.pdf"
    said = refused(InputError, short_clip, speech("0.5"), output, options=OPTIONS, report=page)
    assert said == f"{page}: the report must end in one of .html, .json"
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_an_input_is_refused_even_with_overwrite(
    short_clip: Path, speech: Callable[[str], Path], tmp_path: Path
) -> None:
    video = tmp_path / "in.mp4"
    shutil.copy(short_clip, video)
    content = video.read_bytes()
    for options in (OPTIONS, replace(OPTIONS, overwrite=True)):
        said = refused(InputError, video, speech("0.5"), video, options=options)
        assert said == f"{video}: this is the input {video}; choose another output"
    assert video.read_bytes() == content


@pytest.fixture
def copied_models(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS, tmp_path / "models"))


@pytest.mark.parametrize("name", ["renderer", "geometry", "basis", "face-landmarker"])
def test_altered_checkpoint_is_refused_with_exit_code_3(
    short_clip: Path, speech: Callable[[str], Path], copied_models: Path, name: str
) -> None:
    path = copied_models / read_manifest(copied_models)[name].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    output = copied_models.parent / "out.mp4"
    with pytest.raises(CheckpointError) as caught:
        dub(short_clip, speech("0.5"), output, options=replace(OPTIONS, models=copied_models))
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(f"{path}: sha256 is ")
    assert "dubcli models verify" in str(caught.value)
    assert [path.name for path in copied_models.parent.iterdir()] == ["models"]


def test_networks_under_each_others_names_are_refused(copied_models: Path) -> None:
    manifest = copied_models / "manifest.toml"
    swap = {"[geometry]": "[renderer]", "[renderer]": "[geometry]"}
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(swap.get(line, line) for line in lines))
    with pytest.raises(CheckpointError) as caught:
        load_models(replace(OPTIONS, models=copied_models))
    assert str(caught.value) == (
        f"{copied_models / 'geometry'}: holds a DualAttentionRenderer, not a LipSyncNet; "
        "restore the manifest"
    )


def test_speech_encoder_that_the_network_was_not_trained_on_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        load_models(replace(OPTIONS, audio_encoder="facebook/hubert-base-ls960"))
    assert str(caught.value) == (
        f"--audio-encoder facebook/hubert-base-ls960: no geometry network in {MODELS} was "
        "trained on it; train one with: dubcli train geometry --audio-encoder"
    )


def test_geometry_network_under_another_encoders_name_is_refused(copied_models: Path) -> None:
    manifest = copied_models / "manifest.toml"
    text = manifest.read_text()
    start = text.index("[geometry]")
    end = text.index("\n[", start)
    entry = text[start:end].replace("[geometry]", "[geometry-mine]")
    manifest.write_text(f"{text}\n{entry}\n")
    with pytest.raises(InputError) as caught:
        load_models(replace(OPTIONS, models=copied_models, audio_encoder="folder/mine"))
    assert str(caught.value) == (
        f"--audio-encoder folder/mine: geometry-mine in {copied_models} was trained on "
        "whisper-tiny-en-enc3; train one on the other features with: "
        "dubcli train geometry --audio-encoder"
    )


def test_our_hubert_comes_with_the_geometry_network_that_hears_it() -> None:
    found = load_models(replace(OPTIONS, audio_encoder="hubert-compact"))
    assert isinstance(found.audio_encoder, CompactHubert)
    assert found.lip_sync.hyper.audio_encoder == "hubert-compact"
    names = {entry.name for entry in found.checkpoints}
    assert {"hubert-compact", "geometry-hubert-compact"} < names
    assert not {"geometry", "whisper-tiny-en-enc3"} & names


def test_every_gpu_is_the_device_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_devices("cpu") == ("cpu",)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert worker_devices("auto") == worker_devices("cuda") == ("cuda:0", "cuda:1")
    assert worker_devices("cuda:1") == ("cuda:1",)
    for name in ("cuda:2", "cuda:", "cpu:0"):
        with pytest.raises(InputError, match=f"--device {name}: not available here"):
            worker_devices(name)


def test_device_is_one_that_torch_has() -> None:
    assert device_for("cpu") == torch.device("cpu")
    assert device_for("auto").type in {"cuda", "mps", "cpu"}
    with pytest.raises(InputError, match=r"^--device tpu: not available here; use auto or one of"):
        device_for("tpu")


@pytest.mark.parametrize("fast", [True, False])
def test_precision_is_bfloat16_where_it_is_asked_for_or_pays(
    monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    monkeypatch.setattr("dubcli.loading.has_fast_bfloat16", lambda device: fast)
    found = {
        precision: load_models(replace(OPTIONS, device="cpu", precision=precision)).bfloat16
        for precision in PRECISIONS
    }
    assert found == {"auto": fast, "float32": False, "bfloat16": True}


def test_bfloat16_changes_a_dub_by_a_few_grey_levels_at_most(
    short_clip: Path, speech: Callable[[str], Path], models: Models
) -> None:
    def dubbed(*, bfloat16: bool) -> list[Bytes]:
        """Return two frames, which a voice opens the mouth of."""
        ready = prepare(
            probe_video(short_clip),
            read_lines(speech("0.5"), (), OPTIONS),
            Clock(None),
            [],
            models=replace(models, bfloat16=bfloat16),
            options=OPTIONS,
        )
        return [done.rgb for _, done in render_chosen(ready, [3, 8])]

    exact, fast = dubbed(bfloat16=False), dubbed(bfloat16=True)
    apart = np.abs(np.stack(exact).astype(int) - np.stack(fast))
    assert 0 < apart.max() <= 4
    assert apart.mean() < 0.05


@pytest.mark.parametrize(("stage", "done"), [("track", 3), ("references", 2), ("render", 2)])
def test_interruption_leaves_nothing_behind(
    clip: Path,
    speech: Callable[[str], Path],
    models: Models,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stage: str,
    done: int,
) -> None:
    started: list[FfmpegProcess] = []

    class Watched(FfmpegProcess):
        def __init__(self, arguments: list[str], *, feed: bool = False) -> None:
            super().__init__(arguments, feed=feed)
            started.append(self)

    monkeypatch.setattr(process, "FfmpegProcess", Watched)  # what readers start
    monkeypatch.setattr(writer, "FfmpegProcess", Watched)

    def interrupt(progress: Progress) -> None:
        if (progress.stage, progress.done) == (stage, done):
            raise KeyboardInterrupt

    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt) as caught:
        dub(
            clip,
            speech("0.5"),
            tmp_path / "out.mp4",
            models=models,
            options=OPTIONS,
            on_progress=interrupt,
        )
    assert caught.value is not None  # still held, as by a caller that goes on to log it
    assert list(tmp_path.iterdir()) == []
    assert [thread.name for thread in threading.enumerate() if "dubcli" in thread.name] == []
    assert started
    assert all(process._process.poll() is not None for process in started)
    assert caplog.messages == []  # the stopped ffmpeg is no damaged file


def test_interrupted_dub_goes_on_to_the_output_of_an_undisturbed_one(
    short_clip: Path,
    speech: Callable[[str], Path],
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (writer, parts, dubbing):
        monkeypatch.setattr(module, "SEGMENT_FRAMES", 4)
    sound, whole, output = speech("0.7"), tmp_path / "whole.mp4", tmp_path / "out.mp4"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def run(target: Path, *, resume: bool = True, stop: int = 99, **changes: object) -> DubReport:
        def watch(progress: Progress) -> None:
            if progress.stage == "render" and progress.done == stop:
                raise KeyboardInterrupt

        options = replace(OPTIONS, **changes)  # type: ignore[arg-type]
        return dub(
            *(short_clip, sound, target),
            models=models,
            options=options,
            report=target.with_suffix(".json"),
            resume=resume,
            on_progress=watch,
        )

    report = run(whole, resume=False)
    assert report.frames == 17  # of 12: they bounce
    with pytest.raises(KeyboardInterrupt):
        run(output, stop=14)
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(writer, "finish", interrupted)
        run(output)
    assert not output.exists()
    again = run(output)
    assert again.frames == 17
    assert again.dubbed_frames == report.dubbed_frames
    (note,) = set(again.warnings) - set(report.warnings)
    assert note == "went on after the 17 frames that an earlier run had finished"
    for before, after in zip(read(whole), read(output), strict=True):
        np.testing.assert_array_equal(before, after)
    curves = [
        json.loads(path.with_suffix(".json").read_text())["frames"] for path in (whole, output)
    ]
    assert curves[0] == curves[1]
    assert not parts.parts_path(output).exists()


def test_adapted_dub_names_its_weights_and_is_gone_on_with_to_the_bit(
    short_clip: Path,
    speech: Callable[[str], Path],
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (writer, parts, dubbing):
        monkeypatch.setattr(module, "SEGMENT_FRAMES", 4)
    shipped = {name: value.clone() for name, value in models.renderer.state_dict().items()}
    stages: list[Progress] = []

    def run(name: str, *, stop: int = 99, adapt: int = 2) -> DubReport:
        def watch(progress: Progress) -> None:
            stages.append(progress)
            if progress.stage == "render" and progress.done == stop:
                raise KeyboardInterrupt

        return dub(
            *(short_clip, speech("0.3"), tmp_path / name),
            models=models,
            options=replace(OPTIONS, adapt=adapt),
            report=(tmp_path / name).with_suffix(".json"),
            resume=True,
            on_progress=watch,
        )

    report = run("whole.mp4")
    assert {"gather", "adapt"} <= report.seconds.keys()
    assert [p.done for p in stages if p.stage == "adapt"] == [0, 1, 2]
    weights = json.loads((tmp_path / "whole.json").read_text())["models"]
    (entry,) = (each for each in weights if each["name"].startswith(adaptation.ADAPTED))
    assert entry["sha256"] not in {each.sha256 for each in models.checkpoints}
    mark = f"{entry['name']} sha256:{entry['sha256']}".encode()
    assert mark in (tmp_path / "whole.mp4").read_bytes()
    assert all(torch.equal(value, shipped[k]) for k, value in models.renderer.state_dict().items())

    with pytest.raises(KeyboardInterrupt):
        run("out.mp4", stop=7)
    note = "went on after the 4 frames that an earlier run had finished"
    assert set(run("out.mp4").warnings) - set(report.warnings) == {note}
    frames = read(tmp_path / "out.mp4")
    for before, after in zip(read(tmp_path / "whole.mp4"), frames, strict=True):
        np.testing.assert_array_equal(before, after)


def test_too_few_frames_to_adapt_to_are_a_warning(models: Models) -> None:
    few = np.arange(30) < 11
    speaker = first_pass.Speaker(None, np.zeros(30, np.int64), few)  # type: ignore[arg-type]
    coverage = Coverage(few.astype(np.float32), few.astype(np.float32), np.zeros(30, np.int64))
    warnings: list[str] = []
    given = (models, None, speaker, coverage, OPTIONS, None, warnings)
    assert adaptation.adapted_models(*given) is models  # type: ignore[arg-type]
    assert warnings == [
        "--adapt: nobody is seen in 12 frames or more, too few to learn from; "
        "rendered with the renderer as it is"
    ]


def test_parts_of_other_settings_are_not_used(
    short_clip: Path,
    speech: Callable[[str], Path],
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (writer, parts, dubbing):
        monkeypatch.setattr(module, "SEGMENT_FRAMES", 1)
    output = tmp_path / "out.mp4"

    def found(changed: float, **resume: bool) -> int:
        def watch(progress: Progress) -> None:
            if progress.stage == "render" and progress.done > 2:
                totals.append(progress.total or 0)
                raise KeyboardInterrupt

        totals: list[int] = []
        options = replace(OPTIONS, mouth_scale=changed)
        with pytest.raises(KeyboardInterrupt):
            dub(
                *(short_clip, speech("0.5"), output),
                **{"models": models, "options": options, "on_progress": watch, **resume},
            )
        return 12 - totals[0]

    assert found(1.0, resume=True) == 0
    assert found(1.0, resume=True) > 0
    assert found(2.0, resume=True) == 0
    assert found(2.0) == 0
    assert list(tmp_path.iterdir()) == []


def test_time_in_which_ffmpeg_finishes_the_file_counts_as_encoding(
    clip: Path,
    speech: Callable[[str], Path],
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(dubbing.FrameWriter):
        def __exit__(self, *error: object) -> None:
            time.sleep(LINGER_S)
            super().__exit__(*error)  # type: ignore[arg-type]

    monkeypatch.setattr(dubbing, "FrameWriter", Slow)
    report = dub(clip, speech("0.5"), tmp_path / "out.mp4", models=models, options=OPTIONS)
    assert report.seconds["encode"] >= LINGER_S


def test_range_changes_only_its_frames_and_the_speech_begins_there(
    clip: Path, speech: Callable[[str], Path], models: Models, tmp_path: Path
) -> None:
    first, stop = 12, 26
    output, sound, page = tmp_path / "out.mkv", speech("0.5"), tmp_path / "qc.json"
    options = replace(OPTIONS, ranges="0.5-00:00:01:02", crf=8, preset="ultrafast")
    report = dub(clip, sound, output, models=models, options=options, report=page)
    assert (report.frames, report.dubbed_frames, report.warnings) == (36, stop - first, ())
    source, made = read(clip), read(output)
    assert numbers(made) == list(range(36))
    for t in [*range(first), *range(stop, 36)]:
        assert psnr(source[t], made[t]) > PASSED_DB
    assert min(psnr(source[t], made[t]) for t in range(first + 4, stop - 4)) < PASSED_DB
    told = json.loads(page.read_text())
    assert [(r["start"], r["stop"], r["reason"]) for r in told["pass_through"]] == [
        (0, first, "outside the range"),
        (stop, 36, "outside the range"),
    ]
    rate, given, heard = probe_audio(sound).rate_hz, samples(sound), samples(output)
    assert len(heard) == 36 * rate // RATE
    np.testing.assert_array_equal(heard[rate // 2 : rate // 2 + len(given)], given)
    assert not heard[: rate // 2].any()
    assert not heard[rate // 2 + len(given) :].any()


def test_range_without_a_face_is_refused(
    clip: Path, speech: Callable[[str], Path], models: Models, tmp_path: Path
) -> None:
    dark = tmp_path / "dark.mkv"
    run_ffmpeg("-i", clip, "-vf", "drawbox=t=fill:c=black:enable='lt(n,20)'", dark)
    options = replace(OPTIONS, ranges="0.1-0.6")
    message = refused(
        InputError, dark, speech("0.5"), tmp_path / "o.mp4", models=models, options=options
    )
    assert message.startswith(f"{dark}: no frame of the --range given shows a face")


@pytest.mark.parametrize(
    ("ranges", "audio", "count"),
    [("1-2", "replace", 1), ("1-2", "keep-bed", 0), ("", "replace", 0)],
)
def test_lost_sound_around_a_range_is_told(ranges: str, audio: str, count: int) -> None:
    info = replace(probe_video(FRANCK), has_audio=True)
    options = DubOptions(ranges=ranges, audio=audio)
    plan = plan_output(100, Fraction(1), info.frame_rate, options)
    assert len(list(sound_warnings(info, plan, options))) == count
    assert not list(sound_warnings(replace(info, has_audio=False), plan, options))


def shown_s(path: Path) -> NDArray[np.float64]:
    """Return when each frame is shown, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = sorted(packet.pts for packet in container.demux(stream) if packet.size)
        return np.array(shown) * float(stream.time_base)


@pytest.fixture(scope="session")
def uneven(clip: Path, folder: Path) -> Callable[[str], Path]:
    """Return a function that makes 16 frames of uneven length, 20 to 150 ms."""

    def build(suffix: str) -> Path:
        target = folder / f"uneven.{suffix}"
        if not target.exists():
            at = "setpts='(N*40+60*gte(N,3)-20*gte(N,5)+90*gte(N,9)+110*gte(N,12))/1000/TB'"
            chain = f"trim=end_frame=16,settb=1/90000,{at}"
            given = ("-i", clip, "-vf", chain, "-fps_mode", "vfr", "-enc_time_base", "1:90000")
            run_ffmpeg(*given, "-preset", "ultrafast", "-crf", "8", "-g", "5", target)
        return target

    return build


@pytest.mark.parametrize(("source", "made"), [("mp4", "mkv"), ("mkv", "mp4")])
def test_variable_rate_keeps_every_frame_at_its_time_and_its_mouth_too(
    uneven: Callable[[str], Path],
    speech: Callable[[str], Path],
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    made: str,
) -> None:
    asked: list[Float] = []

    def note(motion: LipMotion, time_s: Float) -> LipMotion:
        asked.append(time_s)
        return sync.placed(motion, time_s)

    monkeypatch.setattr(preparation, "placed", note)
    video, output = uneven(source), tmp_path / f"out.{made}"
    info = probe_video(video)
    assert info.variable_rate
    length_s = info.duration_s
    assert length_s is not None
    sound = speech(f"{float(length_s) - 0.004:.3f}")
    report = dub(video, sound, output, models=models, options=OPTIONS, report=tmp_path / "q.html")
    assert report.frames == 16
    assert numbers(read(output)) == list(range(16))
    np.testing.assert_allclose(shown_s(output), shown_s(video), atol=0.6e-3)  # Matroska's unit
    np.testing.assert_allclose(asked, [shown_s(video)], atol=0.6e-3)
    assert report.warnings == ()
    if made == "mp4":  # Matroska has no length of a track
        assert float(probe_video(output).duration_s or 0) == pytest.approx(
            float(length_s) - 0.004, abs=0.001
        )
    assert 0 <= len(samples(output)) - len(samples(sound)) < AAC_PADDING
    told = json.loads(
        (tmp_path / "q.html")
        .read_text()
        .split('id="data"')[1]
        .split(">", 1)[1]
        .split("</script")[0]
    )
    np.testing.assert_allclose(told["edges"][:16], shown_s(video), atol=0.6e-3)


def test_range_of_a_variable_rate_is_a_time(
    uneven: Callable[[str], Path], speech: Callable[[str], Path], models: Models, tmp_path: Path
) -> None:
    video, before = uneven("mp4"), shown_s(uneven("mp4"))
    inside = np.flatnonzero((before >= before[3]) & (before < before[12]))
    page = tmp_path / "qc.json"
    options = replace(OPTIONS, ranges=f"{before[3]:.3f}-{before[12]:.3f}", preset="ultrafast")
    output = tmp_path / "out.mp4"
    report = dub(video, speech("0.3"), output, models=models, options=options, report=page)
    assert (report.frames, report.dubbed_frames) == (16, len(inside))
    told = json.loads(page.read_text())
    assert [(r["start"], r["stop"]) for r in told["pass_through"]] == [(0, 3), (12, 16)]
    np.testing.assert_allclose(told["curves"]["time_s"], before, atol=1e-3)
    np.testing.assert_allclose(shown_s(output), before, atol=1e-6)


def test_speech_longer_than_a_variable_rate_runs_back_as_it_came_also_when_resumed(
    uneven: Callable[[str], Path],
    speech: Callable[[str], Path],
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (writer, parts, dubbing):
        monkeypatch.setattr(module, "SEGMENT_FRAMES", 5)
    video, output = uneven("mp4"), tmp_path / "out.mp4"
    length_s = float(probe_video(video).duration_s or 0)

    def run(stop: int) -> DubReport:
        def watch(progress: Progress) -> None:
            if progress.stage == "render" and progress.done == stop:
                raise KeyboardInterrupt

        options = replace(OPTIONS, preset="ultrafast")
        sound = speech(f"{length_s + 0.3:.3f}")
        return dub(
            *(video, sound, output),
            models=models,
            options=options,
            resume=True,
            on_progress=watch,
        )

    with pytest.raises(KeyboardInterrupt):
        run(13)
    assert any("went on after the" in warning for warning in run(99).warnings)
    after, order = shown_s(output), numbers(read(output))
    assert len(order) > 16
    assert order == list(bounced_indices(16, len(order)))
    lasting = np.diff([*shown_s(video), length_s])
    np.testing.assert_allclose(np.diff(after), lasting[order[:-1]], atol=1e-4)
