"""The page of a dub whose frames are shown for unequal times, in a real browser."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dubcli.media.bounce import bounced_indices
from dubcli.media.lengths import plan_length
from dubcli.records import Stamps
from dubcli.report.records import QcReport
from dubcli.report.write import write_html
from tests.report.test_page_in_browser import NUMBER, PLAYED, PLAYING, READ, SETTLED, through

SOURCE, FRAMES, RATE = 60, 90, Fraction(20)


def test_frames_of_a_variable_rate_are_shown_at_their_own_times(
    build: Callable[..., QcReport], chromium: Any, tmp_path: Path
) -> None:
    steps = np.random.default_rng(7).integers(10, 90, SOURCE + 1)
    edges = np.cumsum(steps) - steps[0]
    stamps = Stamps(edges[:-1], int(edges[-1]), Fraction(1, 1000))
    info = replace(build().info, frame_rate=RATE, variable_rate=True, stamps=stamps)
    order = list(bounced_indices(SOURCE, FRAMES))
    speech_s = Fraction(int(np.diff(edges)[order].sum()), 1000)
    plan = plan_length("bounce", SOURCE, speech_s, RATE, stamps)
    assert plan.frame_count == FRAMES
    path, page = tmp_path / "report.html", chromium
    write_html(build(info=info, plan=plan), path, watch=through)
    page.events.clear()
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
    page.wait(f"{SETTLED} && {NUMBER} === {FRAMES - 1}")
    assert page.run(READ) == [FRAMES - 1, order[-1], FRAMES - 1]
    assert "on average (variable)" in path.read_text()
