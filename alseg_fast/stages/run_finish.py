"""Brings run.json up to date from what lies in the RUN and marks a complete one; any process may."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..atomic import remove_file, write_atomic
from . import run_layout as layout
from .run_identity import json_bytes
from .run_reader import count_run, read_info

log = logging.getLogger("alseg")


def refresh_run(run: Path) -> dict[str, Any]:
    """Recount parts, add up timings, rewrite run.json if they changed, write or remove _SUCCESS.

    Returns: the contents of run.json.

    Two processes may do this at once. Whoever replaces run.json looks again afterwards, so the last to
    look has seen everything.
    """
    while True:
        seen = _listing(run)
        info = read_info(run)
        fresh = {**info, "counts": count_run(run, int(info["parts"])), "timings": merged_timings(run)}
        if fresh != info:
            write_atomic(run / layout.RUN_JSON, json_bytes(fresh))
        success = run / layout.SUCCESS
        if fresh["counts"]["parts_done"] == info["parts"]:
            if not success.exists():
                write_atomic(success, b"")
        else:
            remove_file(success)
        if _listing(run) == seen:
            return fresh


def _listing(run: Path) -> tuple[list[int], list[str]]:
    return layout.list_parts(run, layout.SCORES), _timing_files(run)


def _timing_files(run: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(run / layout.TIMINGS) if name.endswith(".json"))
    except FileNotFoundError:
        return []


def merged_timings(run: Path) -> dict[str, Any]:
    """Sums over all processes: {"processes", "started", "ended", "images", "wall_seconds", ...}.

    `wall_seconds` is process-seconds: with two processes side by side it runs twice as fast as the clock.
    Keys that begin with "peak_" are the highest instead.
    """
    merged: dict[str, Any] = {}
    processes = 0
    for name in _timing_files(run):
        try:
            record = json.loads((run / layout.TIMINGS / name).read_bytes())
        except (OSError, ValueError) as exc:
            log.warning("%s is left out of the timings: %s", run / layout.TIMINGS / name, exc)
            continue
        processes += 1
        started, ended = record.get("started", ""), record.get("ended", "")
        merged["started"] = min(merged.get("started", started), started)
        merged["ended"] = max(merged.get("ended", ended), ended)
        _add(
            merged,
            {key: record[key] for key in record if key not in ("started", "ended", "host", "pid", "shard")},
        )
    return {"processes": processes, **merged} if processes else {}


def _add(total: dict[str, Any], record: Mapping[str, Any]) -> None:
    for key, value in record.items():
        if isinstance(value, dict):
            _add(total.setdefault(key, {}), value)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            total[key] = value
        elif key.startswith("peak_"):
            total[key] = max(total.get(key, value), value)
        else:
            total[key] = total.get(key, 0) + value
