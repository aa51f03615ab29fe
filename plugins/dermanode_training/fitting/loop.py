"""The loop that every network is fitted by: it can be stopped at any moment, and goes on where it was."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog
import torch

from dermanode_training.fitting.averaging import averaged, update
from dermanode_training.fitting.batches import Batch, Recipe, loader
from dermanode_training.fitting.budget import Budget
from dermanode_training.fitting.checkpoint import RunDiffers, check_same_run, write_whole
from dermanode_training.fitting.interruption import Interruption
from dermanode_training.fitting.journal import Journal
from dermanode_training.fitting.machine import Machine
from dermanode_training.fitting.residents import BYTES_EACH, Residents
from dermanode_training.fitting.schedule import Schedule

log = structlog.get_logger(__name__)

CHECKPOINT_S = 120.0
"""How much of a run a power cut may cost."""
LOGGED_STEPS = 50


class Task(Protocol):
    """What is fitted: which pictures are drawn, what is asked of the network, and how well it does."""

    @property
    def name(self) -> str: ...

    @property
    def pack(self) -> Path: ...

    @property
    def plan(self) -> Any:
        """A dataclass: what the task is told beside the budget."""

    def recipe(self, budget: Budget, side_px: int) -> Recipe: ...

    def loss(self, network: Callable[[torch.Tensor], torch.Tensor], batch: Batch) -> torch.Tensor:
        """One number; the batch's pictures are on the network's device."""
        ...

    def validate(self, network: torch.nn.Module, side_px: int, device: torch.device) -> Mapping[str, float]:
        """Figures on the validation side; `score` among them is what the best weights are kept by, higher is better."""
        ...


@dataclass
class Run:
    """A run of one task: the network, its average, and what is written about it.

    Beside `out`, the best average by validation, stand a `Journal` and `.checkpoint`, all that is needed to go on.
    """

    task: Task
    network: torch.nn.Module
    out: Path
    budget: Budget
    machine: Machine = Machine()  # noqa: RUF009 - frozen, so it can be shared
    origin: Mapping[str, str] = field(default_factory=dict)
    """Where the run comes from, for its journal: the network's name, the weights it starts from, the commit, the versions."""
    clock: Callable[[], float] = time.monotonic
    has_events: bool = False
    """Writes events for TensorBoard."""

    def __post_init__(self) -> None:
        torch.manual_seed(self.budget.seed)
        torch.set_num_threads(self.machine.threads)
        self._device = self.machine.chosen()
        self.network = self.network.to(self._device, memory_format=torch.channels_last)
        self._average = averaged(self.network)
        is_gpu = self._device.type == "cuda"
        torch.backends.cudnn.benchmark = is_gpu
        self._called = torch.compile(self.network, dynamic=False) if self.machine.compiled else self.network
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.budget.peak_rate, weight_decay=self.budget.weight_decay, fused=is_gpu
        )
        numbers = self.task.recipe(self.budget, self.budget.sides_px[0]).numbers
        self._residents: Residents | None = None
        if self.machine.is_resident(len(numbers), BYTES_EACH):
            self._residents = Residents(self.task.pack, numbers, self._device)
        steps = max(1, int(self.budget.epochs * len(numbers) / self.budget.batch))
        self._schedule = Schedule(steps, self.budget.minutes, self.clock)
        self._journal = Journal(self.out, has_events=self.has_events)
        # As they are after a way through JSON, in which a checkpoint keeps them.
        self._plan: dict[str, dict[str, Any]] = json.loads(json.dumps({"budget": asdict(self.budget), "task": asdict(self.task.plan)}))
        self._history: list[dict[str, float]] = []
        self._best = -math.inf
        self._running: torch.Tensor | None = None
        self._saved_s = 0.0
        self._saved = (-1, 0)

    @property
    def history(self) -> tuple[Mapping[str, float], ...]:
        """One entry for each validation so far: step, elapsed_s, loss and the task's figures."""
        return tuple(self._history)

    def fit(self) -> None:
        """Goes on from the checkpoint where there is one. Raises `RunDiffers` where that is of another run.

        Ctrl-C and SIGTERM raise `KeyboardInterrupt`, after the step and with a checkpoint.
        """
        self._resume()
        with Interruption() as interruption:
            while self._schedule.done < 1 and not interruption.is_asked:
                self._fit_at(self.budget.side_px(self._schedule.done), interruption)
            if not interruption.is_asked and (not self._history or self._history[-1]["step"] < self._schedule.step):
                self._validate(self.budget.sides_px[-1])
            self._checkpoint()
        if interruption.is_asked:
            log.info("stopped", task=self.task.name, step=self._schedule.step, cure="the same command goes on from here")
            raise KeyboardInterrupt

    def _fit_at(self, side_px: int, interruption: Interruption) -> None:
        # A resumed run draws other pictures than the interrupted one would have: the stream begins anew, with a seed of its own.
        recipe = self.task.recipe(self.budget, side_px).reseeded(self.budget.seed + self._schedule.step)
        for batch in self._batches(recipe):
            self._step(batch.to(self._device))
            if self._schedule.step % LOGGED_STEPS == 0:
                self._report()
            if interruption.is_asked:
                return
            if self._schedule.done * self.budget.validations >= len(self._history) + 1:
                self._validate(side_px)
            elif self._schedule.elapsed_s - self._saved_s > CHECKPOINT_S:
                self._checkpoint()
            if self._schedule.done >= 1 or self.budget.side_px(self._schedule.done) != side_px:
                return

    def _batches(self, recipe: Recipe) -> Iterator[Batch]:
        if self._residents is not None:
            return self._residents.batches(recipe)
        return loader(self.task.pack, recipe, workers=self.machine.loader_workers(), is_pinned=self._device.type == "cuda")

    def _step(self, batch: Batch) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate(self.budget.peak_rate)
        self.network.train()
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            value = self.task.loss(self._called, batch)
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self._optimizer.step()
        update(self._average, self.network, self.budget.averaging)
        self._schedule.step += 1
        now = value.detach()  # left on the device: reading it would wait for the step
        self._running = now if self._running is None else self._running.lerp(now, 0.02)

    def _report(self) -> None:
        done = self._schedule.done
        row = self._row() | {"rate": round(self._schedule.rate(self.budget.peak_rate), 7)}
        self._journal.line(row)
        left_min = self._schedule.elapsed_s / 60 * (1 / done - 1)
        log.info("training", task=self.task.name, **row, done=f"{done:.1%}", left_min=round(left_min))

    def _validate(self, side_px: int) -> None:
        figures = self.task.validate(self._average.module, side_px, self._device)
        row = self._row() | dict(figures)
        self._history.append(row)
        self._journal.line(row)
        log.info("validated", task=self.task.name, side_px=side_px, **row)
        if figures["score"] > self._best:
            self._best = figures["score"]
            write_whole(self._average.module.state_dict(), self.out)
        workers = 0 if self._residents is not None else self.machine.loader_workers()
        machine = {"device": _name(self._device), "threads": self.machine.threads, "workers": workers}
        told = {"task": self.task.name, "plan": self._plan, "machine": machine, "origin": dict(self.origin)}
        self._journal.tell(told | {"history": self._history, "best": self._best})
        self._checkpoint()

    def _row(self) -> dict[str, float]:
        return {"step": self._schedule.step, "elapsed_s": round(self._schedule.elapsed_s, 1), "loss": round(self._loss, 5)}

    @property
    def _loss(self) -> float:
        return 0.0 if self._running is None else float(self._running)

    @property
    def _path(self) -> Path:
        return self.out.with_suffix(".checkpoint")

    def _checkpoint(self) -> None:
        if self._saved == (self._schedule.step, len(self._history)):
            return
        state = {
            "plan": json.dumps(self._plan),
            "network": self.network.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._schedule.step,
            "elapsed_s": self._schedule.elapsed_s,
            "history": json.dumps(self._history),
            "best": self._best,
            "running": self._loss,
        }
        write_whole(state, self._path)
        self._saved_s, self._saved = self._schedule.elapsed_s, (self._schedule.step, len(self._history))

    def _resume(self) -> None:
        if self._path.is_file():
            state = torch.load(self._path, weights_only=True, map_location=self._device)
            check_same_run(self._path, json.loads(state["plan"]), self._plan)
            try:
                self.network.load_state_dict(state["network"])
            except RuntimeError as error:
                raise RunDiffers(self._path, "it trained another network") from error
            self._average.load_state_dict(state["average"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._schedule.go_on(state["step"], state["elapsed_s"])
            self._history, self._best = json.loads(state["history"]), state["best"]
            self._running = torch.tensor(state["running"], device=self._device) if state["running"] else None
            log.info("resumed", task=self.task.name, step=self._schedule.step, done=f"{self._schedule.done:.1%}")
        self._saved_s = self._schedule.elapsed_s
        self._journal.go_on(self._schedule.step)


def _name(device: torch.device) -> str:
    return f"{device.type}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
