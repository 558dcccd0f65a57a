import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dubcli.config import DubOptions
from dubcli.errors import InputError, MediaError
from dubcli.records import Frame
from dubcli.report import page
from dubcli.report.records import DOUBTFUL, PASSED, QcReport, SaidLine, ranges, states
from dubcli.report.write import check_report, write_html, write_json, write_report

Build = Callable[..., QcReport]
MEGABYTE = 1_000_000


def through(frames: Iterable[Frame], _: int) -> Iterable[Frame]:
    return frames


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


class Parts(HTMLParser):
    """The elements of a page, the content of its scripts, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem:
            self.scripts.append(data)
        else:
            self.words.append(data)


def test_json_holds_every_frame_and_no_constant_that_json_lacks(
    build: Build, tmp_path: Path
) -> None:
    report, path = build(), tmp_path / "r.json"
    write_report(report, path, watch=through)
    assert [each.name for each in tmp_path.iterdir()] == ["r.json"]
    read = json.loads(path.read_text("ascii"), parse_constant=refuse_constant)
    assert (read["format"], read["format_version"]) == ("dubcli-report", 1)
    assert (read["frame_rate"], read["frames"], read["dubbed_frames"]) == ("30000/1001", 90, 82)
    state = states(report.curves)
    for name, wanted in (("pass_through", PASSED), ("low_confidence", DOUBTFUL)):
        found = [(each["start"], each["stop"]) for each in read[name]]
        assert found == [(each.start, each.stop) for each in ranges(state, wanted)]
    assert read["pass_through"][0] == {
        "start": 10,
        "stop": 15,
        "start_timecode": "00:00:00:10",
        "reason": "no face",
    }
    assert [each["frame"] for each in read["cuts"]] == [20, 40, 79]
    assert {len(curve) for curve in read["curves"].values()} == {90}
    assert read["curves"]["source_frame"] == report.curves.source.tolist()
    assert read["curves"]["opening_cm"][9:16:5] == [
        pytest.approx(float(report.curves.opening_cm[9]), abs=1e-4),
        None,
    ]
    assert read["numbers"][0] == {
        "metric": "LSE-C",
        "region": "mouth",
        "value": 3.5,
        "real": 6.25,
        "unit": "",
        "better": "higher",
        "note": None,
    }
    assert read["numbers"][1]["value"] is None  # infinite
    assert read["settings"]["crf"] == DubOptions().crf
    assert read["models"][0]["sha256"] == "ab" * 32


def test_page_lists_every_option_that_shapes_a_dub(build: Build, tmp_path: Path) -> None:
    options = DubOptions(ranges="1-2", audio="keep-bed", loudness=None, deinterlace=True)
    write_html(build(options=options), tmp_path / "r.html", watch=through)
    text = (tmp_path / "r.html").read_text("utf-8")
    listed = dict(re.findall(r"<div><dt>([^<]*)</dt><dd>([^<]*)</dd></div>", text))
    names = {field.name.replace("_", " ") for field in fields(DubOptions)} - {"cache"}
    assert names <= set(listed)
    assert (listed["ranges"], listed["audio"], listed["deinterlace"]) == ("1-2", "keep-bed", "yes")
    assert (listed["loudness"], listed["models"]) == ("as given", "the shipped ones")
    assert (listed["c2pa key"], listed["mask grow"]) == ("none", "0.0")


def test_page_lists_several_lines_in_the_place_of_the_speech(build: Build, tmp_path: Path) -> None:
    lines = (
        SaidLine(Path("anna.wav"), "1", Fraction(0), Fraction(4)),
        SaidLine(Path("<b>.wav"), "2", Fraction(21, 5), Fraction(13, 2)),
    )
    write_html(build(lines=lines), tmp_path / "r.html", watch=through)
    text = (tmp_path / "r.html").read_text("utf-8")
    listed = dict(re.findall(r"<div><dt>([^<]*)</dt><dd>([^<]*)</dd></div>", text))
    assert listed["Line 1"] == "face 1, 00:00:00.000 to 00:00:04.000: anna.wav"
    assert listed["Line 2"] == "face 2, 00:00:04.200 to 00:00:06.500: &lt;b&gt;.wav"
    assert "Speech" not in listed


def test_name_that_is_no_text_or_looks_like_html_is_shown_and_breaks_nothing(
    build: Build, tmp_path: Path
) -> None:
    evil = Path(os.fsdecode(b"a\xff</script><img src=x onerror=alert(1)>&\"'.mp4"))
    report = build(video=evil, warnings=(f"{evil}: odd",))
    write_html(report, tmp_path / "r.html", watch=through)
    text = (tmp_path / "r.html").read_text("utf-8")
    found = Parts(text)
    assert [tag for tag, _ in found.tags if tag == "img"] == []
    assert not any("onerror" in given for _, given in found.tags)
    shown = str(evil).encode("utf-8", "backslashreplace").decode()
    assert shown in "".join(found.words)
    write_json(report, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["video"] == str(evil)


def test_page_refers_to_nothing_outside_itself_and_runs_only_its_own_script(
    build: Build, tmp_path: Path
) -> None:
    write_html(build(), tmp_path / "r.html", watch=through)
    text = (tmp_path / "r.html").read_text("utf-8")
    found = Parts(text)
    places = [
        value
        for _, given in found.tags
        for name, value in given.items()
        if name in {"src", "href", "srcset", "action", "poster"}
    ]
    assert places == ["data:,"]
    assert not any(name.startswith("on") or name == "style" for _, g in found.tags for name in g)
    assert not re.search(r"@import|url\(", text.partition("</style>")[0])
    policy = next(g["content"] for t, g in found.tags if "http-equiv" in g)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    runs = [given for tag, given in found.tags if tag == "script" and "type" not in given]
    assert runs == [{}]
    embedded = sum(len(script) for script in found.scripts if script.startswith("AAAA"))
    assert 10_000 < embedded < 1.1 * 4 / 3 * 1_696_000 / 8 * 3.1  # the cap, for these 3 s


def test_long_dub_embeds_its_beginning_and_says_so(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "EMBEDDED_S", 1)
    told: list[int] = []

    def watch(frames: Iterable[Frame], total: int) -> Iterable[Frame]:
        told.append(total)
        return frames

    write_html(build(), tmp_path / "r.html", watch=watch)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert told == [29]  # whole frames of 1 s
    assert "The video in this page ends at 00:00:00:29" in text
    data = json.loads(next(s for s in Parts(text).scripts if s.startswith("{")))
    assert (data["frames"], data["playable"], len(data["source"])) == (90, 29, 29)
    assert text.count('class="mark ') == 8  # of the whole dub


def test_many_passages_are_listed_as_far_as_the_page_stays_small(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LISTED", 3)
    write_html(build(), tmp_path / "r.html", watch=through)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert text.count('class="jump"') == 3
    assert "and 5 more: see the report as .json" in text


def test_dub_without_a_mark_says_that_there_is_none(build: Build, tmp_path: Path) -> None:
    whole = build().curves
    frames = len(whole)
    curves = replace(
        whole,
        shot=np.zeros(frames, dtype=np.int64),
        dubbed=np.ones(frames, dtype=np.bool_),
        amount=np.ones(frames, dtype=np.float32),
        turn_rad=np.zeros(frames, dtype=np.float32),
    )
    write_html(build(curves=curves, warnings=()), tmp_path / "r.html", watch=through)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "None: every frame has the full effect." in text
    assert 'class="mark ' not in text
    assert '<ul class="notice" aria-label="Warnings"></ul>' in text


def test_failure_leaves_the_old_report_and_nothing_beside_it(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")

    def interrupted(frames: Iterable[Frame], _: int) -> Iterable[Frame]:
        yield next(iter(frames))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_html(build(), path, watch=interrupted)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "_embed", full)
    report = build()
    with pytest.raises(MediaError) as caught:
        write_html(report, path, watch=through)
    assert str(caught.value) == (
        f"{path}: the report could not be written (No space left on device); "
        f"the dub itself is complete: {report.output}"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["r.html"]
    assert path.read_text() == "old"


def test_report_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    video, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    video.write_text("")
    there = tmp_path / "there.html"
    there.write_text("old")
    link = tmp_path / "link.html"
    link.symlink_to(video)
    onto = tmp_path / "onto.html"
    onto.symlink_to(output)
    for path, overwrite, said in (
        (tmp_path / "r.txt", True, "the report must end in one of .html, .json"),
        (tmp_path / "no" / "r.html", True, f"the folder {tmp_path / 'no'} does not exist"),
        (there, False, "exists already; give another name or --overwrite"),
        (link, True, f"this is the input {video}; choose another output"),
        (onto, True, "the report would replace the output; choose another name"),
    ):
        with pytest.raises(InputError) as caught:
            check_report(path, inputs=[video], output=output, overwrite=overwrite)
        assert str(caught.value).startswith(f"{path}: {said}")
    check_report(there, inputs=[video], output=output, overwrite=True)
    check_report(tmp_path / "R.JSON", inputs=[video], output=output, overwrite=False)
    assert there.read_text() == "old"
