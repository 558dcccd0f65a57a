"""Several lines in one dub: two people side by side, each with speech of their own."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.geometry.crop import lay_over
from dubcli.line import Line
from dubcli.loading import Models, load_models
from dubcli.media import parts, writer
from dubcli.media.binary import find_ffmpeg
from dubcli.media.planes import canvas_for
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.pipeline import dub, dubbing, preparation
from dubcli.pipeline.fingerprint import fingerprint
from dubcli.pipeline.painting import Painted, over
from dubcli.preview import preview
from dubcli.records import Bytes, DubReport, Frame, Patch, Progress
from dubcli.stages.render import DubbedFrame

ROOT = Path(__file__).parents[1]
FRANCK, CARPHONE = ROOT / "examples/media/franck.mp4", ROOT / "tests/media_files/carphone.mp4"
SPEECH = ROOT / "examples/media/speech.wav"
OPTIONS = DubOptions(threads=1, models=ROOT / "models", codec="ffv1", overwrite=True)
FRAMES, RATE, HZ = 24, 25, 16000
MIDDLE = 360  # pixels: the left half is Franck's
BESIDE = (
    f"[0:v]trim=start_frame=48:end_frame={48 + FRAMES},setpts=N/25/TB,scale=360:288,setsar=1,"
    "fps=25[a];"
    f"[1:v]trim=end_frame={FRAMES},setpts=N/25/TB,scale=270:216,pad=270:288,setsar=1,fps=25[b];"
    "[a][b]hstack"
)
# Franck, the man in the car, and both at once; the effect fades in and out beside each, 0.2 s.
FIRST = ("left.wav", 0.0, 0.1)
OTHER = ("right.wav", 0.4, 0.4)
AGAIN = ("again.wav", 0.7, 0.1)
LEFT = {*range(8), *range(12, 24)}  # frames in which somebody moves
RIGHT = {*range(5, 24)}


def run_ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def read(path: Path) -> NDArray[np.uint8]:
    with FrameReader(probe_video(path)) as frames:
        return np.stack([frame.rgb for frame in frames])


def samples(path: Path) -> NDArray[np.int16]:
    command = [
        find_ffmpeg(),
        "-v",
        "error",
        "-i",
        str(path),
        "-map",
        "0:a:0",
        "-f",
        "s16le",
        "pipe:1",
    ]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, "<i2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


@pytest.fixture(scope="module")
def video(folder: Path) -> Path:
    """Return Franck on the left and the man in the car on the right, 0.96 s, without loss."""
    target = folder / "two.mkv"
    inputs = ["-i", FRANCK, "-i", CARPHONE, "-filter_complex", BESIDE]
    run_ffmpeg(*inputs, "-an", "-c:v", "ffv1", "-pix_fmt", "yuv420p", target)
    return target


@pytest.fixture(scope="module")
def speeches(folder: Path, video: Path) -> dict[str, Path]:
    made = {}
    for number, (name, _, seconds) in enumerate((FIRST, OTHER, AGAIN)):
        made[name] = folder / name
        run_ffmpeg("-ss", 1 + number, "-i", SPEECH, "-t", seconds, made[name])
    return made


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    before = torch.get_num_threads()
    yield load_models(OPTIONS)
    torch.set_num_threads(before)


@dataclass
class Made:
    """A dub of three lines, and what was seen of it on the way."""

    report: DubReport
    progress: list[Progress]
    noted: dict[str, Any]


@pytest.fixture(scope="module")
def made(folder: Path, video: Path, speeches: dict[str, Path], models: Models) -> Made:
    progress: list[Progress] = []
    page = folder / "qc.json"
    report = dub(
        video,
        speeches[FIRST[0]],
        folder / "out.mkv",
        also=[
            Line(speeches[OTHER[0]], "2", at=str(OTHER[1])),
            Line(speeches[AGAIN[0]], "largest", at=str(AGAIN[1])),
        ],
        models=models,
        options=OPTIONS,
        report=page,
        on_progress=progress.append,
    )
    return Made(report, progress, json.loads(page.read_text()))


def halves(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    frames = read(path)
    return frames[:, :, :MIDDLE], frames[:, :, MIDDLE:]


def changed(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> list[int]:
    return np.flatnonzero((one != other).any(axis=(1, 2, 3))).tolist()


def test_each_face_moves_with_its_own_lines_and_is_the_sources_own_elsewhere(
    made: Made, video: Path
) -> None:
    sources, dubs = halves(video), halves(made.report.output)
    left, right = (changed(*pair) for pair in zip(sources, dubs, strict=True))
    assert set(left) == LEFT
    assert set(right) == RIGHT
    assert (made.report.frames, made.report.dubbed_frames) == (FRAMES, len(LEFT | RIGHT))
    assert made.report.warnings == ()


def test_a_face_among_others_is_the_one_that_it_is_alone(
    made: Made, video: Path, speeches: dict[str, Path], models: Models, tmp_path: Path
) -> None:
    name, start_s, _ = OTHER
    options = replace(OPTIONS, face="2", speech_at=str(start_s))
    alone = dub(video, speeches[name], tmp_path / "alone.mkv", models=models, options=options)
    source, by_itself = halves(video), halves(alone.output)
    np.testing.assert_array_equal(by_itself[1], halves(made.report.output)[1])
    np.testing.assert_array_equal(by_itself[0], source[0])


def test_the_video_is_tracked_once_and_decoded_once_for_all(made: Made) -> None:
    ends: dict[str, list[int]] = {}
    for each in made.progress:
        ends.setdefault(each.stage, []).append(each.done)
    assert ends["track"] == ends["render"] == list(range(FRAMES + 1))
    assert ends["references"] == list(range(len(ends["references"])))


def test_every_line_is_heard_at_its_sample(made: Made, speeches: dict[str, Path]) -> None:
    expected = np.zeros(FRAMES * HZ // RATE, np.int16)
    for name, start_s, _ in (FIRST, OTHER, AGAIN):
        spoken, first = samples(speeches[name]), round(start_s * HZ)
        expected[first : first + len(spoken)] += spoken
    np.testing.assert_array_equal(samples(made.report.output), expected)
    with av.open(str(made.report.output)) as container:
        assert container.streams.audio[0].codec_context.name == "pcm_s16le"


def test_the_report_lists_who_says_what_and_when(made: Made, speeches: dict[str, Path]) -> None:
    assert made.noted["lines"] == [
        {
            "speech": str(speeches[name]),
            "face": face,
            "start_s": start,
            "stop_s": round(start + lasts, 4),
        }
        for (name, start, lasts), face in ((FIRST, "1"), (OTHER, "2"), (AGAIN, "1"))
    ]
    passed = [(each["start"], each["stop"]) for each in made.noted["pass_through"]]
    assert passed == []
    assert made.noted["curves"]["effect"][9] == 1.0  # the other one's: the first is silent


def test_nothing_is_left_beside_the_output(made: Made, folder: Path) -> None:
    assert [path.name for path in folder.glob("*out*")] == ["out.mkv"]
    assert list(folder.glob(".*")) == []


def test_interrupted_dub_goes_on_to_the_same_output(
    made: Made,
    video: Path,
    speeches: dict[str, Path],
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (writer, parts, dubbing):
        monkeypatch.setattr(module, "SEGMENT_FRAMES", 5)
    output, resumed = tmp_path / "out.mkv", list[int]()

    def run(stop: int) -> DubReport:
        def watch(progress: Progress) -> None:
            if progress.stage == "render":
                resumed.append(progress.total or 0)
                if progress.done == stop:
                    raise KeyboardInterrupt

        other, again = speeches[OTHER[0]], speeches[AGAIN[0]]
        return dub(
            *(video, speeches[FIRST[0]], output),
            also=[Line(other, "2", at=str(OTHER[1])), Line(again, "largest", at=str(AGAIN[1]))],
            models=models,
            options=OPTIONS,
            resume=True,
            on_progress=watch,
        )

    with pytest.raises(KeyboardInterrupt):
        run(17)
    report = run(99)
    assert resumed[-1] < FRAMES
    assert (report.frames, report.dubbed_frames) == (made.report.frames, made.report.dubbed_frames)
    np.testing.assert_array_equal(read(output), read(made.report.output))
    np.testing.assert_array_equal(samples(output), samples(made.report.output))
    assert list(tmp_path.iterdir()) == [output]


def test_several_lines_go_into_pictures_too(
    made: Made,
    video: Path,
    speeches: dict[str, Path],
    models: Models,
    tmp_path: Path,
) -> None:
    output = tmp_path / "film/shot.%04d.png"
    other = Line(speeches[OTHER[0]], "2", at=str(OTHER[1]))
    options = replace(OPTIONS, codec="source")
    report = dub(video, speeches[FIRST[0]], output, also=[other], models=models, options=options)
    assert report.frames == made.report.frames
    assert [path.name for path in tmp_path.iterdir()] == ["film"]
    names = [f"shot.{number:04d}.png" for number in range(1, report.frames + 1)]
    assert sorted(path.name for path in output.parent.iterdir()) == [*names, "shot.wav"]


def test_preview_shows_the_face_that_speaks(
    video: Path, speeches: dict[str, Path], models: Models, tmp_path: Path
) -> None:
    other = Line(speeches[OTHER[0]], "2", at="0.6")
    times = [Fraction(1, 10), Fraction(4, 5)]
    options = replace(OPTIONS, codec="source")
    report = preview(
        *(video, speeches[FIRST[0]], tmp_path / "sheet.png"),
        also=[other],
        at=times,
        models=models,
        options=options,
    )
    assert [(tile.time_s, tile.dubbed) for tile in report.tiles] == [
        (Fraction(2, 25), True),
        (Fraction(4, 5), True),
    ]


Refused = Callable[..., str]


@pytest.fixture
def refused(video: Path, speeches: dict[str, Path], models: Models, tmp_path: Path) -> Refused:
    """Return a function that gives what is said of further lines; the first is Franck's at 0."""

    def said(*lines: Line, **changes: object) -> str:
        options = replace(OPTIONS, **changes)  # type: ignore[arg-type]
        with pytest.raises(InputError) as caught:
            dub(
                *(video, speeches[FIRST[0]], tmp_path / "out.mkv"),
                also=lines,
                models=models,
                options=options,
            )
        assert list(tmp_path.iterdir()) == []
        return str(caught.value).replace(f"{video.parent}/", "")

    return said


def test_lines_that_do_not_go_together_are_refused(
    refused: Refused, speeches: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = speeches[OTHER[0]]
    # The first line is of "largest", who is number 1: that is known after the faces are.
    assert refused(Line(sound, "1", at="0.05")) == (
        "right.wav: begins at 00:00:00.050, while the same face (--face 1) says left.wav until "
        "00:00:00.100; give it a later time or another face"
    )
    assert refused(Line(sound, "3", at="0.5")) == (
        "right.wav: --face 3: two.mkv shows 2 people; `dubcli faces` lists them"
    )

    def too_late(*_: object, **__: object) -> None:
        pytest.fail("the work has begun")

    monkeypatch.setattr(preparation, "find_people", too_late)
    assert refused(Line(sound, "2", at="5")) == (
        "right.wav: --speech-at 5: the video ends at 00:00:00.960; give an earlier time"
    )
    assert refused(Line(sound, "2", ranges="1-0.5")) == (
        "right.wav: --range 1-0.5: holds no frame; give an end that is later than the start"
    )
    assert refused(Line(sound, "largest", at="0.04")).startswith(
        "right.wav: begins at 00:00:00.040"
    )
    assert refused(Line(sound, "2", at="0.8"), length="error") == (
        "right.wav: goes on for 0.24 s after the video's end, and --length is error; cut it, "
        "begin it earlier, or leave out --length"
    )
    assert refused(Line(sound, "2"), length="loop").startswith(
        "--length is loop: a dub with several lines is as long as its video; "
    )
    assert refused(Line(sound.with_name("gone.wav"), "2")) == (
        "gone.wav: there is no such file; check the path"
    )


def test_every_speech_is_part_of_what_an_output_was_made_from(tmp_path: Path) -> None:
    video, one, two = (tmp_path / name for name in ("v", "one", "two"))
    for path in (video, one, two):
        path.write_bytes(path.name.encode())

    def number(*also: Line) -> str:
        return fingerprint(video, one, DubOptions(), {}, also)

    line = Line(two, "2", at="1")
    different = {number(), number(line), number(replace(line, face="1")), number(line, line)}
    different |= {number(replace(line, at="2")), number(replace(line, ranges="1-2"))}
    moved = two.rename(tmp_path / "moved")
    assert number(replace(line, speech=moved)) in different
    moved.write_bytes(b"other words")
    different.add(number(replace(line, speech=moved)))
    assert len(different) == 7


def patch(top: int, left: int, share: float, seed: int) -> Patch:
    random = np.random.default_rng(seed)
    shares = np.full((12, 16), share, np.float32)
    shares[:2] = 0
    return Patch(top, left, random.uniform(0, 255, (12, 16, 3)).astype(np.float32), shares)


def painted(video: Path, *patches: Patch | None) -> Painted:
    with FrameReader(probe_video(video), 0, 1) as reader:
        frame = next(iter(reader))
    faces = [DubbedFrame(frame.rgb, each is not None, None, frame, each) for each in patches]
    return Painted(tuple(faces))


def test_patches_that_overlap_are_laid_one_over_the_other(video: Path) -> None:
    info, one, two = probe_video(video), patch(20, 30, 0.5, 1), patch(26, 38, 0.75, 2)
    canvas, both = canvas_for(info), painted(video, one, None, two)
    below = lay_over(both.source.rgb, one)
    np.testing.assert_array_equal(both.rgb, lay_over(below, two))
    first = Frame(0, below, canvas.lay_over(both.source, one))
    np.testing.assert_array_equal(both.on(canvas), canvas.lay_over(first, two))
    nothing = painted(video, None, None)
    assert not nothing.dubbed
    np.testing.assert_array_equal(nothing.on(canvas), nothing.source.planes)
    joined = lay_over(both.source.rgb, over(one, two)).astype(int)
    assert np.abs(joined - both.rgb).max() <= 1  # rounded once, not twice
    assert len(both.layer(canvas)) == 4 * 2 * info.width * info.height


def test_one_patch_over_another_is_the_frame_of_both() -> None:
    one, two = patch(3, 9, 0.4, 3), patch(8, 2, 1.0, 4)
    frame: Bytes = np.random.default_rng(5).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    joined = over(one, two)
    assert (joined.top, joined.left, *joined.share.shape) == (3, 2, 17, 23)
    expected = lay_over(lay_over(frame, one), two).astype(int)
    assert np.abs(lay_over(frame, joined).astype(int) - expected).max() <= 1
