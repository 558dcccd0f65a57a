"""Timelines of three formats to the same jobs, and every error of theirs at once."""

import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dubcli.batch.plan import plan_batch
from dubcli.batch.records import Plan
from dubcli.errors import CollectedInputError, InputError, MissingExtraError
from dubcli.media.binary import find_ffmpeg
from dubcli.media.lengths import plan_output

otio = pytest.importorskip("opentimelineio")
Seconds = otio.opentime.RationalTime
Range = otio.opentime.TimeRange
RATE, HZ = 25, 16000
EDL = """TITLE: t
FCM: NON-DROP FRAME

001  AX       V     C        00:00:00:10 00:00:01:10 00:00:00:00 00:00:01:00
* FROM CLIP NAME: a.mp4
002  AX       V     C        00:00:00:00 00:00:01:00 00:00:01:00 00:00:02:00
* FROM CLIP NAME: b c.mp4
003  AX       A     C        00:00:00:05 00:00:01:05 00:00:00:15 00:00:01:15
* FROM CLIP NAME: dub.wav
"""


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two videos of 2 s, one with a timecode, and a speech of 2 s."""
    folder = tmp_path_factory.mktemp("media")
    for name, more in (("a.mp4", []), ("b c.mp4", []), ("tc.mov", ["-timecode", "10:00:00:00"])):
        source = ["-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={RATE}:duration=2"]
        command = [find_ffmpeg(), "-v", "error", *source, "-preset", "ultrafast", *more]
        subprocess.run([*command, str(folder / name)], check=True)
    with wave.open(str(folder / "dub.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(HZ)
        file.writeframes(speech().astype("<i2").tobytes())
    return folder


def speech() -> NDArray[np.float64]:
    return np.random.default_rng(0).integers(-9000, 9000, 2 * HZ).astype(np.float64)


def clip(
    url: str, start: int, count: int, name: str = "", rate: float = RATE
) -> "otio.schema.Clip":
    part = Range(Seconds(start, rate), Seconds(count, rate))
    whole = None if start > 2 * RATE else Range(Seconds(0, rate), Seconds(2 * RATE, rate))
    return otio.schema.Clip(name or url, otio.schema.ExternalReference(url, whole), part)


def gap(count: int) -> "otio.schema.Gap":
    return otio.schema.Gap(source_range=Range(Seconds(0, RATE), Seconds(count, RATE)))


def timeline(*tracks: tuple[str, str, list[object]]) -> "otio.schema.Timeline":
    made = otio.schema.Timeline("t")
    for kind, name, items in tracks:
        track = otio.schema.Track(name, kind=kind)
        track.extend(items)
        made.tracks.append(track)
    return made


def usual() -> "otio.schema.Timeline":
    """What ``EDL`` says."""
    return timeline(
        ("Video", "V1", [clip("a.mp4", 10, 25), clip("b%20c.mp4", 0, 25)]),
        ("Audio", "A1", [gap(15), clip("dub.wav", 5, 25)]),
    )


def save(made: object, path: Path) -> Path:
    if isinstance(made, str):
        path.write_text(made)
    else:
        otio.adapters.write_to_file(made, str(path))
    return path


def heard(path: Path) -> NDArray[np.float64]:
    command = [find_ffmpeg(), "-v", "error", "-i", str(path), "-f", "f64le", "-"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout) * 2**15


def frames(plan: Plan, place: int) -> tuple[tuple[tuple[int, int], ...], Fraction]:
    """Return which frames of a job's video are dubbed, and when its speech begins."""
    found = plan_output(50, Fraction(1), Fraction(RATE), plan.jobs[place].options)
    return found.asked, found.speech_start_s


@pytest.mark.parametrize("suffix", ["otio", "edl", "fcpxml"])
def test_each_video_is_dubbed_where_speech_lies_under_it(
    media: Path, tmp_path: Path, suffix: str
) -> None:
    path = save(EDL if suffix == "edl" else usual(), media / f"cut.{suffix}")
    rate = Fraction(25) if suffix == "edl" else None
    plan = plan_batch(path, output=tmp_path, rate=rate)
    assert [job.video.name for job in plan.jobs] == ["a.mp4", "b c.mp4"]
    assert [job.output for job in plan.jobs] == [tmp_path / "a.mp4", tmp_path / "b c.mp4"]
    # Under the first shot from frame 15 of the timeline, so 25 of its file, to 25, so 35.
    assert frames(plan, 0) == (((25, 35),), Fraction(1))
    assert frames(plan, 1) == (((0, 15),), Fraction(0))
    step = HZ // RATE
    np.testing.assert_array_equal(heard(plan.jobs[0].speech), speech()[5 * step : 15 * step])
    np.testing.assert_array_equal(heard(plan.jobs[1].speech), speech()[15 * step : 30 * step])


def test_two_shots_of_one_file_are_one_job_with_silence_between(
    media: Path, tmp_path: Path
) -> None:
    made = timeline(
        ("Video", "V1", [clip("a.mp4", 30, 10), clip("a.mp4", 0, 10)]),
        ("Audio", "A1", [clip("dub.wav", 0, 20)]),
    )
    plan = plan_batch(save(made, media / "two.otio"), output=tmp_path)
    assert len(plan.jobs) == 1
    assert frames(plan, 0) == (((0, 10), (30, 40)), Fraction(0))
    step, said = HZ // RATE, speech()
    expected = np.concatenate([said[10 * step : 20 * step], np.zeros(20 * step), said[: 10 * step]])
    np.testing.assert_array_equal(heard(plan.jobs[0].speech), expected)


def test_time_counts_from_the_timecode_of_the_file(media: Path, tmp_path: Path) -> None:
    ten = 10 * 3600 * RATE
    made = timeline(
        ("Video", "V1", [clip("tc.mov", ten + 5, 10)]), ("Audio", "A1", [clip("dub.wav", 0, 10)])
    )
    plan = plan_batch(save(made, media / "tc.otio"), output=tmp_path)
    assert frames(plan, 0) == (((5, 15),), Fraction(1, 5))


def test_dub_track_is_the_named_one_and_own_sound_does_not_count(
    media: Path, tmp_path: Path
) -> None:
    shots, words = [clip("a.mp4", 0, 10)], [clip("dub.wav", 0, 10)]
    own = ("Audio", "A1", [clip("a.mp4", 0, 10)])
    plain = timeline(("Video", "V1", shots), own, ("Audio", "A2", words))
    assert len(plan_batch(save(plain, media / "own.otio"), output=tmp_path).jobs) == 1
    shots, words = [clip("a.mp4", 0, 10)], [clip("dub.wav", 0, 10)]
    music = ("Audio", "A3", [clip("b c.mp4", 0, 10)])
    named = timeline(("Video", "V1", shots), music, ("Audio", " Dub", words))
    plan = plan_batch(save(named, media / "named.otio"), output=tmp_path)
    np.testing.assert_array_equal(heard(plan.jobs[0].speech), speech()[: 10 * HZ // RATE])
    named.tracks[2].name = "A4"
    with pytest.raises(InputError, match="2 audio tracks could hold the speech; name the right"):
        plan_batch(save(named, media / "named.otio"), output=tmp_path)


def test_every_error_is_told_before_anything_is_written(media: Path, tmp_path: Path) -> None:
    slow = clip("a.mp4", 0, 10, "slow")
    slow.effects.append(otio.schema.LinearTimeWarp(time_scalar=0.5))
    shots = [
        clip("none.mp4", 0, 10, "gone"),
        clip("http://x/a.mp4", 0, 10, "net"),
        clip("a.mp4", 45, 10, "past"),
        slow,
        clip("a.mp4", 0, 10, "one"),
        clip("a.mp4", 5, 10, "two"),
    ]
    made = timeline(
        ("Video", "V1", shots), ("Audio", "A1", [clip("dub.wav", 0, 50), clip("dub.wav", 0, 20)])
    )
    path = save(made, media / "wrong.otio")
    output = tmp_path / "new"
    with pytest.raises(CollectedInputError) as raised:
        plan_batch(path, output=output)
    assert raised.value.sentences == (
        f"{path}: clip 'gone': {media}/none.mp4: there is no such file; check the path",
        f"{path}: clip 'net': http://x/a.mp4: is no file here; copy it and relink it",
        f"{path}: clip 'past': asks for 1.80 to 2.20 s of {media}/a.mp4, which lasts 2.00 s; "
        "relink it to the right file",
        f"{path}: clip 'slow': its speed is changed; render it first",
        f"{path}: clip 'two': shows a moment of {media}/a.mp4 that clip 'one' shows too, with "
        "other speech; give it a copy of the file",
    )
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "text", "rate", "said"),
    [
        ("a.edl", EDL, None, "an EDL does not say its frame rate; give it with --rate"),
        ("a.otio", "{}", Fraction(25), "says its frame rate itself; leave out --rate"),
        ("a.otio", "{", None, "no timeline that can be read"),
        ("a.fcpxml", "<a><b></a>", None, "no timeline that can be read"),
        ("a.edl", "TITLE: x\n", Fraction(25), "no video track with clips"),
        ("a.otio", "", None, "the file is empty"),
        ("a.csv", "video,speech,output\n", Fraction(25), "is no EDL; leave out --rate"),
    ],
)
def test_what_is_no_timeline_is_one_sentence(
    tmp_path: Path, name: str, text: str, rate: Fraction | None, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        plan_batch(path, output=tmp_path / "out", rate=rate)
    assert str(raised.value).startswith(f"{path}: {said}")
    assert "\n" not in str(raised.value)


def spoilt(text: str) -> st.SearchStrategy[str]:
    """Return texts that differ from a timeline in a few places."""
    cuts = st.tuples(st.integers(0, len(text)), st.integers(0, 20), st.text(max_size=12))

    def apply(changes: list[tuple[int, int, str]]) -> str:
        spoiled = text
        for at, count, new in changes:
            spoiled = spoiled[:at] + new + spoiled[at + count :]
        return spoiled

    return st.lists(cuts, max_size=4).map(apply)


@pytest.mark.parametrize("suffix", ["otio", "edl", "fcpxml"])
def test_whatever_is_in_a_timeline_a_plan_or_one_sentence_comes_out(
    media: Path, tmp_path: Path, suffix: str
) -> None:
    whole = save(EDL if suffix == "edl" else usual(), tmp_path / f"whole.{suffix}").read_text()
    path = media / f"fuzz.{suffix}"
    output = tmp_path / "out"

    @settings(
        max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(text=spoilt(whole))
    def check(text: str) -> None:
        path.write_text(text, encoding="utf-8", errors="replace")
        try:
            plan = plan_batch(path, output=output, rate=Fraction(25) if suffix == "edl" else None)
        except InputError as error:
            lines = getattr(error, "sentences", (str(error),))
            assert all("\n" not in line for line in lines)
        else:
            assert plan.jobs

    check()


def test_missing_readers_are_told_with_their_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dubcli\[timeline\]'"):
        plan_batch(tmp_path / "a.otio", output=tmp_path)
