"""Batches on a Ray cluster: two nodes of one machine, of which one is lost."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dubcli.batch.plan import plan_batch
from dubcli.batch.records import DONE, FAILED, SKIPPED, BatchReport, Plan
from dubcli.batch.run import run_batch
from dubcli.batch.status import batch_status
from dubcli.config import BatchOptions, DubOptions
from dubcli.errors import InputError, MissingExtraError
from dubcli.media.excerpt import cut_speech, scale_clip
from dubcli.media.probe import probe_audio, probe_video

ROOT = Path(__file__).parents[2]
OPTIONS = DubOptions(threads=1, models=ROOT / "models", preset="ultrafast", device="cpu")
FRAMES = 6
PATIENCE_S = 400


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    info = probe_video(ROOT / "tests/media_files/carphone.mp4")
    speech = probe_audio(ROOT / "examples/media/speech.wav")
    for kind in ("videos", "speech"):
        (tmp_path / kind).mkdir()
    for name in "abc":
        cut = cut_speech(speech, FRAMES / info.frame_rate, tmp_path / "speech" / f"{name}.wav")
        scale_clip(info, 144, FRAMES, speech=cut, target=tmp_path / "videos" / f"{name}.mp4")
    (tmp_path / "videos/d.mp4").write_bytes(b"no video")
    (tmp_path / "speech/d.wav").write_bytes(b"no sound")
    folders = tmp_path / "videos", tmp_path / "speech"
    return plan_batch(*folders, output=tmp_path / "out", options=OPTIONS)


@pytest.fixture
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield made
    made.shutdown()


def states(report: BatchReport) -> list[str]:
    return [job.state for job in report.jobs]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters are of POSIX")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_jobs_of_a_node_that_is_lost_are_done_on_another(plan: Plan, cluster: Any) -> None:
    import ray

    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    lost: list[Any] = []

    def lose_one() -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and not lost:
            time.sleep(0.2)
            if ray.is_initialized() and not ray.available_resources().get("CPU"):
                time.sleep(2)  # in which both nodes go on with their jobs
                lost.append(nodes[0])
                cluster.remove_node(nodes[0], allow_graceful=False)

    killer = threading.Thread(target=lose_one)
    killer.start()
    options = BatchOptions(engine="ray", address=cluster.address)
    report = run_batch(plan, options=options)
    killer.join()
    assert len(lost) == 1
    assert states(report) == [DONE, DONE, DONE, FAILED]
    assert "not a video or sound file" in report.jobs[3].message
    assert states(batch_status(plan.folder)) == states(report)
    for name in "abc":
        assert probe_video(plan.folder / f"{name}.mp4").frame_count == FRAMES
    again = run_batch(plan, options=options)
    assert states(again) == [SKIPPED, SKIPPED, SKIPPED, FAILED]


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_no_cluster_at_the_address_is_one_sentence(plan: Plan) -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match=r"--address 127\.0\.0\.1:1: no Ray cluster there"):
        run_batch(plan, options=BatchOptions(engine="ray", address="127.0.0.1:1"))


def test_without_ray_the_extra_is_named(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dubcli\[ray\]'"):
        run_batch(plan, options=BatchOptions(engine="ray"))


def test_engine_is_one_that_there_is() -> None:
    with pytest.raises(InputError, match="--engine is slurm: give one of local, ray"):
        BatchOptions(engine="slurm")
