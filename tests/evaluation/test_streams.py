from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dubcli.errors import InputError, MediaError
from dubcli.evaluation.streams import Guide, check_comparable, moments
from dubcli.geometry.window import WindowDrawer
from dubcli.loading import Models
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.pipeline import analyze
from dubcli.records import Integers, Stamps, VideoInfo

FRAMES, RATE = 24, 24  # of the clip
CODED = 6  # grey levels by which a negative of coded 4:2:0 differs, and rounding; 3.9 measured
Copy = Callable[..., Path]


@pytest.fixture(scope="module")
def guide(clip: Path, models: Models) -> Guide:
    return Guide(analyze(clip, models=models), WindowDrawer(models.morphable))


def test_frame_k_stands_beside_frame_k(clip: Path, copy: Copy, guide: Guide) -> None:
    made, real = probe_video(copy("negative", "negate")), probe_video(clip)
    with FrameReader(made) as ours, FrameReader(real) as theirs:
        expected = [(a.rgb, b.rgb) for a, b in zip(ours, theirs, strict=True)]
    seen = list(moments(made, real, guide, FRAMES))
    assert [each.index for each in seen] == list(range(FRAMES))
    assert seen[6].time_s == 6 / RATE
    for moment, (mine, true) in zip(seen, expected, strict=True):
        assert moment.real is not None
        assert np.array_equal(moment.made.rgb, mine)
        assert np.array_equal(moment.real.rgb, true)


def test_frames_of_a_variable_rate_are_compared_where_they_are_shown_together(
    clip: Path, guide: Guide
) -> None:
    plain = probe_video(clip)
    ticks = np.arange(FRAMES) * 40 + 60 * (np.arange(FRAMES) > 9)

    def varying(ticks: Integers) -> VideoInfo:
        stamps = Stamps(ticks, int(ticks[-1]) + 40, Fraction(1, 1000))
        return replace(plain, variable_rate=True, stamps=stamps)

    info, shorter = varying(ticks), varying(ticks[:12])
    check_comparable(info, info)
    check_comparable(varying(ticks + (np.arange(FRAMES) % 2)), info)  # a millisecond of rounding
    check_comparable(replace(shorter, frame_count=12, frame_rate=Fraction(20)), info)
    for made, real in ((plain, info), (varying(ticks + 30 * (ticks > 400)), info)):
        with pytest.raises(InputError, match="their frame rate varies"):
            check_comparable(made, real)
    seen = moments(info, info, guide, FRAMES)
    assert [each.time_s for each in seen] == pytest.approx((ticks / 1000).tolist())


def test_both_are_cut_along_the_guide_even_where_one_shows_no_face(
    clip: Path, copy: Copy, guide: Guide
) -> None:
    moment = next(moments(probe_video(copy("negative", "negate")), probe_video(clip), guide, 1))
    assert moment.made.face is not None
    assert moment.real is not None
    assert moment.real.face is not None
    # A negative, cut and interpolated at the same places, is the negative of the cut.
    away = moment.made.face.astype(int) + moment.real.face - 255
    assert np.abs(away).mean() < CODED
    assert moment.made.landmarks_px is None  # nobody looked for it


def test_regions_lie_inside_each_other(clip: Path, guide: Guide) -> None:
    masks = guide.masks(0)
    assert masks is not None
    lips, lower, face = (mask.astype(bool) for mask in (masks.lips, masks.lower, masks.face))
    assert 0 < lips.sum() < lower.sum() < face.sum()
    assert not (lips & ~lower).any()
    assert (lower & ~face).mean() < 0.03  # the lower face is widened beyond the jaw line


def test_a_video_that_ends_too_soon_is_an_error(clip: Path, guide: Guide) -> None:
    info = probe_video(clip)
    with pytest.raises(MediaError, match=f"frame {FRAMES} of it or of its reference cannot be"):
        list(moments(info, info, guide, FRAMES + 1))
