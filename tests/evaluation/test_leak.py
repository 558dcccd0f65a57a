"""The leak test, with the networks we ship and with a dub that is no dub."""

import shutil
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dubcli.config import EvaluationOptions
from dubcli.evaluation import leak
from dubcli.evaluation.leak import leak_rows, write_silence
from dubcli.evaluation.records import Row
from dubcli.loading import Models
from dubcli.pipeline import analyze


def measured(clip: Path, models: Models, options: EvaluationOptions) -> dict[str, Row]:
    rows = leak_rows(clip, analyze(clip, models=models), models, options)
    return {row.metric: row for row in rows}


def test_dubbed_with_silence_the_mouth_stops(
    clip: Path, models: Models, options: EvaluationOptions
) -> None:
    rows = measured(clip, models, options)
    opening = rows["leak: opening deviation"]
    assert opening.value is not None
    assert opening.real is not None
    share = rows["leak: opening, of source"]
    assert share.value == pytest.approx(100 * opening.value / opening.real)
    assert share.value < 25
    assert share.note == "the mouth stops (limit 25 %)"
    assert 0 < (rows["leak: flicker, of source"].value or 0) < 80


def test_a_dub_that_keeps_the_sources_mouth_is_found_out(
    clip: Path, models: Models, options: EvaluationOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Path] = []

    def pretend(source: Path, silence: Path, output: Path, **_: Any) -> None:
        heard.append(silence)
        shutil.copy(source, output)

    monkeypatch.setattr(leak, "dub", pretend)
    rows = measured(clip, models, options)
    assert rows["leak: opening, of source"].value == pytest.approx(100)
    assert rows["leak: opening, of source"].note == "the mouth goes on (limit 25 %)"
    assert rows["leak: flicker, of source"].value == pytest.approx(100)
    assert not heard[0].parent.exists()  # nothing is left behind


def test_silence_is_as_long_as_asked_and_silent(tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    write_silence(path, Fraction(36, 25))
    with wave.open(str(path)) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (16_000, 23_040)
        assert not np.frombuffer(sound.readframes(23_040), np.int16).any()
