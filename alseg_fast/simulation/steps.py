"""Steps that are done once: what each found is on disk before the next begins."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import atomic
from ..errors import RunError, UsageError

Command = Sequence[str]
Tell = Callable[[str], None]


def seed_of(*names: str | int) -> int:
    """A seed of its own for every name."""
    text = "\0".join(map(str, names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


class Steps:
    """The steps of one directory, DIR/steps/<name>.json.

    A step that was stopped is done again from its start, and what it calls goes on where that can; a finished one is
    read from its file and never done again.

    Args:
        directory: made if absent.
        tell: is told of every step that is done now.
        label: what stands before these messages.
    """

    def __init__(self, directory: Path, tell: Tell = lambda text: None, label: str = "") -> None:
        self.directory = directory
        self._tell, self._label = tell, label
        self._done: dict[str, dict[str, Any]] = {}
        atomic.make_directory(directory / "steps")

    def do(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What `make` gives (JSON values), computed once.

        Raises: RunError: the file of the step is damaged.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise UsageError(f"Steps.do: name must be letters, digits, _ . and -; got {name!r}. Choose another.")
        path = self.directory / "steps" / f"{name}.json"
        if not path.exists():
            start = time.monotonic()
            value = dict(make())
            seconds = time.monotonic() - start
            text = json.dumps({"seconds": round(seconds, 4), "value": value}, allow_nan=False)
            atomic.write_atomic(path, text.encode())
            self._tell(f"{self._label}{name}: {seconds:.1f} s")
        # Read also the first time: a second start must see the same values.
        try:
            found = json.loads(path.read_bytes())
            self._done[name] = {"seconds": float(found["seconds"]), "value": dict(found["value"])}
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged; delete it and run the same command again") from error
        return dict(self._done[name]["value"])

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of every step that was asked for, by name."""
        return {name: step["seconds"] for name, step in self._done.items()}

    def write_commands(self) -> None:
        """DIR/commands.txt: the command lines that do what the steps did through the public functions."""
        lines = [line for step in self._done.values() for line in step["value"].get("commands", ())]
        if lines:
            atomic.write_atomic(self.directory / "commands.txt", ("\n".join(lines) + "\n").encode())
