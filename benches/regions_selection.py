"""A RUN of many pictures with regions, made of one picture's rows, to measure what a selection costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import alseg_fast as alseg
from alseg_fast import ops
from alseg_fast.stages import run_layout as layout
from alseg_fast.stages.store import RunWriter

from .regions_steps import Prepared

MEASURE = "entropy"
STRATEGY = "superpixel"
BUDGET_SHARE = 0.1  # of all pixels
_SHARD = 100  # images a part
_SEED = 5


def region_rows(p: Prepared) -> dict[str, Any]:
    """The columns of one picture's regions, but its id, as `layout.regions_schema` has them."""
    height, width = p.segments.shape
    geometry = ops.region_geometry(p.segments, p.n, labels=p.labels)
    u = alseg.uncertainty(
        p.logits,
        (height, width),
        measures=(MEASURE,),
        maps=False,
        segments=p.segments[None],
        n_segments=p.n,
    )
    pooled: Any = u.segments
    area = np.asarray(geometry.area, np.int64)
    mean = np.asarray(pooled[f"{MEASURE}_mean"][0], np.float32)
    columns: dict[str, Any] = {
        "region_id": np.arange(p.n, dtype=np.int64),
        **{name: np.ascontiguousarray(geometry.boxes[:, i], np.int32) for i, name in enumerate("xywh")},
        "area": area,
        "class": p.probs.argmax(axis=1).astype(np.int32),
        f"{MEASURE}_mean": mean,
        f"{MEASURE}_sum": mean.astype(np.float64) * area,
        "class_fraction": pa.array(p.probs.tolist(), pa.list_(pa.float32())),
        "cost_clicks": np.ones(p.n, np.float32),
        "cost_seconds": np.ones(p.n, np.float32),
        "rle": pa.array(ops.encode_rle(p.segments, p.n), pa.string()),
    }
    return columns


def make_run(folder: Path, p: Prepared, images: int) -> Path:
    """A finished RUN of `images` pictures whose regions differ in their scores alone."""
    height, width = p.segments.shape
    names = [f"image-{i:06d}.jpg" for i in range(images)]
    writer = RunWriter.open(
        folder,
        pool=pa.table({"image_id": names, "uri": [f"file:///{name}" for name in names]}),
        pool_info={},
        config={"regions": f"slic:{p.n}", "crf": False},
        model={},
        classes=[f"class {c}" for c in range(p.probs.shape[1])],
        measures=(MEASURE,),
        shard_size=_SHARD,
    )
    rng = np.random.default_rng(_SEED)
    schema, columns = layout.regions_schema((MEASURE,)), region_rows(p)
    for part in list(writer.pending()):
        own = writer.shard_rows(part).column("image_id").to_pylist()
        tables = []
        for name in own:
            scores = (columns[f"{MEASURE}_mean"] * rng.uniform(0.5, 1.5)).astype(np.float32)
            different = {f"{MEASURE}_mean": scores, f"{MEASURE}_sum": scores * columns["area"].astype(np.float64)}
            tables.append(pa.table({"image_id": [name] * p.n, **columns, **different}, schema=schema))
        measured = {f"{MEASURE}_{end}": 0.5 for end in ("mean", "max", "top")}
        scored = [{"image_id": name, "width": width, "height": height, **measured} for name in own]
        writer.commit(part, scored, [], pa.concat_tables(tables))
    writer.finish()
    return folder


def make_selection(folder: Path, p: Prepared, images: int) -> Callable[[], Any]:
    """Select a tenth of all pixels by the mean entropy of their regions."""
    run = make_run(folder, p, images)
    budget = int(BUDGET_SHARE * images * p.segments.size)
    return lambda: alseg.select(run, budget=budget, unit="pixels", strategy=STRATEGY)
