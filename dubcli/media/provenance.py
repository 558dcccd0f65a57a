"""Saying in a file that its video was altered by AI dubbing, without touching picture or sound.

An XMP packet (ISO 16684-1) with the property by which programs and platforms know synthetic media:
IPTC's Digital Source Type. In .mp4 and .mov it is a ``uuid`` box at the end of the file, where no
offset of another box changes (XMP specification, part 3, 1.3.6 and 1.3.7); in .mkv it is a tag.
Beside it stands a comment in plain words.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from dubcli.errors import MediaError
from dubcli.media.files import open_media
from dubcli.records import Carried

ISO_CONTAINERS = frozenset({".mp4", ".m4v", ".mov"})  # those that are made of boxes
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
# IPTC NewsCodes: a real recording, parts of which a trained network has made.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
OWN_NAMESPACE = "urn:dubcli:provenance:1:"
LONGEST_COMMENT = 20_000  # characters; Linux allows an argument 128 KiB
SENTENCE = "The speaker's lips and speech were replaced: AI dubbing"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs."""

    certificate: Path  # PEM, the signer's and those it follows from
    key: Path  # PEM, PKCS#8


@dataclass(frozen=True, slots=True)
class Mark:
    """What an output says about how it was made."""

    software: str  # name and version
    models: tuple[tuple[str, str], ...] = ()  # name and SHA-256 of each file of weights
    credentials: Credentials | None = None  # None: it is not signed

    @property
    def comment(self) -> str:
        """In plain words."""
        return f"{SENTENCE} with {self.software}"


def xmp_packet(mark: Mark) -> str:
    """Return what a file says about itself, as XMP; the same mark, the same text.

    Args:
        mark: What is to be said.
    """
    models = "".join(
        f"<rdf:li>{escape(name)} sha256:{escape(sha256)}</rdf:li>" for name, sha256 in mark.models
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about=""'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' xmlns:dubcli="{OWN_NAMESPACE}">'
        f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        f"<xmp:CreatorTool>{escape(mark.software)}</xmp:CreatorTool>"
        '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">'
        f"{escape(mark.comment)}</rdf:li></rdf:Alt></dc:description>"
        f"<dubcli:models><rdf:Bag>{models}</rdf:Bag></dubcli:models>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )


def notes_of(mark: Mark, partial: Path, carried: Carried | None) -> dict[str, str]:
    """Return the metadata that ffmpeg writes into an output.

    Args:
        mark: What is to be said.
        partial: The file to be written; its extension is that of the output.
        carried: What comes along from the source: its comment stays, before ours; alone, if it
            is too long to be passed on to a program.
    """
    said = _comment(carried.path) if carried is not None else ""
    notes = {}
    if len(said) <= LONGEST_COMMENT:
        notes["comment"] = f"{said}; {mark.comment}" if said else mark.comment
    if partial.suffix.lower() == ".mkv":
        notes |= {"DIGITAL_SOURCE_TYPE": SOURCE_TYPE, "XMP": xmp_packet(mark)}
    return notes


def _comment(path: Path) -> str:
    """Return the comment in a video's metadata, without what an earlier mark has added to it."""
    with open_media(path) as container:
        metadata: Mapping[str, str] = {k.lower(): v for k, v in container.metadata.items()}
    return metadata.get("comment", "").partition(SENTENCE)[0].rstrip("; ")


def append_xmp(path: Path, mark: Mark) -> None:
    """Add a ``uuid`` box with the XMP packet at the end of an .mp4 or .mov.

    Args:
        path: A whole file.
        mark: What is to be said.

    Raises:
        MediaError: If it cannot be written.
    """
    payload = XMP_UUID + xmp_packet(mark).encode()
    try:
        with path.open("ab") as file:
            file.write(struct.pack(">I4s", 8 + len(payload), b"uuid") + payload)
    except OSError as error:
        raise MediaError(f"the provenance could not be added ({error.strerror})") from error
