"""What kill -9, a full disk and damaged files do to dubs: nothing that lasts."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dubcli.batch.records import STARTED
from dubcli.batch.status import STATUS_FILE, read_events
from dubcli.errors import MediaError
from dubcli.media.excerpt import cut_speech, scale_clip
from dubcli.media.parts import parts_path
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader

ROOT = Path(__file__).parents[2]
FRAMES = {"a": 34, "b": 22, "c": 12}
PART = 4  # frames
KILLS = 10
PATIENCE_S = 300

# The command as it is, in parts of a few frames and with a tiny untrained renderer of the same
# code. Worker processes run this file too, as ``__mp_main__``.
PROGRAM = f"""
import torch
from dataclasses import fields

from dubcli import loading
from dubcli.batch import worker
from dubcli.media import parts, writer
from dubcli.networks.renderer import DualAttentionRenderer, RendererHyper
from dubcli.pipeline import dubbing, preparation

for module in (parts, writer, dubbing):
    module.SEGMENT_FRAMES = {PART}


def tiny(options):
    models = loading.load_models(options)
    torch.manual_seed(0)
    hyper = RendererHyper(
        channels=8, geometry_channels=4, decoder_channels=4, half_channels=4, full_channels=4,
        key_channels=24, pncc_frequencies=8, position_frequencies=8,
    )
    renderer = DualAttentionRenderer(hyper).eval().requires_grad_(False)
    values = {{field.name: getattr(models, field.name) for field in fields(models)}}
    return loading.Models(**{{**values, "renderer": renderer}})


worker.load_models = preparation.load_models = tiny
if __name__ == "__main__":
    from dubcli.cli.app import main
    main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "program.py").write_text(PROGRAM)
    info = probe_video(ROOT / "tests/media_files/carphone.mp4")
    speech = probe_audio(ROOT / "examples/media/speech.wav")
    for kind in ("videos", "speech"):
        (folder / kind).mkdir()
    for name, frames in FRAMES.items():
        cut = cut_speech(speech, frames / info.frame_rate, folder / "speech" / f"{name}.wav")
        scale_clip(info, 144, frames, speech=cut, target=folder / "videos" / f"{name}.mp4")
    return folder


def command(folder: Path, *arguments: object) -> list[str]:
    options = ["--threads", "1", "--preset", "ultrafast", "--models", str(ROOT / "models")]
    options += ["--cache-folder", str(folder / "cache"), "--device", "cpu"]
    return [sys.executable, str(folder / "program.py"), *map(str, arguments), *options]


def batch(folder: Path, out: Path) -> list[str]:
    return command(folder, "batch", folder / "videos", folder / "speech", "-o", out)


def run(arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        arguments, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S, check=False
    )


def frame_hashes(video: Path) -> list[str]:
    with FrameReader(probe_video(video)) as reader:
        return [hashlib.sha256(frame.rgb.tobytes()).hexdigest() for frame in reader]


def started(out: Path) -> Iterator[str]:
    return (event.output for event in read_events(out) if event.event == STARTED)


def wait_until_started(running: "subprocess.Popen[bytes]", out: Path, before: int) -> float:
    """Wait for the first job of a run; return when that was."""
    while len(list(started(out))) == before:
        assert running.poll() is None
        time.sleep(0.005)
    return time.monotonic()


def finished_frames(out: Path) -> int:
    """Return how many frames need not be rendered again."""
    total = 0
    for name, frames in FRAMES.items():
        output = out / f"{name}.mp4"
        parts = len(list(parts_path(output).glob("[0-9]*.mov")))
        total += frames if output.exists() else min(frames, parts * PART)
    return total


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_batch_killed_ten_times_ends_with_the_outputs_of_an_undisturbed_one(folder: Path) -> None:
    whole = subprocess.Popen(batch(folder, folder / "whole"), cwd=ROOT)
    begun = wait_until_started(whole, folder / "whole", 0)
    assert whole.wait(PATIENCE_S) == 0
    work_s = time.monotonic() - begun  # of which loading the networks is a good part
    expected = {name: frame_hashes(folder / "whole" / f"{name}.mp4") for name in FRAMES}
    assert {name: len(hashes) for name, hashes in expected.items()} == FRAMES

    out, chosen, kept, moments = folder / "out", random.SystemRandom(), 0, []
    while len(moments) < KILLS and kept < sum(FRAMES.values()):
        before = len(list(started(out)))
        running = subprocess.Popen(batch(folder, out), stdout=subprocess.DEVNULL, cwd=ROOT)
        begun = wait_until_started(running, out, before)
        if chosen.random() < 0.5:  # else it may hit before the first frame
            while running.poll() is None and finished_frames(out) == kept:
                time.sleep(0.01)
        time.sleep(chosen.uniform(0, 0.1) * work_s)
        running.send_signal(signal.SIGKILL)
        running.wait()
        moments.append(round(time.monotonic() - begun, 2))
        for path in out.glob("[!.]*.mp4"):  # under a final name there are whole files only
            assert frame_hashes(path) == expected[path.stem], moments
        assert finished_frames(out) >= kept, moments  # what was finished is never lost
        kept = finished_frames(out)

    last = run(batch(folder, out))
    assert last.returncode == 0, (last.stderr, moments)
    for name, hashes in expected.items():
        assert frame_hashes(out / f"{name}.mp4") == hashes, moments
    assert {path.name for path in out.iterdir()} == {*(f"{n}.mp4" for n in FRAMES), STATUS_FILE}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_kill_costs_no_more_than_the_part_at_work(folder: Path) -> None:
    out = folder / "one"
    running = subprocess.Popen(
        batch(folder, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT
    )
    parts = parts_path(out / "a.mp4")
    while len(list(parts.glob("[0-9]*.mov"))) < 3:
        assert running.poll() is None
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    kept = finished_frames(out)
    assert kept >= 3 * PART
    last = run([*batch(folder, out), "--json"])
    (note,) = json.loads(last.stdout)["jobs"][0]["made"]["warnings"]
    assert note == f"went on after the {kept} frames that an earlier run had finished"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or sys.platform != "linux":
        pytest.skip("no tmpfs can be mounted")
    arguments = [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(arguments, capture_output=True, check=False).returncode != 0:
        pytest.skip("no tmpfs may be mounted")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_full_disk_is_one_line_and_leaves_the_old_output_as_it_was(
    folder: Path, small_disk: Path
) -> None:
    output = small_disk / "out.mp4"
    output.write_text("precious")
    (small_disk / "ballast").write_bytes(b"x" * 200_000)
    inputs = folder / "videos/a.mp4", folder / "speech/a.wav"
    dub = command(folder, "dub", *inputs, "-o", output, "-y", "--crf", 0)
    done = run(dub)
    assert done.returncode == MediaError.exit_code
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {output}: ")
    assert "No space left on device" in line
    assert output.read_text() == "precious"
    assert {path.name for path in small_disk.iterdir()} == {"ballast", "out.mp4"}
    (small_disk / "ballast").unlink()


@pytest.mark.slow
def test_flipped_bit_in_a_weight_file_is_one_line_and_exit_code_3(
    folder: Path, tmp_path: Path
) -> None:
    models, output = tmp_path / "models", tmp_path / "out.mp4"
    shutil.copytree(ROOT / "models", models)
    (weights,) = (models / "geometry").glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    inputs = folder / "videos/a.mp4", folder / "speech/a.wav"
    for arguments in (
        command(folder, "dub", *inputs, "-o", output),
        batch(folder, tmp_path / "out"),
    ):
        done = run([*arguments, "--models", str(models)])
        assert done.returncode == 3
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"error: {weights}: ")
    assert {path.name for path in tmp_path.iterdir()} == {"models"}


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read all")
def test_input_that_may_not_be_read_is_one_line(folder: Path, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes((folder / "videos/a.mp4").read_bytes())
    video.chmod(0)
    done = run(command(folder, "dub", video, folder / "speech/a.wav", "-o", tmp_path / "o.mp4"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {video}: may not be read; check its permissions\n"
