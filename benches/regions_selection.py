"""A RUN of many pictures with regions, made of one picture's rows, to measure what a selection costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import alseg_fast as alseg
from alseg_fast.stages.region_columns import region_columns
from alseg_fast.stages.region_rows import regions_table
from alseg_fast.stages.regions import PictureRegions
from alseg_fast.stages.store import RunWriter

from .regions_steps import Prepared

MEASURE = "entropy"
STRATEGY = "superpixel"
BUDGET_SHARE = 0.1  # of all pixels
_SHARD = 100  # images a part
_SEED = 5


def region_rows(p: Prepared) -> dict[str, Any]:
    """The columns of one picture's regions, as the engine makes them."""
    u = alseg.uncertainty(
        p.logits,
        p.labels.shape,
        measures=(MEASURE,),
        maps=False,
        class_stats=True,
        segments=p.segments[None],
        n_segments=p.n,
    )
    pooled = {name: values[0] for name, values in u.segments.items()}
    regions = PictureRegions(p.segments, p.n)
    return region_columns(regions, pooled, (MEASURE,), p.segments, p.labels, p.labels.shape)


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
    columns = region_rows(p)
    for part in list(writer.pending()):
        own = writer.shard_rows(part).column("image_id").to_pylist()
        pictures = []
        for name in own:
            scores = (columns[f"{MEASURE}_mean"] * rng.uniform(0.5, 1.5)).astype(np.float32)
            different = {f"{MEASURE}_mean": scores, f"{MEASURE}_sum": scores.astype(np.float64) * columns["area"]}
            pictures.append((name, columns | different))
        measured = {f"{MEASURE}_{end}": 0.5 for end in ("mean", "max", "top")}
        scored = [{"image_id": name, "width": width, "height": height, **measured} for name in own]
        writer.commit(part, scored, [], regions_table(pictures, (MEASURE,), crf=False))
    writer.finish()
    return folder


def make_selection(folder: Path, p: Prepared, images: int) -> Callable[[], Any]:
    """Select a tenth of all pixels by the mean entropy of their regions."""
    run = make_run(folder, p, images)
    budget = int(BUDGET_SHARE * images * p.segments.size)
    return lambda: alseg.select(run, budget=budget, unit="pixels", strategy=STRATEGY)
