import numpy as np
import pytest

from dubcli.training.mouths import nearest_frames


@pytest.mark.parametrize("rate_hz", [15.0, 24.0, 25.0, 29.97, 60.0])
@pytest.mark.parametrize("lag_s", [-0.12, 0.0, 0.08])
def test_each_sound_frame_takes_the_video_frame_shown_nearest(rate_hz: float, lag_s: float) -> None:
    time_s = (np.arange(int(2 * rate_hz)) / rate_hz).astype(np.float32)
    chosen = nearest_frames(time_s, lag_s)
    wanted = np.arange(len(chosen)) / 25 + lag_s
    off = np.abs(time_s[chosen] - wanted)
    np.testing.assert_allclose(off, np.abs(time_s[None] - wanted[:, None]).min(1), atol=1e-6)
    assert wanted[-1] <= time_s[-1] + 0.02
    assert wanted[-1] + 0.04 > time_s[-1] + 0.02


def test_a_lag_beyond_the_video_leaves_nothing() -> None:
    assert len(nearest_frames(np.arange(10) / 25, 1.0)) == 0
