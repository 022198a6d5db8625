"""Two result files of one benchmark as a table: ``python -m alseg_fast.benches.compare OLD.json NEW.json``.

Refuses results whose parity gate was red and results that do not belong together.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .tables import Result, Row, format_number, format_rows, ratio

_KEYS = (("median_ms", "ms"), ("median_s", "s"), ("peak_mib", "MiB"))  # of a row, in order of preference
_SAME = ("cpu", "cpus", "simd_level", "allocator", "gpu", "cuda")
_COLUMNS = [
    ["id", "row"],
    ["old", "old"],
    ["new", "new"],
    ["unit", ""],
    ["ratio", "new / old"],
    ["beyond", "beyond IQR"],
]


class CompareError(ValueError):
    """These two files cannot be compared."""


def _rows(result: Result) -> dict[str, Row]:
    return {row["id"]: row for table in result["tables"] for row in table["rows"]}


def compare_results(old: Result, new: Result) -> tuple[list[Row], list[str]]:
    """Rows with old, new and their ratio, and warnings where the machines or settings differ.

    Raises: CompareError: another benchmark, one of them quick, or wrong results in one of them.
    """
    for key, default in (("bench", None), ("quick", None), ("device", "cpu")):
        before, after = (result.get(key, default) for result in (old, new))
        if before != after:
            raise CompareError(f"{key} differs: {before!r} and {after!r}; compare two runs of one kind")
    for name, result in (("old", old), ("new", new)):
        if not result["parity"]["ok"]:
            raise CompareError(f"the {name} results are wrong ({result['parity']['failed'][0]}); repair them first")
    warnings = [
        f"{key} differs: {old['metadata'].get(key)!r} and {new['metadata'].get(key)!r}"
        for key in _SAME
        if old["metadata"].get(key) != new["metadata"].get(key)
    ]
    rows_before, rows_after = _rows(old), _rows(new)
    rows: list[Row] = []
    for name in dict.fromkeys([*rows_before, *rows_after]):
        a, b = rows_before.get(name, {"error": "not measured"}), rows_after.get(name, {"error": "not measured"})
        found = [(key, unit) for key, unit in _KEYS if key in a or key in b]
        if not found and not (a.get("error") or b.get("error")):
            continue  # a summary: its figures are those of other rows
        key, unit = found[0] if found else ("", "")
        x, y = a.get(key), b.get(key)
        row: Row = {"id": name, "old": x, "new": y, "unit": unit, "ratio": ratio(y, x), "error": None}
        if x is None or y is None:
            row["error"] = f"old: {a.get('error') or format_number(x)}; new: {b.get('error') or format_number(y)}"
        elif "iqr_ms" in a and "iqr_ms" in b:
            row["beyond"] = abs(y - x) > a["iqr_ms"] + b["iqr_ms"]
        rows.append(row)
    return rows, warnings


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 with one line on stderr when the files cannot be compared."""
    parser = argparse.ArgumentParser(prog="python -m alseg_fast.benches.compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parsed = parser.parse_args(arguments)
    try:
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (parsed.old, parsed.new))
        rows, warnings = compare_results(old, new)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        sys.stderr.write(f"compare: error: {exc}\n")
        return 1
    for warning in warnings:
        sys.stderr.write(f"compare: warning: {warning}\n")
    commits = [result["metadata"]["commit"] or "unknown commit" for result in (old, new)]
    sys.stdout.write(f"old: {commits[0]}\nnew: {commits[1]}\n{format_rows(_COLUMNS, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
