"""Takes an output's pictures out of the parts that hold them, one file each, with the sound."""

from dataclasses import replace
from pathlib import Path

from dubcli.errors import MediaError
from dubcli.media import command
from dubcli.media.binary import find_ffmpeg
from dubcli.media.finish import Recipe, packets_of
from dubcli.media.outputs import names_of, sound_of
from dubcli.media.process import FfmpegProcess
from dubcli.media.provenance import xmp_packet
from dubcli.media.stills import PNG_MARK, ColourTags, colour_tags, tagged_png, tagged_tiff
from dubcli.records import Pictures

FIRST = 1  # the number of the first picture of what was no sequence


def finish_pictures(
    recipe: Recipe, partial: Path, output: Path, source: Pictures | None, *, layer: bool
) -> None:
    """Write a picture sequence and its sound.

    A part's packets are whole PNG or TIFF files: they are stored as they are, but for what they say
    of their colours, which is what the source's first picture says, and of how they were made.

    Args:
        recipe: What it is made of.
        partial: The folder to make.
        output: The pattern of the names.
        source: The sequence that was dubbed: numbers go on from its first; None: it was none.
        layer: Whether the pictures are patches alone, whose alpha is straight.

    Raises:
        MediaError: If a part is damaged, a file cannot be written, or ffmpeg fails.
    """
    names, first = names_of(output), FIRST if source is None else source.first
    tags: ColourTags | None = None
    if source is not None:
        tags = colour_tags(source.names.path(first))
        tags = replace(tags, premultiplied=tags.premultiplied and not layer)
    xmp = b"" if recipe.mark is None else xmp_packet(recipe.mark).encode()
    try:
        partial.mkdir()
        for _, packet, shown, _ in packets_of(recipe):
            picture = bytes(packet)
            tagged = tagged_png if picture.startswith(PNG_MARK) else tagged_tiff
            (partial / names.name(first + shown)).write_bytes(tagged(picture, tags, xmp))
    except OSError as error:
        raise MediaError(str(error.strerror)) from error
    arguments = command.finish_sound(
        find_ffmpeg(),
        partial / sound_of(output).name,
        recipe.speech,
        codec=recipe.soundtrack.codec,
        arrangement=recipe.arrangement,
        notes={} if recipe.mark is None else {"comment": recipe.mark.comment},
    )
    with FfmpegProcess(arguments) as process:
        if process.finish() != 0:
            raise MediaError(process.complaint() or "it gave no reason")
