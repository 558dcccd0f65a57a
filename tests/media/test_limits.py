from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dubcli.config import DEFAULTS, DubOptions
from dubcli.errors import InputError
from dubcli.media.limits import refuse_too_large
from dubcli.media.probe import probe_audio, probe_video

Make = Callable[..., Path]


def test_limits_are_inclusive_and_name_what_is_too_large(clip: Make, speech: Make) -> None:
    info, sound = probe_video(clip("a.mp4", s=1)), probe_audio(speech(s=2.5))
    refuse_too_large(info, sound, DubOptions(max_pixels=64 * 48, max_seconds=3))
    refuse_too_large(replace(info, duration_s=None), sound, DEFAULTS)
    for options, said in (
        (
            DubOptions(max_pixels=3071),
            f"{info.path}: its pictures have 64 x 48 = 3072 pixels, --max-pixels allows 3071; "
            "raise it, or make the video smaller",
        ),
        (
            DubOptions(max_seconds=2),
            f"{sound.path}: lasts 2.5 s, --max-seconds allows 2; raise it, or cut the file",
        ),
    ):
        with pytest.raises(InputError) as raised:
            refuse_too_large(info, sound, options)
        assert str(raised.value) == said
