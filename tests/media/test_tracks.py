"""Tracks, chapters, timecode and metadata, from any container to any other."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from dubcli.config import DubOptions
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.media.tracks import tracks_of
from dubcli.media.writer import FrameWriter
from dubcli.records import Carried, CarriedStream

Make = Callable[..., Path]
NOTES = (
    ";FFMETADATA1\ntitle=A film\ncreation_time=2020-01-02T03:04:05.000000Z\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=2000\ntitle=Two\n"
)
WORDS = "1\n00:00:00,000 --> 00:00:00,300\nHello\n\n2\n00:00:01,000 --> 00:00:01,300\nBye\n"


@pytest.fixture
def film(make: Make, clip: Make, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a film with a second sound, subtitles, chapters, timecode."""
    notes, words = tmp_path / "notes.txt", tmp_path / "words.srt"
    notes.write_text(NOTES)
    words.write_text(WORDS)

    def build(extension: str, *coded: str) -> Path:
        tones = [part for pitch in ("440", "880") for part in ("-f", "lavfi", "-i",
                 f"sine=f={pitch}:d=2")]  # fmt: skip
        words_codec = "srt" if extension == "mkv" else "mov_text"
        return make(
            f"film.{extension}",
            *("-i", f"file:{clip('a.mp4')}", *tones, "-i", f"file:{words}", "-i", f"file:{notes}"),
            *("-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s"),
            *("-map_metadata", "4", "-map_chapters", "4", "-c:v", "copy", "-c:s", words_codec),
            *("-metadata:s:a:1", "language=fra", "-timecode", "01:02:03:04", "-c:a", "aac", *coded),
        )

    return build


def copied(source: Path, output: Path, sound: Path) -> tuple[str, ...]:
    """Write the first 15 frames of a film with other speech, and what comes along."""
    info = probe_video(source)
    carried, said = tracks_of(source, output.suffix, Fraction(16, 25))
    writer = FrameWriter(
        output,
        info,
        speech=probe_audio(sound),
        frame_count=15,
        options=DubOptions(preset="ultrafast"),
        carried=carried,
        planes=True,
    )
    with FrameReader(info, 0, 15) as reader, writer:
        for frame in reader:
            assert frame.planes is not None
            writer.write(frame.planes)
    return said


@pytest.mark.parametrize("source", ["mov", "mkv", "mp4"])
@pytest.mark.parametrize("target", ["mov", "mkv", "mp4"])
def test_all_tracks_come_along(
    film: Callable[..., Path], speech: Make, tmp_path: Path, source: str, target: str
) -> None:
    output = tmp_path / f"out.{target}"
    assert copied(film(source), output, speech(s=0.6)) == ()
    with av.open(str(output)) as container:
        kinds = [stream.type for stream in container.streams if stream.type != "data"]
        assert kinds == ["video", "audio", "audio", "subtitle"]
        assert container.streams.audio[1].metadata["language"] == "fra"
        assert container.streams.audio[1].codec_context.name == ("aac")
        told = {key.lower(): value for key, value in container.metadata.items()}
        assert told["title"] == "A film"
        assert told["creation_time"] == "2020-01-02T03:04:05.000000Z"
        codes = [stream.metadata.get("timecode") for stream in container.streams]
        assert "01:02:03:04" in [told.get("timecode"), *codes]
        chapters = [
            (each["metadata"]["title"], float(each["end"] * (each["time_base"] or 0)))
            for each in container.chapters()
        ]
        assert chapters == [("One", 0.4), ("Two", pytest.approx(0.64))]
        assert container.streams.video[0].frames in {0, 15}  # Matroska does not count
    assert probe_video(output).frame_count == 15


def test_what_a_container_cannot_hold_is_named(film: Callable[..., Path]) -> None:
    source = film("mkv", "-c:a", "pcm_s16le")
    carried, said = tracks_of(source, ".mp4", Fraction(2))
    assert said == ("the output does not hold these tracks of the video: audio 2 (pcm_s16le)",)
    assert carried == Carried(source, (CarriedStream(3, "mov_text"),), "01:02:03:04", Fraction(2))
    assert tracks_of(source, ".mov", Fraction(2))[0].streams[0] == CarriedStream(2)


def test_a_plain_video_brings_no_tracks(bframes: Path) -> None:
    carried, said = tracks_of(bframes, ".mp4", Fraction(2))
    assert (carried.streams, carried.timecode, said) == ((), None, ())
