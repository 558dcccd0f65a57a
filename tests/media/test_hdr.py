import numpy as np
import pytest

from dubcli.media.hdr import cd_m2_from_pq, pq_from_cd_m2, pq_from_shown, shown_codes, shown_from_pq

# ITU-R BT.2408, table 1, and BT.2100: luminance and the signal it is coded as, in percent.
SIGNALS = [(0.0, 0.0), (26.0, 0.38), (100.0, 0.51), (203.0, 0.58), (1000.0, 0.75), (10000.0, 1.0)]


@pytest.mark.parametrize(("luminance", "signal"), SIGNALS)
def test_codes_are_those_of_the_recommendation(luminance: float, signal: float) -> None:
    assert float(pq_from_cd_m2(np.array(luminance))) == pytest.approx(signal, abs=0.005)
    assert float(cd_m2_from_pq(pq_from_cd_m2(np.array(luminance)))) == pytest.approx(
        luminance, rel=1e-9, abs=1e-6
    )


def test_what_is_seen_rises_with_the_code_and_can_be_undone() -> None:
    codes = np.linspace(0.01, 1, 5000)
    seen = shown_from_pq(codes)
    assert (np.diff(seen) > 0).all()
    assert 0 < seen[0] < seen[-1] < 1
    np.testing.assert_allclose(pq_from_shown(seen), codes, atol=1e-9)


def test_light_below_the_knee_is_what_an_sdr_screen_shows() -> None:
    grey = 0.5**2.4 * 203  # cd/m2: mid-grey of a BT.1886 screen whose white is 203 cd/m2
    assert float(shown_from_pq(pq_from_cd_m2(np.array(grey)))) == pytest.approx(0.5, abs=1e-6)
    assert shown_codes()[round(65535 * float(pq_from_cd_m2(np.array(grey))))] in {127, 128}
