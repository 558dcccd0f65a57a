"""The page in a real browser: it plays, steps, wipes, and asks the network for nothing."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from dubcli.media.bounce import bounced_indices
from dubcli.media.lengths import plan_length
from dubcli.records import Frame, Stamps
from dubcli.report.records import DOUBTFUL, PASSED, QcReport, cuts, ranges, states
from dubcli.report.write import write_html

BITS, CELL, HEIGHT, GAP = 8, 32, 144, 4
WHITE = 128
NUMBER, PLAYING = "Number(document.getElementById('number').textContent)", "!clip.paused"
# What the canvas shows: the numbers that the source's and the dub's frame say of themselves.
READ = f"""(() => {{
  const copy = new OffscreenCanvas(picture.width, picture.height);
  const pen = copy.getContext("2d", {{ willReadFrequently: true }});
  pen.drawImage(picture, 0, 0);
  const bit = (x, k) => pen.getImageData(x + {CELL} * k + {CELL // 2}, {HEIGHT // 4}, 1, 1).data[0];
  const number = (x) => {{
    let sum = 0;
    for (let k = 0; k < {BITS}; k += 1) sum += bit(x, k) > {WHITE} ? 2 ** k : 0;
    return sum;
  }};
  const width = (picture.width - {GAP}) / 2;
  return [Number(document.getElementById("number").textContent), number(0), number(width + {GAP})];
}})()"""
# What it shows in every refresh of the screen until frame 40.
PLAYED = f"""new Promise((done) => {{
  const seen = [];
  const look = () => {{
    seen.push({READ});
    if (seen.at(-1)[0] >= 40) done(seen);
    else requestAnimationFrame(look);
  }};
  look();
}})"""
SETTLED = "!clip.seeking && clip.readyState >= 2"


def through(frames: Iterable[Frame], _: int) -> Iterable[Frame]:
    return frames


@pytest.fixture(scope="module")
def report(build: Callable[..., QcReport]) -> QcReport:
    return build()


@pytest.fixture(scope="module")
def page(chromium: Any, report: QcReport, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a browser that shows the report."""
    path = tmp_path_factory.mktemp("page") / "re#port <1>.html"
    write_html(report, path, watch=through)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    chromium.events.clear()
    chromium.open(path)
    chromium.wait(f"{SETTLED} && clip.currentTime > 0")
    return chromium


@pytest.fixture(autouse=True)
def at_the_start(page: Any) -> None:
    page.run("document.activeElement.blur()")
    page.run("document.querySelector('input[value=side]').click()")
    page.press("Home")
    page.wait(f"{SETTLED} && {NUMBER} === 0")


def steps(page: Any, key: str, frame: int) -> list[int]:
    page.press(key)
    page.wait(f"{SETTLED} && {NUMBER} === {frame}")
    read: list[int] = page.run(READ)
    return read


def test_space_plays_both_pictures_in_step_and_stops_them_on_a_frame(page: Any) -> None:
    source = list(bounced_indices(60, 90))
    page.press(" ", "Space", text=" ")
    page.wait(PLAYING)
    before = page.run("clip.currentTime")
    seen = page.run(PLAYED)
    assert page.run("clip.currentTime") > before
    page.press(" ", "Space", text=" ")
    page.wait(f"{SETTLED} && clip.paused")
    seen.append(page.run(READ))
    assert all(upper == source[lower] for _, upper, lower in seen), seen
    shown_ones = [shown for shown, _, _ in seen]
    assert shown_ones == sorted(shown_ones)
    assert len(set(shown_ones)) > 3
    shown, upper, lower = seen[-1]
    assert (upper, lower) == (source[shown], shown)
    assert page.run(NUMBER) == shown  # it stays there


def test_play_button_plays_says_so_and_pauses(page: Any) -> None:
    left, top, width, height = page.box("#play")
    middle = (left + width / 2, top + height / 2)
    name = "document.getElementById('play').getAttribute('aria-label')"
    assert page.run(name) == "Play"
    page.drag(middle)
    page.wait(f"{PLAYING} && {NUMBER} > 0 && {name} === 'Pause'")  # at once: the clip is short
    page.drag(middle)
    page.wait(f"clip.paused && {name} === 'Play'")


def test_arrows_show_exactly_the_next_frame_of_both_videos(page: Any) -> None:
    source = list(bounced_indices(60, 90))
    for frame in range(1, 6):
        assert steps(page, "ArrowRight", frame) == [frame, source[frame], frame]
    for frame in (4, 3):
        assert steps(page, "ArrowLeft", frame) == [frame, source[frame], frame]
    steps(page, "End", 89)
    assert page.run(READ) == [89, 29, 89]  # the source runs backward there
    assert steps(page, "ArrowLeft", 88) == [88, 30, 88]
    assert steps(page, "Home", 0) == [0, 0, 0]


def test_quick_steps_all_count(page: Any) -> None:
    for _ in range(25):
        page.press("ArrowRight")
    page.wait(f"{SETTLED} && {NUMBER} === 25")
    assert page.run(READ) == [25, 25, 25]


def test_wipe_is_red_source_on_its_left_and_blue_dub_on_its_right(page: Any) -> None:
    def colours() -> list[str]:
        script = f"""(() => {{
          const copy = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
          copy.drawImage(picture, 0, 0);
          const row = copy.getImageData(0, {3 * HEIGHT // 4}, picture.width, 1).data;
          return [...Array(16).keys()].map((k) => {{
            const at = 4 * (16 * k + 8);
            return row[at] > row[at + 2] ? "red" : "blue";
          }});
        }})()"""
        found: list[str] = page.run(script)
        return found

    page.press("w", "KeyW", text="w")
    assert colours() == ["red"] * 8 + ["blue"] * 8
    left, top, width, height = page.box("#picture")
    middle = top + height / 2
    page.drag((left + width / 2, middle), (left + width * 0.3, middle), (left + width / 4, middle))
    assert colours() == ["red"] * 4 + ["blue"] * 12
    assert page.run("Number(document.getElementById('wipe').value)") == pytest.approx(250, abs=3)
    page.run("document.getElementById('wipe').focus()")
    page.press("End")
    page.run("wipe.value = 1000; wipe.dispatchEvent(new Event('input'))")
    assert colours() == ["red"] * 16
    assert page.run(NUMBER) == 0  # a slider that has the focus keeps its keys


def test_timeline_has_a_mark_for_each_range_and_cut_where_it_is(
    page: Any, report: QcReport
) -> None:
    def marks(kind: str) -> list[list[int]]:
        script = (
            f"[...document.querySelectorAll('#timeline .mark.{kind}')]"
            ".map((mark) => [Number(mark.dataset.start), Number(mark.dataset.stop ?? -1)])"
        )
        found: list[list[int]] = page.run(script)
        return found

    state = states(report.curves)
    assert marks("passed") == [[r.start, r.stop] for r in ranges(state, PASSED)]
    assert marks("doubtful") == [[r.start, r.stop] for r in ranges(state, DOUBTFUL)]
    assert marks("cut") == [[frame, -1] for frame in cuts(report.curves)]
    assert page.run("document.querySelectorAll('.mark').length") == 2 + 3 + 3
    left, _, width, _ = page.box("#timeline")
    for kind, at in (("passed", 10), ("doubtful", 15), ("cut", 20)):
        assert page.box(f".mark.{kind}")[0] == pytest.approx(left + width * at / 90, abs=2)


def test_click_on_the_timeline_and_on_a_passage_goes_there(page: Any) -> None:
    left, top, width, _ = page.box("#timeline")
    page.drag((left + width * 31.5 / 90, top + 20))
    page.wait(f"{SETTLED} && {NUMBER} === 31")
    assert page.run(READ) == [31, 31, 31]
    said = page.run("document.getElementById('state').textContent")
    assert said == "Pass-through: head turned too far"
    page.run("document.querySelectorAll('.jump')[1].click()")
    page.wait(f"{SETTLED} && {NUMBER} === 15")
    page.run("document.activeElement.blur()")
    assert steps(page, "]", 20) == [20, 20, 20]
    assert steps(page, "[", 15) == [15, 15, 15]


def test_timeline_zooms_in_around_the_frame_and_follows_it(page: Any) -> None:
    steps(page, "]", 10)
    for _ in range(2):
        page.press("+", "Equal", text="+")
    assert page.run("document.getElementById('zoom').textContent") == "1.0 s"  # no closer
    left, top, width, _ = page.box("#timeline")
    assert page.box(".mark.passed")[0] == pytest.approx(left + width * 10 / 30, abs=2)
    page.drag((left + width * 15.5 / 30, top + 20))
    page.wait(f"{SETTLED} && {NUMBER} === 15")
    steps(page, "]", 20)
    steps(page, "]", 30)  # beyond the right edge
    at = page.box("#playhead")[0]
    assert left < at < left + width
    for _ in range(3):
        page.press("-", "Minus", text="-")
    assert page.run("document.getElementById('zoom').textContent") == "whole dub"
    assert page.box("#playhead")[0] == pytest.approx(left + width * 30.5 / 90, abs=2)


@pytest.mark.parametrize("width", [1280, 380])
def test_page_fits_its_window(page: Any, width: int) -> None:
    page.send(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=False,
    )
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    left, _, across, _ = page.box("#picture")
    assert left >= 0
    assert left + across <= width


def test_every_control_has_a_name(page: Any) -> None:
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "radio", "combobox"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree
        if node.get("role", {}).get("value") in roles
    ]
    assert {role for role, _ in named} == roles
    assert all(name for _, name in named), named


def test_names_and_warnings_are_text_and_nothing_else(page: Any) -> None:
    assert page.run("document.querySelector('ul.notice').textContent") == (
        "it is <late> & \"quoted\" 'twice'"
    )
    assert "of <b>equals</b>" in page.run("document.querySelector('.numbers').textContent")


def test_page_asked_for_nothing_but_itself_and_complained_about_nothing(page: Any) -> None:
    asked = {
        event["params"]["request"]["url"].partition(":")[0]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert asked == {"file", "blob"}  # blob: the video that the page itself holds
    said = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
    assert [event for event in page.events if event["method"] in said] == []
    page.run("fetch('https://example.org/').catch(() => 0)")  # the policy refuses what is tried
    assert any("Content Security Policy" in str(event) for event in page.events)


def test_frames_of_a_variable_rate_are_shown_at_their_own_times(
    page: Any, build: Callable[..., QcReport], tmp_path: Path
) -> None:
    rate = Fraction(20)
    steps = np.random.default_rng(7).integers(10, 90, 61)
    edges = np.cumsum(steps) - steps[0]
    stamps = Stamps(edges[:-1], int(edges[-1]), Fraction(1, 1000))
    info = replace(build().info, frame_rate=rate, variable_rate=True, stamps=stamps)
    order = list(bounced_indices(60, 90))
    speech_s = Fraction(int(np.diff(edges)[order].sum()), 1000)
    plan = plan_length("bounce", 60, speech_s, rate, stamps)
    assert plan.frame_count == 90
    path, home = tmp_path / "report.html", page.run("location.href")
    write_html(build(info=info, plan=plan), path, watch=through)
    try:
        page.open(path)
        page.wait(f"{SETTLED} && clip.currentTime > 0")
        for frame in (1, 2, 3):
            page.press("ArrowRight")
            page.wait(f"{SETTLED} && {NUMBER} === {frame}")
            assert page.run(READ) == [frame, order[frame], frame]
            begins, ends = (float(plan.pace().begins_s(frame + k)) for k in (0, 1))
            assert begins < page.run("clip.currentTime") < ends
        code = page.run("document.getElementById('timecode').textContent")
        assert code == f"00:00:00:{int(edges[3] * 20 // 1000):02}"
        page.press(" ", "Space", text=" ")
        page.wait(PLAYING)
        seen = page.run(PLAYED)
        assert all(upper == order[lower] for _, upper, lower in seen), seen
        assert all(abs(shown - lower) <= 1 for shown, _, lower in seen), seen
        page.press(" ", "Space", text=" ")
        page.press("End")
        page.wait(f"{SETTLED} && {NUMBER} === 89")
        assert page.run(READ) == [89, order[-1], 89]
        assert "on average (variable)" in path.read_text()
    finally:
        page.open(Path(unquote(urlsplit(home).path)))
        page.wait(SETTLED)
