"""``evaluate`` on a real clip with the checkpoints we ship."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from dubcli.config import CacheOptions, EvaluationOptions
from dubcli.errors import InputError, MissingExtraError
from dubcli.evaluation import evaluate as module
from dubcli.evaluation.evaluate import evaluate
from dubcli.evaluation.records import NEEDS_REFERENCE, Evaluation
from dubcli.loading import Models
from dubcli.metrics.sync import SyncScores
from dubcli.records import Bytes, Float, Progress

SPEECH = Path(__file__).parents[2] / "examples/media/speech.wav"
FRAMES = 24  # of the clip
Copy = Callable[..., Path]

ALIKE = 1e-5  # what float32 networks and covariances leave of a difference of 0
PAIRED = {  # what a video gives beside itself
    ("PSNR", "frame"): float("inf"),
    ("PSNR", "face"): float("inf"),
    ("PSNR", "lower"): float("inf"),
    ("SSIM", "frame"): 1,
    ("SSIM", "face"): 1,
    ("SSIM", "lower"): 1,
    ("ST-LPIPS", "face"): 0,
    ("ST-LPIPS", "lower"): 0,
    ("FD-MobileNetV2", "face"): 0,
    ("CSIM", "face"): 1,
    ("LMD", "lips"): 0,
    ("F-LMD", "face"): 0,
    ("M-LMD", "lips"): 0,
    ("opening correlation", "lips"): 1,
    ("closures met", "lips"): 1,
    ("StyleSim", "lips"): 1,
}
OWN = {  # what each video has by itself
    ("CPBD", "frame"),
    ("CPBD", "face"),
    ("flicker", "face"),
    ("flicker", "lower"),
    ("opening deviation", "lips"),
}
SYNC = {("sync confidence (LSE-C)", "lips"), ("sync distance (LSE-D)", "lips")} | {
    ("sync offset", "lips")
}
Judge = Callable[..., Evaluation]


@pytest.fixture(scope="module")
def judge(models: Models, options: EvaluationOptions) -> Judge:
    def call(video: Path, reference: Path | None = None) -> Evaluation:
        return evaluate(video, reference, models=models, options=options)

    return call


@pytest.fixture(scope="module")
def alone(judge: Judge, clip: Path) -> Evaluation:
    return judge(clip)


@pytest.fixture(scope="module")
def itself(judge: Judge, clip: Path) -> Evaluation:
    return judge(clip, clip)


@pytest.fixture(scope="module")
def blurred(judge: Judge, clip: Path, copy: Copy) -> Evaluation:
    return judge(copy("blurred", "gblur=sigma=2"), clip)


def names(evaluation: Evaluation) -> set[tuple[str, str]]:
    return {(row.metric, row.region) for row in evaluation.rows}


def test_every_row_is_there_with_a_reference_and_without(
    itself: Evaluation, alone: Evaluation
) -> None:
    assert names(itself) == names(alone) == set(PAIRED) | OWN | SYNC
    assert len(itself.rows) == len(names(itself))


@pytest.mark.parametrize(("name", "ideal"), PAIRED.items(), ids=str)
def test_a_video_beside_itself_is_ideal(
    itself: Evaluation, name: tuple[str, str], ideal: float
) -> None:
    row = itself.row(*name)
    assert row.value == pytest.approx(ideal, abs=ALIKE)
    assert row.real == ideal


def test_a_video_beside_itself_has_the_real_ones_own_values(itself: Evaluation) -> None:
    for name in OWN:
        row = itself.row(*name)
        assert row.value == row.real
        assert row.value


def test_without_a_reference_only_what_needs_none_is_measured(
    alone: Evaluation, itself: Evaluation
) -> None:
    for name in PAIRED:
        row = alone.row(*name)
        assert (row.value, row.real, row.note) == (None, None, NEEDS_REFERENCE)
    for name in OWN:
        row = alone.row(*name)
        assert (row.value, row.real) == (itself.row(*name).value, None)


def test_sync_rows_of_a_video_without_sound_say_so(itself: Evaluation) -> None:
    for name in SYNC:
        assert itself.row(*name).note == "the video has no sound; give --speech"


def test_blur_lowers_sharpness_and_raises_the_distances(
    blurred: Evaluation, itself: Evaluation
) -> None:
    for region in ("frame", "face"):
        row = blurred.row("CPBD", region)
        assert row.value is not None
        assert row.real == itself.row("CPBD", region).value
        assert row.real is not None
        assert row.value < 0.5 * row.real
    for name in [("ST-LPIPS", "face"), ("ST-LPIPS", "lower"), ("FD-MobileNetV2", "face")]:
        assert (blurred.row(*name).value or 0) > 0.01
    for metric in ("PSNR", "SSIM", "CSIM"):
        row = blurred.row(metric)
        assert row.value is not None
        assert row.real is not None
        assert row.value < row.real


def test_blurring_hardly_moves_the_lips(blurred: Evaluation) -> None:
    lmd, correlation = blurred.row("LMD").value, blurred.row("opening correlation").value
    assert lmd is not None
    assert 0 < lmd < 2
    assert correlation is not None
    assert correlation > 0.9


def test_shorter_reference_is_compared_as_far_as_it_goes(
    judge: Judge, clip: Path, copy: Copy
) -> None:
    short = copy("short", "trim=end_frame=8")
    result = judge(clip, short)
    assert result.frames == 8
    assert result.warnings == (f"{clip} has {FRAMES} frames, {short} 8: the first 8 are compared",)
    assert (result.row("PSNR").value or 0) > 40  # frame k beside frame k, coded once more


def test_frames_without_a_face_are_left_out_and_counted(
    judge: Judge, clip: Path, copy: Copy
) -> None:
    hidden = copy("hidden", "trim=end_frame=12,drawbox=color=black:t=fill:enable='lt(n,6)'")
    result = judge(hidden, clip)
    assert f"{hidden}: 6 of 12 frames show no face" in result.warnings
    assert (result.row("LMD").value or 100) < 2  # of the six frames that show one


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ("scale=180:144", r"other\.mp4 is 180 x 144, .*clip\.mp4 is 360 x 288: scale one of them"),
        ("setpts=N/30/TB,fps=30", r"other\.mp4 has 30\.000 frames a second, .*clip\.mp4 24\.000"),
    ],
)
def test_videos_that_do_not_fit_together_are_refused(
    judge: Judge, clip: Path, copy: Copy, filters: str, sentence: str
) -> None:
    other = copy("other", filters)
    try:
        with pytest.raises(InputError, match=sentence):
            judge(other, clip)
    finally:
        other.unlink()


class Listener:
    """Stands in for the meter: notes what it is shown and what it is told to listen to."""

    made: ClassVar[list["Listener"]] = []

    def __init__(self, root: Path) -> None:
        self.times: list[float] = []
        self.sound: Path | None = None
        Listener.made.append(self)

    def update(self, rgb: Bytes, landmarks_px: Float | None, time_s: float) -> None:
        assert landmarks_px is not None
        assert landmarks_px.shape == (468, 3)
        self.times.append(time_s)

    def compute(self, sound: Path) -> SyncScores:
        self.sound = sound
        place = Listener.made.index(self)
        return SyncScores(3.0 + place, 1.0 + place, 5 * place, np.zeros(31, np.float32))


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch) -> list[Listener]:
    """Return the meters of an evaluation, in the order in which they are made."""
    Listener.made = []
    monkeypatch.setattr(module, "SyncMeter", Listener)
    monkeypatch.setattr(module, "SYNC_MEASURE", "face-landmarker")  # a checkpoint that is there
    return Listener.made


def test_a_given_speech_is_what_the_videos_mouth_is_judged_by(
    models: Models, options: EvaluationOptions, copy: Copy, listeners: list[Listener]
) -> None:
    real = copy("real", "trim=end_frame=8", sound=SPEECH)
    result = evaluate(real, real, speech=SPEECH, models=models, options=options)
    mine, theirs = listeners
    assert (mine.sound, theirs.sound) == (SPEECH, real)
    assert mine.times == theirs.times == [k / 24 for k in range(8)]
    rows = [result.row(name) for name, _ in sorted(SYNC)]
    assert [(row.value, row.real) for row in rows] == [(3, 4), (1, 2), (0, 5)]


@dataclass(frozen=True)
class Watched:
    """An evaluation of eight frames without the extra ``eval``, and its progress."""

    result: Evaluation
    progress: list[Progress]


@pytest.fixture(scope="module")
def watched(models: Models, options: EvaluationOptions, copy: Copy) -> Watched:
    def fail() -> None:
        raise MissingExtraError("eval")

    short, seen = copy("short", "trim=end_frame=8"), list[Progress]()
    options = replace(options, cache=CacheOptions(use=False))  # or the second is not tracked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_face_recogniser", fail)
        result = evaluate(short, short, models=models, options=options, on_progress=seen.append)
    return Watched(result, seen)


def test_missing_extra_is_a_note_and_nothing_else_is_lost(watched: Watched) -> None:
    row = watched.result.row("CSIM")
    assert (row.value, row.real) == (None, None)
    assert row.note == "not installed: pip install 'dubcli[eval]'"
    assert watched.result.row("SSIM").value == 1


def test_progress_names_each_stage_of_each_video(watched: Watched) -> None:
    assert list(dict.fromkeys(each.stage for each in watched.progress)) == [
        "reference: track",
        "video: track",
        "measure",
    ]
    done = [each.done for each in watched.progress if each.stage == "measure"]
    assert done == list(range(1, 9))
