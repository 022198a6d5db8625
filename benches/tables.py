"""Results as text and as files. A result is a dict of JSON values:

``bench, quick, metadata, method``, ``parity`` {"ok", "failed": [...]}, ``tables`` [{"title", "columns": [[key,
heading], ...], "rows": [{"id", ..., "error"}]}], ``goals`` [{"goal", "target", "value", "met"}], ``notes`` [...].
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import machine

Result = dict[str, Any]
Row = dict[str, Any]


def make_table(title: str, columns: list[tuple[str, str]], rows: list[Row]) -> dict[str, Any]:
    """One table; a row's keys beyond the columns are kept for the file."""
    return {"title": title, "columns": [list(c) for c in columns], "rows": rows}


def goal(text: str, value: float | None, target: float, *, at_least: bool) -> dict[str, Any]:
    """A goal and how far it is met; a value of None (something could not be measured) does not meet it."""
    met = value is not None and (value >= target if at_least else value <= target)
    return {"goal": text, "target": f"{'>=' if at_least else '<='} {target:g}", "value": value, "met": met}


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b where both were measured."""
    return None if a is None or b is None or b <= 0 else a / b


def format_number(value: Any) -> str:
    """Three to four significant digits; None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        size = abs(value)
        return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}" if size < 100 else f"{value:.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def format_rows(columns: list[list[str]], rows: list[Row]) -> str:
    """Text columns: the first to the left, numbers to the right; a failed row shows its reason instead."""
    cells = [[heading for _, heading in columns]]
    cells += [[format_number(row.get(key)) for key, _ in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = []
    for number, line in enumerate(cells):
        error = rows[number - 1].get("error") if number else None
        if error:
            lines.append(f"{line[0]:<{widths[0]}}  {error}")
            continue
        rest = (f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        lines.append("  ".join([f"{line[0]:<{widths[0]}}", *rest]).rstrip())
    return "\n".join(lines)


def format_table(result: Result) -> str:
    """The whole result for a terminal."""
    facts = result["metadata"]
    head = [
        f"{result['bench']}{' (quick: figures are rough)' if result['quick'] else ''}",
        f"{facts['cpu']}, {facts['cpus']} CPUs, {facts['simd_level']}; load {facts['load_average'][0]}; "
        f"allocator: {facts['allocator']}; commit {facts['commit'] or 'unknown'}",
    ]
    if "gpu" in facts:
        about = ["driver", (facts["nvidia_smi"] or {}).get("driver_version", "unknown"), "CUDA", str(facts["cuda"])]
        head.append(", ".join([f"{facts['gpu']}", " ".join(about), f"torch {facts['versions'].get('torch')}"]))
    head += [f"{key}: {value}" for key, value in result["method"].items()]
    parts = ["\n".join(head)]
    for table in result["tables"]:
        parts.append(f"{table['title']}\n{format_rows(table['columns'], table['rows'])}")
    if result["goals"]:
        columns = [["goal", "goal"], ["target", "target"], ["value", "measured"], ["met", "met"]]
        parts.append(format_rows(columns, result["goals"]))
    if not result["parity"]["ok"]:
        parts.append("WRONG RESULTS, times are not shown:\n" + "\n".join(result["parity"]["failed"]))
    if result["notes"]:
        parts.append("\n".join(f"- {note}" for note in result["notes"]))
    return "\n\n".join(parts)


def finish_result(
    bench: str,
    *,
    quick: bool,
    facts: dict[str, Any],
    method: dict[str, Any],
    tables: list[Row],
    goals: list[Row],
    notes: Sequence[str],
    wrong: Sequence[str] = (),
    save_to: str | Path | None,
) -> Result:
    """The result of one benchmark, written to a file where a directory is given."""
    result: Result = {
        "bench": bench,
        "quick": quick,
        "metadata": facts,
        "method": method,
        "parity": {"ok": not wrong, "failed": list(wrong)},
        "tables": tables,
        "goals": goals,
        "notes": list(notes),
    }
    if save_to is not None:
        result["saved_as"] = str(save_result(result, save_to))
    return result


def save_result(result: Result, directory: str | Path) -> Path:
    """Write DIRECTORY/<cpu or gpu>/<date>-<bench>.json with sorted keys; a second run of the day gets a number."""
    gpu = result["metadata"].get("gpu")
    folder = Path(directory) / (machine.slug(gpu) if gpu else machine.cpu_slug())
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{result['metadata']['date'][:10]}-{result['bench']}{'-quick' if result['quick'] else ''}"
    text = json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    number = 1
    while True:
        path = folder / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            number += 1
            continue
        return path
