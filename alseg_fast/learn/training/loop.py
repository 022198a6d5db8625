"""The training loop: any method, any kill, the same weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import torch

from ...errors import AlsegError, RunError
from ..data.batch import Batch
from ..data.dataset import Dataset
from .checkpoint import Checkpoints, Damaged, load_state
from .config import StageConfig
from .events import Events
from .method import Losses, Method
from .optimiser import make_optimiser, parameters_of, rate_at, set_rate
from .precision import Precision
from .progress import Progress, StageResult, check_figures, read_result, write_result
from .repeatable import own_random_numbers, random_state, repeatable, set_random_state

_SECONDS_BETWEEN = 60.0  # checkpoints, where the config does not say


class BatchSource(Protocol):
    """Batches that are a pure function of the step, such as `data.batches.Batches`."""

    def stream(self, first_step: int, n_steps: int) -> Iterator[Batch]:
        """The batches of the steps first_step, ..., first_step + n_steps - 1."""
        ...


def train_stage(
    method: Method,
    batches: BatchSource,
    stage: StageConfig,
    *,
    directory: Path | str,
    validation: Dataset | None = None,
    log: Events | None = None,
    name: str = "stage",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> StageResult:
    """Train a method for one stage, or go on with a stage that was stopped at any instant.

    On the CPU, with the same thread count, a stage that was killed and started again ends with the same bits as one
    that was not: batches are a function of the step, and checkpoints keep the method, the optimiser, the random
    numbers and the state of early stopping. A finished stage returns at once.

    Args:
        method: in its initial state, which must be the same at every start; holds the result afterwards (stage.keep).
        batches: what `stream` gives from the step the stage stands at.
        stage: steps, optimiser, rates, evaluation; see `StageConfig`.
        directory: of this stage alone.
        validation: what `method.evaluate` is given; None: no evaluation, and the last step counts.
        log: told of every step; see `Events`.
        name: in messages.
        seed: of the random numbers that the method draws from torch's global generator.
        device: where batches go; the method's networks are there already.
    Raises:
        AlsegError: a loss or gradient is not finite: the message names step and images, and the last good checkpoint
            stays; or an evaluation has no score.
        RunError: the directory is of another stage, or its checkpoints are damaged beyond going on.
    """
    run = _Run(method, stage, Path(directory), validation, log or _Nobody(), name, seed, torch.device(device))
    if stage.steps == 0:
        return StageResult(name, 0, None, {}, 0, [], 0.0, "steps")
    found = run.finished()
    if found is not None:
        return found
    with repeatable(run.device, seed, stage.threads):
        return run.go(batches)


class _Run:
    def __init__(
        self,
        method: Method,
        stage: StageConfig,
        directory: Path,
        validation: Dataset | None,
        events: Events,
        name: str,
        seed: int,
        device: torch.device,
    ) -> None:
        self.method, self.stage, self.validation, self.events = method, stage, validation, events
        self.name, self.seed, self.device, self.directory = name, seed, device, directory
        self.facts: dict[str, Any] = {**stage.model_dump(mode="json"), "seed": seed}
        self.checkpoints = Checkpoints(directory)
        self.progress = Progress()
        self.last_good: Path | None = None

    def finished(self) -> StageResult | None:
        """The result of a stage that is over, the method in the state it ended with."""
        found = read_result(self.directory / "result.json")
        if found is None:
            return None
        result, facts = found
        self._check_facts(facts)
        self._load_method(result)
        self.events.start(self.name, self.stage.steps, result.steps)
        self.events.finish(self.name, result.steps, "kept")
        return result

    def go(self, batches: BatchSource) -> StageResult:
        stage, progress_of = self.stage, self.checkpoints
        self.optimiser = make_optimiser(self.method.parameter_groups(), stage)
        self.precision = Precision(stage.amp, self.device)
        done = self._resume(progress_of.newest())
        self.started = time.monotonic() - self.progress.seconds
        self.saved_at = time.monotonic()
        self.events.start(self.name, stage.steps, done)
        self.method.start()
        if done < stage.steps and not self._patience_over():
            with closing(_closable(batches.stream(done, stage.steps - done))) as stream:
                for batch in stream:
                    self._step(done, batch)
                    done += 1
                    self._after(done)
                    if self._patience_over():
                        break
            if done < stage.steps and not self._patience_over():
                raise AlsegError(f"{self.name}: the batches ended after step {done} of {stage.steps}")
        return self._finish(done)

    def _step(self, step: int, batch: Batch) -> None:
        rate = rate_at(self.stage, step)
        set_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        batch = batch.to(self.device)
        with self.precision.autocast():
            losses = self.method.losses(batch, step)
        values = self._values(losses, step, batch)
        norm = self.precision.backward(losses.total, self.optimiser, parameters_of(self.optimiser), self.stage.clip)
        if norm is not None and not math.isfinite(norm):
            self._stop(f"the gradient is {norm}", step, batch)
        self.precision.step(self.optimiser)
        self.method.after_step(step)
        self.progress.add_losses(values)
        done = step + 1
        told = done % self.stage.log_every == 0 or done == self.stage.steps
        self.events.step(self.name, done, rate, self.progress.take_means() if told else None)

    def _values(self, losses: Losses, step: int, batch: Batch) -> dict[str, float]:
        total = losses.total
        if total.ndim != 0 or not total.requires_grad:
            self._stop(f"the loss must be a scalar with a gradient; got shape {list(total.shape)}", step, batch)
        named = {"loss": total, **losses.parts}
        # One transfer for all of them: on CUDA each would wait for the device.
        numbers = torch.stack([value.detach().double().reshape(()) for value in named.values()]).tolist()
        values = dict(zip(named, numbers, strict=True))
        bad = [f"{key} = {value}" for key, value in values.items() if not math.isfinite(value)]
        if bad:
            self._stop("the loss is not finite: " + ", ".join(bad), step, batch)
        return values

    def _stop(self, what: str, step: int, batch: Batch) -> None:
        kept = f"the last good checkpoint is {self.last_good}" if self.last_good else "there is no checkpoint yet"
        raise AlsegError(
            f"{self.name}: {what}, at step {step} with the images {', '.join(batch.image_ids)}; {kept}; "
            "check these images, lower the rate, or set clip"
        )

    def _after(self, done: int) -> None:
        """Evaluate and save where it is time to."""
        stage, last = self.stage, done == self.stage.steps
        evaluated = self.validation is not None and (
            last or (stage.evaluate_every is not None and done % stage.evaluate_every == 0)
        )
        if evaluated:
            self._evaluate(done)
        every = stage.checkpoint_every
        late = every is None and time.monotonic() - self.saved_at >= _SECONDS_BETWEEN
        if evaluated or last or late or (every is not None and done % every == 0):
            self._save(done)

    def _evaluate(self, done: int) -> None:
        assert self.validation is not None
        # Random numbers of its own: how often it is evaluated does not change what is learned.
        with torch.no_grad(), own_random_numbers(self.device, self.seed + done):
            figures = check_figures(self.name, done, self.method.evaluate(self.validation))
        self.method.start()
        best = self.progress.add_figures(done, figures)
        if best:
            self.checkpoints.save_best(done, {"method": self.method.state_dict(), "figures": figures})
        self.events.figures(self.name, done, figures, best)

    def _save(self, done: int) -> None:
        self.progress.seconds = time.monotonic() - self.started
        state = {
            "facts": self.facts,
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "precision": self.precision.state_dict(),
            "random": random_state(self.device),
            "progress": self.progress.state_dict(),
        }
        self.last_good = self.checkpoints.save(done, state, self.progress.best_step)
        self.saved_at = time.monotonic()

    def _resume(self, state: Mapping[str, Any] | None) -> int:
        if state is None:
            return 0
        path = self.checkpoints.step_path(state["step"])
        try:
            self._check_facts(state["facts"])
            self.method.load_state_dict(state["method"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.precision.load_state_dict(state["precision"])
            self.progress = Progress.from_state(state["progress"])
            set_random_state(state["random"], self.device)
        except AlsegError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            text = " ".join(str(error).split())[:300]
            raise RunError(
                f"{path} does not fit this method ({text}); delete {self.directory} to train this stage from its start"
            ) from error
        self.last_good = path
        return int(state["step"])

    def _check_facts(self, made: Mapping[str, Any]) -> None:
        keys = sorted(k for k in made.keys() | self.facts.keys() if made.get(k) != self.facts.get(k))
        if keys:
            had = ", ".join(f"{k} = {made.get(k)}" for k in keys)
            wants = ", ".join(f"{k} = {self.facts.get(k)}" for k in keys)
            raise RunError(f"{self.directory} was trained with {had}, now {wants} is asked for; use another directory")

    def _patience_over(self) -> bool:
        return self.stage.patience is not None and self.progress.waits >= self.stage.patience

    def _finish(self, done: int) -> StageResult:
        progress = self.progress
        kept = done
        if self.stage.keep == "best" and progress.best_step is not None:
            kept = progress.best_step
        why = "steps" if done == self.stage.steps else "patience"
        figures, history = progress.best_figures, progress.history
        progress.seconds = time.monotonic() - self.started
        result = StageResult(
            self.name, done, progress.best_step, figures, kept, history, round(progress.seconds, 3), why
        )
        self._load_method(result)
        write_result(self.directory / "result.json", result, self.facts)
        self.events.finish(self.name, done, why)
        return result

    def _load_method(self, result: StageResult) -> None:
        """The method as the result says, always from the file: a later start must find what this one has."""
        best = self.stage.keep == "best" and result.best_step is not None
        path = (self.checkpoints.best_path if best else self.checkpoints.step_path)(result.kept_step)
        try:
            self.method.load_state_dict(load_state(path)["method"])
        except (Damaged, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            text = " ".join(str(error).split())[:300]
            raise RunError(f"{text}; delete {self.directory} to train this stage again") from error


def _closable(stream: Iterator[Batch]) -> Any:
    """A generator has close(), which ends its threads; a plain iterator has nothing to end."""
    return stream if hasattr(stream, "close") else (batch for batch in stream)


class _Nobody:
    """Events that nobody listens to."""

    def start(self, stage: str, steps: int, done: int) -> None:
        pass

    def step(self, stage: str, done: int, rate: float, losses: Mapping[str, float] | None) -> None:
        pass

    def figures(self, stage: str, done: int, figures: Mapping[str, float], best: bool) -> None:
        pass

    def finish(self, stage: str, done: int, why: str) -> None:
        pass
