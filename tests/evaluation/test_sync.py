from pathlib import Path

import numpy as np
import pytest
import torch

from dubcli.checkpoints import load_as
from dubcli.errors import InputError
from dubcli.evaluation import sync
from dubcli.evaluation.sync import (
    BLOCK_FRAMES,
    MouthStream,
    NearestFrames,
    SyncMeter,
    embed_sound_of,
)
from dubcli.loading import (
    GEOMETRY,
    SYNC_MEASURE,
    SYNC_VERTICES,
    load_audio_encoder,
    load_sync_expert,
)
from dubcli.media.audio import AudioReader
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.reader import FrameReader
from dubcli.metrics.sync import sync_scores
from dubcli.networks.lip_sync import LipSyncNet
from dubcli.networks.sync_expert import SyncExpert, SyncHyper
from dubcli.stages.sync import SpeechLevels, encode_speech
from dubcli.stages.track import Tracker

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
SPEECH = ROOT / "examples/media/speech.wav"
DUBBED = ROOT / "tests/media_files/dubbed_mouth.mp4"
RATE_HZ = 24  # of the dub
LATE = 5  # frames at 25 Hz


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def numbered(count: int) -> list[np.ndarray]:
    return [np.full((1, 1), k, np.uint8) for k in range(count)]


@pytest.mark.parametrize("rate_hz", [12.5, 24, 25, 29.97, 50, 60])
def test_each_instant_shows_the_nearest_frame(rate_hz: float) -> None:
    clock, shown = NearestFrames(), []
    count = int(3 * rate_hz)
    for k, picture in enumerate(numbered(count)):
        shown += [int(p[0, 0]) for p in clock.feed(picture, k / rate_hz)]
    shown += [int(p[0, 0]) for p in clock.finish()]
    assert list(clock.finish()) == []
    times = np.arange(count) / rate_hz
    instants = np.arange(len(shown)) / 25
    off = np.abs(times[shown] - instants)
    np.testing.assert_allclose(off, np.abs(times[None] - instants[:, None]).min(1), atol=1e-9)
    assert instants[-1] < times[-1] + 0.02 <= instants[-1] + 0.04 + 1e-9
    if rate_hz == 25:
        assert shown == list(range(count))


def test_no_frame_gives_no_instant() -> None:
    assert list(NearestFrames().finish()) == []


@torch.no_grad()
def test_mouths_in_blocks_are_embedded_as_in_one_pass() -> None:
    torch.manual_seed(0)
    expert = SyncExpert(SyncHyper("pixels", 6, picture=(16, 32), width=16, embedding=8)).eval()
    count = 2 * BLOCK_FRAMES + 40
    pictures = np.random.default_rng(0).integers(0, 255, (count, 16, 32), np.uint8)

    def whole(part: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(part[None, :, None].astype(np.float32) / 255)
        return expert.embed_mouth(x)[0].numpy()

    stream = MouthStream(expert)
    for picture in pictures:
        stream.add(picture)
    for picture in (None, *pictures[:3], None, None):
        stream.add(picture)
    made = stream.finish()
    assert made.shape == (count + 6, 8)
    np.testing.assert_allclose(made[:count], whole(pictures), atol=1e-5)
    np.testing.assert_allclose(made[count + 1 : count + 4], whole(pictures[:3]), atol=1e-5)
    assert np.isnan(made[[count, count + 4, count + 5]]).all()
    np.testing.assert_array_equal(stream.finish(), made)


@torch.no_grad()
def test_sound_in_blocks_is_embedded_as_in_one_pass() -> None:
    expert = load_sync_expert(MODELS)
    encoder = load_audio_encoder(expert.hyper.audio_encoder, MODELS)
    made = embed_sound_of(SPEECH, expert, encoder)
    features = _speech_features(encoder)
    frames = len(features) // 2
    assert frames > BLOCK_FRAMES + expert.reach()
    whole = expert.embed_sound(torch.from_numpy(features[: 2 * frames])[None])[0].numpy()
    np.testing.assert_allclose(made, whole, atol=1e-4)


def _speech_features(encoder: torch.nn.Module) -> np.ndarray:
    levels, info = SpeechLevels(), probe_audio(SPEECH)
    with AudioReader(info) as reader:
        levels.listen(reader)
    with AudioReader(info) as reader:
        return np.concatenate(list(encode_speech(encoder, reader, levels.gain)))


@torch.no_grad()
def test_generated_geometry_is_in_sync_and_its_delay_is_found() -> None:
    """The shipped geometry network speaks; an expert that it never met listens."""
    expert, lip_sync = (
        load_sync_expert(MODELS, SYNC_VERTICES),
        load_as(MODELS, GEOMETRY, LipSyncNet),
    )
    features = _speech_features(load_audio_encoder(expert.hyper.audio_encoder, MODELS))
    heard = torch.from_numpy(features[: len(features) // 2 * 2])[None]
    still = torch.zeros(1, 25, expert.hyper.lower_vertices, 3)
    motion = lip_sync(heard, lip_sync.style(still)).displacement
    sound = expert.embed_sound(heard)[0].numpy()
    together = sync_scores(sound, expert.embed_mouth(motion)[0].numpy())
    assert abs(together.offset_frames) <= 1
    late = torch.cat([motion[:, :1].expand(-1, LATE, -1, -1), motion[:, :-LATE]], dim=1)
    delayed = sync_scores(sound, expert.embed_mouth(late)[0].numpy())
    assert delayed.offset_frames == together.offset_frames + LATE
    backward = sync_scores(sound, expert.embed_mouth(motion.flip(1))[0].numpy())
    assert together.confidence > 2 * backward.confidence
    assert together.distance < backward.distance


@pytest.fixture(scope="module")
def tracked() -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return the frames of a dub of the example clip, cropped, with their landmarks."""
    tracker_file = MODELS / "face-landmarker" / "face_landmarker.task"
    with FrameReader(probe_video(DUBBED)) as reader, Tracker(tracker_file) as tracker:
        return [(frame.rgb, tracker.landmarks_px(frame.rgb)) for frame in reader]


def test_meter_finds_a_dub_in_sync_and_by_how_much_it_is_delayed(tracked) -> None:
    def measure(delay_s: float) -> sync.SyncScores:
        """Measure the dub with its picture so much late."""
        meter = SyncMeter(MODELS)
        for k, (rgb, landmarks) in enumerate(tracked):
            meter.update(rgb, landmarks, k / RATE_HZ + delay_s)
        return meter.compute(DUBBED)

    together, delayed = measure(0.0), measure(LATE / 25)
    assert abs(together.offset_frames) <= 1
    assert delayed.offset_frames == together.offset_frames + LATE
    assert together.confidence > 0.1


def test_too_little_to_judge_is_said_in_a_sentence(tracked) -> None:
    meter = SyncMeter(MODELS)
    for k, (rgb, landmarks) in enumerate(tracked[:30]):
        meter.update(rgb, landmarks if k < 9 else None, k / RATE_HZ)
    with pytest.raises(
        InputError, match=r"only 0\.4 s show a face and have sound; sync needs 0\.8"
    ):
        meter.compute(DUBBED)


def test_sound_that_is_silent_or_missing_is_refused(tmp_path: Path) -> None:
    expert = load_sync_expert(MODELS)
    encoder = load_audio_encoder(expert.hyper.audio_encoder, MODELS)
    silent = tmp_path / "silent.wav"
    header = SPEECH.read_bytes()[:44]
    silent.write_bytes(header + bytes(32000))
    with pytest.raises(InputError, match="silent throughout"):
        embed_sound_of(silent, expert, encoder)
    with pytest.raises(InputError, match="carphone"):
        embed_sound_of(ROOT / "tests/media_files/carphone.mp4", expert, encoder)


def test_an_expert_that_sees_vertices_cannot_measure_pixels() -> None:
    assert load_sync_expert(MODELS, SYNC_MEASURE).hyper.kind == "pixels"
    with pytest.raises(ValueError, match="sync-vertices looks at vertices"):
        SyncMeter(MODELS, SYNC_VERTICES)
