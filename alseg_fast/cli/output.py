"""What a command shows: results on stdout, log and progress on stderr."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

_LOG_SECONDS = 10.0  # between progress lines where there is no terminal


@dataclass(frozen=True)
class Result:
    """What a command returns: data for --json, text for people, and its exit status."""

    data: Mapping[str, Any]
    text: str
    status: int = 0


def set_up_logging(arguments: argparse.Namespace) -> None:
    """Messages of the package on stderr, as `alseg: warning: ...`."""
    log = logging.getLogger("alseg")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    log.handlers = [handler]
    log.propagate = False
    # Pillow logs what it dislikes in a file; the file's own failure row says it already.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    log.setLevel(logging.INFO if arguments.verbose else logging.WARNING)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"alseg: {record.levelname.lower()}: {' '.join(record.getMessage().split())}"


def emit(result: Result, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plain(result.data), indent=2, ensure_ascii=False, allow_nan=False))
    elif result.text:
        print(result.text)


def plain(value: Any) -> Any:
    """JSON values; NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def columns(rows: Sequence[tuple[str, ...]], indent: str = "") -> str:
    """Rows as aligned columns; all but the first are as wide as their widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


class Progress:
    """A bar on a terminal, a plain line every ten seconds elsewhere; both on stderr."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Any = None
        self._total = self._done = self._failed = self._before = 0
        self._start = self._last = time.monotonic()

    def start(self, total: int, done: int) -> None:
        self._total, self._done, self._before = total, done, done
        self._start = self._last = time.monotonic()
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc=self._what, unit="img", smoothing=0.05, file=sys.stderr)

    def update(self, done: int, failed: int) -> None:
        self._done += done
        self._failed += failed
        if self._bar is not None:
            self._bar.update(done)
            if failed:
                self._bar.set_postfix_str(f"{self._failed:,} failed")
            return
        now = time.monotonic()
        if now - self._last >= _LOG_SECONDS:
            self._last = now
            rate = (self._done - self._before) / (now - self._start)
            print(
                f"alseg: {self._what}: {self._done:,} of {self._total:,} images "
                f"({100 * self._done / max(1, self._total):.0f} %), {rate:.1f} images/s, {self._failed:,} failed",
                file=sys.stderr,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()


class StageProgress:
    """One progress bar after another."""

    def __init__(self) -> None:
        self._current: Progress | None = None

    def start(self, what: str, total: int, done: int) -> None:
        self.close()
        self._current = Progress(what)
        self._current.start(total, done)

    def update(self, done: int, failed: int) -> None:
        if self._current is not None:
            self._current.update(done, failed)

    def close(self) -> None:
        if self._current is not None:
            self._current.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
