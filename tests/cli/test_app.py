import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import dubcli
from dubcli.cli import app, console
from dubcli.config import DEFAULTS, CacheOptions, DubOptions, TrainingOptions
from dubcli.errors import CheckpointError, DubError, InputError, MediaError
from dubcli.line import Line
from dubcli.records import DubReport, Progress

ROOT = Path(__file__).parents[2]
REPORT = DubReport(
    Path("out.mp4"), 50, 40, {"analyze": 1.5, "render": 0.5}, ("2 frames\nhave no face",)
)


@dataclass
class Call:
    """What the command gave to pipeline.dub."""

    paths: tuple[Path, ...] = ()
    options: list[DubOptions] = field(default_factory=list)
    report: Path | None = None
    resume: bool | None = None
    also: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["dubcli", *arguments])
        with pytest.raises(SystemExit) as leaving:
            app.main()
        code = leaving.value.code
        assert isinstance(code, int)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    monkeypatch.delenv("DUBCLI_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    return call


def put_module(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> None:
    """Stand in for a module that commands import when they run."""
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def put_dub(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> Call:
    """Replace pipeline.dub by one that notes its arguments, then returns REPORT or raises."""
    call = Call()

    def fake(
        video: Path,
        audio: Path,
        output: Path,
        *,
        also: Any,
        options: Any,
        report: Any,
        resume: Any,
        on_progress: Any,
    ) -> DubReport:
        call.paths = (video, audio, output)
        call.report = report
        call.resume, call.also = resume, also
        call.options.append(options)
        on_progress(Progress("analyze", 1, 50))
        on_progress(Progress("render", 1, None))
        if error is not None:
            raise error
        return replace(REPORT, report=report)

    put_module(monkeypatch, "dubcli.pipeline", dub=fake)
    return call


def test_dub_prints_a_table_on_stdout_and_nothing_on_stderr(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = put_dub(monkeypatch)

    outcome = run("dub", "in.mp4", "speech.wav", "-o", "out.mp4")

    assert call.paths == (Path("in.mp4"), Path("speech.wav"), Path("out.mp4"))
    assert outcome == Outcome(
        0,
        "output            out.mp4\n"
        "frames            50\n"
        "dubbed frames     40\n"
        "analyze           1.5 s\n"
        "render            0.5 s\n"
        "frames a second   25.0\n"
        "warning           2 frames have no face\n",
        "",
    )


def test_json_is_the_report_and_nothing_else(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    put_dub(monkeypatch)

    outcome = run("dub", "in.mp4", "speech.wav", "-o", "out.mp4", "--json")

    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == {
        "output": "out.mp4",
        "frames": 50,
        "dubbed_frames": 40,
        "seconds": {"analyze": 1.5, "render": 0.5},
        "warnings": ["2 frames\nhave no face"],
        "report": None,
    }


def test_further_lines_reach_the_api(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    call = put_dub(monkeypatch)
    more = ["--also", "2=b@home.wav@4.2", "--also", "1=c.wav"]
    assert run("dub", "in.mp4", "a.wav", "-o", "out.mp4", *more).code == 0
    assert call.also == [Line(Path("b@home.wav"), "2", at="4.2"), Line(Path("c.wav"), "1")]
    refused = run("dub", "in.mp4", "a.wav", "-o", "out.mp4", "--also", "b.wav")
    assert refused == Outcome(
        2,
        "",
        "error: --also b.wav: give FACE=SPEECH or FACE=SPEECH@TIME, such as 2=ben.wav@4.2\n",
    )


def test_resume_reaches_the_api(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    call = put_dub(monkeypatch)
    for option in ("", "--resume"):
        run("dub", "in.mp4", "speech.wav", "-o", "out.mp4", *option.split())
        assert call.resume == bool(option)


def test_report_reaches_the_api_and_the_table_says_where_it_is(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = put_dub(monkeypatch)
    outcome = run("dub", "in.mp4", "speech.wav", "-o", "out.mp4", "--report", "qc.html")
    assert (outcome.code, outcome.err, call.report) == (0, "", Path("qc.html"))
    assert "report            qc.html\n" in outcome.out
    run("dub", "in.mp4", "speech.wav", "-o", "out.mp4")
    assert call.report is None


@pytest.mark.parametrize("name", [item.name for item in fields(DubOptions)])
def test_default_of_the_command_is_the_default_of_the_api(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    call = put_dub(monkeypatch)
    run("dub", "in.mp4", "speech.wav", "-o", "out.mp4")
    assert getattr(call.options[0], name) == getattr(DEFAULTS, name)


def test_every_option_reaches_the_api(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    call = put_dub(monkeypatch)
    given = {
        "--device": "cpu",
        "--models": "m",
        "--audio-encoder": "folder",
        "--lip-references": "7",
        "--face-references": "3",
        "--mouth-scale": "0.5",
        "--length": "freeze",
        "--loudness": "-23",
        "--audio": "keep-bed",
        "--bed-level": "-12",
        "--bed-fade": "0.2",
        "--c2pa-certificate": "chain.pem",
        "--c2pa-key": "key.pem",
        "--max-pixels": "99",
        "--max-seconds": "5",
        "--range": "1-2",
        "--face": "2",
        "--covered": "dub",
        "--mask-grow": "2",
        "--mask-feather": "5",
        "--speech-at": "0:01",
        "--adapt": "3",
        "--frame-rate": "23.976",
        "--crf": "30",
        "--preset": "fast",
        "--codec": "prores",
        "--tracks": "drop",
        "--pixel-format": "yuv444p10le",
        "--threads": "2",
        "--precision": "float32",
        "--cache-folder": "kept",
        "--cache-limit": "5",
    }
    arguments = [word for pair in given.items() for word in pair]

    outcome = run(
        "dub",
        "a",
        "b",
        "-o",
        "c",
        *arguments,
        "--no-close-in-silence",
        "--debug-mask",
        "--no-cache",
        "-y",
        "--allow-8bit",
        "--deinterlace",
        "--no-provenance",
        "--patch-only",
    )

    assert outcome.code == 0
    assert call.options[0] == DubOptions(
        device="cpu",
        models=Path("m"),
        audio_encoder="folder",
        lip_references=7,
        face_references=3,
        mouth_scale=0.5,
        close_in_silence=False,
        length="freeze",
        loudness=-23.0,
        audio="keep-bed",
        bed_level=-12.0,
        bed_fade=0.2,
        provenance=False,
        c2pa_certificate="chain.pem",
        c2pa_key="key.pem",
        max_pixels=99,
        max_seconds=5,
        ranges="1-2",
        face="2",
        covered="dub",
        mask_grow=2.0,
        mask_feather=5.0,
        adapt=3,
        debug_mask=True,
        speech_at="0:01",
        frame_rate="23.976",
        crf=30,
        preset="fast",
        codec="prores",
        tracks="drop",
        pixel_format="yuv444p10le",
        allow_8bit=True,
        deinterlace=True,
        patch_only=True,
        threads=2,
        precision="float32",
        overwrite=True,
        cache=CacheOptions(use=False, folder=Path("kept"), limit_mb=5),
    )
    changed = [f.name for f in fields(DubOptions)]
    assert all(getattr(call.options[0], name) != getattr(DEFAULTS, name) for name in changed)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("in.mp4: no such file"), 2, "error: in.mp4: no such file\n"),
        (CheckpointError("renderer: altered"), 3, "error: renderer: altered\n"),
        (MediaError("ffmpeg:\n  bad frame"), 4, "error: ffmpeg: bad frame\n"),
        (DubError("other"), 1, "error: other\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (
            RuntimeError("two\nlines"),
            1,
            "error: unexpected RuntimeError: two lines;"
            " run again with DUBCLI_DEBUG=1 to see where\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_error_is_one_line_on_stderr_and_an_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    put_dub(monkeypatch, error)
    assert run("dub", "a", "b", "-o", "c") == Outcome(code, "", line)


def test_traceback_comes_before_the_line_when_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_dub(monkeypatch, MediaError("bad"))
    monkeypatch.setenv("DUBCLI_DEBUG", "1")

    outcome = run("dub", "a", "b", "-o", "c")

    assert outcome.code == 4
    assert outcome.err.startswith("Traceback (most recent call last):")
    assert outcome.err.endswith("\nerror: bad\n")


def test_length_that_is_no_choice_is_refused_with_the_choices(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_dub(monkeypatch)
    outcome = run("dub", "a", "b", "-o", "c", "--length", "stretch")
    assert outcome.code == 2
    assert outcome.err == (
        "error: --length is stretch: give one of bounce, loop, cut, freeze, remap, error\n"
    )


@pytest.mark.parametrize(
    "name", ["lip-references", "face-references", "mouth-scale", "loudness", "crf", "threads"]
)
def test_value_out_of_range_is_refused_with_the_range_that_help_states(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    call = put_dub(monkeypatch)

    outcome = run("dub", "a", "b", "-o", "c", f"--{name}=-1")

    found = re.fullmatch(
        rf"error: --{name} is -1(\.0)?: give a value from (\S+) to (\S+)\n", outcome.err
    )
    assert found is not None
    assert (outcome.code, call.options) == (2, [])
    low, high = (f"{float(number):g}" for number in found.group(2, 3))
    help_text = run("dub", "--help").out
    assert re.search(rf"--{name} .* {low} to {high}\b", help_text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["dub"],
        ["dub", "a", "b"],
        ["dub", "a", "b", "-o"],
        ["dub", "a", "b", "-o", "c", "--crf", "x"],
        ["dub", "a", "b", "-o", "c", "--nonsense"],
        ["nonsense"],
        ["train", "geometry", "--cache", "c"],
        ["train", "renderer", "--cache", "c", "--data", "d", "--pack", "p"],
        ["train", "renderer", "--cache", "c", "--data", "d", "--minutes", "-1"],
        ["train", "pack", "--data", "d", "--cache", "c"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    put_dub(monkeypatch)
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Error" in outcome.err


def test_file_names_that_begin_with_a_dash_follow_two_dashes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = put_dub(monkeypatch)
    assert run("dub", "--output=-out.mp4", "--", "-in.mp4", "-speech.wav").code == 0
    assert call.paths == (Path("-in.mp4"), Path("-speech.wav"), Path("-out.mp4"))


def test_file_name_with_bytes_that_are_no_text_is_printed() -> None:
    script = (
        "import sys, types\n"
        "from pathlib import Path\n"
        "from dubcli.records import DubReport\n"
        "fake = types.ModuleType('dubcli.pipeline')\n"
        "fake.dub = lambda v, a, o, **k: DubReport(o, 0, 0, {}, ())\n"
        "sys.modules['dubcli.pipeline'] = fake\n"
        "from dubcli.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "dub", "a", "b", "-o", b"out\xff.mp4"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "out\\udcff.mp4" in done.stdout


def test_version_is_one_line(run: Run) -> None:
    assert run("--version") == Outcome(0, f"dubcli {dubcli.__version__}\n", "")


@pytest.mark.parametrize(
    "command", [[], ["dub"], ["preview"], ["bench"], ["models"], ["train"]], ids=" ".join
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    script = (
        "import sys\n"
        "from dubcli.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as leaving:\n"
        "    assert not leaving.code, leaving.code\n"
        "heavy = {'torch', 'transformers', 'librosa', 'numba', 'mediapipe', 'cv2', 'av'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: dubcli" in done.stdout


def test_models_are_listed_and_verified(run: Run) -> None:
    listed = run("models", "list", "--models", str(ROOT / "models"))
    verified = run("models", "verify", "--models", str(ROOT / "models"))

    assert (listed.code, listed.err) == (0, "")
    assert re.search(r"^face-landmarker +3\.8 MB +Apache-2\.0 +FaceLandmarker$", listed.out, re.M)
    assert (verified.code, verified.err) == (0, "")
    assert verified.out.count("ok  ") == len(listed.out.splitlines())


def test_altered_checkpoint_exits_3(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"changed")
    (tmp_path / "manifest.toml").write_text(
        f'[a]\nfile = "a.safetensors"\nsha256 = "{"0" * 64}"\nbytes = 7\nnetwork = "LipSyncNet"\n'
        'licence = "MIT"\ntrained_on = "toys"\ncard = "card.md"\n'
    )
    outcome = run("models", "verify", "--models", str(tmp_path))
    assert (outcome.code, outcome.out) == (3, "")
    assert re.fullmatch(r"error: .*a\.safetensors: sha256 is .*\n", outcome.err)


def test_models_folder_without_a_manifest_exits_3(run: Run, tmp_path: Path) -> None:
    outcome = run("models", "list", "--models", str(tmp_path))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (3, "", 1)
    assert outcome.err.startswith("error: ")


def test_training_commands_pass_on_what_they_are_given(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def note(*arguments: object, **named: object) -> None:
        calls.append((*arguments, named))

    for name in ("basis", "geometry", "renderer"):
        module = f"dubcli.training.train_{name}"
        put_module(monkeypatch, module, **{f"train_{name}": note})
    models = ROOT / "models"
    common = ["--cache", "c", "--models", str(models)]

    assert run("train", "basis", "--data", "d", *common, "--recipe", "r.toml").code == 0
    assert run("train", "geometry", "--data", "d", *common, "--minutes", "1.5").code == 0
    more = ["--minutes", "2", "--seed", "3", "--resume", "--recipe", "r.toml", "--vgg", "v"]
    assert run("train", "renderer", "--pack", "p", *common, *more).code == 0

    assert [call[:3] for call in calls] == [(Path(of), Path("c"), models) for of in "ddp"]
    assert calls[0][3:] == ({"recipe": Path("r.toml")},)
    assert [call[3] for call in calls[1:]] == [
        TrainingOptions(minutes=1.5),
        TrainingOptions(Path("r.toml"), minutes=2.0, seed=3, resume=True),
    ]
    given = [call[-1] for call in calls[1:]]
    assert all(callable(one.pop("observer")) for one in given)
    assert given == [{"audio_encoder": None}, {"vgg": Path("v")}]


def test_pack_command_passes_on_what_it_is_given_and_says_what_was_packed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class Report:
        folder: Path = Path("a.dubpack")
        clips: int = 7
        shards: int = 2
        megabytes: float = 87.04
        largest_shard_megabytes: float = 59.96
        pictures: int = 280
        psnr_db: float | None = 43.04

    calls: list[tuple[Any, ...]] = []

    def fake(*arguments: object, **named: object) -> Report:
        calls.append((*arguments, named))
        return Report()

    put_module(monkeypatch, "dubcli.training.packing", make_pack=fake)
    common = ["train", "pack", "--data", "d", "--cache", "c", "-o", "a.dubpack"]
    models = ["--models", str(ROOT / "models")]
    plain = run(*common, *models, "--for", "geometry", "--max-mb", "20", "--faces", "9")
    assert plain == Outcome(
        0,
        "pack        a.dubpack\n"
        "clips       7\n"
        "files       2, the largest 60.0 MB\n"
        "together    87.0 MB\n"
        "pictures    280, 43.0 dB beside the cache\n",
        "",
    )
    folders = (Path("d"), Path("c"), ROOT / "models", Path("a.dubpack"))
    named = {"kind": "geometry", "max_mb": 20.0, "faces": 9, "recipe": None, "audio_encoder": None}
    assert calls == [(*folders, named)]
    assert json.loads(run(*common, *models, "--json").out)["clips"] == 7
    assert calls[1][-1] == named | {"kind": "renderer", "max_mb": 60.0, "faces": 40}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with console.progress() as on_progress:
            on_progress(Progress("analyze", 1, 2))
            on_progress(Progress("analyze", 2, 2))
            on_progress(Progress("render", 5, None))
        assert ("analyze" in stream.getvalue()) is drawn
        assert ("2/2" in stream.getvalue()) is drawn
        assert ("5/?" in stream.getvalue()) is drawn


def test_report_of_nothing_has_no_rate() -> None:
    rows = console.report_rows(DubReport(Path("o.mp4"), 0, 0, {}, ()))
    assert rows[-1] == ("frames a second", "-")


def test_judging_prints_a_row_for_each_network_and_set(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class Rendered:
        set: str = "wild"
        clips: int = 24
        network: str = "shipped"
        psnr_db: float = 26.5
        ssim: float = 0.87
        lip_psnr_db: float = 25.25

    @dataclass
    class Generated:
        set: str = "wild"
        network: str = "geometry"
        clips: int = 24
        correlation: float = 0.75
        deviation_ratio: float = 1.0
        closure_recall: float = 0.69
        closure_precision: float = 0.74
        correlation_with_other_sound: float = -0.07
        vertex_error_cm: float = 0.0723

    @dataclass
    class Figures:
        renderer: tuple[Rendered, ...] = (Rendered(),)
        geometry: tuple[Generated, ...] = (Generated(),)

    put_module(monkeypatch, "dubcli.training.judge", judge_models=lambda *_: Figures())
    common = ("--data", "d", "--cache", "c", "--models", str(ROOT / "models"))
    plain = run("train", "judge", *common)
    assert plain.code == 0
    assert plain.out.splitlines()[1].split() == ["wild", "24", "shipped", "26.50", "0.870", "25.25"]
    assert plain.out.splitlines()[-1].split() == [
        "wild",
        "24",
        "geometry",
        "0.750",
        "1.00",
        "0.69",
        "0.74",
        "-0.070",
        "0.0723",
    ]
    as_json = run("train", "judge", *common, "--json")
    assert json.loads(as_json.out)["renderer"][0]["psnr_db"] == 26.5
