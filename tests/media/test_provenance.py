"""What files say about themselves, read with a parser of boxes written here and an XML parser."""

import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import av
import pytest

from dubcli.config import DubOptions
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.provenance import Mark, notes_of, xmp_packet
from dubcli.media.reader import FrameReader
from dubcli.media.writer import FrameWriter
from dubcli.records import Carried

Make = Callable[..., Path]
UUID = "be7acfcb97a942e89c71999491e3afac"  # XMP specification, part 3, table 10
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
MARK = Mark("dubcli <1.0> & more", (("renderer", "ab" * 32), ("geometry", "cd" * 32)))


def boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the type and payload of each box, to the last byte (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        assert head <= size <= len(data) - at
        yield kind.decode("latin-1"), data[at + head : at + size]
        at += size


def write(video: Path, sound: Path, output: Path, mark: Mark | None) -> None:
    info, speech = probe_video(video), probe_audio(sound)
    options = DubOptions(preset="ultrafast")
    count = info.frame_count or 0
    with (
        FrameReader(info) as reader,
        FrameWriter(
            output, info, speech=speech, frame_count=count, options=options, mark=mark
        ) as writer,
    ):
        for frame in reader:
            writer.write(frame.rgb)


def decoded(raw: Callable[..., bytes], path: Path) -> str:
    pictures = raw(path, "-map", "0:v", "-f", "rawvideo")
    return hashlib.sha256(pictures + raw(path, "-map", "0:a", "-f", "f32le")).hexdigest()


@pytest.mark.parametrize("extension", ["mp4", "m4v", "mov", "mkv"])
def test_marked_file_says_so_and_plays_as_the_unmarked_one(
    clip: Make, speech: Make, raw: Callable[..., bytes], tmp_path: Path, extension: str
) -> None:
    video, sound = clip("a.mp4", s=0.4), speech(s=0.4)
    plain, marked = tmp_path / f"plain.{extension}", tmp_path / f"marked.{extension}"
    write(video, sound, plain, None)
    write(video, sound, marked, MARK)
    assert decoded(raw, marked) == decoded(raw, plain)
    with av.open(marked) as container:
        metadata = {k.lower(): v for k, v in container.metadata.items()}
    assert metadata["comment"] == MARK.comment
    if extension == "mkv":
        packet = metadata["xmp"]
        assert metadata["digital_source_type"] == TYPE
    else:
        found = list(boxes(marked.read_bytes()))
        assert [kind for kind, _ in found][:-1] == [k for k, _ in boxes(plain.read_bytes())]
        kind, payload = found[-1]
        assert (kind, payload[:16].hex()) == ("uuid", UUID)
        packet = payload[16:].decode()
    rdf = next(ElementTree.fromstring(packet).iter(f"{{{RDF}}}Description"))  # noqa: S314 - ours
    assert rdf.findtext(f"{{{IPTC}}}DigitalSourceType") == TYPE
    assert rdf.findtext("{http://ns.adobe.com/xap/1.0/}CreatorTool") == MARK.software
    listed = [each.text for each in rdf.iter(f"{{{RDF}}}li")]
    assert listed == [MARK.comment, f"renderer sha256:{'ab' * 32}", f"geometry sha256:{'cd' * 32}"]
    assert all(MARK.software not in str(v) for v in av_metadata(plain).values())


def av_metadata(path: Path) -> dict[str, str]:
    with av.open(path) as container:
        return dict(container.metadata)


def test_same_mark_gives_the_same_bytes() -> None:
    assert xmp_packet(MARK) == xmp_packet(MARK)
    assert "<1.0>" not in xmp_packet(MARK)


def test_comment_of_the_source_stays_and_ours_is_there_once(clip: Make) -> None:
    said = clip("said.mp4", "25", "-metadata", "comment=Take 3; good", s=0.2)
    notes = notes_of(MARK, Path("o.mp4"), Carried(said))
    assert notes == {"comment": f"Take 3; good; {MARK.comment}"}
    again = clip("again.mp4", "25", "-metadata", f"comment={notes['comment']}", s=0.2)
    assert notes_of(MARK, Path("o.mov"), Carried(again)) == notes
    assert notes_of(MARK, Path("o.mp4"), None) == {"comment": MARK.comment}
    long = clip("long.mkv", "25", "-metadata", f"comment={'x' * 30_000}", s=0.2)
    assert notes_of(MARK, Path("o.mov"), Carried(long)) == {}
