"""The contact sheet of a real clip with the checkpoints we ship."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dubcli import preview as module
from dubcli.config import DubOptions
from dubcli.errors import InputError
from dubcli.loading import Models, load_models
from dubcli.media.binary import find_ffmpeg
from dubcli.media.planes import canvas_for
from dubcli.media.probe import probe_video
from dubcli.media.reader import FrameReader
from dubcli.pipeline import dub, dubbing
from dubcli.preview import preview
from dubcli.records import Bytes, PreviewReport
from dubcli.sheet import Tile

ROOT = Path(__file__).parents[1]
FRANCK, SPEECH = (ROOT / "examples/media" / name for name in ("franck.mp4", "speech.wav"))
FRAMES, RATE, SPOKEN_S = 12, 24, "0.75"  # 18 frames out: the video turns round at the twelfth
LENGTH = 18
GREY = (8, 9)  # source frames without a face
SHARED_CHROMA = 0.5  # levels, mean
OPTIONS = DubOptions(threads=1, models=ROOT / "models", preset="ultrafast")


def run_ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("preview")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    grey = f"drawbox=color=gray:t=fill:enable='between(n,{GREY[0]},{GREY[1]})'"
    chain = f"trim=start_frame=48:end_frame={48 + FRAMES},setpts=PTS-STARTPTS,{grey}"
    run_ffmpeg("-i", FRANCK, "-an", "-vf", chain, "-crf", 8, folder / "clip.mp4")
    return folder / "clip.mp4"


@pytest.fixture(scope="module")
def speech(folder: Path) -> Path:
    run_ffmpeg("-ss", 1, "-i", SPEECH, "-t", SPOKEN_S, folder / "speech.wav")
    return folder / "speech.wav"


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    before = torch.get_num_threads()
    yield load_models(OPTIONS)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoded(clip: Path, speech: Path, models: Models, folder: Path) -> list[Bytes]:
    """Return the frames of the full dub as the encoder gets them."""
    given: list[Bytes] = []

    class Notes(dubbing.FrameWriter):
        def write(self, picture: Bytes) -> None:
            given.append(canvas_for(probe_video(clip)).show(picture))
            super().write(picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dubbing, "FrameWriter", Notes)
        dub(clip, speech, folder / "dub.mp4", models=models, options=OPTIONS)
    assert len(given) == LENGTH
    return given


Box = tuple[slice, slice]
Sheet = tuple[PreviewReport, list[Tile], list[Box]]


@pytest.fixture
def shown(
    clip: Path, speech: Path, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Sheet]:
    """Return a function that makes a sheet and tells its report and its tiles."""
    drawn: list[Tile] = []
    boxes: list[Box] = []
    draw, find = module.draw_sheet, module._boxes

    def note(rows: list[list[Tile]]) -> Bytes:
        drawn[:] = [tile for row in rows for tile in row]
        return draw(rows)

    def note_boxes(*arguments: object) -> list[Box]:
        boxes[:] = find(*arguments)
        return boxes

    monkeypatch.setattr(module, "draw_sheet", note)
    monkeypatch.setattr(module, "_boxes", note_boxes)

    def make(*times: str, count: int | None = None, options: DubOptions = OPTIONS) -> Sheet:
        at = [Fraction(time) for time in times]
        sheet = tmp_path / "sheet.png"
        report = preview(clip, speech, sheet, at=at, count=count, models=models, options=options)
        return report, drawn, boxes

    return make


def test_tiles_are_the_pixels_of_the_full_dub_before_encoding(
    shown: Callable[..., Sheet], encoded: list[Bytes], clip: Path
) -> None:
    frames = [0, 5, 9, 11, LENGTH - 1]
    report, tiles, boxes = shown(*(str(Fraction(frame, RATE)) for frame in frames))
    with FrameReader(probe_video(clip)) as reader:
        source = [frame.rgb for frame in reader]
    assert [tile.frame for tile in report.tiles] == frames
    assert [tile.dubbed for tile in report.tiles] == [True, True, False, True, True]
    for told, tile, box in zip(report.tiles, tiles, boxes, strict=True):
        turned = FRAMES - 1 - abs(FRAMES - 1 - told.frame)
        # The encoder gets 4:2:0, whose chroma is shared by four pixels.
        assert np.abs(tile.dub.astype(float) - encoded[told.frame][box]).mean() < SHARED_CHROMA
        np.testing.assert_array_equal(tile.source, source[turned][box])
        assert (tile.source != tile.dub).any() == told.dubbed
    assert "not dubbed" in tiles[2].label
    assert {tile.dub.shape for tile in tiles} == {tiles[0].dub.shape}


def test_automatic_moments_are_dubbed_and_the_open_ones_wider_than_the_closed(
    shown: Callable[..., Sheet], tmp_path: Path
) -> None:
    report, tiles, _ = shown(count=4)
    assert [tile.kind for tile in report.tiles] == ["open", "open", "closed", "closed"]
    assert all(tile.dubbed for tile in report.tiles)
    opening = [tile.opening_cm for tile in report.tiles]
    assert min(opening[:2]) > max(opening[2:])
    assert [tile.label.split()[1] for tile in tiles] == [tile.kind for tile in report.tiles]
    assert report.frames == LENGTH
    stages = {"load", "track", "fit", "speech", "references", "render"}
    assert set(report.seconds) == stages | {"hash", "store"}  # the cache's
    assert "0.25 s longer than the video" in report.warnings[0]
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None


def test_options_of_the_dub_reach_the_mouth(shown: Callable[..., Sheet]) -> None:
    still, *_ = shown("0.1", options=replace(OPTIONS, mouth_scale=0.0))
    wide, *_ = shown("0.1", options=replace(OPTIONS, mouth_scale=2.0, overwrite=True))
    assert abs(still.tiles[0].opening_cm) < abs(wide.tiles[0].opening_cm)


def refused(clip: Path, speech: Path, output: Path, **named: object) -> str:
    with pytest.raises(InputError) as caught:
        preview(clip, speech, output, **{"options": OPTIONS, **named})
    return str(caught.value)


def test_moment_after_the_end_is_refused(clip: Path, speech: Path, tmp_path: Path) -> None:
    said = refused(clip, speech, tmp_path / "a.png", at=[Fraction("0.75")])
    assert said == "--at 00:00:00.750: the dub ends at 00:00:00.750; give an earlier time"
    cut = replace(OPTIONS, length="cut")
    said = refused(clip, speech, tmp_path / "a.png", at=[Fraction("0.7")], options=cut)
    assert said == "--at 00:00:00.700: the dub ends at 00:00:00.500; give an earlier time"


@pytest.mark.parametrize("count", [0, -1, 65])
def test_count_out_of_range_is_refused(
    clip: Path, speech: Path, tmp_path: Path, count: int
) -> None:
    said = refused(clip, speech, tmp_path / "a.png", count=count)
    assert said == f"--count is {count}: give a value from 1 to 64"


def test_output_that_is_no_png_or_exists_is_refused(
    clip: Path, speech: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there.png"
    there.write_text("precious")
    assert refused(clip, speech, tmp_path / "a.jpg").endswith("the output must end in .png")
    assert refused(clip, speech, there) == (
        f"{there}: exists already; give another name or --overwrite"
    )
    assert there.read_text() == "precious"
