"""Kept analyses: found again by content, and never a reason for a dub to fail."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dubcli import cache
from dubcli.cache import AnalysisCache, cache_folder, clear, entries
from dubcli.config import CacheOptions, DubOptions
from dubcli.errors import InputError
from dubcli.loading import FaceModels, load_face_models, load_models
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.pipeline import analysis, analyze, dub
from dubcli.records import Analysis, Faces, Progress

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"
CLIP, SPEECH = ROOT / "tests/media_files/carphone.mp4", ROOT / "examples/media/speech.wav"
ROWS = 40
ENTRY_BYTES = 373 * ROWS + 2 * (48 + 8)  # rows and portraits; the header comes on top


@pytest.fixture(scope="module")
def models() -> Iterator[FaceModels]:
    before = torch.get_num_threads()
    yield load_face_models(DubOptions(threads=1, models=MODELS))
    torch.set_num_threads(before)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Return bytes that stand for a video where none is decoded."""
    path = tmp_path / "talk.mp4"
    path.write_bytes(bytes(range(256)) * 10)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "here"


def some_faces(seed: int = 1) -> Faces:
    noise = np.random.default_rng(seed)

    def floats(*shape: int) -> np.ndarray:
        return noise.normal(size=shape).astype(np.float32)

    return Faces(
        frame=np.arange(ROWS, dtype=np.int64),
        track=np.arange(ROWS, dtype=np.int64) // 20,
        alpha=floats(ROWS, 48),
        beta=floats(ROWS, 32),
        rotation=floats(ROWS, 3),
        translation_px=floats(ROWS, 2),
        scale_px=floats(ROWS),
        lip_aperture=floats(ROWS),
        covered=noise.random(ROWS) < 0.5,
        shot=np.arange(ROWS, dtype=np.int64) // 7,
        portrait=noise.integers(0, 256, (2, 4, 4, 3), np.uint8),
        portrait_frame=np.arange(2, dtype=np.int64),
    )


def assert_same(one: Analysis | Faces, other: Analysis | Faces) -> None:
    for each in fields(one):
        a, b = getattr(one, each.name), getattr(other, each.name)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), each.name


def place(
    video: Path, models: FaceModels, folder: Path, said: list[str] | None = None, limit_mb: int = 1
) -> AnalysisCache:
    """Return the place of a video, identified."""
    options = CacheOptions(folder=folder, limit_mb=limit_mb)
    warnings = [] if said is None else said
    found = AnalysisCache(
        video,
        models.tracker,
        models.morphable,
        hands=models.hands,
        options=options,
        warnings=warnings,
    )
    for _ in found.identify():
        pass
    return found


def test_second_dub_of_a_copy_tracks_nothing_and_has_the_same_frames(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_models(DubOptions(threads=1, models=MODELS))
    options = DubOptions(threads=1, cache=CacheOptions(folder=folder))
    speech = tmp_path / "speech.wav"
    subprocess.run(
        [sys.executable, "-c", CUT, str(SPEECH), str(speech)], check=True, capture_output=True
    )
    copy = tmp_path / "another name.mp4"
    copy.write_bytes(CLIP.read_bytes())
    first = dub(CLIP, speech, tmp_path / "first.mkv", models=whole, options=options)
    told: list[Progress] = []
    second = dub(
        copy,
        speech,
        tmp_path / "second.mkv",
        models=whole,
        options=options,
        on_progress=told.append,
    )
    assert {"hash", "track", "fit", "store"} <= set(first.seconds)
    assert "cache" not in first.seconds
    assert {"hash", "cache"} <= set(second.seconds)
    assert not {"track", "fit", "store"} & set(second.seconds)
    assert "track" not in {each.stage for each in told}
    assert [entry.video for entry in entries(folder)] == ["another name.mp4"]
    assert frames_of(first.output) == frames_of(second.output)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "Tracker", None)  # tracking would raise TypeError
        kept = analyze(CLIP, models=whole, options=options)
    fresh = analyze(CLIP, models=whole, options=DubOptions(cache=CacheOptions(use=False)))
    assert_same(kept, fresh)


CUT = """
import sys, wave
with wave.open(sys.argv[1]) as source, wave.open(sys.argv[2], "wb") as target:
    target.setparams(source.getparams())
    target.writeframes(source.readframes(source.getframerate() // 5))
"""


def frames_of(path: Path) -> list[bytes]:
    with FrameReader(probe_video(path)) as reader:
        return [frame.rgb.tobytes() for frame in reader]


def test_entry_holds_every_bit_and_a_few_hundred_bytes_a_frame(
    video: Path, models: FaceModels, folder: Path
) -> None:
    analysis = some_faces()
    assert place(video, models, folder).read() is None
    place(video, models, folder).write(analysis, [f"{video}: damaged", "another"])
    moved = video.rename(video.with_name("renamed.mp4"))
    said: list[str] = []
    kept = place(moved, models, folder, said).read()
    assert kept is not None
    assert_same(kept.faces, analysis)
    assert kept.faces.beta.flags.writeable  # torch.from_numpy warns of others
    assert kept.warnings == (f"{moved}: damaged", f"{moved}: another")
    (entry,) = entries(folder)
    assert (entry.video, entry.frames, said) == ("renamed.mp4", ROWS, [])
    assert ENTRY_BYTES < entry.bytes < ENTRY_BYTES + 1500
    assert entry.file.stat().st_mode & 0o077 == 0
    assert list(folder.iterdir()) == [entry.file]


def test_one_other_byte_is_another_video_though_size_and_date_are_the_same(
    video: Path, models: FaceModels, folder: Path
) -> None:
    place(video, models, folder).write(some_faces(), [])
    status = video.stat()
    content = bytearray(video.read_bytes())
    content[1000] ^= 1
    video.write_bytes(content)
    os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert place(video, models, folder).read() is None


def other_tracker(models: FaceModels, tmp_path: Path) -> FaceModels:
    tracker = tmp_path / "face_landmarker.task"
    tracker.write_bytes(models.tracker.read_bytes() + b"\0")
    return replace(models, tracker=tracker)


def other_basis(models: FaceModels, tmp_path: Path) -> FaceModels:
    mean = models.morphable.mean.clone()
    mean[17, 2] += 1e-6
    return replace(models, morphable=replace(models.morphable, mean=mean))


@pytest.mark.parametrize("change", [other_tracker, other_basis])
def test_other_weights_find_nothing(
    video: Path,
    models: FaceModels,
    folder: Path,
    tmp_path: Path,
    change: Callable[[FaceModels, Path], FaceModels],
) -> None:
    place(video, models, folder).write(some_faces(), [])
    assert place(video, change(models, tmp_path), folder).read() is None
    assert place(video, models, folder).read() is not None


def test_other_code_and_other_libraries_find_nothing(
    video: Path, models: FaceModels, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(video, models, folder).write(some_faces(), [])
    with monkeypatch.context() as patch:
        patch.setattr(cache, "MADE_BY", (*cache.MADE_BY[:-1], "dubcli.timecode"))
        assert place(video, models, folder).read() is None
    with monkeypatch.context() as patch:
        patch.setattr(cache, "version", lambda package: f"{package} 0")
        assert place(video, models, folder).read() is None
    assert place(video, models, folder).read() is not None


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-200] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        flip_a_bit,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff" * 400),
    ],
    ids=["bit", "cut", "empty", "other"],
)
def test_damaged_entry_is_named_and_replaced(
    video: Path, models: FaceModels, folder: Path, harm: Callable[[Path], object]
) -> None:
    place(video, models, folder).write(some_faces(1), [])
    (entry,) = entries(folder)
    harm(entry.file)
    assert len(entries(folder)) == 1  # listed, not raised over
    said: list[str] = []
    again = place(video, models, folder, said)
    assert again.read() is None
    assert len(said) == 1
    assert said[0].startswith(f"{entry.file}: damaged (")
    again.write(some_faces(2), [])
    kept = place(video, models, folder).read()
    assert kept is not None
    assert_same(kept.faces, some_faces(2))


def test_limit_removes_what_was_unused_for_longest(
    video: Path, models: FaceModels, folder: Path
) -> None:
    def keep(number: int, rows: int) -> None:
        path = video.with_name(f"{number}.mp4")
        path.write_bytes(bytes([number]))
        long = some_faces()
        long = Faces(
            **{
                f.name: np.resize(getattr(long, f.name), (rows, *getattr(long, f.name).shape[1:]))
                for f in fields(Faces)
            }
        )
        place(path, models, folder).write(long, [])

    rows = 300_000 // 428  # three are less than 1 MB, four are more
    for number in (1, 2, 3):
        keep(number, rows)
    for number, entry in enumerate(reversed(entries(folder))):
        os.utime(entry.file, (1000 + number, 1000 + number))
    assert place(video.with_name("1.mp4"), models, folder).read() is not None  # now 2 is the oldest
    keep(4, rows)
    assert [entry.video for entry in entries(folder)] == ["4.mp4", "1.mp4", "3.mp4"]
    keep(5, 1_100_000 // 428)  # more than all may be: not worth emptying the cache for
    assert {entry.video for entry in entries(folder)} == {"4.mp4", "1.mp4", "3.mp4"}


@pytest.mark.parametrize("kind", ["file", "full"])
def test_folder_that_cannot_be_written_only_warns(
    video: Path, models: FaceModels, folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "file":  # root may write to any folder, but to no folder that is a file
        folder.parent.mkdir()
        folder.write_text("not a folder")
    else:
        monkeypatch.setattr(os, "fdopen", full_disk)
    said: list[str] = []
    here = place(video, models, folder, said)
    here.read()
    said.clear()
    here.write(some_faces(), [])
    assert len(said) == 1
    assert said[0].startswith(f"{folder}: the analysis cannot be kept there (")
    assert said[0].endswith("give --cache-folder or --no-cache")
    assert kind == "file" or not list(folder.iterdir())


def full_disk(handle: int, mode: str) -> None:
    os.close(handle)
    raise OSError(28, "No space left on device")


def test_video_that_grows_while_it_is_tracked_is_not_kept(
    video: Path, models: FaceModels, folder: Path
) -> None:
    said: list[str] = []
    here = place(video, models, folder, said)
    with video.open("ab") as stream:
        stream.write(b"more")
    here.write(some_faces(), [])
    assert said == [f"{video}: changed while it was read; its analysis is not kept"]
    assert entries(folder) == []


def test_writers_and_readers_at_once_see_whole_entries_only(
    video: Path, models: FaceModels, folder: Path
) -> None:
    told: list[str] = []
    found: list[bool] = []

    def work(seed: int) -> None:
        for _ in range(15):
            here = place(video, models, folder, told)
            kept = here.read()
            found.append(kept is not None)
            here.write(some_faces(), [])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == []
    assert sum(found) > len(found) // 2
    assert len(list(folder.iterdir())) == 1


def test_clear_removes_old_entries_and_nothing_that_is_not_ours(
    video: Path, models: FaceModels, folder: Path
) -> None:
    place(video, models, folder).write(some_faces(), [])
    (entry,) = entries(folder)
    foreign = [folder / name for name in ("renderer-12345678.safetensors", "analysis-.safetensors")]
    abandoned, busy = (folder / f".analysis-{name}.partial" for name in "ab")
    for path in (*foreign, abandoned, busy):
        path.write_text("x")
    os.utime(abandoned, (0, 0))
    assert clear(folder, older_than_days=1).entries == 0
    assert (abandoned.exists(), busy.exists()) == (False, True)
    removed = clear(folder)
    assert (removed.entries, removed.bytes) == (1, entry.bytes)
    assert sorted(folder.iterdir()) == sorted([*foreign, busy])
    assert clear(folder / "missing").entries == 0


def test_entry_that_may_not_be_removed_is_an_input_error(
    video: Path, models: FaceModels, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    place(video, models, folder).write(some_faces(), [])
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InputError, match=r"cannot be removed \(Permission denied\); check"):
        clear(folder)


def test_folder_is_the_option_then_the_environment_then_the_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DUBCLI_CACHE", str(tmp_path / "b"))
    assert cache_folder(tmp_path / "a") == tmp_path / "a"
    assert cache_folder() == tmp_path / "b"
    monkeypatch.delenv("DUBCLI_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "dubcli"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert cache_folder() == tmp_path / "home/.cache/dubcli"


def test_without_a_home_nothing_is_kept_and_that_is_said(
    video: Path, models: FaceModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    here = place(video, models, Path("~/.cache/dubcli"), said)
    here.write(some_faces(), [])
    assert here.read() is None
    assert said == ["no home folder, so no cache; name one with --cache-folder or DUBCLI_CACHE"]


@pytest.mark.parametrize("limit", [0, 1_000_001])
def test_limit_outside_its_range_is_refused(limit: int) -> None:
    with pytest.raises(InputError, match=f"^--cache-limit is {limit}: give a value from 1 to"):
        CacheOptions(limit_mb=limit)


def test_commands_list_and_clear_without_loading_torch(
    video: Path, models: FaceModels, folder: Path
) -> None:
    place(video, models, folder).write(some_faces(), [])
    program = (
        "import sys; sys.argv[0] = 'dubcli'\n"
        "from dubcli.cli.app import app\n"
        "app(standalone_mode=False)\n"
        "sys.exit('torch was loaded' if 'torch' in sys.modules else 0)"
    )

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", program, "cache", *arguments]
        environment = {**os.environ, "DUBCLI_CACHE": str(folder), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert run("path") == f"{folder}\n"
    assert run("ls") == ("    0.02 MB       40 frames   0 min  talk.mp4\n1 kept, 0.0 MB\n")
    (row,) = json.loads(run("ls", "--json"))
    assert (row["video"], row["frames"]) == ("talk.mp4", ROWS)
    assert Path(row["file"]).parent == folder
    assert run("clear", "--older-than", "2") == "0 removed, 0.0 MB\n"
    assert run("clear") == "1 removed, 0.0 MB\n"
    assert run("ls") == "0 kept, 0.0 MB\n"
