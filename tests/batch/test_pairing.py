"""Which speech belongs to which video."""

from pathlib import Path

import pytest

from dubcli.batch.pairing import pair_folders
from dubcli.batch.plan import plan_batch
from dubcli.config import DEFAULTS
from dubcli.errors import CollectedInputError, InputError


def folders(tmp_path: Path, videos: str, speech: str) -> tuple[Path, Path, Path]:
    made = []
    for name, files in (("videos", videos), ("speech", speech)):
        folder = tmp_path / name
        folder.mkdir()
        for file in files.split():
            (folder / file).write_bytes(b"x")
        made.append(folder)
    return made[0], made[1], tmp_path / "out"


@pytest.mark.parametrize(
    ("videos", "speech", "pairs"),
    [
        ("a.mp4", "a.wav", "a.mp4 a.wav a.mp4"),
        ("a.mp4", "a.fr.wav a.de.m4a", "a.mp4 a.de.m4a a.de.mp4, a.mp4 a.fr.wav a.fr.mp4"),
        ("a.MOV b.webm", "a.wav b.wav", "a.MOV a.wav a.MOV, b.webm b.wav b.mp4"),
        (
            "a.mp4 a.b.mp4",
            "a.b.c.wav a.x.wav",
            "a.b.mp4 a.b.c.wav a.b.c.mp4, a.mp4 a.x.wav a.x.mp4",
        ),
        ("a.mp4 notes.txt", ".a.wav a.mp4", "a.mp4 a.mp4 a.mp4"),
    ],
)
def test_speech_belongs_to_the_video_whose_name_it_begins_with(
    tmp_path: Path, videos: str, speech: str, pairs: str
) -> None:
    plan = pair_folders(*folders(tmp_path, videos, speech), DEFAULTS)
    found = [f"{job.video.name} {job.speech.name} {job.output.name}" for job in plan.jobs]
    assert ", ".join(found) == pairs
    assert {job.output.parent for job in plan.jobs} == {tmp_path / "out"}
    assert plan.unpaired == ()


def test_what_has_no_partner_is_told(tmp_path: Path) -> None:
    videos, speech, out = folders(tmp_path, "a.mp4 quiet.mp4", "a.wav ab.wav")
    plan = pair_folders(videos, speech, out, DEFAULTS)
    assert len(plan.jobs) == 1
    assert plan.unpaired == (
        f"{speech}/ab.wav: no video of its name in {videos}; left out",
        f"{videos}/quiet.mp4: no speech of its name in {speech}; left out",
    )


def test_videos_of_one_name_and_outputs_of_one_name_are_refused_together(tmp_path: Path) -> None:
    videos, speech, out = folders(tmp_path, "a.mov a.mp4 b.mp4", "b.wav b.flac")
    with pytest.raises(CollectedInputError) as caught:
        pair_folders(videos, speech, out, DEFAULTS)
    assert caught.value.sentences == (
        f"{videos}/a.mov: a.mp4 beside it has the same name; rename one",
        f"{speech}/b.wav: {out}/b.mp4: is the output of {speech}/b.flac too; name each once",
    )
    assert str(caught.value) == f"{videos}: 2 errors; nothing was started"


def test_outputs_over_the_inputs_are_refused(tmp_path: Path) -> None:
    videos, speech, _ = folders(tmp_path, "a.mp4", "a.wav")
    with pytest.raises(CollectedInputError) as caught:
        pair_folders(videos, speech, videos, DEFAULTS)
    assert "this is the input" in caught.value.sentences[0]


def test_folders_without_a_pair_and_missing_arguments_are_refused(tmp_path: Path) -> None:
    videos, speech, out = folders(tmp_path, "a.mp4", "b.wav")
    with pytest.raises(InputError, match="none of its 1 videos has a speech"):
        plan_batch(videos, speech, output=out)
    with pytest.raises(InputError, match="SPEECH is missing"):
        plan_batch(videos, output=out)
    with pytest.raises(InputError, match="--output is missing"):
        plan_batch(videos, speech)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        plan_batch(tmp_path / "nowhere", speech, output=out)
