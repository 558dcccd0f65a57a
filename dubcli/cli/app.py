"""The command line: ``dubcli dub``, ``evaluate``, ``style-sim``, ``models``, ``train``.

Commands only translate: options in, one call of the Python API, the result out. They hold no
``try``: ``typer.Exit`` is a ``RuntimeError``, and a broad ``except`` would swallow it. ``main`` is
the one place where an exception becomes a line on stderr and an exit code:
0 done, 1 unexpected, 2 bad input or option, 3 checkpoint, 4 media, 130 interrupted; 11 to 109 from
``batch``: so many minus 10 jobs failed.

What loads torch is imported inside the commands, so that ``--help`` answers at once.
"""

import io
import os
import sys
import traceback
from typing import Annotated

import typer

from dubcli import __version__
from dubcli.checkpoints import models_root, read_manifest, verified_file
from dubcli.cli import console
from dubcli.cli.batch import batch
from dubcli.cli.bench import bench
from dubcli.cli.cache import cache_app
from dubcli.cli.doctor import doctor
from dubcli.cli.dub_options import takes_dub_options
from dubcli.cli.evaluate import evaluate
from dubcli.cli.faces import faces
from dubcli.cli.options import (
    AlsoOption,
    JsonOption,
    ModelsOption,
    OutputOption,
    ReportOption,
    ResumeDubOption,
    SpeechArgument,
    VideoArgument,
)
from dubcli.cli.preview import preview
from dubcli.cli.style_sim import style_sim
from dubcli.cli.train import train_app
from dubcli.config import DEFAULTS, DubOptions
from dubcli.errors import CollectedInputError, DubError
from dubcli.line import parse_line

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
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")
app.add_typer(cache_app, name="cache")
app.command("preview")(preview)
app.command("bench")(bench)
app.command("batch")(batch)
app.command("style-sim")(style_sim)
app.command("evaluate")(evaluate)
app.command("doctor")(doctor)
app.command("faces")(faces)


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
@takes_dub_options()
def dub(
    video: VideoArgument,
    speech: SpeechArgument,
    output: OutputOption,
    also: AlsoOption = None,
    options: DubOptions = DEFAULTS,
    report: ReportOption = None,
    resume: ResumeDubOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the lips in INPUT follow SPEECH and write the result to OUTPUT.

    Put -- before file names that begin with a dash.
    """
    from dubcli.pipeline import dub as run

    with console.progress() as on_progress:
        done = run(
            video,
            speech,
            output,
            also=[parse_line(text) for text in also or ()],
            options=options,
            report=report,
            resume=resume,
            on_progress=on_progress,
        )
    console.print_report(done, as_json=as_json)


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
    except CollectedInputError as error:
        for sentence in error.sentences:
            console.print_error(sentence)
        _fail(f"error: {error}", error.exit_code)
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
