from pathlib import Path

import numpy as np
import pytest

from dubcli.errors import InputError
from dubcli.training.data import (
    Clip,
    Landmarks,
    Prepared,
    SpeakerDraw,
    by_speaker,
    interpolate_gaps,
    load_landmarks,
    read_clips,
    store_arrays,
    store_landmarks,
)

HEADER = "clip,split,kind,speaker,set,seconds,fps,face_px,sync,sync_lag_ms"


def clip(name: str = "one", speaker: str = "a") -> Clip:
    return Clip(Path(f"{name}.mp4"), "train", "speech", speaker, "wild", 3.0, 150.0, "good", 0.0)


def landmarks(frames: int, missing: list[int]) -> Landmarks:
    mesh = np.random.default_rng(0).uniform(0, 300, (frames, 468, 3)).astype(np.float32)
    mesh[missing] = np.nan
    return Landmarks(mesh, (np.arange(frames) / 25).astype(np.float32), (240, 320))


def test_gaps_are_filled_linearly_and_the_ends_are_held() -> None:
    found = landmarks(8, [0, 3, 4, 7]).landmarks_px
    filled = interpolate_gaps(found)
    np.testing.assert_array_equal(filled[[1, 2, 5, 6]], found[[1, 2, 5, 6]])
    np.testing.assert_array_equal(filled[0], found[1])
    np.testing.assert_array_equal(filled[7], found[6])
    np.testing.assert_allclose(filled[3], found[2] * 2 / 3 + found[5] / 3, rtol=1e-5)
    np.testing.assert_allclose(filled[4], found[2] / 3 + found[5] * 2 / 3, rtol=1e-5)
    assert filled.dtype == np.float32
    assert np.isnan(found[3]).all()  # the argument is not changed


def test_clips_without_gaps_are_left_alone() -> None:
    found = landmarks(4, []).landmarks_px
    assert interpolate_gaps(found) is found


def test_stored_landmarks_come_back(tmp_path: Path) -> None:
    found = landmarks(30, [4])
    store_landmarks(tmp_path, clip(), found)
    back = load_landmarks(tmp_path, clip())
    assert back is not None
    np.testing.assert_array_equal(back.landmarks_px, found.landmarks_px)
    np.testing.assert_array_equal(back.time_s, found.time_s)
    assert back.size_px == (240, 320)
    assert back.rate_hz == pytest.approx(25)
    assert [f.name for f in (tmp_path / "landmarks").iterdir()] == ["one.npz"]


def test_clips_that_are_missing_short_or_mostly_without_a_face_are_not_loaded(
    tmp_path: Path,
) -> None:
    assert load_landmarks(tmp_path, clip()) is None
    for name, found in (
        ("short", landmarks(2, [])),
        ("hidden", landmarks(20, [1, 5, 9])),
    ):
        store_landmarks(tmp_path, clip(name), found)
        assert load_landmarks(tmp_path, clip(name)) is None
    store_landmarks(tmp_path, clip("enough"), landmarks(20, [1, 5]))
    assert load_landmarks(tmp_path, clip("enough")) is not None


def test_list_of_clips_is_read(tmp_path: Path) -> None:
    rows = [
        "wild/a.mp4,train,speech,ann,wild,3.5,25,120,good,40",
        "b.mp4,val,silent,bob,grid,2,29.97,90,,",
    ]
    (tmp_path / "clips.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    first, second = read_clips(tmp_path)
    assert first.path == tmp_path / "wild" / "a.mp4"
    assert first.name == "a"
    assert first.sync_lag_s == pytest.approx(0.04)
    assert (second.split, second.kind, second.speaker, second.set) == (
        "val",
        "silent",
        "bob",
        "grid",
    )
    assert second.sync_lag_s == 0


def test_missing_list_and_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clips\.csv: no such file"):
        read_clips(tmp_path)
    (tmp_path / "clips.csv").write_text("clip,split\na.mp4,train\n")
    with pytest.raises(InputError, match="no column 'kind'"):
        read_clips(tmp_path)


def test_clips_are_grouped_by_speaker_in_order() -> None:
    groups = by_speaker(Prepared(clip(name, speaker), name) for name, speaker in ("1b", "2a", "3b"))
    assert groups == {"b": ["1", "3"], "a": ["2"]}


def test_speakers_of_a_set_are_drawn_equally_often_and_sets_by_their_odds() -> None:
    sets = {"a": {"x": "ax", "y": "ay"}, "b": {"z": "bz"}, "c": {"w": "never"}}
    draw = SpeakerDraw(sets, {"a": 1.0, "b": 3.0, "missing": 5.0})
    generator = np.random.default_rng(0)
    drawn = [draw.draw(generator) for _ in range(4000)]
    shares = {name: drawn.count(name) / len(drawn) for name in ("ax", "ay", "bz")}
    assert shares == pytest.approx({"ax": 0.125, "ay": 0.125, "bz": 0.75}, abs=0.02)
    assert "never" not in drawn


def test_half_written_arrays_are_never_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_arrays(tmp_path / "new", "a", {"x": np.arange(3)})
    with np.load(tmp_path / "new/a.npz") as stored:
        assert stored["x"].tolist() == [0, 1, 2]

    def breaks(file: Path, **arrays: object) -> None:
        file.write_bytes(b"PK")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", breaks)
    with pytest.raises(OSError, match="disk full"):
        store_arrays(tmp_path / "new", "a", {"x": np.arange(9)})
    monkeypatch.undo()
    with np.load(tmp_path / "new/a.npz") as stored:
        assert stored["x"].tolist() == [0, 1, 2]
