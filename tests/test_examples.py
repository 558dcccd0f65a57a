"""The examples run as a newcomer would run them, with the checkpoints we ship."""

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
CLIP_FRAMES = 216  # 9 s at 24 frames a second
SPEECH_FRAMES = 171  # ceil(7.1 s x 24 a second): the output ends with the speech
PATIENCE_S = 900  # two shared CPU cores


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "DUBCLI_MODELS"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment
    )


def test_example_media_are_what_the_notice_says() -> None:
    with av.open(EXAMPLES / "media/franck.mp4") as clip:
        stream = clip.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (360, 288, 24)
        assert sum(1 for _ in clip.decode(video=0)) == CLIP_FRAMES
    with av.open(EXAMPLES / "media/speech.wav") as speech:
        sound = speech.streams.audio[0]
        assert (sound.rate, sound.channels) == (16_000, 1)
        assert sum(frame.samples for frame in speech.decode(audio=0)) == 113_600


def test_api_example_without_its_three_paths_says_how_to_call_it() -> None:
    done = run(EXAMPLES / "dub_with_the_api.py", "clip.mp4")
    assert (done.returncode, done.stdout) == (1, "")
    assert "[VIDEO SPEECH OUTPUT]" in done.stderr


@pytest.mark.slow
def test_api_example_dubs_the_example_clip(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    media = EXAMPLES / "media"
    done = run(EXAMPLES / "dub_with_the_api.py", media / "franck.mp4", media / "speech.wav", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}: ")
    assert done.stdout.endswith(f" of {SPEECH_FRAMES} frames dubbed\n")
    with av.open(output) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == SPEECH_FRAMES
        assert len(clip.streams.audio) == 1
