import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from dubcli.errors import InputError
from dubcli.training.loop import Loop, LoopOptions, LoopProgress, write

STEPS = 12
OPTIONS = LoopOptions(minutes=1, steps=STEPS, rate=0.05, warm_up=3, save_minutes=0, judge_minutes=9)


class KilledError(Exception):
    """Stands for a kill at any place."""


class Problem:
    """A network with dropout that learns a noisy linear map; may be killed at a step."""

    def __init__(self, folder: Path, options: LoopOptions = OPTIONS, kill_at: int | None = None):
        torch.manual_seed(99)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 2))
        self.network.register_buffer("constant", torch.tensor([1.0, 2.0]))
        self.kill_at, self.calls, self.judged = kill_at, 0, 0
        self.judged_with: list[Tensor] = []
        self.loop = Loop(self.network, folder, options, loss=self.loss, judge=self.judge)

    def loss(self, generator: np.random.Generator) -> dict[str, Tensor]:
        if self.calls == self.kill_at:
            raise KilledError
        self.calls += 1
        x = torch.from_numpy(generator.normal(size=(16, 4)).astype(np.float32))
        error = self.network(x) - x[:, :2] * 3
        return {"square": error.square().mean(), "size": 0.01 * error.abs().mean()}

    @torch.no_grad()
    def judge(self, network: nn.Module) -> tuple[float, dict[str, float]]:
        assert not network.training
        self.judged += 1
        torch.rand(7)  # judging may use random numbers; training must not notice
        self.judged_with.append(network[0].weight.detach().clone())
        x = torch.ones(1, 4)
        score = -float((network(x) - 3).square().mean())
        return score, {"score": score}


def tensors(folder: Path, name: str = "state") -> dict[str, Tensor]:
    return load_file(folder / f"{name}.safetensors")


def numbers(folder: Path, name: str = "state") -> dict[str, float]:
    with safe_open(folder / f"{name}.safetensors", "pt") as file:
        return dict(json.loads(file.metadata()["numbers"]))


def log_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same(one: Path, other: Path) -> None:
    for name in ("state", "best"):
        first, second = tensors(one, name), tensors(other, name)
        assert first.keys() == second.keys()
        for key in first:
            assert torch.equal(first[key], second[key]), key


@pytest.mark.parametrize("kill_at", [1, 5, STEPS - 1])
def test_killed_and_resumed_run_ends_where_an_undisturbed_one_does(
    tmp_path: Path, kill_at: int
) -> None:
    Problem(tmp_path / "whole").loop.run()
    with pytest.raises(KilledError):
        Problem(tmp_path / "killed", kill_at=kill_at).loop.run()

    resumed = Problem(tmp_path / "killed")
    resumed.loop.run()

    assert resumed.calls == STEPS - kill_at  # it was saved after every step
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert numbers(tmp_path / "killed")["step"] == STEPS
    assert numbers(tmp_path / "killed")["best"] == numbers(tmp_path / "whole")["best"]


CHILD = """
import sys, time
from pathlib import Path
import torch
sys.path.insert(0, {here!r})
from test_loop import CURVE, Problem
torch.set_num_threads(1)
problem = Problem(Path(sys.argv[1]), CURVE)
step = problem.loop._loss
def slow(generator):
    time.sleep(0.01)
    return step(generator)
problem.loop._loss = slow
problem.loop.run()
"""
CURVE = LoopOptions(
    minutes=999, steps=120, rate=0.05, warm_up=3, save_steps=7, judge_steps=10, sheets=2
)


def child(folder: Path) -> subprocess.Popen[bytes]:
    script = CHILD.format(here=str(Path(__file__).parent))
    return subprocess.Popen([sys.executable, "-c", script, str(folder)])


def curve(folder: Path) -> list[dict[str, str]]:
    """Return the log without the clock."""
    return [{k: v for k, v in row.items() if k != "minutes"} for row in log_rows(folder)]


@pytest.mark.slow
def test_kill_9_at_any_moment_changes_neither_weights_nor_curve(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    Problem(tmp_path / "whole", CURVE).loop.run()
    running = child(tmp_path / "killed")
    state = tmp_path / "killed/state.safetensors"
    while not state.exists():
        assert running.poll() is None
        time.sleep(0.002)
    time.sleep(np.random.default_rng().uniform(0, 0.8))  # the steps take 1.2 s together
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    at = numbers(tmp_path / "killed")["step"]
    assert 0 < at < 120

    resumed = Problem(tmp_path / "killed", CURVE)
    resumed.loop.run()

    assert resumed.calls == 120 - at
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    assert len(curve(tmp_path / "whole")) == 12


def test_losses_since_the_last_judgement_survive_a_kill(tmp_path: Path) -> None:
    every = LoopOptions(minutes=1, steps=STEPS, rate=0.05, save_steps=1, judge_steps=4)
    Problem(tmp_path / "whole", every).loop.run()
    for kill_at in range(1, STEPS, 3):  # before, at and after judgements
        with pytest.raises(KilledError):
            problem = Problem(tmp_path / "killed", every)
            problem.kill_at = kill_at - problem.loop.step
            problem.loop.run()
    Problem(tmp_path / "killed", every).loop.run()
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    assert [row["step"] for row in curve(tmp_path / "whole")] == ["4", "8", "12"]


def test_a_judgement_after_the_last_save_is_made_again_not_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = LoopOptions(minutes=1, steps=STEPS, rate=0.05, save_steps=3, judge_steps=4)
    Problem(tmp_path / "whole", every).loop.run()
    problem = Problem(tmp_path / "killed", every)
    save = problem.loop.save

    def killed_before_saving_the_judgement() -> None:
        if problem.loop.step == 8:
            raise KilledError
        save()

    monkeypatch.setattr(problem.loop, "save", killed_before_saving_the_judgement)
    with pytest.raises(KilledError):
        problem.loop.run()
    assert [row["step"] for row in curve(tmp_path / "killed")] == ["4", "8"]
    assert numbers(tmp_path / "killed")["step"] == 6
    Problem(tmp_path / "killed", every).loop.run()
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_a_loss_that_is_added_on_resume_gets_a_column_of_its_own(tmp_path: Path) -> None:
    short = LoopOptions(minutes=1, steps=4, judge_steps=2)
    Problem(tmp_path, short).loop.run()
    longer = Problem(tmp_path, LoopOptions(minutes=1, steps=8, judge_steps=2))
    plain = longer.loop._loss

    def with_another(generator: np.random.Generator) -> dict[str, Tensor]:
        return plain(generator) | {"perceptual": longer.network[0].weight.abs().mean()}

    longer.loop._loss = with_another
    longer.loop.run()
    rows = log_rows(tmp_path)
    assert list(rows[0]) == ["step", "minutes", "square", "size", "score", "perceptual"]
    assert [row["perceptual"] == "" for row in rows] == [True, True, False, False]
    assert all(float(row["score"]) < 0 < float(row["square"]) for row in rows)


def test_observer_sees_every_step_and_judgement(tmp_path: Path) -> None:
    seen: list[LoopProgress] = []
    problem = Problem(tmp_path, LoopOptions(minutes=1, steps=6, judge_steps=3, warm_up=1))
    problem.loop._observer = seen.append
    problem.loop.run()
    assert [(one.step, one.judged) for one in seen] == [
        (1, False), (2, False), (3, False), (3, True), (4, False), (5, False), (6, False), (6, True)
    ]  # fmt: skip
    assert seen[0].figures == {}
    assert seen[0].seconds_left == pytest.approx(5 * seen[0].seconds)
    assert seen[3].figures == {"score": seen[3].best}
    assert seen[-1].spent == 1
    assert seen[-1].losses.keys() == {"square", "size"}
    row = log_rows(tmp_path)[-1]
    assert float(row["square"]) == pytest.approx(seen[-1].losses["square"], rel=1e-4)


def test_pictures_of_the_last_judgements_are_kept(tmp_path: Path) -> None:
    options = LoopOptions(minutes=1, steps=5, judge_steps=1, sheets=2)
    problem = Problem(tmp_path, options)
    problem.loop._sheet = lambda: np.full((4, 6, 3), problem.loop.step, np.uint8)
    problem.loop.run()
    names = sorted(p.name for p in (tmp_path / "sheets").iterdir())
    assert names == ["step-0000004.png", "step-0000005.png"]


def test_a_loss_that_is_not_finite_stops_with_a_sentence(tmp_path: Path) -> None:
    problem = Problem(tmp_path)
    problem.loop._loss = lambda _: {"square": problem.network[0].weight.sum() * float("nan")}
    with pytest.raises(InputError, match="not finite at step 0; lower rate"):
        problem.loop.run()


def test_state_that_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path) -> None:
    Problem(tmp_path).loop.run()
    other = nn.Linear(3, 3)
    with pytest.raises(InputError, match="is of another network"):
        Loop(other, tmp_path, OPTIONS, loss=lambda _: {}, judge=lambda _: (0, {}))
    (tmp_path / "state.safetensors").write_bytes(b"\x00" * 50)
    with pytest.raises(InputError, match="is damaged"):
        Problem(tmp_path)


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_steps_are_in_bfloat16_where_that_pays_and_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool, allowed: bool
) -> None:
    monkeypatch.setattr("dubcli.training.loop.has_fast_bfloat16", lambda device: able)
    problem = Problem(tmp_path)
    problem.loop.options = replace(OPTIONS, mixed_precision=allowed)
    seen: list[torch.dtype] = []
    plain = problem.loop._loss

    def noting(generator: np.random.Generator) -> dict[str, Tensor]:
        seen.append(problem.network(torch.ones(1, 4)).dtype)
        return plain(generator)

    problem.loop._loss = noting
    problem.loop.run()
    assert set(seen) == {torch.bfloat16 if able and allowed else torch.float32}


def test_a_kill_between_saves_costs_only_the_steps_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0, 10)  # every look at the clock is 10 s later
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    options = LoopOptions(minutes=999, steps=STEPS, rate=0.05, save_minutes=0.5, judge_minutes=99)
    Problem(tmp_path / "whole", options).loop.run()
    with pytest.raises(KilledError):
        Problem(tmp_path / "killed", options, kill_at=10).loop.run()
    at = numbers(tmp_path / "killed")["step"]
    assert 0 < at < 10

    resumed = Problem(tmp_path / "killed", options)
    resumed.loop.run()

    assert resumed.calls == STEPS - at
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_judging_on_the_way_does_not_disturb_the_training(tmp_path: Path) -> None:
    Problem(tmp_path / "quiet").loop.run()
    often = LoopOptions(
        minutes=1, steps=STEPS, rate=0.05, warm_up=3, save_minutes=0, judge_minutes=0
    )
    judged = Problem(tmp_path / "judged", often)
    judged.loop.run()

    assert judged.judged == STEPS
    quiet, other = tensors(tmp_path / "quiet"), tensors(tmp_path / "judged")
    for key in quiet:
        assert torch.equal(quiet[key], other[key]), key
    assert judged.network.training


def test_minutes_are_the_budget_and_survive_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0, 6)  # a look at the clock every step: ten steps a minute
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    first = Problem(tmp_path, LoopOptions(minutes=1, save_minutes=99, judge_minutes=99))
    first.loop.run()
    assert first.calls == 10
    longer = Problem(tmp_path, LoopOptions(minutes=1.5, save_minutes=99, judge_minutes=99))
    longer.loop.run()
    assert longer.calls == 5
    assert numbers(tmp_path)["step"] == 15
    assert numbers(tmp_path)["seconds"] == 90


def test_a_finished_run_that_is_started_again_changes_nothing(tmp_path: Path) -> None:
    Problem(tmp_path).loop.run()
    before = (tmp_path / "log.csv").read_text()
    again = Problem(tmp_path)
    again.loop.run()
    assert (again.calls, again.judged) == (0, 0)
    assert (tmp_path / "log.csv").read_text() == before
    assert numbers(tmp_path)["step"] == STEPS


def test_a_budget_of_nothing_judges_the_network_as_it_is(tmp_path: Path) -> None:
    problem = Problem(tmp_path, LoopOptions(minutes=0))
    start = problem.network[0].weight.detach().clone()
    problem.loop.run()
    assert problem.calls == 0
    assert torch.equal(tensors(tmp_path, "best")["0.weight"], start)


def test_log_has_a_header_once_and_a_row_a_judgement(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        Problem(
            tmp_path,
            LoopOptions(minutes=1, steps=STEPS, save_minutes=0, judge_minutes=0),
            kill_at=4,
        ).loop.run()
    Problem(tmp_path).loop.run()
    rows = log_rows(tmp_path)
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, STEPS]
    assert list(rows[0]) == ["step", "minutes", "square", "size", "score"]
    assert all(float(value) is not None for row in rows for value in row.values())


def test_mean_of_the_weights_is_what_is_judged_and_kept(tmp_path: Path) -> None:
    problem = Problem(tmp_path)
    start = problem.network[0].weight.detach().clone()
    steps: list[Tensor] = []
    original: Callable[[np.random.Generator], dict[str, Tensor]] = problem.loss

    def noting(generator: np.random.Generator) -> dict[str, Tensor]:
        steps.append(problem.network[0].weight.detach().clone())
        return original(generator)

    problem.loop._loss = noting
    problem.loop.run()
    weights = [*steps[1:], problem.network[0].weight.detach()]
    mean = start.double()
    for k, weight in enumerate(weights, 1):
        decay = min(OPTIONS.mean_decay, k / (k + 10))
        mean = decay * mean + (1 - decay) * weight.double()

    torch.testing.assert_close(problem.judged_with[-1].double(), mean, rtol=0, atol=1e-6)
    best = tensors(tmp_path, "best")
    assert torch.equal(best["0.weight"], problem.judged_with[-1])
    assert torch.equal(tensors(tmp_path)["mean.0.weight"], problem.judged_with[-1])
    assert torch.equal(tensors(tmp_path)["network.0.weight"], weights[-1])
    assert torch.equal(best["constant"], torch.tensor([1.0, 2.0]))


def test_only_a_better_judgement_replaces_the_best(tmp_path: Path) -> None:
    problem = Problem(tmp_path, LoopOptions(minutes=1, steps=3, save_minutes=99, judge_minutes=0))
    scores = iter([1.0, 5.0, 2.0])
    problem.loop._judge = lambda _: (next(scores), {})
    problem.loop.run()
    assert numbers(tmp_path, "best")["step"] == 2
    assert numbers(tmp_path)["best"] == 5


def test_learning_happens(tmp_path: Path) -> None:
    options = LoopOptions(minutes=1, steps=150, rate=0.02, save_minutes=99, judge_minutes=99)
    problem = Problem(tmp_path, options)
    rng = np.random.default_rng(0)
    before = float(problem.loss(rng)["square"].detach())
    problem.loop.run()
    problem.network.eval()
    assert float(problem.loss(rng)["square"].detach()) < 0.3 * before


def test_rate_warms_up_and_falls_along_a_cosine(tmp_path: Path) -> None:
    options = LoopOptions(
        minutes=1, steps=20, rate=0.01, warm_up=4, final_rate=0.1, save_minutes=99
    )
    problem = Problem(tmp_path, options)
    rates: list[float] = []
    optimiser = problem.loop._optimiser
    step = optimiser.step

    def noting() -> None:
        rates.append(optimiser.param_groups[0]["lr"])
        step()

    optimiser.step = noting  # type: ignore[method-assign,assignment]
    problem.loop.run()
    for k, rate in enumerate(rates):
        cosine = 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * k / 20))
        assert rate == pytest.approx(0.01 * cosine * min(1, (k + 1) / 4))


def test_states_are_written_beside_their_place_and_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "state.safetensors"
    write(target, {"a": torch.ones(2)}, {"step": 1})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("dubcli.training.loop.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        write(target, {"a": torch.zeros(2)}, {"step": 2})
    assert torch.equal(load_file(target)["a"], torch.ones(2))
    assert numbers(tmp_path)["step"] == 1
