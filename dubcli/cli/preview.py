"""``dubcli preview``: a contact sheet of a dub."""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from dubcli.cli import console
from dubcli.cli.options import (
    AudioEncoderOption,
    CacheFolderOption,
    CacheLimitOption,
    CloseInSilenceOption,
    DebugMaskOption,
    DeinterlaceOption,
    DeviceOption,
    FaceOption,
    FaceReferencesOption,
    JsonOption,
    LengthOption,
    LipReferencesOption,
    MaskFeatherOption,
    MaskGrowOption,
    MaxPixelsOption,
    MaxSecondsOption,
    ModelsOption,
    MouthScaleOption,
    OverwriteOption,
    RangeOption,
    SpeechArgument,
    SpeechAtOption,
    ThreadsOption,
    UseCacheOption,
    VideoArgument,
)
from dubcli.config import DEFAULTS, PREVIEW_MOMENTS, CacheOptions, DubOptions
from dubcli.records import PreviewReport
from dubcli.timecode import parse_time

SheetOption = Annotated[Path, typer.Option("--output", "-o", help="Picture to write, .png.")]
AtOption = Annotated[
    list[str] | None,
    typer.Option(help="Time to show: seconds or [[hh:]mm:]ss[.fff]; may be repeated."),
]
CountOption = Annotated[
    int | None,
    typer.Option(
        help="Moments to choose: half the widest mouths, half closures; 1 to 64.",
        show_default=f"{PREVIEW_MOMENTS}, none beside --at",
    ),
]


def preview(
    video: VideoArgument,
    speech: SpeechArgument,
    output: SheetOption,
    at: AtOption = None,
    count: CountOption = None,
    device: DeviceOption = DEFAULTS.device,
    models: ModelsOption = DEFAULTS.models,
    audio_encoder: AudioEncoderOption = DEFAULTS.audio_encoder,
    lip_references: LipReferencesOption = DEFAULTS.lip_references,
    face_references: FaceReferencesOption = DEFAULTS.face_references,
    mouth_scale: MouthScaleOption = DEFAULTS.mouth_scale,
    close_in_silence: CloseInSilenceOption = DEFAULTS.close_in_silence,
    length: LengthOption = DEFAULTS.length,
    deinterlace: DeinterlaceOption = DEFAULTS.deinterlace,
    face: FaceOption = DEFAULTS.face,
    ranges: RangeOption = None,
    speech_at: SpeechAtOption = DEFAULTS.speech_at,
    mask_grow: MaskGrowOption = DEFAULTS.mask_grow,
    mask_feather: MaskFeatherOption = DEFAULTS.mask_feather,
    debug_mask: DebugMaskOption = DEFAULTS.debug_mask,
    max_pixels: MaxPixelsOption = DEFAULTS.max_pixels,
    max_seconds: MaxSecondsOption = DEFAULTS.max_seconds,
    threads: ThreadsOption = DEFAULTS.threads,
    overwrite: OverwriteOption = DEFAULTS.overwrite,
    cache: UseCacheOption = DEFAULTS.cache.use,
    cache_folder: CacheFolderOption = DEFAULTS.cache.folder,
    cache_limit: CacheLimitOption = DEFAULTS.cache.limit_mb,
    as_json: JsonOption = False,
) -> None:
    """Show a few frames of the dub of INPUT with SPEECH, source over dub, in one picture.

    No video is written. The frames are those that dub would encode.
    """
    from dubcli.preview import preview as run

    options = DubOptions(
        device=device,
        models=models,
        audio_encoder=audio_encoder,
        lip_references=lip_references,
        face_references=face_references,
        mouth_scale=mouth_scale,
        close_in_silence=close_in_silence,
        length=length,
        deinterlace=deinterlace,
        face=face,
        ranges=", ".join(ranges or ()),
        speech_at=speech_at,
        mask_grow=mask_grow,
        mask_feather=mask_feather,
        debug_mask=debug_mask,
        max_pixels=max_pixels,
        max_seconds=max_seconds,
        threads=threads,
        overwrite=overwrite,
        cache=CacheOptions(cache, cache_folder, cache_limit),
    )
    times = [parse_time(text, "--at") for text in at or ()]
    with console.progress() as on_progress:
        report = run(
            video, speech, output, at=times, count=count, options=options, on_progress=on_progress
        )
    _print(report, as_json=as_json)


def _print(report: PreviewReport, *, as_json: bool) -> None:
    """Print what a sheet shows to stdout."""
    if as_json:
        typer.echo(json.dumps(asdict(report), default=_plain, indent=2))
        return
    from dubcli.preview import label_of

    console.print_rows(
        [
            ("output", str(report.output)),
            ("frames of the dub", str(report.frames)),
            *(("tile", label_of(tile)) for tile in report.tiles),
            *((stage, f"{seconds:.1f} s") for stage, seconds in report.seconds.items()),
            *(("warning", warning) for warning in report.warnings),
        ]
    )


def _plain(value: object) -> object:
    """Return what JSON has no type for: fractions as numbers, paths as text."""
    return float(value) if isinstance(value, Fraction) else str(value)
