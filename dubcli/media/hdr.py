"""PURE: HDR as SDR for the networks, and back.

Hybrid log-gamma is made to be looked at on an SDR screen as it is (ITU-R BT.2100, BT.2390). The
perceptual quantizer is not: its codes are absolute luminances. They are toned down channel by
channel with a curve that can be inverted: linear up to ``KNEE`` of HDR reference white, above
that bent so that 10 000 cd/m2 stay below 1, and coded for an SDR screen (BT.1886).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dubcli.records import Bytes

PQ, HLG = "smpte2084", "arib-std-b67"  # ffmpeg's names of the two transfer functions
WHITE_CD_M2 = 203.0  # HDR reference white, ITU-R BT.2408
PEAK_CD_M2 = 10_000.0
KNEE = 0.6
SDR_GAMMA = 2.4  # ITU-R BT.1886
# SMPTE ST 2084, equation 4.1
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32

Values = NDArray[np.float64]


def cd_m2_from_pq(code: Values) -> Values:
    """Return the luminance of PQ codes, 0 to 1 -> cd/m2 (SMPTE ST 2084).

    Example:
        >>> np.round(cd_m2_from_pq(np.array([0.0, 0.5, 1.0])), 1).tolist()
        [0.0, 92.2, 10000.0]
    """
    root = np.power(code, 1 / _M2)
    linear: Values = np.maximum(root - _C1, 0) / (_C2 - _C3 * root)
    return PEAK_CD_M2 * np.power(linear, 1 / _M1)


def pq_from_cd_m2(luminance: Values) -> Values:
    """Return the PQ codes of luminances, cd/m2 -> 0 to 1."""
    power = np.power(luminance / PEAK_CD_M2, _M1)
    code: Values = np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2)
    return code


def shown_from_pq(code: Values) -> Values:
    """Return what the networks see of PQ codes, 0 to 1 -> 0 to 1, any shape."""
    light = cd_m2_from_pq(code) / WHITE_CD_M2
    over = np.maximum(light - KNEE, 0) / (1 - KNEE)
    toned = np.where(light <= KNEE, light, KNEE + (1 - KNEE) * over / (1 + over))
    return np.power(toned, 1 / SDR_GAMMA)


def pq_from_shown(shown: Values) -> Values:
    """Return the PQ codes that are seen as given values; the inverse of ``shown_from_pq``."""
    brightest = float(shown_from_pq(np.ones(1))[0])
    toned = np.power(np.clip(shown, 0, brightest), SDR_GAMMA)
    share = np.maximum(toned - KNEE, 0) / (1 - KNEE)
    light = np.where(toned <= KNEE, toned, KNEE + (1 - KNEE) * share / (1 - share))
    return pq_from_cd_m2(light * WHITE_CD_M2)


@lru_cache(maxsize=1)
def shown_codes() -> Bytes:
    """Return what is seen of each 16-bit PQ code, [65536]."""
    codes = np.linspace(0, 1, 65536)
    return np.rint(255 * shown_from_pq(codes)).astype(np.uint8)
