"""The record of a training: metrics.jsonl and TensorBoard event files, whole after every kill."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ... import atomic
from ...errors import RunError, UsageError
from .events import Events


class Records:
    """Writes what the loop tells, and passes it on.

    ``metrics.jsonl``: a line {"stage", "step", "rate", "loss", parts...} every log_every steps, and a line {"stage",
    "step", "best", "figures"} an evaluation. A stage that goes on after a kill first drops its lines of later steps,
    so that no step stands there twice; TensorBoard is told to do the same with its own.

    Args:
        out: the training's directory.
        listeners: who else is told, such as a progress bar.
    """

    def __init__(self, out: Path, listeners: Sequence[Events] = ()) -> None:
        self._path = out / "metrics.jsonl"
        self._boards = out / "tensorboard"
        self._listeners = listeners
        self._file: Any = None
        self._board: Any = None

    def start(self, stage: str, steps: int, done: int) -> None:
        self.close()
        self._drop_after(stage, done)
        if done < steps:
            self._open(stage, done)
        for listener in self._listeners:
            listener.start(stage, steps, done)

    def step(self, stage: str, done: int, rate: float, losses: Mapping[str, float] | None) -> None:
        if losses is not None:
            self._write({"stage": stage, "step": done, "rate": rate, **losses})
            self._plot(done, {"rate": rate, **{f"loss/{k}": v for k, v in losses.items()}})
        for listener in self._listeners:
            listener.step(stage, done, rate, losses)

    def figures(self, stage: str, done: int, figures: Mapping[str, float], best: bool) -> None:
        self._write({"stage": stage, "step": done, "best": best, "figures": dict(figures)})
        self._plot(done, {f"figures/{k}": v for k, v in figures.items()})
        if self._board is not None:
            self._board.flush()
        for listener in self._listeners:
            listener.figures(stage, done, figures, best)

    def finish(self, stage: str, done: int, why: str) -> None:
        self.close()
        for listener in self._listeners:
            listener.finish(stage, done, why)

    def close(self) -> None:
        """End the files of the current stage."""
        file, board, self._file, self._board = self._file, self._board, None, None
        if file is not None:
            file.close()
        if board is not None:
            board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open(self, stage: str, done: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UsageError(
                "training needs tensorboardX, which is not installed; run pip install 'alseg-fast[train]'"
            ) from None
        try:
            self._file = self._path.open("a", encoding="utf-8")
            # Events from this step on, of an earlier start, are void.
            # The suffix: names have whole seconds, and two starts within one would write over each other.
            self._board = SummaryWriter(
                str(self._boards / stage), purge_step=done + 1 if done else None, filename_suffix=f".{time.time_ns()}"
            )
        except OSError as error:
            raise RunError(f"cannot write {self._path}: {error.strerror or error}; {atomic.KEEPS_PARTS}") from error

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        try:
            # One write a line: a kill leaves whole lines, or at the very end a torn one, which the next start drops.
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise RunError(f"cannot write {self._path}: {error.strerror or error}; {atomic.KEEPS_PARTS}") from error

    def _plot(self, done: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, done)

    def _drop_after(self, stage: str, done: int) -> None:
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        kept = [line for line in lines if _stays(line, stage, done)]
        if kept != lines:
            atomic.write_atomic(self._path, b"".join(kept))


def _stays(line: bytes, stage: str, done: int) -> bool:
    try:
        entry = json.loads(line)
        return bool(line.endswith(b"\n") and (entry["stage"] != stage or entry["step"] <= done))
    except (ValueError, KeyError, TypeError):
        return False  # torn by a kill
