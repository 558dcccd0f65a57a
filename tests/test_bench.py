"""What is measured, never how long it takes."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dubcli import bench as module
from dubcli.bench import Machine, Size, Timing, bench, peak_memory_mib
from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.media.probe import probe_audio, probe_video
from dubcli.records import Progress

ROOT = Path(__file__).parents[1]
FRANCK, SPEECH = (ROOT / "examples/media" / name for name in ("franck.mp4", "speech.wav"))
OPTIONS = DubOptions(threads=1, models=ROOT / "models", preset="ultrafast")
STAGES = {"track", "fit", "speech", "references", "render", "sound", "encode"}
TIMING = Timing(2.0, 2.0, {"track": 1.0})
SIZE = Size(180, 144, 4, 4, TIMING, TIMING, 0.1, 0.2, 500.0, None)
MACHINE = Machine("Linux", 2, 1, "3.11", "2.13", "cpu", None)


def test_example_clip_is_measured_cold_and_warm_at_each_height() -> None:
    told: list[Progress] = []
    result = bench(
        heights=[144, 192], seconds=Fraction("0.15"), options=OPTIONS, on_progress=told.append
    )
    assert (result.video, result.speech, result.source_height) == (FRANCK, SPEECH, 288)
    assert result.clip_s == pytest.approx(3 / 24)
    assert [(size.width, size.height) for size in result.sizes] == [(180, 144), (240, 192)]
    for size in result.sizes:
        assert size.frames == size.dubbed_frames == 3
        assert set(size.cold.seconds) == STAGES | {"start", "import", "load"}
        assert set(size.warm.seconds) == STAGES
        for timing in (size.cold, size.warm):
            assert min(timing.seconds.values()) >= 0
            assert timing.total_s >= sum(timing.seconds.values()) * 0.999  # stages do not overlap
            assert timing.frames_per_s == pytest.approx(3 / timing.total_s)
        assert size.decode_s > 0
        assert size.decode_encode_s > 0
        assert size.peak_gpu_mib is None
        if sys.platform != "win32":
            assert size.peak_mib > 200  # torch alone
    assert (result.machine.device, result.machine.threads) == ("cpu", 1)
    assert result.machine.cores >= 1
    assert [(p.done, p.total) for p in told] == [(0, 2), (1, 2), (2, 2)]


class Seen:
    """What a new process would have been given."""

    def __init__(self) -> None:
        self.clips: list[tuple[int, int, int | None, Fraction]] = []

    def __call__(self, clip: Path, speech: Path, options: DubOptions) -> tuple[Size, Machine]:
        info, sound = probe_video(clip), probe_audio(speech)
        self.clips.append((info.width, info.height, info.frame_count, sound.duration_s))
        self.folder = clip.parent
        return SIZE, MACHINE


def test_clip_is_cut_and_scaled_in_proportion_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = Seen()
    monkeypatch.setattr(module, "_in_new_process", seen)
    result = bench(FRANCK, SPEECH, heights=[64, 320], seconds=Fraction(1), options=OPTIONS)
    assert seen.clips == [(80, 64, 24, 1), (400, 320, 24, 1)]
    assert result.sizes == (SIZE, SIZE)
    assert not seen.folder.exists()


def test_shorter_of_video_and_speech_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = Seen()
    monkeypatch.setattr(module, "_in_new_process", seen)
    result = bench(FRANCK, SPEECH, heights=[64], seconds=Fraction(60), options=OPTIONS)
    assert result.clip_s == pytest.approx(170 / 24)  # of 7.1 s of speech, 9 s of video
    assert seen.clips[0][2] == 170


def test_error_in_the_other_process_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--device tpu: not available here"):
        bench(heights=[64], seconds=Fraction("0.1"), options=replace(OPTIONS, device="tpu"))


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"heights": [256, 8]}, "--heights 8: give heights from 64 to 4320 pixels"),
        ({"seconds": Fraction(0)}, "--seconds 0: give a value from 0.1 to 600"),
        (
            {"video": FRANCK},
            "SPEECH is missing: give VIDEO and SPEECH, or neither in a checkout",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(named: dict, said: str) -> None:
    with pytest.raises(InputError) as caught:
        bench(**named)
    assert str(caught.value) == said


def test_installed_package_without_examples_asks_for_both_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "EXAMPLES", tmp_path / "examples" / "media")
    with pytest.raises(InputError) as caught:
        bench()
    assert str(caught.value) == (
        "VIDEO and SPEECH are missing: the installed package has no example clip; "
        "give both: dubcli bench VIDEO SPEECH"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_peak_memory_counts_what_was_freed_and_not_the_parents() -> None:
    large = bytearray(300 * 2**20)  # this process becomes larger than the next one
    program = (
        "from dubcli.bench import peak_memory_mib as peak\n"
        "before = peak(); block = b'x' * (200 * 2**20); del block; print(before, peak())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    before, after = map(float, done.stdout.split())
    assert after - before == pytest.approx(200, abs=20)
    assert before < 300 <= (peak_memory_mib() or 0)
    assert len(large) == 300 * 2**20
