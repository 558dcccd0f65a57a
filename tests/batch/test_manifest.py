"""Lists of jobs: what they may hold, and that every error is told at once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dubcli.batch.manifest import COLUMNS, read_jobs
from dubcli.batch.records import Plan
from dubcli.config import DubOptions
from dubcli.errors import CollectedInputError, InputError
from dubcli.line import Line

OPTIONS = DubOptions(crf=20, threads=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "a.wav"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def read(folder: Path, text: str, name: str = "jobs.csv") -> Plan:
    (folder / name).write_text(text)
    return read_jobs(folder / name, folder / "out", OPTIONS)


def complaints(folder: Path, text: str, name: str = "jobs.csv") -> list[str]:
    with pytest.raises(CollectedInputError) as caught:
        read(folder, text, name)
    beginning = f"{folder / name}: "
    assert all(each.startswith(beginning) for each in caught.value.sentences)
    return [
        each.removeprefix(beginning).replace(f"{folder}/", "") for each in caught.value.sentences
    ]


def test_csv_and_json_say_the_same(folder: Path) -> None:
    table = (
        "\ufeffvideo,speech,output,mouth_scale,crf,close_in_silence,length,loudness\n"
        "a.mp4,a.wav,one.mp4,1.2,,no,loop,-23\n\n"
        "b.mp4,a.wav,fr/two.mov,,18,,,\n"
    )
    listed = [
        {"video": "a.mp4", "speech": "a.wav", "output": "one.mp4", "mouth_scale": 1.2,
         "close_in_silence": False, "length": "loop", "loudness": -23},
        {"video": "b.mp4", "speech": "a.wav", "output": "fr/two.mov", "crf": 18, "preset": None},
    ]  # fmt: skip
    plan = read(folder, table)
    assert plan == read(folder, json.dumps(listed), "jobs.json")
    first, second = plan.jobs
    assert (first.video, first.speech) == (folder / "a.mp4", folder / "a.wav")
    assert (first.output, second.output) == (folder / "out/one.mp4", folder / "out/fr/two.mov")
    said = {"mouth_scale": 1.2, "close_in_silence": False, "length": "loop", "loudness": -23.0}
    assert first.options == replace(OPTIONS, **said)
    assert second.options == DubOptions(crf=18, threads=1)


def test_every_error_of_every_row_is_told_with_its_line(folder: Path) -> None:
    table = (
        "video,speech,output,mouth_scale,crf\n"
        "gone.mp4,lost.wav,one.mp4,wide,99\n"
        "a.mp4,a.wav,one.avi,,\n"
        '"a.mp4",a.wav,"two\n.mp4",,\n'
        "a.mp4,,three.mp4,1\n"
        "a.mp4,,three.mp4,1,\n"
        "a.mp4,a.wav,one.mp4,nan,\n"
        f"a.mp4,a.wav,{folder}/b.mp4,,\n"
        "b.mp4,a.wav,a.wav/x.mp4,,1.5\n"
    )
    (folder / "out").mkdir()
    (folder / "out/a.wav").write_bytes(b"x")
    assert complaints(folder, table) == [
        "line 2: video: gone.mp4: there is no such file; check the path",
        "line 2: speech: lost.wav: there is no such file; check the path",
        "line 2: mouth_scale is 'wide': give a number",
        "line 2: --crf is 99: give a value from 0 to 51",
        "line 3: out/one.avi: the output must end in one of .m4v, .mkv, .mov, .mp4",
        "line 6: has 4 cells, the heading 5; quote texts with commas",
        "line 7: speech is missing",
        "line 8: --mouth-scale is nan: give a value from 0.0 to 3.0",
        "line 8: out/one.mp4: is the output of jobs.csv: line 2 too; name each once",
        "line 9: b.mp4: this is the input b.mp4; choose another output",
        "line 10: crf is '1.5': give a whole number",
        "line 10: out/a.wav/x.mp4: out/a.wav is a file and can hold no other; choose another "
        "output",
    ]  # fmt: skip


def test_rows_of_one_video_and_output_are_the_lines_of_one_dub(folder: Path) -> None:
    (folder / "b.wav").write_bytes(b"x")
    table = (
        "video,speech,output,face,speech_at,ranges,crf\n"
        "a.mp4,a.wav,one.mp4,1,0,,18\n"
        "b.mp4,a.wav,two.mp4,,,,\n"
        'a.mp4,b.wav,one.mp4,2,,"4.2-6,8-9",\n'
        "a.mp4,a.wav,one.mp4,1,00:00:09:00,,18\n"
    )
    first, second = read(folder, table).jobs
    assert (first.speech, first.options.crf, first.options.face) == (folder / "a.wav", 18, "1")
    assert first.also == (
        Line(folder / "b.wav", "2", ranges="4.2-6,8-9"),
        Line(folder / "a.wav", "1", at="00:00:09:00"),
    )
    assert second.also == ()


def test_rows_that_make_no_one_dub_are_told(folder: Path) -> None:
    table = (
        "video,speech,output,face,speech_at,crf,length\n"
        "a.mp4,a.wav,one.mp4,1,0,,loop\n"
        "a.mp4,a.wav,one.mp4,2,0,18,\n"
        "a.mp4,gone.wav,one.mp4,2,0,20,\n"
        "b.mp4,a.wav,one.mp4,2,1,,\n"
    )
    rows = "of the same dub; the rows of a dub may differ in speech, face, speech_at, ranges"
    long = "--length is loop: a dub with several lines is as long as its video; leave it out"
    said = complaints(folder, table)
    assert [each.partition(", or give")[0] for each in said] == [
        f"line 3: crf is 18, and 20 at jobs.csv: line 2, {rows}",
        f"line 3: {long}",
        "line 4: speech: gone.wav: there is no such file; check the path",
        "line 4: has one face say two things at once with jobs.csv: line 2, of the same dub; "
        "give another face, speech_at or ranges, or another output",
        f"line 4: {long}",
        "line 5: out/one.mp4: is the output of jobs.csv: line 2 too; name each once",
    ]


def test_heading_with_unknown_missing_and_doubled_columns_is_refused(folder: Path) -> None:
    known = ", ".join(COLUMNS)
    assert complaints(folder, "\nvideo;speech,output,output,audio_encoder\n") == [
        "line 2: no column video; the heading needs it",
        "line 2: no column speech; the heading needs it",
        f"line 2: unknown column 'video;speech'; known are {known}",
        "line 2: column 'output' is there 2 times; leave one",
        f"line 2: unknown column 'audio_encoder'; known are {known}",
    ]


def test_json_errors_have_the_line_on_which_the_object_begins(folder: Path) -> None:
    text = """[
      {"video": "a.mp4", "speech": "a.wav",
       "output": "one.mp4"},

      {"video": 3, "speech": "a.wav", "output": "two.mp4", "volume": 1, "crf": true},
      7, {"video": "a.mp4", "speech": "a.wav", "output": "x.mp4", "output": "y.mp4"}
    ]"""
    assert complaints(folder, text, "jobs.json") == [
        f"line 5: unknown name 'volume'; known are {', '.join(COLUMNS)}",
        "line 5: video is no text",
        "line 5: crf is True: give a whole number",
        'line 6: is no object; write {"video": ..., "speech": ..., ...}',
        "line 6: names a value twice; leave one",
    ]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("jobs.csv", b"", "holds no job"),
        ("jobs.json", b"[]", "holds no job"),
        ("jobs.json", b'{"video": 1}', "is no list"),
        ("jobs.json", b'[{"video": NaN}]', "NaN is no number"),
        ("jobs.json", b"[\n{]", "line 2: no JSON"),
        ("jobs.json", b"[" * 100_000, "no JSON that can be read"),
        ("jobs.csv", b"\xff\xfe", "is not UTF-8"),
        ("jobs.csv", b'video,speech,output\n"a', "line 2: no CSV"),
        ("jobs.edl", b"x", "give a folder of videos, or a list of jobs in .csv or .json"),
    ],
)
def test_what_is_no_list_of_jobs_is_refused(
    folder: Path, name: str, data: bytes, said: str
) -> None:
    if data:
        (folder / name).write_bytes(data)
    else:
        (folder / name).write_text("\n")
    with pytest.raises(InputError, match=said):
        read_jobs(folder / name, folder, OPTIONS)


cells = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["a.mp4", "a.wav", "out.mp4", "\0", "x" * 300 + ".mp4", "../a.mp4", "1e999"]),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | cells,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(cells, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(st.sampled_from(COLUMNS) | cells, values, max_size=6)
rows = st.lists(st.lists(cells, min_size=3, max_size=4).map(",".join), max_size=4)
tables = rows.map(lambda lines: "\n".join(["video,speech,output,crf", *lines]))
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(
    st.binary(max_size=60).map(lambda data: ("jobs.csv", data))
    | tables.map(lambda text: ("jobs.csv", text.encode(errors="surrogatepass")))
    | st.text(max_size=60).map(lambda text: ("jobs.json", text.encode(errors="surrogatepass")))
    | st.lists(objects, max_size=3).map(lambda jobs: ("jobs.json", json.dumps(jobs).encode()))
)
def test_any_manifest_gives_jobs_or_an_input_error(
    folder: Path, manifest: tuple[str, bytes]
) -> None:
    name, data = manifest
    (folder / name).write_bytes(data)
    try:
        plan = read_jobs(folder / name, folder / "out", OPTIONS)
    except InputError as error:
        assert str(error)
    else:
        assert plan.jobs
        assert all(job.video.is_file() and job.speech.is_file() for job in plan.jobs)
