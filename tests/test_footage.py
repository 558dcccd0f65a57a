"""What goes in comes out: depth, chroma, light and codec of a real clip, dubbed with real weights.

The oracle decodes with ffmpeg alone, to the samples of the file.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dubcli.config import CacheOptions, DubOptions
from dubcli.errors import InputError
from dubcli.loading import Models, load_models
from dubcli.media.binary import find_ffmpeg
from dubcli.media.probe import probe_video
from dubcli.pipeline import dub
from dubcli.records import DubReport

ROOT = Path(__file__).parents[1]
FRANCK, SPEECH = (ROOT / "examples/media" / name for name in ("franck.mp4", "speech.wav"))
OPTIONS = DubOptions(
    threads=1, models=ROOT / "models", device="cpu", preset="ultrafast", cache=CacheOptions(False)
)
FRAMES = 4
LIGHT = (
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):"
    "max-cll=1000,400"
)
# The clip as PQ: its white at 203 cd/m2, noise below a step of 8 bits.
TO_PQ = (
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv,"
    "zscale=transfer=linear:npl=203,format=gbrpf32le,zscale=primaries=2020:transfer=smpte2084:"
    "matrix=2020_ncl:range=limited:npl=203,format=yuv420p10le"
)
FACE = (slice(150, 288), slice(110, 290))  # nothing is rendered outside this part of the clip


def run_ffmpeg(*arguments: object) -> bytes:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("footage")


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    before = torch.get_num_threads()
    yield load_models(OPTIONS)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def speech(folder: Path) -> Path:
    path = folder / "speech.wav"
    run_ffmpeg("-ss", 1, "-i", SPEECH, "-t", (FRAMES - 0.5) / 24, path)
    return path


def clip(target: Path, filters: str, *coded: object) -> Path:
    """Write four frames of the example whose mouth is open."""
    chain = f"trim=start_frame=48:end_frame={48 + FRAMES},setpts=PTS-STARTPTS,{filters}"
    run_ffmpeg("-i", FRANCK, "-an", "-vf", chain, *coded, target)
    return target


def luma(path: Path, pixel_format: str) -> NDArray[np.float64]:
    """Return what ffmpeg decodes, [T, H, W]; the planes of chroma are as large."""
    made = run_ffmpeg("-i", path, "-map", "0:v", "-f", "rawvideo", "-pix_fmt", pixel_format, "-")
    return np.frombuffer(made, "<u2").reshape(FRAMES, -1, 288, 360)[:, 0].astype(float)


def samples(path: Path) -> NDArray[np.uint16]:
    """Return all planes of 10-bit 4:2:2 as ffmpeg decodes them, [T, 2 H, W]."""
    made = run_ffmpeg("-i", path, "-map", "0:v", "-f", "rawvideo", "-pix_fmt", "yuv422p10le", "-")
    return np.frombuffer(made, "<u2").reshape(FRAMES, 2 * 288, 360)


def straight(path: Path) -> NDArray[np.float64]:
    """Return RGB and alpha as ffmpeg decodes them, 0 to 1, [T, H, W, 4]."""
    made = run_ffmpeg("-i", path, "-map", "0:v", "-f", "rawvideo", "-pix_fmt", "rgba64le", "-")
    return np.frombuffer(made, "<u2").reshape(FRAMES, 288, 360, 4) / 65535


def dubbed(video: Path, speech: Path, output: Path, models: Models, **named: object) -> DubReport:
    options = replace(OPTIONS, **named)  # type: ignore[arg-type]
    return dub(video, speech, output, models=models, options=options)


def test_lossless_output_has_the_very_samples_of_the_source_outside_the_mask(
    folder: Path, speech: Path, models: Models
) -> None:
    grain = "format=yuv444p16le,noise=alls=6:allf=t,format=yuv422p10le"
    video = clip(folder / "deep.mkv", grain, "-c:v", "ffv1")
    report = dubbed(video, speech, folder / "deep_out.mkv", models)
    assert report.warnings == ()
    assert report.dubbed_frames == FRAMES
    before, after = samples(video), samples(report.output)
    changed = before != after
    luma_changed, chroma_changed = changed[:, :288], changed[:, 288:].reshape(FRAMES, 2, 288, 180)
    rows, columns = FACE
    assert 0.005 < luma_changed.mean() < 0.15
    outside = np.ones((288, 360), bool)
    outside[FACE] = False
    assert not luma_changed[:, outside].any()
    shared = np.ones((288, 180), bool)
    shared[rows, columns.start // 2 : columns.stop // 2] = False
    assert not chroma_changed[:, :, shared].any()
    # Ten bits under the patch, too: samples are not all those of eight.
    assert len(np.unique(after[:, :288][luma_changed] % 4)) == 4


def test_hdr_keeps_depth_tags_and_light(folder: Path, speech: Path, models: Models) -> None:
    params = f"log-level=error:crf=6:{LIGHT}"
    coded = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", params)
    video = clip(folder / "pq.mp4", TO_PQ, *coded)
    report = dubbed(video, speech, folder / "pq_out.mp4", models)
    before, after = probe_video(video), probe_video(report.output)
    kept = ["codec", "pixel_format", "colour_space", "colour_primaries", "colour_transfer"]
    kept += ["colour_range", "mastering_display", "content_light", "frame_rate", "frame_count"]
    for name in kept:
        assert getattr(after, name) == getattr(before, name) is not None, name
    assert before.colour_transfer == "smpte2084"
    assert report.dubbed_frames == FRAMES
    source, made = luma(video, "yuv444p10le"), luma(report.output, "yuv444p10le")
    outside = np.ones(source.shape, bool)
    outside[:, *FACE] = False
    error = (source - made)[outside]
    assert 10 * np.log10(1023**2 / (error**2).mean()) > 48  # 53.1 measured: x265 at crf 16
    assert np.abs(source - made)[:, *FACE].mean() > 2 * np.abs(error).mean()


def test_patch_alone_laid_over_the_source_is_the_dub(
    folder: Path, speech: Path, models: Models
) -> None:
    video = clip(folder / "plain.mkv", "format=gbrp16le", "-c:v", "ffv1")
    whole = dubbed(video, speech, folder / "whole.mkv", models)
    alone = dubbed(video, speech, folder / "layer.mov", models, patch_only=True)
    after = probe_video(alone.output)
    assert (after.codec, after.profile, after.frame_count) == ("prores", "4444", FRAMES)
    source, made = (straight(path)[..., :3] for path in (video, whole.output))
    layer = straight(alone.output)
    alpha = layer[..., 3:]
    inside = alpha[..., 0] > 0.5
    assert 0.01 < inside.mean() < 0.15
    error = (alpha * layer[..., :3] + (1 - alpha) * source - made) ** 2
    unlike = (source - made) ** 2
    assert 10 * np.log10(1 / error[inside].mean()) > 40  # ProRes
    assert error[inside].mean() < unlike[inside].mean() / 10


def test_eight_bits_for_hdr_and_interlaced_video_are_refused_before_any_work(
    folder: Path, speech: Path
) -> None:
    pq = clip(folder / "pq.mkv", TO_PQ, "-c:v", "ffv1")
    with pytest.raises(InputError, match=r"pq.mkv: the video has 10 bits of HDR \(PQ\), the outp"):
        dub(pq, speech, folder / "o.mkv", options=replace(OPTIONS, pixel_format="yuv420p"))
    woven = clip(folder / "woven.mkv", "setfield=tff", "-c:v", "libx264", "-flags", "+ildct+ilme")
    with pytest.raises(InputError, match=r"woven.mkv: the video is interlaced; add --deinterlace"):
        dub(woven, speech, folder / "o.mp4", options=OPTIONS)


def test_interlaced_video_becomes_progressive_of_the_same_rate(
    folder: Path, speech: Path, models: Models
) -> None:
    woven = clip(folder / "tff.mkv", "setfield=tff", "-c:v", "libx264", "-flags", "+ildct+ilme")
    report = dubbed(woven, speech, folder / "flat.mp4", models, deinterlace=True)
    before, after = probe_video(woven), probe_video(report.output)
    assert (before.interlaced, after.interlaced) == (True, False)
    assert (after.frame_rate, after.frame_count) == (before.frame_rate, FRAMES)
    assert report.dubbed_frames == FRAMES
