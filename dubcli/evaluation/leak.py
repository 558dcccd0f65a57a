"""The leak test: dubbed with silence, the mouth must stop.

What still moves then is the source's mouth, which leaks through the references and the pasting.
"""

import wave
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from dubcli.config import CacheOptions, DubOptions, EvaluationOptions
from dubcli.evaluation.lips import FEWEST, common_openings
from dubcli.evaluation.measures import number
from dubcli.evaluation.progress import named
from dubcli.evaluation.records import Quantity, Row
from dubcli.evaluation.streams import Guide, moments
from dubcli.geometry.window import WindowDrawer
from dubcli.loading import Models
from dubcli.media.probe import probe_video
from dubcli.metrics.flicker import Flicker
from dubcli.metrics.lip_sync import deviation_ratio
from dubcli.pace import pace_of
from dubcli.pipeline import OnProgress, analyze, dub
from dubcli.records import Analysis

OPENING = Quantity("leak: opening deviation", "lips", "cm", "lower")
SHARE = Quantity("leak: opening, of source", "lips", "%", "lower", 0.0)
FLICKER = Quantity(
    "leak: flicker, of source",
    "lips",
    "%",
    "lower",
    remark="grain, light and turns of the head remain where the mouth is still",
)
# Of the source's deviation. Dubs by the shipped networks left 4 to 9 % on five clips, partly the
# tracker's own trembling; a mouth that leaks through keeps nearly all.
STOPPED_PERCENT = 25.0
QUANTITIES = (OPENING, SHARE, FLICKER)
SILENCE_RATE_HZ = 16000
SAMPLE_BYTES = 2


def leak_rows(
    source: Path,
    analysis: Analysis,
    models: Models,
    options: EvaluationOptions,
    on_progress: OnProgress | None = None,
) -> Iterator[Row]:
    """Dub a video with silence and yield how far its mouth still moves.

    Args:
        source: The video as it was filmed.
        analysis: Of that video.
        models: From ``load_models``.
        options: How long the silence is, at most; where networks run.
        on_progress: Called with the progress of each stage, whose names begin with "leak".

    Raises:
        InputError: If the video cannot be dubbed.
        MediaError: If ffmpeg fails.
    """
    info = probe_video(source)
    length = min(Fraction(options.leak_seconds), pace_of(info).begins_s(len(analysis)))
    dubbing = DubOptions(
        device=options.device, models=options.models, threads=options.threads, cache=options.cache
    )
    passing = DubOptions(cache=CacheOptions(use=False))  # its dub is thrown away
    with TemporaryDirectory(prefix="dubcli-leak-") as name:
        folder = Path(name)
        silence, output = folder / "silence.wav", folder / "dub.mkv"
        write_silence(silence, length)
        watch = named("leak", on_progress)
        dub(source, silence, output, models=models, options=dubbing, on_progress=watch)
        watch = named("leak dub", on_progress)
        after = analyze(output, models=models, options=passing, on_progress=watch)
        ours, theirs = common_openings(after, analysis)
        if len(ours) < FEWEST:
            for quantity in QUANTITIES:
                yield quantity.missing(f"the face is seen in {len(ours)} frames only")
            return
        share = 100 * deviation_ratio(ours, theirs)
        said = "the mouth stops" if share <= STOPPED_PERCENT else "the mouth goes on"
        yield OPENING.row(float(ours.std()), float(theirs.std()))
        yield SHARE.row(share, note=f"{said} (limit {STOPPED_PERCENT:.0f} %)")
        guide = Guide(analysis, WindowDrawer(models.morphable))
        flicker, count = Flicker(), min(len(after), len(analysis))
        with closing(moments(probe_video(output), info, guide, count)) as seen:
            for moment in seen:
                if moment.masks is None or moment.made.face is None or moment.real is None:
                    flicker.cut()
                    continue
                flicker.update(moment.made.face, moment.real.face, moment.masks.lips)
        yield FLICKER.row(100 * number(flicker.ratio), 100.0)


def write_silence(path: Path, length_s: Fraction) -> None:
    """Write digital silence, 16 kHz mono, as a WAV file.

    Args:
        path: The file.
        length_s: Rounded to a whole sample, at least one.
    """
    samples = max(1, round(length_s * SILENCE_RATE_HZ))
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(SAMPLE_BYTES)
        sound.setframerate(SILENCE_RATE_HZ)
        sound.writeframes(bytes(samples * SAMPLE_BYTES))
