import numpy as np
import pytest

from dubcli.geometry.morphable import MorphableModel
from dubcli.geometry.window import WindowDrawer
from dubcli.records import NO_FACE, Analysis, Coverage, MouthTrack
from dubcli.report.observe import Observer

FRAMES, EXPRESSIONS = 4, 4
SOURCE = [0, 1, 2, 3, 2]


def analysis() -> Analysis:
    generator = np.random.default_rng(5)
    zeros = np.zeros((FRAMES, 3), dtype=np.float32)
    rotation = zeros.copy()
    rotation[:, 1] = [0.0, 0.25, -0.5, 0.0]
    return Analysis(
        alpha=zeros,
        beta=generator.normal(size=(FRAMES, EXPRESSIONS)).astype(np.float32),
        rotation=rotation,
        translation_px=zeros[:, :2],
        scale_px=np.ones(FRAMES, dtype=np.float32),
        shot=np.array([0, 0, 1, 1]),
        valid=np.array([True, True, True, False]),
        lip_aperture=np.zeros(FRAMES, dtype=np.float32),
    )


def test_curves_say_what_was_asked_for_after_the_amount_of_effect(
    small_model: MorphableModel,
) -> None:
    video, draw = analysis(), WindowDrawer(small_model)
    amount = np.float32([1, 0.5, 1, 0])
    still = np.zeros((len(draw.lower), 3), dtype=np.float32)  # the mean face's own mouth
    reason = np.array([0, 0, 0, NO_FACE])
    observer = Observer(video, Coverage(amount, amount, reason), draw)
    given = [MouthTrack(still, t) for t in SOURCE]
    for t, mouth in zip(SOURCE, observer.watch(given), strict=True):
        assert mouth is given[SOURCE.index(t)] or t == 2
        observer.note(dubbed=bool(amount[t] > 0))
    curves = observer.curves()

    rest = float(draw.gap(still))
    own = draw.gap(draw.own_displacement(video.beta))
    halfway = float(own[1]) + 0.5 * (rest - float(own[1]))
    assert curves.source.tolist() == SOURCE
    assert curves.shot.tolist() == [0, 0, 1, 1, 1]
    assert curves.dubbed.tolist() == [True, True, True, False, True]
    assert curves.reason.tolist() == [0, 0, 0, NO_FACE, 0]
    assert curves.amount.tolist() == [1, 0.5, 1, 0, 1]
    nan = float("nan")
    expected = [rest, halfway, rest, nan, rest]
    np.testing.assert_allclose(curves.opening_cm, expected, rtol=1e-5)
    real = [own[0], own[1], own[2], nan, own[2]]
    np.testing.assert_allclose(curves.source_opening_cm, real, rtol=1e-5)
    np.testing.assert_allclose(curves.turn_rad, [0, 0.25, 0.5, nan, 0.5], atol=1e-6)
    assert abs(rest - own[1]) > 1e-3  # else half of the way would prove nothing


def test_nothing_seen_is_no_frame(small_model: MorphableModel) -> None:
    video = analysis()
    nothing = Coverage(video.scale_px, video.scale_px, video.shot)
    curves = Observer(video, nothing, WindowDrawer(small_model)).curves()
    assert len(curves) == len(curves.opening_cm) == 0
    with pytest.raises(StopIteration):
        next(iter(curves.source))
