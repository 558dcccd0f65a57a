from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.errors import InputError
from dubcli.media.channels import ChannelWriter
from dubcli.media.speech_cut import Passage, assemble

Make = Callable[..., Path]
Samples = Callable[[Path], NDArray[np.float64]]
EXACT, RESAMPLED = 1e-7, 0.02


def test_passages_lie_where_they_are_asked_for_and_silence_between(
    speech: Make, samples: Samples, tmp_path: Path
) -> None:
    mono, stereo = speech("m.wav", rate=16000), speech("s.wav", rate=48000, channels=2)
    found = assemble(
        [
            Passage(stereo, Fraction(1, 10), Fraction(1, 4), Fraction(0)),
            Passage(mono, Fraction(1, 5), Fraction(1, 2), Fraction(1)),
            Passage(stereo, Fraction(1), Fraction(1), Fraction(3, 2)),  # ends after 1.2345 s
        ],
        tmp_path / "a.w64",
    )
    heard, one, two = samples(found.path), samples(mono), samples(stereo)
    assert (found.rate_hz, found.channels, found.sample_count) == (48000, 2, 120000)
    assert heard.shape == (120000, 2)
    np.testing.assert_allclose(heard[:12000], two[4800:16800], atol=EXACT)
    assert not heard[12000:48000].any()
    middle = heard[48000:72000:3] - one[3200:11200]  # mono on both sides
    assert np.abs(middle[100:-100]).max() < RESAMPLED
    rest = len(two) - 48000
    np.testing.assert_allclose(heard[72000 : 72000 + rest], two[48000:], atol=EXACT)
    assert not heard[72000 + rest :].any()


def test_sound_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="oh"), ChannelWriter(tmp_path / "a.w64", 8000, "mono"):
        raise InputError("oh")
    assert list(tmp_path.iterdir()) == []
