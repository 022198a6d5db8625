"""The words of a report: what was run, on what, what failed and how to run it again."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from ..errors import RunError
from .selection_facts import repeat_options

MAX_FAILURE_ROWS = 500
MAX_FAILURE_GROUPS = 50
MAX_ERROR_CHARACTERS = 1000
SCORE_OPTIONS = ("measures", "score_size", "maps", "batch_size", "max_pixels")  # keys that are options too


class RunReader(Protocol):
    """The part of a run that a report reads."""

    @property
    def path(self) -> Path: ...
    @property
    def info(self) -> Mapping[str, Any]: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def measures(self) -> Sequence[str]: ...
    @property
    def complete(self) -> bool: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    def score_batches(self, columns: list[str], /) -> Iterator[pa.RecordBatch]: ...
    def failures(self) -> pa.Table: ...


def pool_name(run: RunReader) -> str:
    """The last part of the pool's path."""
    source = str((run.info.get("pool") or {}).get("source") or run.path)
    return source.rstrip("/").rsplit("/", 1)[-1] or source


def incomplete_banner(run: RunReader) -> str:
    """What to do about a run that is still missing images."""
    done = run.counts["rows"] + run.counts["failures"]
    total = (run.info.get("pool") or {}).get("images")
    reached = f"{done:,} of {total:,} images" if isinstance(total, int) else f"{done:,} images"
    return f"This run is not complete: {reached} so far. Run the same alseg score command again to finish it."


def run_facts(run: RunReader, shown: int) -> list[tuple[str, str]]:
    """The tiles at the top of the page."""
    info = run.info
    timings = info.get("timings") or {}
    facts = [
        ("Images scored", f"{run.counts['rows']:,}"),
        ("Failures", f"{run.counts['failures']:,}"),
        ("Shown here", f"{shown:,}"),
        ("Model", Path(str((info.get("model") or {}).get("path") or "unknown")).name),
        ("Measures", ", ".join(run.measures)),
    ]
    images, seconds = timings.get("images"), timings.get("wall_seconds")
    if images and seconds:
        # Seconds are summed over the processes that wrote the run, so this is the rate of one of them.
        several = " a process" if timings.get("processes", 1) > 1 else ""
        facts.append(("Throughput", f"{images / seconds:,.1f} images/s{several}"))
        facts.append(("Scoring took", f"{seconds:,.1f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"))
    facts.append(("Scored on", str(info.get("created") or "unknown").replace("T", " ")[:16]))
    return facts


def run_details(run: RunReader) -> list[tuple[str, str]]:
    """The longer run facts."""
    info = run.info
    pool, model = info.get("pool") or {}, info.get("model") or {}
    versions = info.get("versions") or {}
    rows = [
        ("Run", str(run.path)),
        ("Pool", str(pool.get("source") or "")),
        ("Pool kind", str(pool.get("kind") or "")),
        ("Pool images", f"{pool['images']:,}" if isinstance(pool.get("images"), int) else ""),
        ("Model file", str(model.get("path") or "")),
        ("Model SHA-256", str(model.get("sha256") or "")),
        ("Configuration hash", str(info.get("config_hash") or "")),
        ("alseg-fast", str(info.get("alseg_version") or "")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(name, value) for name, value in rows if value]


def failure_summary(table: pa.Table) -> dict[str, Any]:
    """Failures grouped by stage and reason, and the first rows."""
    counts: Counter[tuple[str, str]] = Counter()
    for rows in table.select(["stage", "error"]).to_batches(max_chunksize=65536):
        counts.update((str(row["stage"]), _short(row["error"])) for row in rows.to_pylist())
    groups = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = table.slice(0, MAX_FAILURE_ROWS).to_pylist()
    return {
        "total": table.num_rows,
        "groups": [[stage, error, count] for (stage, error), count in groups[:MAX_FAILURE_GROUPS]],
        "groups_left": max(0, len(groups) - MAX_FAILURE_GROUPS),
        "rows": [[row["image_id"], row["uri"], str(row["stage"]), _short(row["error"])] for row in rows],
    }


def _short(text: Any) -> str:
    value = str(text)
    return value if len(value) <= MAX_ERROR_CHARACTERS else f"{value[:MAX_ERROR_CHARACTERS]}…"


def reproduce(run: RunReader, batch: pa.Table | None, commands: Sequence[str]) -> dict[str, str]:
    """The commands, the configuration, and what the batch says of itself."""
    info = run.info
    pool, model = info.get("pool") or {}, info.get("model") or {}
    source, model_path = str(pool.get("source") or "POOL"), str(model.get("path") or "MODEL.onnx")
    config = info.get("config") or {}
    options = " ".join(_option(key, config[key]) for key in SCORE_OPTIONS if config.get(key))
    score = f"alseg score {_words(source)} --model {_words(model_path)} --out {_words(run.path)} {options}".strip()
    facts = selection_facts(batch)
    lines = [score]
    if options := shlex.join(repeat_options(facts)):
        lines.append(f"alseg select {_words(run.path)} {options} --out batch.parquet")
    return {
        "commands": "\n".join(commands or lines),
        "config": json.dumps({"config": config, "model": model.get("spec")}, indent=2, sort_keys=True),
        "batch": "\n".join(f"{key}: {value}" for key, value in facts.items()),
    }


def selection_facts(batch: pa.Table | None) -> dict[str, Any]:
    """How a batch was selected, from its schema metadata; {} where it does not say."""
    text = None if batch is None else (batch.schema.metadata or {}).get(b"alseg.select")
    try:
        facts = json.loads(text) if text else {}
    except ValueError as error:
        raise RunError(f"the batch's metadata alseg.select is not JSON: {error}; select again") from error
    return facts if isinstance(facts, dict) else {}


def _option(key: str, value: Any) -> str:
    name = f"--{key.replace('_', '-')}"
    if value is True:
        return name
    return f"{name} {_words(','.join(value) if isinstance(value, list | tuple) else value)}"


def _words(value: Any) -> str:
    return shlex.quote(str(value))
