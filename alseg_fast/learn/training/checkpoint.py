"""Checkpoints of one stage: whole or absent, the newest two kept, hostile until checked.

``step-00001200.pt`` holds all that going on needs; ``best-00000800.pt`` the method as it was at its best evaluation.
A best file is written before the checkpoint that names it and removed after the last one that does, so whatever
instant the process dies at, every checkpoint that is there has its best file. All are plain `torch.save` files.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ... import atomic
from ...errors import AlsegError, RunError

log = logging.getLogger("alseg")

FORMAT = 1
_NAME = re.compile(r"(step|best)-(\d{8,})\.pt")
_PLAIN = (torch.Tensor, int, float, bool, str, bytes, type(None))
_KEPT = 2


class Damaged(AlsegError):
    """A checkpoint file cannot be used."""


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors and plain values.

    Raises:
        AlsegError: it holds something else, which a safe reader would refuse later.
        RunError: the file cannot be written.
    """
    _check_plain(state, "state")
    advice = "make room or fix the access there and run the same command again: it goes on from the last checkpoint"
    atomic.write_atomic(path, lambda file: torch.save(dict(state), file), advice=advice)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, on the CPU; every byte is checked and no code in the file is run.

    Raises: Damaged: the file is missing, cut short, altered, of another format, or holds more than values.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise Damaged(f"{path} is not a checkpoint: it claims more data than it has")
            broken = archive.testzip()
        if broken is not None:
            raise Damaged(f"{path} is damaged: the checksum of {broken} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Damaged:
        raise
    except FileNotFoundError:
        raise Damaged(f"{path} is missing") from None
    except MemoryError:
        raise
    except Exception as error:  # a hostile file may raise anything in the two readers
        text = " ".join(str(error).split())[:200]
        raise Damaged(f"{path} is damaged or no checkpoint ({text or type(error).__name__})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise Damaged(f"{path} is not a checkpoint of this version (format {FORMAT}; got {found!r})")
    return state


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, dict | OrderedDict):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise AlsegError(f"checkpoint: keys must be text or integers; got {key!r} in {where}. Rename the key.")
            _check_plain(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_plain(item, f"{where}[{i}]")
    elif type(value) not in (*_PLAIN, torch.nn.Parameter):
        raise AlsegError(
            f"checkpoint: values must be tensors or plain Python values; got {type(value).__name__} in {where}. "
            "Convert it in the method's state_dict."
        )


class Checkpoints:
    """The checkpoint files of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        atomic.make_directory(directory)
        atomic.remove_leftovers(directory)
        self._best_of: dict[int, int | None] = {}  # step of a kept checkpoint -> the best step it names

    def step_path(self, step: int) -> Path:
        return self.directory / f"step-{step:08d}.pt"

    def best_path(self, step: int) -> Path:
        return self.directory / f"best-{step:08d}.pt"

    def steps(self) -> list[int]:
        """Steps that there are checkpoints of, ascending."""
        return self._found("step")

    def save(self, step: int, state: Mapping[str, Any], best_step: int | None) -> Path:
        """Write the checkpoint of a step, then remove what is no longer needed."""
        path = self.step_path(step)
        save_state(path, {"format": FORMAT, "step": step, **state})
        self._best_of[step] = best_step
        kept = [s for s in self.steps() if s <= step][-_KEPT:]
        for other in self.steps():
            if other not in kept:
                atomic.remove_file(self.step_path(other))
                self._best_of.pop(other, None)
        if all(s in self._best_of for s in kept):
            named = {self._best_of[s] for s in kept}
            for other in self._found("best"):
                if other not in named:
                    atomic.remove_file(self.best_path(other))
        return path

    def save_best(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the best file of a step; the checkpoint that names it comes after."""
        save_state(self.best_path(step), {"format": FORMAT, "step": step, **state})

    def newest(self) -> dict[str, Any] | None:
        """The newest checkpoint that is whole; None: there is none at all.

        Raises: RunError: there are checkpoints, but none can be used.
        """
        problems: list[str] = []
        for step in reversed(self.steps()):
            path = self.step_path(step)
            try:
                state = load_state(path)
                best = _best_step(state, step, path)
                if best is not None and not self.best_path(best).is_file():
                    raise Damaged(f"{self.best_path(best)} is missing")
            except Damaged as damage:
                problems.append(str(damage))
                continue
            for problem in problems:
                log.warning("%s; going on from the checkpoint before it, %s", problem, path)
            self._best_of[step] = best
            return state
        if problems:
            raise RunError(f"{'; '.join(problems)}; delete {self.directory} to train this stage from its start")
        return None

    def _found(self, kind: str) -> list[int]:
        matches = (_NAME.fullmatch(entry.name) for entry in self.directory.iterdir())
        return sorted(int(m[2]) for m in matches if m is not None and m[1] == kind)


def _best_step(state: Mapping[str, Any], step: int, path: Path) -> int | None:
    progress = state.get("progress")
    if state.get("step") != step or not isinstance(progress, dict) or "best_step" not in progress:
        raise Damaged(f"{path} is not the checkpoint of step {step}")
    best = progress["best_step"]
    if best is not None and (not isinstance(best, int) or not 0 <= best <= step):
        raise Damaged(f"{path} names {best!r} as its best step")
    return best
