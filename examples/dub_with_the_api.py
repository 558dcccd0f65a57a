"""Dub a video from Python: python examples/dub_with_the_api.py [VIDEO SPEECH OUTPUT]."""

import sys
from pathlib import Path

import dubcli
from dubcli.records import Progress

HERE = Path(__file__).parent
DEFAULTS = (HERE / "media/franck.mp4", HERE / "media/speech.wav", HERE / "out_api.mp4")


def show(progress: Progress) -> None:
    """Print how far a stage is, once, when it is done.

    Args:
        progress: What ``dubcli.dub`` reports.
    """
    if progress.done == progress.total:
        print(f"{progress.stage}: {progress.done} done", file=sys.stderr)


def main() -> None:
    """Dub the video named on the command line, or the example, and print what was done."""
    if len(sys.argv) not in (1, 4):
        sys.exit(__doc__)
    video, speech, output = (Path(text) for text in sys.argv[1:]) if sys.argv[1:] else DEFAULTS
    options = dubcli.DubOptions(overwrite=True)
    try:
        report = dubcli.dub(video, speech, output, options=options, on_progress=show)
    except dubcli.DubError as error:
        sys.exit(f"error: {error}")
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{report.output}: {report.dubbed_frames} of {report.frames} frames dubbed")


if __name__ == "__main__":
    main()
