"""Contenders of one block: each is made, goes through its gate, and then takes its turn under the clock."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from . import machine
from .tables import Row, ratio
from .timing import Contender, Quiet, Spread, error_text, interleave

log = logging.getLogger("alseg")

Call = Callable[[], Any]
OURS, PEER, PART = "ours", "peer", "part"  # a part is shown but is no rival: it does not do the whole work


@dataclass(frozen=True)
class Rival:
    """One way of doing the work.

    Attributes:
        make: gives the call that is timed; an exception becomes the row's reason.
        check: None for a right result, or what is wrong with it.
        facts: further columns, of the result.
    """

    name: str
    role: str
    make: Callable[[], Call]
    check: Callable[[Any], str | None] = lambda result: None
    facts: Callable[[Any], dict[str, Any]] = lambda result: {}
    scale: float = 1.0
    columns: dict[str, Any] = field(default_factory=dict)


def repetitions(quick: bool) -> dict[str, Any]:
    """Fewest, most and seconds, for `interleave`."""
    fewest, most, seconds = (3, 3, 0.5) if quick else (5, 30, 8.0)
    return {"fewest": fewest, "most": most, "budget_seconds": seconds}


def time_rivals(prefix: str, rivals: Iterable[Rival], quick: bool, quiet: Quiet) -> tuple[list[Row], list[str]]:
    """Rows in the order of the rivals, and what failed the gate."""
    rows: dict[str, Row] = {}
    wrong: list[str] = []
    contenders: list[Contender] = []
    for rival in rivals:
        row = rows[rival.name] = {
            "id": f"{prefix}/{rival.name}",
            "backend": rival.name,
            "role": rival.role,
            "error": None,
            **rival.columns,
        }
        start = time.perf_counter()
        try:
            call = rival.make()
            result = call()
            problem = rival.check(result)
            row["setup_s"] = time.perf_counter() - start
            if problem is not None:
                row["error"] = f"wrong result: {problem}"
                wrong.append(f"{row['id']}: {problem}")
                continue
            row.update(rival.facts(result))
            del result
            row["call_mib"] = machine.call_memory(call)
        except Exception as exc:  # a rival that cannot run is a row with its reason
            row["error"] = error_text(exc)
            log.warning("bench: %s cannot run: %s", row["id"], row["error"])
            continue
        contenders.append(Contender(rival.name, call, rival.scale))
    for name, timed in interleave(contenders, quiet=quiet, **repetitions(quick)).items():
        if isinstance(timed, Spread):
            rows[name].update(timed.milliseconds())
        else:
            rows[name]["error"] = timed
    return list(rows.values()), wrong


def add_ratios(rows: list[Row], ours: str, pixels: int) -> list[Row]:
    """Each row's time over that of the row named `ours`, and its pixels a second."""
    own = next(row for row in rows if row["backend"] == ours)
    for row in rows:
        for which in ("median", "min"):
            row[f"{which}_ratio"] = ratio(row.get(f"{which}_ms"), own.get(f"{which}_ms"))
        median = row.get("median_ms")
        row["mpix_s"] = None if median is None or row["role"] == PART else pixels / median / 1e3
    return rows


def find_ratio(rows: list[Row], name: str, key: str = "median_ratio") -> float | None:
    """Of one row; None where it has none."""
    return next((row.get(key) for row in rows if row["backend"] == name), None)
