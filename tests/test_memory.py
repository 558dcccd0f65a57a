"""Memory does not grow with the length of a video."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dubcli.media.binary import find_ffmpeg

ROOT = Path(__file__).parents[1]
MEDIA = ROOT / "examples/media"
SHORT_S, LONG_S = 10, 60
RATE = 24
GROWTH_MB = 100  # what the short and the long one may differ by; measured: 7
FRAMES_MB = (LONG_S - SHORT_S) * RATE * 360 * 288 * 3 / 2**20  # by a list of frames: 356
PATIENCE_S = 1800  # not a benchmark: for machines that are busy with something else

# All of ``dub`` runs as it is - decoding, read-ahead, tracking's loop, fitting, speech, lip bank,
# the renderer's window over frames, paste-back, encoding - but for two networks, whose memory does
# not depend on the video's length and whose time would: MediaPipe gives the landmarks that it found
# in the first seconds over and over, and the renderer is a tiny untrained one of the same code.
PROGRAM = """
import json, resource, sys
from pathlib import Path

import torch

from dubcli import loading
from dubcli.pipeline import analysis, dub
from dubcli.config import DubOptions
from dubcli.networks.renderer import DualAttentionRenderer, RendererHyper
from dubcli.stages.track import Tracker

video, speech, output, remembered = sys.argv[1:4] + [int(sys.argv[4])]
options = DubOptions(threads=1, preset="ultrafast", lip_references=3, face_references=3)
models = loading.load_models(options)
torch.manual_seed(0)
tiny = RendererHyper(  # keys and values of one width, 56, as in the real one: attention is quick
    channels=8, geometry_channels=4, decoder_channels=4, half_channels=4, full_channels=4,
    key_channels=24, pncc_frequencies=8, position_frequencies=8,
)
renderer = DualAttentionRenderer(tiny).eval().requires_grad_(False)


class Remembers(Tracker):
    def meshes_px(self, rgb):
        if rgb.shape[1] < 360:  # a piece of the frame: there is no small face
            return []
        self.seen = getattr(self, "seen", [])
        self.count = getattr(self, "count", -1) + 1
        if self.count < remembered:
            self.seen.append(super().meshes_px(rgb))
        return list(self.seen[self.count % remembered])


analysis.Tracker = Remembers
values = {name: getattr(models, name) for name in loading.Models.__dataclass_fields__}
models = loading.Models(**{**values, "renderer": renderer})
report = dub(
    Path(video), Path(speech), Path(output), models=models, options=options
)
unit = 2**20 if sys.platform == "darwin" else 2**10
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
print(json.dumps({"frames": report.frames, "dubbed": report.dubbed_frames, "peak_mb": peak_mb}))
"""


def ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)


def measured(folder: Path, seconds: int) -> dict[str, float]:
    """Dub a clip of so many seconds in a process of its own."""
    video, speech, output = (
        folder / f"{seconds}-{name}" for name in ("clip.mp4", "speech.wav", "out.mp4")
    )
    for source, target, how in (
        ("franck.mp4", video, ["-an", "-preset", "ultrafast"]),
        ("speech.wav", speech, []),
    ):
        ffmpeg("-stream_loop", -1, "-i", MEDIA / source, "-t", seconds, *how, target)
    command = [sys.executable, "-c", PROGRAM, video, speech, output, RATE]
    done = subprocess.run(
        [str(argument) for argument in command],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
def test_peak_memory_of_a_minute_is_that_of_ten_seconds(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    short, long = (measured(tmp_path, seconds) for seconds in (SHORT_S, LONG_S))
    for result, seconds in ((short, SHORT_S), (long, LONG_S)):
        assert result["frames"] == result["dubbed"] == seconds * RATE
    assert GROWTH_MB < FRAMES_MB / 2  # a list of frames could not hide
    assert long["peak_mb"] - short["peak_mb"] < GROWTH_MB, (short, long)
