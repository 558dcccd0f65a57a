"""The measuring expert finds by how much a sound was shifted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dubcli.config import EvaluationOptions
from dubcli.evaluation.evaluate import evaluate
from dubcli.loading import Models

TALK = Path(__file__).parents[1] / "media_files/dubbed_mouth.mp4"
SHIFT_FRAMES = 5  # at 25 a second: 0.2 s


def test_a_video_beside_itself_with_shifted_sound_is_off_by_the_shift(
    tmp_path: Path, models: Models, options: EvaluationOptions, ffmpeg: Callable[..., None]
) -> None:
    shifted = tmp_path / "shifted.mp4"
    # Sound that lacks its beginning comes early, so the mouth comes late.
    early = f"atrim=start={SHIFT_FRAMES / 25},asetpts=PTS-STARTPTS"
    ffmpeg("-i", TALK, "-c:v", "copy", "-af", early, shifted)
    seldom = replace(options, every=1000)  # pictures do not matter here
    result = evaluate(shifted, TALK, models=models, options=seldom)
    offset = result.row("sync offset")
    assert (offset.value, offset.real) == (SHIFT_FRAMES, 0)
    confidence = result.row("sync confidence (LSE-C)").value
    assert confidence is not None
    assert confidence > 0
