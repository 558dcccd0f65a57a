"""Wires stages to media: what ``dubcli dub`` does, in the order in which it does it.

``lines``: what is said, by whom and when. ``analysis``: pass 1 keeps numbers, frames -> landmarks
-> coefficients. ``preparation``: speech -> motion, and a quick pass that picks the lip references
out of the video. ``painting``: the faces of one frame, together. ``dubbing``: pass 2 makes pixels,
frames -> dubbed frames -> file.
"""

from dubcli.pipeline.analysis import analyze
from dubcli.pipeline.clock import Clock, OnProgress
from dubcli.pipeline.dubbing import dub, refuse_output, render_chosen
from dubcli.pipeline.lines import plan_lines, read_lines, whole_plan
from dubcli.pipeline.preparation import HALF_CLOSED, Ready, prepare

__all__ = [
    "HALF_CLOSED",
    "Clock",
    "OnProgress",
    "Ready",
    "analyze",
    "dub",
    "plan_lines",
    "prepare",
    "read_lines",
    "refuse_output",
    "render_chosen",
    "whole_plan",
]
