"""How a training is shown: a bar with the losses on a terminal, plain lines elsewhere; both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

_LOG_SECONDS = 10.0  # between lines where there is no terminal


class TrainProgress:
    """Listens to a training."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._stage = ""
        self._steps = self._before = 0
        self._start = self._last = 0.0
        self._losses: Mapping[str, float] = {}

    def start(self, stage: str, steps: int, done: int) -> None:
        self.close()
        self._stage, self._steps, self._before, self._losses = stage, steps, done, {}
        self._start = self._last = time.monotonic()
        if done >= steps:
            return
        if done:
            self._say(f"goes on after step {done:,} of {steps:,}")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=steps, initial=done, desc=stage, unit="step", smoothing=0.05, file=sys.stderr)

    def step(self, stage: str, done: int, rate: float, losses: Mapping[str, float] | None) -> None:
        self._losses = losses or self._losses
        if self._bar is not None:
            self._bar.update(1)
            if losses:
                self._bar.set_postfix_str(_numbers(losses))
            return
        now = time.monotonic()
        if now - self._last >= _LOG_SECONDS:
            self._last = now
            speed = (done - self._before) / (now - self._start)
            losses_text = f", {_numbers(self._losses)}" if self._losses else ""
            share = 100 * done / self._steps
            self._say(f"{done:,} of {self._steps:,} steps ({share:.0f} %), {speed:.2f} steps/s{losses_text}")

    def figures(self, stage: str, done: int, figures: Mapping[str, float], best: bool) -> None:
        # Those of single classes and of thresholds that nobody knows are in metrics.jsonl.
        shown = {key: value for key, value in figures.items() if "/" not in key and not key.startswith("oracle_")}
        self._say(f"step {done:,}: {_numbers(shown)}{' (best so far)' if best else ''}")

    def finish(self, stage: str, done: int, why: str) -> None:
        self.close()
        ends = {
            "steps": f"{done:,} steps done",
            "patience": f"ended after {done:,} steps: the score has not risen for as long as patience says",
            "kept": f"was finished before, {done:,} steps",
        }
        self._say(ends.get(why, why))

    def close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _say(self, text: str) -> None:
        line = f"alseg: train: {self._stage}: {text}"
        if self._bar is None:
            print(line, file=sys.stderr)
        else:
            self._bar.write(line, file=sys.stderr)


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in values.items())
