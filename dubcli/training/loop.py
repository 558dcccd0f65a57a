"""One training loop for every network: step, validate, save, go on after a kill.

The state file holds tensors only (weights, their running mean, Adam's moments) and a few numbers in
the safetensors header; it is written beside its place and renamed, so a killed run loses at most
the work since the last save. Step k draws its data from a generator seeded by (seed, k), and the
sums of the losses since the last judgement are part of the state: a resumed run sees what an
undisturbed one would have seen and logs what it would have logged.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dubcli.errors import InputError
from dubcli.networks.precision import has_fast_bfloat16, mixed
from dubcli.records import Bytes
from dubcli.training.recipe import Between
from dubcli.training.run_log import Means, RunLog, drop_sheets, keep_sheet

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How long and how fast to train; the table [loop] of a recipe."""

    minutes: float
    steps: int | None = None  # the budget in steps instead of minutes, for runs that must repeat
    seed: int = 0
    rate: Annotated[float, Between(0, 1)] = 1e-3
    weight_decay: Annotated[float, Between(0, 1)] = 0.01
    betas: tuple[Annotated[float, Between(0, 0.99999)], ...] = (0.9, 0.99)  # of AdamW's two moments
    warm_up: Annotated[int, Between(1)] = 50  # steps
    final_rate: Annotated[float, Between(0, 1)] = 0.02  # share of ``rate`` at the cosine's end
    gradient_norm: float = 1.0  # gradients longer than this are shortened to it
    mean_decay: Annotated[float, Between(0, 1)] = 0.999  # of the weights' running mean, the judged
    save_minutes: float = 3.0
    save_steps: Annotated[int, Between(1)] | None = None  # instead of save_minutes
    judge_minutes: float = 10.0
    judge_steps: Annotated[int, Between(1)] | None = None  # instead of judge_minutes
    sheets: Annotated[int, Between(1, 1000)] = 8  # pictures of judgements that are kept
    mixed_precision: bool = True  # bfloat16 where it pays: CUDA GPUs, CPUs with AMX

    def __post_init__(self) -> None:
        """Refuse moments that AdamW cannot take.

        Raises:
            ValueError: If there are not two.
        """
        if len(self.betas) != 2:
            raise ValueError(f"betas has {len(self.betas)} numbers, AdamW takes 2")


@dataclass(frozen=True, slots=True, eq=False)
class LoopProgress:
    """Where a run is, for a display."""

    step: int
    seconds: float  # of training, those before a resume included
    spent: float  # share of the budget, 0 to 1
    rate: float  # learning rate of the last step
    losses: Mapping[str, float]  # means since the last judgement
    figures: Mapping[str, float]  # of the last judgement; empty before the first of this process
    best: float  # score; -inf before the first judgement
    best_step: int
    judged: bool  # whether this event is a judgement

    @property
    def seconds_left(self) -> float | None:
        """How long the rest of the budget will take; None before the first step."""
        return self.seconds * (1 - self.spent) / self.spent if self.spent > 0 else None


Observer = Callable[[LoopProgress], None]


@dataclass(slots=True)
class _State:
    """Where a run is."""

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    best_step: int = 0
    means: Means = field(default_factory=Means)  # of the losses since the last judgement


class Loop:
    """Trains a network for a budget of minutes or steps.

    Args:
        network: Trained in place, on the device where it lies.
        folder: Of the run: ``state.safetensors``, ``best.safetensors``, ``log.csv`` and ``sheets/``
            go there.
        options: Budget and rates.
        loss: (step's generator) -> named losses; their sum is descended.
        judge: (network with the mean weights) -> (score to maximise, figures for the log).
        sheet: Called after ``judge``: a picture of what was judged, RGB [H, W, 3], which is kept
            beside the log.
        observer: Told where the run is after each step and each judgement.

    Raises:
        InputError: If the folder holds a state that is damaged or of another network.
    """

    def __init__(
        self,
        network: nn.Module,
        folder: Path,
        options: LoopOptions,
        *,
        loss: Callable[[np.random.Generator], dict[str, Tensor]],
        judge: Callable[[nn.Module], tuple[float, dict[str, float]]],
        sheet: Callable[[], Bytes] | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Build the optimiser; resume if the folder holds a state."""
        self.network, self.folder, self.options = network, folder, options
        self._loss, self._judge, self._sheet, self._observer = loss, judge, sheet, observer
        folder.mkdir(parents=True, exist_ok=True)
        self._optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=options.rate,
            betas=(options.betas[0], options.betas[1]),
            weight_decay=options.weight_decay,
        )
        self._mean = {name: p.detach().clone() for name, p in network.named_parameters()}
        self._state = _State()
        self._figures: dict[str, float] = {}
        if (folder / "state.safetensors").exists():
            self._resume()
        self._log = RunLog(folder / "log.csv", self._state.step)
        drop_sheets(folder / "sheets", self._state.step)

    @property
    def step(self) -> int:
        """Steps taken so far, those before a resume included."""
        return self._state.step

    def run(self) -> None:
        """Train until the budget is spent, then judge once more what has not been judged."""
        options, state = self.options, self._state
        saved = judged = started = time.monotonic()
        before = state.seconds
        while self._spent() < 1:
            state.means.add(self._step())
            now = time.monotonic()
            state.seconds = before + now - started
            self._report(judged=False)
            if self._due(options.judge_steps, options.judge_minutes, now - judged):
                self._judge_and_save()
                saved = judged = time.monotonic()
            elif self._due(options.save_steps, options.save_minutes, now - saved):
                self.save()
                saved = time.monotonic()
        if state.means.counts or not (self.folder / "best.safetensors").exists():
            self._judge_and_save()

    def _due(self, steps: int | None, minutes: float, seconds: float) -> bool:
        """Return whether something that is done every so many steps or minutes is due."""
        return seconds > minutes * 60 if steps is None else self._state.step % steps == 0

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
        with self._precision():
            losses = self._loss(generator)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(float(total.detach())):
            raise InputError(
                f"{self.folder}: the loss is not finite at step {state.step}; lower rate in [loop] "
                "of the recipe, and go on from the last state with --resume"
            )
        self._optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), options.gradient_norm)
        self._optimiser.step()
        state.step += 1
        decay = min(options.mean_decay, state.step / (state.step + 10))
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                self._mean[name].lerp_(parameter, 1 - decay)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _precision(self) -> AbstractContextManager[object]:
        """Return the precision of a step: bfloat16 where it may be and pays, else as it is."""
        device = next(self.network.parameters()).device
        return mixed(device, bfloat16=self.options.mixed_precision and has_fast_bfloat16(device))

    def _judge_and_save(self) -> None:
        """Judge the mean weights; keep them if they are the best so far; save.

        The state is written last: a run that is killed in between judges the same weights again.
        """
        state = self._state
        live = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        self._load(self._mean)
        self.network.eval()
        score, self._figures = self._judge(self.network)
        score = float(score)  # a numpy number could not be saved
        picture = None if self._sheet is None else self._sheet()
        self.network.train()
        target = self.folder / "best.safetensors"
        better = score > state.best or not target.exists()
        if better:
            state.best, state.best_step = score, state.step
            write(target, self.network.state_dict(), {"step": state.step, "score": score})
        self._load(live)
        row = {"step": state.step, "minutes": state.seconds / 60}
        row |= state.means.values() | self._figures
        self._log.add(row)
        if picture is not None:
            keep_sheet(self.folder / "sheets", state.step, picture, keep=self.options.sheets)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
        log.info("%s%s", figures, " (best)" if better else "")
        self._report(judged=True)
        state.means = Means()
        self.save()

    def _report(self, *, judged: bool) -> None:
        """Tell the observer where the run is."""
        if self._observer is None:
            return
        state = self._state
        self._observer(
            LoopProgress(
                step=state.step,
                seconds=state.seconds,
                spent=self._spent(),
                rate=self._optimiser.param_groups[0]["lr"],
                losses=state.means.values(),
                figures=self._figures,
                best=state.best,
                best_step=state.best_step,
                judged=judged,
            )
        )

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
        numbers = {
            "step": state.step,
            "seconds": state.seconds,
            "best": state.best,
            "best_step": state.best_step,
            "loss_sums": state.means.sums,
            "loss_counts": state.means.counts,
        }
        write(self.folder / "state.safetensors", tensors, numbers)

    def _resume(self) -> None:
        """Read the state."""
        path = self.folder / "state.safetensors"
        remedy = "train again without --resume"
        try:
            with safe_open(path, "pt") as file:
                numbers = json.loads(file.metadata()["numbers"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: is damaged ({error}); {remedy}") from error
        try:
            self._take(numbers, tensors)
        except (KeyError, RuntimeError) as error:
            raise InputError(
                f"{path}: is of another network than the recipe's; take the recipe that the run "
                f"was started with, or {remedy}"
            ) from error
        log.info("resumed at step %d", self._state.step)

    def _take(self, numbers: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
        """Put a state's numbers and tensors where they belong."""
        means = Means(numbers.get("loss_sums", {}), numbers.get("loss_counts", {}))
        self._state = _State(
            numbers["step"], numbers["seconds"], numbers["best"], numbers.get("best_step", 0), means
        )
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


def write(path: Path, tensors: dict[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Write tensors beside their place, then rename."""
    partial = path.with_name("." + path.name)
    contiguous = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(contiguous, partial, {"numbers": json.dumps(numbers)})
    partial.replace(path)
