"""One training loop for every network: step, validate, save, go on after a kill.

The state file holds tensors only (weights, their running mean, Adam's moments) and a few numbers in
the safetensors header; it is written beside its place and renamed, so a killed run loses at most
the minutes since the last save. Step k draws its data from a generator seeded by (seed, k): a
resumed run sees what an undisturbed one would have seen.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How long and how fast to train."""

    minutes: float
    steps: int | None = None  # the budget in steps instead of minutes, for runs that must repeat
    seed: int = 0
    rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: int = 50  # steps
    final_rate: float = 0.02  # share of ``rate`` at the end of the cosine
    gradient_norm: float = 1.0
    mean_decay: float = 0.999  # of the running mean of the weights, which is what is judged
    save_minutes: float = 3.0
    judge_minutes: float = 10.0


@dataclass(slots=True)
class _State:
    """Where a run is."""

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf


class Loop:
    """Trains a network for a budget of minutes.

    Args:
        network: Trained in place.
        folder: Of the run: ``state.safetensors``, ``best.safetensors`` and ``log.csv`` go there.
        options: Budget and rates.
        loss: (step's generator) -> named losses; their sum is descended.
        judge: (network with the mean weights) -> (score to maximise, figures for the log).
    """

    def __init__(
        self,
        network: nn.Module,
        folder: Path,
        options: LoopOptions,
        *,
        loss: Callable[[np.random.Generator], dict[str, Tensor]],
        judge: Callable[[nn.Module], tuple[float, dict[str, float]]],
    ) -> None:
        """Build the optimiser; resume if the folder holds a state."""
        self.network, self.folder, self.options = network, folder, options
        self._loss, self._judge = loss, judge
        folder.mkdir(parents=True, exist_ok=True)
        self._optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=options.rate,
            betas=(0.9, 0.99),
            weight_decay=options.weight_decay,
        )
        self._mean = {name: p.detach().clone() for name, p in network.named_parameters()}
        self._state = _State()
        if (folder / "state.safetensors").exists():
            self._resume()

    @property
    def step(self) -> int:
        """How many steps have been taken, over all resumed runs."""
        return self._state.step

    def run(self) -> None:
        """Train until the budget is spent, then judge once more what has not been judged."""
        options, state = self.options, self._state
        saved = judged = started = time.monotonic()
        before = state.seconds
        recent: list[dict[str, float]] = []
        while self._spent() < 1:
            recent.append(self._step())
            now = time.monotonic()
            state.seconds = before + now - started
            if now - judged > options.judge_minutes * 60:
                self._judge_and_log(recent)
                recent, judged = [], time.monotonic()
            if now - saved > options.save_minutes * 60:
                self.save()
                saved = time.monotonic()
        if recent or not (self.folder / "best.safetensors").exists():
            self._judge_and_log(recent)
        self.save()

    def _spent(self) -> float:
        """Return the share of the budget that is spent, 0 to 1."""
        options, state = self.options, self._state
        spent, budget = state.seconds, options.minutes * 60
        if options.steps is not None:
            spent, budget = state.step, options.steps
        return 1.0 if spent >= budget else spent / budget

    def _step(self) -> dict[str, float]:
        """Take one step of AdamW and of the running mean."""
        options, state = self.options, self._state
        generator = np.random.default_rng([options.seed, state.step])
        torch.manual_seed(int(generator.integers(2**31)))
        cosine = 0.5 * (1 + math.cos(math.pi * self._spent()))
        share = options.final_rate + (1 - options.final_rate) * cosine
        for group in self._optimiser.param_groups:
            group["lr"] = options.rate * share * min(1.0, (state.step + 1) / options.warm_up)
        losses = self._loss(generator)
        self._optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), options.gradient_norm)
        self._optimiser.step()
        state.step += 1
        decay = min(options.mean_decay, state.step / (state.step + 10))
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                self._mean[name].lerp_(parameter, 1 - decay)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _judge_and_log(self, recent: list[dict[str, float]]) -> None:
        """Judge the mean weights; keep them if they are the best so far."""
        state = self._state
        live = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        self._load(self._mean)
        self.network.eval()
        score, figures = self._judge(self.network)
        self.network.train()
        better = score > state.best
        if better:
            state.best = score
            write(self.folder / "best.safetensors", self.network.state_dict(), {"step": state.step})
        self._load(live)
        names = recent[0] if recent else {}
        losses = {name: float(np.mean([r[name] for r in recent])) for name in names}
        row = {"step": state.step, "minutes": state.seconds / 60, **losses, **figures}
        line = ",".join(f"{value:.5g}" for value in row.values())
        target = self.folder / "log.csv"
        if not target.exists():
            target.write_text(",".join(row) + "\n", encoding="utf-8")
        with target.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        log.info("%s%s", row, " best" if better else "")

    def _load(self, values: dict[str, Tensor]) -> None:
        """Put parameter values into the network."""
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(values[name])

    def save(self) -> None:
        """Write the state."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"mean.{k}": v for k, v in self._mean.items()}
        for name, parameter in self.network.named_parameters():
            for moment, value in self._optimiser.state.get(parameter, {}).items():
                tensors[f"adam.{moment}.{name}"] = value
        state = self._state
        numbers = {"step": state.step, "seconds": state.seconds, "best": state.best}
        write(self.folder / "state.safetensors", tensors, numbers)

    def _resume(self) -> None:
        """Read the state."""
        with safe_open(self.folder / "state.safetensors", "pt") as file:
            numbers = json.loads(file.metadata()["numbers"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        self._state = _State(numbers["step"], numbers["seconds"], numbers["best"])
        self.network.load_state_dict(
            {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
        )
        for name, parameter in self.network.named_parameters():
            self._mean[name].copy_(tensors[f"mean.{name}"])
            moments = {
                moment: tensors[f"adam.{moment}.{name}"].to(device)
                for moment, device in (
                    ("step", "cpu"),  # where AdamW keeps it
                    ("exp_avg", parameter.device),
                    ("exp_avg_sq", parameter.device),
                )
                if f"adam.{moment}.{name}" in tensors
            }
            if moments:
                self._optimiser.state[parameter] = moments
        log.info("resumed at step %d", self._state.step)


def write(path: Path, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
    """Write tensors beside their place, then rename."""
    partial = path.with_name("." + path.name)
    contiguous = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(contiguous, partial, {"numbers": json.dumps(numbers)})
    partial.replace(path)
