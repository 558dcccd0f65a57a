"""Timelines of editing programs (OTIO, EDL, FCPXML) to jobs: one for each video file they use.

The rule: clips of the first video track are dubbed with what lies under them on the dub track.
That is the audio track named "dub", else the only one with files that are not the videos' own. The
output is the video file from its first frame to its last, dubbed only where the timeline uses it
and speech lies under it; it takes the file's place in the edit without moving anything.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from dubcli.batch.check import Named, problem_of_input, problems_of_outputs
from dubcli.batch.records import Job, Plan
from dubcli.config import CONTAINERS, TIMELINE_SUFFIXES, DubOptions
from dubcli.errors import CollectedInputError, DubError, InputError, MissingExtraError
from dubcli.media.files import header_of
from dubcli.media.speech_cut import Passage, assemble
from dubcli.media.writer import partial_path

if TYPE_CHECKING:
    from opentimelineio.schema import Clip, Timeline, Track

DUB = "dub"
SPEECH_FOLDER = ".dubcli-speech"
DIGITS = 9  # after the point of a second, in options


@dataclass(frozen=True, slots=True)
class Use:
    """A clip: which part of which file it shows, and when."""

    name: str
    path: Path
    from_s: Fraction  # in the file
    at_s: Fraction  # in the timeline
    length_s: Fraction
    frame_s: Fraction  # length of a frame of the timeline


@dataclass(frozen=True, slots=True)
class Line:
    """What is said in a video file: a passage of a recording, at a place of the file."""

    use: Use  # of the video
    passage: Passage


def read_timeline_jobs(
    timeline: Path, folder: Path, options: DubOptions, rate: Fraction | None = None
) -> Plan:
    """Return the jobs of a timeline; speeches are put together in a folder beside the outputs.

    Args:
        timeline: An .otio, .edl or .fcpxml file. Its media are found from its own folder.
        folder: Of the outputs.
        options: Of every job.
        rate: Frames a second of an EDL, which says nothing of it.

    Raises:
        InputError: If the timeline cannot be read, or nothing in it is dubbed.
        CollectedInputError: If clips are wrong: a sentence for each error of each.
        MissingExtraError: If the readers are not installed.
    """
    problems: list[str] = []
    root = _read(timeline, rate)
    shown, spoken = _tracks(timeline, root)
    videos = list(_uses(shown, timeline, problems))
    sounds = list(_uses(spoken, timeline, problems))
    lines = sorted(_lines(videos, sounds), key=lambda line: line.passage.at_s)
    named = []
    for video in dict.fromkeys(use.path for use in videos):
        own = [line for line in lines if line.use.path == video]
        if not own:
            continue
        problems += _collisions(own)
        named.append(Named(f"{timeline}: clip {own[0].use.name!r}", _job(own, folder, options)))
    problems += problems_of_outputs(named)
    if problems:
        raise CollectedInputError(timeline, [_placed(timeline, each) for each in problems])
    if not named:
        raise InputError(
            f"{timeline}: no clip of the dub track lies under a clip of the video track; "
            "put the speech under the shots"
        )
    for each in named:
        _speak([line for line in lines if line.use.path == each.job.video], each.job.speech)
    return Plan(folder, tuple(each.job for each in named), options)


def _placed(timeline: Path, problem: str) -> str:
    """Return a sentence that names the timeline."""
    return problem if problem.startswith(str(timeline)) else f"{timeline}: {problem}"


def _read(path: Path, rate: Fraction | None) -> "Timeline":
    """Return the one timeline of a file."""
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise MissingExtraError("timeline") from error
    if problem := problem_of_input(path):
        raise InputError(problem)
    suffix = path.suffix.lower()
    if (suffix == ".edl") != (rate is not None):
        if rate is None:
            raise InputError(f"{path}: an EDL does not say its frame rate; give it with --rate")
        raise InputError(f"{path}: says its frame rate itself; leave out --rate")
    more: dict[str, Any] = {} if rate is None else {"rate": float(rate)}
    try:
        found = otio.adapters.read_from_file(
            str(path), adapter_name=TIMELINE_SUFFIXES[suffix], **more
        )
        if isinstance(found, otio.schema.Timeline):
            return found
        timelines = found.find_children(descended_from_type=otio.schema.Timeline)
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply; export it again") from error
    except Exception as error:  # adapters raise whatever they stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: no timeline that can be read ({reason:.120})") from error
    if len(timelines) != 1:
        raise InputError(f"{path}: holds {len(timelines)} timelines; export one of them")
    only: Timeline = timelines[0]
    return only


def _tracks(path: Path, timeline: "Timeline") -> tuple["Track", "Track"]:
    """Return the first video track and the dub track."""
    shown = [track for track in timeline.video_tracks() if _clips(track)]
    if not shown:
        raise InputError(f"{path}: no video track with clips; put the shots on one")
    own = {_url(clip) for clip in _clips(shown[0])}
    audio = [t for t in timeline.audio_tracks() if any(_url(c) not in own for c in _clips(t))]
    dubs = [track for track in audio if track.name.strip().lower() == DUB] or audio
    if len(dubs) != 1:
        raise InputError(
            f"{path}: {len(dubs)} audio tracks could hold the speech; name the right one {DUB!r}"
        )
    return shown[0], dubs[0]


def _clips(track: "Track") -> "list[Clip]":
    import opentimelineio as otio

    return [item for item in track if isinstance(item, otio.schema.Clip)]


def _url(clip: "Clip") -> str:
    """Return where a clip's file is, as the timeline says; else its name, as EDLs have it."""
    url = getattr(clip.media_reference, "target_url", None)
    return str(url or clip.name or "")


def _uses(track: "Track", timeline: Path, problems: list[str]) -> Iterator[Use]:
    """Yield what the clips of a track show; what is wrong with the others is added."""
    import opentimelineio as otio

    for item in track:
        where = f"clip {item.name!r}"
        if isinstance(item, otio.schema.Stack | otio.schema.Track):
            problems.append(f"{where}: is compound; flatten it before the export")
        if not isinstance(item, otio.schema.Clip):
            continue
        if any(isinstance(effect, otio.schema.TimeEffect) for effect in item.effects):
            problems.append(f"{where}: its speed is changed; render it first")
            continue
        try:
            yield _use(item, track, timeline)
        except InputError as error:
            problems.append(f"{where}: {error}")
        except Exception as error:  # noqa: BLE001 - impossible times, deep in a library
            problems.append(f"{where}: its times make no sense ({error!s:.80}); export it again")


def _use(clip: "Clip", track: "Track", timeline: Path) -> Use:
    path = _media(_url(clip), timeline.parent)
    if problem := problem_of_input(path):
        raise InputError(problem)
    header = header_of(path)
    placed, trimmed = track.range_of_child(clip), clip.trimmed_range()
    available = getattr(clip.media_reference, "available_range", None)
    from_s = _seconds(trimmed.start_time)
    if available is not None:
        from_s -= _seconds(available.start_time)
    elif header.timecode_frames is not None:
        from_s -= header.timecode_frames / Fraction(trimmed.start_time.rate)
    # A trimmed track begins there. Of an EDL it begins before nought: so late is its first event.
    begins_s = _seconds(track.source_range.start_time) if track.source_range else Fraction(0)
    use = Use(
        clip.name,
        path,
        from_s,
        _seconds(placed.start_time) - begins_s,
        _seconds(placed.duration),
        1 / Fraction(placed.duration.rate).limit_denominator(1001),
    )
    end_s = from_s + use.length_s
    if use.length_s <= 0 or from_s < 0 or (header.duration_s or end_s) + use.frame_s < end_s:
        lasts = f", which lasts {float(header.duration_s):.2f} s" if header.duration_s else ""
        raise InputError(
            f"asks for {float(from_s):.2f} to {float(end_s):.2f} s of {path}{lasts}; "
            "relink it to the right file"
        )
    return use


def _seconds(time: Any) -> Fraction:
    """Return a RationalTime in seconds; rates such as 29.97 are taken for what they stand for."""
    rate = Fraction(time.rate).limit_denominator(1001)
    return Fraction(time.value).limit_denominator(10**6) / rate


def _media(url: str, folder: Path) -> Path:
    """Return the file that a timeline means, found from its own folder."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"}:
            raise InputError(f"{url}: lies on another machine; copy it here and relink it")
        return folder / unquote(parts.path)
    if "://" in url:
        raise InputError(f"{url}: is no file here; copy it and relink it")
    if not url:
        raise InputError("names no file; relink it")
    plain = folder / url
    return plain if plain.exists() or "%" not in url else folder / unquote(url)


def _lines(videos: Sequence[Use], sounds: Sequence[Use]) -> Iterator[Line]:
    """Yield a line for each stretch of the timeline in which a sound lies under a shot."""
    for video in videos:
        for sound in sounds:
            start = max(video.at_s, sound.at_s)
            stop = min(video.at_s + video.length_s, sound.at_s + sound.length_s)
            if stop > start:
                passage = Passage(
                    sound.path,
                    sound.from_s + start - sound.at_s,
                    stop - start,
                    video.from_s + start - video.at_s,
                )
                yield Line(video, passage)


def _collisions(lines: Sequence[Line]) -> Iterator[str]:
    """Say where one moment of a video is to say two things; ``lines`` are in its order."""
    for one, other in pairwise(lines):
        if other.passage.at_s < one.passage.at_s + one.passage.duration_s:
            yield (
                f"clip {other.use.name!r}: shows a moment of {other.use.path} that clip "
                f"{one.use.name!r} shows too, with other speech; give it a copy of the file"
            )


def _job(lines: Sequence[Line], folder: Path, options: DubOptions) -> Job:
    """Return the job of a video file."""
    video, half = lines[0].use.path, lines[0].use.frame_s / 2
    # Half a frame later: the middle of the frame, whatever decimals do to its beginning.
    spans = (
        (line.passage.at_s + half, line.passage.at_s + line.passage.duration_s + half)
        for line in lines
    )
    timed = replace(
        options,
        ranges=",".join(f"{_decimal(start)}-{_decimal(stop)}" for start, stop in spans),
        speech_at=_decimal(lines[0].passage.at_s),
    )
    ending = video.suffix if video.suffix.lower() in CONTAINERS else ".mp4"
    speech = folder / SPEECH_FOLDER / f"{_digest(video)}.w64"
    return Job(video, speech, folder / f"{video.stem}{ending}", timed)


def _digest(path: Path) -> str:
    """Return a name for what belongs to a file."""
    return f"{path.stem}-{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"


def _decimal(seconds: Fraction) -> str:
    return f"{float(seconds):.{DIGITS}f}"


def _speak(lines: Sequence[Line], target: Path) -> None:
    """Write what is said in a video file, from its first word on."""
    start_s = lines[0].passage.at_s
    passages = [replace(each.passage, at_s=each.passage.at_s - start_s) for each in lines]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(target)
        assemble(passages, partial)
        partial.replace(target)  # another batch may be reading it
    except OSError as error:
        raise InputError(
            f"{target}: could not be written ({error.strerror}); choose another output folder"
        ) from error
    except DubError as error:
        raise InputError(f"{lines[0].use.path}: its speech could not be made: {error}") from error
