"""Dub clips with their own and with each other's speech, then measure what comes out.

    python examples/measure_dubs.py CLIPS OUT [--most N] [--longest SECONDS] [--threads N]

CLIPS is a folder of videos with sound. OUT receives the dubs, a contact sheet (source over dub) for
each, and the table printed here. Columns, per clip: the correlation of the dub's inner-lip opening,
tracked again in the finished file, with the source's (own speech: near 1 is right; another's: near
0), how far it moves beside the source's (1 is right), and the frame-to-frame change of the mouth's
pixels beside the source's (above 1 trembles, below 1 is too smooth).
"""

import argparse
import itertools
from pathlib import Path

import cv2
import numpy as np

import dubcli
from dubcli.geometry.crop import cut_out
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.metrics.lip_sync import correlation, deviation_ratio
from dubcli.records import Analysis, Bytes
from dubcli.stages.render import crop_of

MOUTH = (slice(118, 214), slice(72, 184))  # rows and columns of the 256 px face crop
SHEET_FRAMES = 6


def mouths(video: Path, analysis: Analysis) -> list[Bytes]:
    """Return the mouth of every frame, cut out along the same path in source and dub."""
    with FrameReader(probe_video(video)) as frames:
        return [
            cut_out(f.rgb, crop_of(analysis, f.index))[MOUTH]
            for f in frames
            if f.index < len(analysis) and analysis.valid[f.index]
        ]


def change(pictures: list[Bytes]) -> float:
    """Return the mean absolute change from frame to frame, grey levels."""
    pairs = itertools.pairwise(pictures)
    return float(np.mean([np.abs(a.astype(np.int16) - b).mean() for a, b in pairs]))


def write_sheet(path: Path, source: list[Bytes], dub: list[Bytes]) -> None:
    """Write evenly spaced mouths, source over dub, three times enlarged."""
    count = min(len(source), len(dub))
    chosen = np.linspace(1, count - 2, SHEET_FRAMES).astype(int)
    rows = [np.concatenate([p[i] for i in chosen], axis=1) for p in (source, dub)]
    sheet = cv2.resize(np.concatenate(rows), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), sheet[:, :, ::-1])


def measure(
    clip: Path, speech: Path, output: Path, models: object, options: dubcli.DubOptions
) -> tuple[float, float, float]:
    """Dub one clip and return correlation, deviation ratio and change ratio."""
    dubcli.dub(clip, speech, output, models=models, options=options)
    before = dubcli.analyze(clip, models=models)
    after = dubcli.analyze(output, models=models)
    count = min(len(before), len(after))
    both = before.valid[:count] & after.valid[:count]
    true, made = before.lip_aperture[:count][both], after.lip_aperture[:count][both]
    source, dub = mouths(clip, before), mouths(output, before)
    write_sheet(output.with_suffix(".png"), source, dub)
    still = change(source[: len(dub)])
    return correlation(made, true), deviation_ratio(made, true), change(dub) / max(still, 1e-6)


def main() -> None:
    """Measure a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--most", type=int, default=1000, help="clips dubbed with another's speech")
    parser.add_argument("--longest", type=float, default=20.0, help="skip longer clips, seconds")
    parser.add_argument("--threads", type=int, default=0)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    options = dubcli.DubOptions(overwrite=True, threads=chosen.threads)
    models = dubcli.load_models(options)
    clips = [
        clip
        for clip in sorted(chosen.clips.glob("*.mp4"))
        if float(probe_audio(clip).duration_s) <= chosen.longest
    ]
    print("clip             speech           correlation  deviation  change", flush=True)
    table: dict[str, list[tuple[float, float, float]]] = {"own": [], "another's": []}
    for k, clip in enumerate(clips):
        other = clips[(k + 1) % len(clips)]
        for label, speech in (("own", clip), ("another's", other)):
            if label == "another's" and k >= chosen.most:
                continue
            output = chosen.out / f"{clip.stem}-{speech.stem}.mp4"
            try:
                row = measure(clip, speech, output, models, options)
            except dubcli.DubError as error:
                print(error, flush=True)
                continue
            table[label].append(row)
            print(
                f"{clip.stem:<16} {label:<16} {row[0]:11.3f} {row[1]:10.2f} {row[2]:7.2f}",
                flush=True,
            )
    for label, rows in table.items():
        r, d, c = np.nanmedian(np.array(rows), axis=0) if rows else (np.nan,) * 3
        print(f"median           {label:<16} {r:11.3f} {d:10.2f} {c:7.2f}   ({len(rows)} clips)")


if __name__ == "__main__":
    main()
