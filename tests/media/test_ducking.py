import numpy as np
import pytest

from dubcli.config import DubOptions
from dubcli.media.ducking import FALL_S, PAUSE_S, STEP_S, ducked_db, speaking
from dubcli.records import Facts

SOON = round(PAUSE_S / STEP_S)
OPTIONS = DubOptions(bed_level=-20, bed_fade=0.5)


def one_by_one(spoken: Facts, options: DubOptions) -> list[float]:
    """Return the level at each edge by looking at every step in which somebody speaks."""
    levels = []
    for edge in range(len(spoken) + 1):
        amounts = [0.0]
        for step in np.flatnonzero(spoken):
            early = (step - edge) * STEP_S  # until it begins
            late = (edge - step - 1) * STEP_S  # since it ended
            if early >= 0:
                amounts.append(1 - early / FALL_S)
            if late >= 0:
                amounts.append(1 - late / options.bed_fade if options.bed_fade else late == 0)
            if early < 0 and late < 0:
                amounts.append(1.0)
        levels.append(options.bed_level * max(amounts))
    return levels


@pytest.mark.parametrize("fade", [0.0, 0.07, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_curve_is_what_each_spoken_step_asks_for(seed: int, fade: float) -> None:
    spoken = np.random.default_rng(seed).random(200) < (0.0, 0.01, 0.05, 0.5)[seed]
    options = DubOptions(bed_level=-20, bed_fade=fade)
    np.testing.assert_allclose(ducked_db(spoken, options), one_by_one(spoken, options), atol=1e-4)


def test_short_gaps_are_speech_and_longer_ones_are_pauses() -> None:
    levels = np.zeros(SOON * 4, np.float32)
    levels[[0, SOON + 1]] = 1  # so many silent steps between as a gap may have
    levels[SOON * 2 + 3] = 1  # one more
    spoken = speaking(levels)
    assert spoken[: SOON + 2].all()
    assert not spoken[SOON + 2 : SOON * 2 + 3].any()
    assert spoken.sum() == SOON + 3


def test_digital_silence_and_noise_30_db_down_are_no_speech() -> None:
    assert not speaking(np.zeros(9, np.float32)).any()
    assert not speaking(np.zeros(0, np.float32)).any()
    assert speaking(np.array([1, 0.031], np.float32)).tolist() == [True, False]
    assert (ducked_db(np.zeros(9, bool), OPTIONS) == 0).all()
