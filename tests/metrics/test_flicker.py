import math

import numpy as np
import pytest

from dubcli.metrics.flicker import Flicker
from dubcli.records import Bytes

SIZE = (9, 11)


def frames(count: int = 5, seed: int = 0) -> list[Bytes]:
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, *SIZE, 3)).astype(np.uint8))


def mask(rows: slice, columns: slice) -> Bytes:
    made = np.zeros(SIZE, np.uint8)
    made[rows, columns] = 255
    return made


def slow_change(video: list[Bytes], masks: list[Bytes]) -> float:
    pairs = []
    for t in range(1, len(video)):
        seen = [
            abs(int(video[t][y, x, c]) - int(video[t - 1][y, x, c]))
            for y in range(SIZE[0])
            for x in range(SIZE[1])
            for c in range(3)
            if masks[t][y, x] and masks[t - 1][y, x]
        ]
        if seen:
            pairs.append(sum(seen) / len(seen))
    return sum(pairs) / len(pairs)


def test_flicker_is_the_mean_change_counted_pixel_by_pixel_in_moving_masks() -> None:
    made, true = frames(seed=1), frames(seed=2)
    masks = [mask(slice(t, t + 3), slice(2, 6 + t)) for t in range(4)]
    masks.append(mask(slice(8, 9), slice(10, 11)))  # nothing in common with the one before
    flicker = Flicker()
    for shot in zip(made, true, masks, strict=True):
        flicker.update(*shot)
    made_change, true_change = slow_change(made, masks), slow_change(true, masks)
    assert flicker.compute() == pytest.approx(made_change)
    assert flicker.compute_true() == pytest.approx(true_change)
    assert flicker.ratio() == pytest.approx(made_change / true_change)


def test_a_video_beside_itself_has_ratio_one_and_a_still_one_has_none() -> None:
    flicker, still = Flicker(), Flicker()
    for frame in frames():
        flicker.update(frame, frame)
        still.update(frame, frames()[0])
    assert flicker.ratio() == 1
    assert math.isnan(still.ratio())


def test_trembling_raises_the_ratio() -> None:
    flicker, smooth = Flicker(), np.zeros((*SIZE, 3), np.uint8)
    for t in range(6):
        flicker.update(smooth + np.uint8(2 * t + 9 * (t % 2)), smooth + np.uint8(2 * t))
    assert flicker.ratio() == pytest.approx(np.mean([11, 7, 11, 7, 11]) / 2)


def test_a_frame_that_the_caller_reuses_is_still_remembered() -> None:
    frame, flicker = np.zeros((*SIZE, 3), np.uint8), Flicker()
    flicker.update(frame)
    frame += 7
    flicker.update(frame)
    assert flicker.compute() == 7


def test_a_cut_is_no_flicker() -> None:
    dark, flicker = np.zeros((*SIZE, 3), np.uint8), Flicker()
    for frame in (dark, dark + np.uint8(1)):
        flicker.update(frame)
    flicker.cut()
    for frame in (dark + np.uint8(200), dark + np.uint8(203)):
        flicker.update(frame)
    assert flicker.compute() == 2


def test_one_frame_is_not_enough_and_sizes_must_agree() -> None:
    flicker = Flicker()
    flicker.update(frames()[0], frames()[0])
    for result in (flicker.compute, flicker.ratio):
        with pytest.raises(ValueError, match="nothing was measured yet"):
            result()
    with pytest.raises(ValueError, match="made is"):
        flicker.update(frames()[0][1:])
