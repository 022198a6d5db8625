"""run.json: what a RUN was made with, and whether that is what a command asks for."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .. import __version__
from ..errors import RunError, UsageError
from ..types import NO_REGIONS
from . import run_layout as layout
from .run_pool import pool_digest


def clean_json(value: Any) -> Any:
    """The value in the types JSON has: tuples become lists, NumPy scalars numbers, NaN and infinities null.

    Raises: UsageError: a value of a type that JSON has no form for.
    """
    if isinstance(value, Mapping):
        return {str(key): clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [clean_json(item) for item in value]
    if isinstance(value, np.generic):
        return clean_json(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise UsageError(f"run description: values must be JSON types; got {type(value).__name__} {value!r}.")


def json_bytes(value: Any) -> bytes:
    """Readable JSON, UTF-8 safe, never NaN."""
    return (json.dumps(clean_json(value), indent=2, allow_nan=False) + "\n").encode()


def identity(info: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that decides the rows of a run, flat: {"measures": [...], "model.sha256": "...", ...}."""
    # RUNs made before there were regions do not say that they have none.
    facts: dict[str, Any] = {"regions": NO_REGIONS, "crf": False, **info["config"]}
    facts["measures"] = info["measures"]
    facts["classes"] = info["classes"]
    if info.get("extra_columns"):
        facts["extra_columns"] = info["extra_columns"]
    facts["model"] = {key: info["model"].get(key) for key in ("sha256", "spec")}
    return _flatten(facts)


def config_hash(info: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of `identity` in canonical JSON."""
    text = json.dumps(clean_json(identity(info)), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _flatten(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + str(key)] = value
    return flat


def check_same_config(run: Path, made: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises: RunError: model or config differ; the message names each key with both values."""
    before, now = identity(made), identity(asked)
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if not keys:
        return
    had = ", ".join(f"{key}={_show(before.get(key))}" for key in keys)
    wants = ", ".join(f"{key}={_show(now.get(key))}" for key in keys)
    if len(keys) == 1:
        wants = _show(now.get(keys[0]))
    raise RunError(f"{run} was made with {had}, this command asks for {wants}; use another --out or --overwrite")


def _show(value: Any) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, list):
        text = "[" + ", ".join(_show(item) for item in value) + "]"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = str(value)
    return text if len(text) <= 200 else text[:197] + "..."


def describe_run(
    *,
    pool: pa.Table,
    pool_info: Mapping[str, Any],
    config: Mapping[str, Any],
    model: Mapping[str, Any],
    classes: Sequence[str],
    measures: Sequence[str],
    extra: Sequence[pa.Field],
    map_ranges: Mapping[str, Sequence[float]],
    versions: Mapping[str, str],
    shard_size: int,
) -> dict[str, Any]:
    """run.json of a RUN that has no part yet; see `RunWriter.open` for the arguments."""
    regions = layout.regions_of({"config": config, "measures": measures})
    info = {
        "format": layout.FORMAT,
        "alseg_version": __version__,
        "created": utc_text(time.time()),
        "config": config,
        "config_hash": "",
        "model": model,
        "classes": classes,
        "measures": measures,
        "extra_columns": [f"{field.name}: {field.type}" for field in extra],
        "units": layout.units_of(layout.scores_schema(measures, extra)),
        "region_units": layout.units_of(regions) if regions is not None else {},
        "map_ranges": map_ranges,
        "pool": {**pool_info, "images": pool.num_rows, "digest": pool_digest(pool)},
        "shard_size": shard_size,
        "parts": -(-pool.num_rows // shard_size),
        "versions": versions,
        "counts": {"rows": 0, "failures": 0, "parts_done": 0},
        "timings": {},
    }
    clean: dict[str, Any] = clean_json(info)
    clean["config_hash"] = config_hash(clean)
    return clean


def utc_text(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
