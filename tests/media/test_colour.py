from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dubcli.media.colour import colour_matrix, colour_range, output_tags
from dubcli.records import VideoInfo

UNTAGGED = VideoInfo(
    path=Path("a.mp4"),
    width=64,
    height=48,
    frame_rate=Fraction(25),
    frame_count=1,
    duration_s=None,
    rotation_deg=0,
    variable_rate=False,
    has_audio=False,
    codec="h264",
    pixel_format="yuv420p",
    colour_space=None,
    colour_primaries=None,
    colour_transfer=None,
    colour_range=None,
)


@pytest.mark.parametrize(
    ("height", "space", "matrix"),
    [
        (480, None, "smpte170m"),
        (719, None, "smpte170m"),
        (720, None, "bt709"),
        (480, "bt709", "bt709"),
        (1080, "smpte170m", "smpte170m"),
        (2160, "bt2020nc", "bt2020"),
        (1080, "gbr", "bt709"),
    ],
)
def test_the_matrix_is_the_tag_or_what_players_assume(
    height: int, space: str | None, matrix: str
) -> None:
    assert colour_matrix(replace(UNTAGGED, height=height, colour_space=space)) == matrix


def test_untagged_stays_untagged() -> None:
    assert set(output_tags(UNTAGGED, "yuv420p").values()) == {"unknown"}


def test_a_matrix_that_cannot_be_kept_is_not_claimed() -> None:
    rgb = replace(UNTAGGED, pixel_format="gbrp", colour_space="gbr", colour_range="pc")
    assert output_tags(rgb, "yuv444p")["colorspace"] == "unknown"
    assert colour_range(rgb) == "tv"
