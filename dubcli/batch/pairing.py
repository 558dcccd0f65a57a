"""Two folders to jobs: a speech belongs to the video whose name it begins with."""

from collections.abc import Container
from pathlib import Path

from dubcli.batch.check import Named, problems_of_outputs
from dubcli.batch.records import Job, Plan
from dubcli.config import CONTAINERS, SOUND_SUFFIXES, VIDEO_SUFFIXES, DubOptions
from dubcli.errors import CollectedInputError, InputError

DEFAULT_CONTAINER = ".mp4"  # of outputs whose video's own cannot be written


def pair_folders(videos: Path, speech: Path, folder: Path, options: DubOptions) -> Plan:
    """Return a job for each speech that belongs to a video.

    ``a.wav`` belongs to ``a.mp4`` and becomes ``a.mp4``; so does ``a.fr.wav``, which becomes
    ``a.fr.mp4``. Of videos ``a.mp4`` and ``a.fr.mp4`` the longer name takes it.

    Args:
        videos: Folder of videos.
        speech: Folder of files with sound.
        folder: Where the outputs go; it may be missing yet.
        options: Of every job.

    Raises:
        InputError: If a folder cannot be read or nothing pairs.
        CollectedInputError: If videos share a name, or outputs cannot be written.
    """
    found = _files(videos, VIDEO_SUFFIXES)
    sounds = [path for path in _files(speech, SOUND_SUFFIXES | VIDEO_SUFFIXES) if path not in found]
    by_name = {path.stem: path for path in found}
    doubles = [
        f"{path}: {by_name[path.stem].name} beside it has the same name; rename one"
        for path in found
        if by_name[path.stem] != path
    ]
    jobs: list[Job] = []
    unpaired: list[str] = []
    for sound in sounds:
        name = _video_name(sound.stem, by_name)
        if name is None:
            unpaired.append(f"{sound}: no video of its name in {videos}; left out")
            continue
        video = by_name[name]
        ending = video.suffix if video.suffix.lower() in CONTAINERS else DEFAULT_CONTAINER
        jobs.append(Job(video, sound, folder / (sound.stem + ending), options))
    spoken = {job.video for job in jobs}
    unpaired += [
        f"{video}: no speech of its name in {speech}; left out"
        for video in found
        if video not in spoken
    ]
    if not jobs:
        raise InputError(
            f"{videos}: none of its {len(found)} videos has a speech in {speech} ({len(sounds)} "
            "files with sound); name them alike: a.mp4 and a.wav or a.fr.wav"
        )
    if problems := doubles + problems_of_outputs([Named(str(job.speech), job) for job in jobs]):
        raise CollectedInputError(videos, problems)
    return Plan(folder, tuple(jobs), options, tuple(unpaired))


def _video_name(stem: str, names: Container[str]) -> str | None:
    """Return the longest name that a speech's name is, or begins with before a dot.

    Example:
        >>> [_video_name(stem, ["a", "a.b"]) for stem in ("a", "a.fr", "a.b.fr", "ab")]
        ['a', 'a', 'a.b', None]
    """
    while stem not in names:
        stem, dot, _ = stem.rpartition(".")
        if not dot:
            return None
    return stem


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Return the files of a folder with these endings, by name; hidden ones do not count."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    try:
        listed = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: could not be read ({error.strerror})") from error
    return [p for p in listed if p.suffix.lower() in suffixes and not p.name.startswith(".")]
