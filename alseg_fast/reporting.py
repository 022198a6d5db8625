"""Where a report gets its pictures and overlays: the pool, the RUN's maps, or the model once more."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from .engine import Scorer
from .errors import ModelError
from .runtimes.options import ModelOptions, show
from .stages.decode import decode_image
from .stages.fetch import fetch_bytes
from .stages.image_tags import LABEL, NO_TAGS
from .stages.report import write_report
from .stages.report_bought import by_image, draw_bought
from .stages.report_html import ReportSummary
from .stages.run_layout import POOL_ARROW
from .stages.run_pool import read_pool
from .stages.score import LABELS
from .stages.select import batch_facts, read_batch
from .stages.selection_facts import repeat_options
from .stages.store import Run, open_run

__all__ = ["ReportSummary", "make_report"]

_THUMB = (256, 256)  # decoding may shrink a JPEG to no less than this

Overlay = tuple[NDArray[Any], dict[str, NDArray[np.uint8]]]


class Sources:
    """Pictures and overlays of a RUN's images by image_id."""

    def __init__(
        self, run: Run, wanted: pa.Array | None = None, bought: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._run = run
        self._bought = bought or {}
        pool = read_pool(run.path / POOL_ARROW)
        self._ranges: dict[str, tuple[int | None, int | None]] = {}
        self._labels: dict[str, Any] = {}
        tagged = run.info.get("config", {}).get("image_labels", NO_TAGS) != NO_TAGS
        if pool is not None and wanted is not None and tagged:
            rows = _rows_of(pool, wanted)
            self._labels = dict(zip(*(rows.column(name).to_pylist() for name in ("image_id", LABEL)), strict=True))
        if pool is not None and wanted is not None and "offset" in pool.column_names:
            rows = _rows_of(pool, wanted)
            names = rows.column("image_id").to_pylist()
            offsets, sizes = rows.column("offset").to_pylist(), rows.column("size").to_pylist()
            self._ranges = dict(zip(names, zip(offsets, sizes, strict=True), strict=True))

    def _bytes(self, image_id: str, uri: str) -> bytes:
        return fetch_bytes(uri, *self._ranges.get(image_id, (None, None)))

    def load_image(self, image_id: str, uri: str) -> NDArray[np.uint8]:
        """[h, w, 3] uint8, no smaller than a thumbnail. Raises: DataError: the picture cannot be read."""
        decoded = decode_image(self._bytes(image_id, uri), min_size=_THUMB)
        rles = self._bought.get(image_id)
        return draw_bought(decoded.image, rles, (decoded.height, decoded.width)) if rles else decoded.image

    def overlay(self, image_id: str, uri: str) -> Overlay | None:
        """Label map and heatmaps from RUN/maps, else by scoring the picture again; None if neither is possible."""
        stored = self._stored(image_id)
        if stored is not None:
            return stored
        if self._scorer is None:
            return None
        tags = [self._labels[image_id]] if image_id in self._labels else None
        result = self._scorer.score_images([self._bytes(image_id, uri)], maps=True, image_labels=tags)[0]
        if not result.ok:
            return None
        heat = {name: image for name, image in result.maps.items() if name != LABELS}
        return result.maps[LABELS], heat

    def _stored(self, image_id: str) -> Overlay | None:
        maps: dict[str, NDArray[Any]] = {}
        for name in (LABELS, *self._run.measures):
            path = self._run.map_path(name, image_id)
            if not path.is_file():
                return None
            with Image.open(path) as image:
                maps[name] = np.asarray(image)
        return maps.pop(LABELS), maps

    @cached_property
    def _scorer(self) -> Scorer | None:
        """The RUN's model as it was scored with, or None where the file is gone or another."""
        info = self._run.info
        config, model = info.get("config", {}), info.get("model", {})
        try:
            options = ModelOptions.from_mapping(model.get("options", {}))
            scorer = Scorer(
                model["path"],
                measures=self._run.measures,
                options=options,
                workers=1,
                score_size=config.get("score_size", "input"),
            )
        except (ModelError, KeyError):
            return None
        return scorer if scorer.spec.sha256 == model.get("sha256") else None


def _rows_of(pool: pa.Table, wanted: pa.Array) -> pa.Table:
    return pool.filter(pc.is_in(pool.column("image_id"), value_set=wanted.cast(pool.column("image_id").type)))


def make_report(
    run: Run | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    batch: str | os.PathLike[str] | pa.Table | None = None,
    max_images: int = 1000,
    measure: str | None = None,
    title: str | None = None,
) -> ReportSummary:
    """Write one self-contained HTML page about a RUN and the images selected from it.

    Args:
        run: a RUN directory.
        out: the HTML file.
        batch: what ``select`` wrote or returned; None shows the most uncertain images.
        max_images: how many images at most.
        measure: measure or score column to rank by and colour first.
        title: heading of the page.
    Raises: RunError, UsageError.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    table = batch if isinstance(batch, pa.Table) or batch is None else read_batch(batch)
    table, bought = (None, {}) if table is None else by_image(table)
    wanted = table.column("image_id").combine_chunks() if table is not None else _top_ids(opened, measure, max_images)
    sources = Sources(opened, wanted, bought)
    return write_report(
        opened,
        table,
        Path(out),
        load_image=sources.load_image,
        overlay=sources.overlay,
        max_images=max_images,
        measure=measure,
        title=title,
        commands=commands(opened.info, table),
    )


def _top_ids(run: Run, measure: str | None, n: int) -> pa.Array:
    """Ids of the highest scores: what the report will show when no batch is given."""
    column = measure or run.measures[0]
    if column not in run.score_schema().names:
        column += "_mean"
    best: pa.Table | None = None
    for part in run.score_batches(["image_id", column]):
        rows = pa.Table.from_batches([part])
        rows = rows if best is None else pa.concat_tables([best, rows])
        best = rows.take(pc.select_k_unstable(rows, min(n, len(rows)), sort_keys=[(column, "descending")]))
    return pa.array([], pa.string()) if best is None else best.column("image_id").combine_chunks()


def commands(info: Mapping[str, Any], table: pa.Table | None) -> list[str]:
    """The command lines that lead to this report."""
    config, model = info.get("config", {}), info.get("model", {})
    score = ["alseg", "score", info["pool"]["source"], "--model", model["path"], "--out", "RUN"]
    score += ["--measures", ",".join(info["measures"])]
    for key, value in model.get("options", {}).items():
        text = ",".join(map(str, value)) if isinstance(value, list) else show(value)
        score += ["--" + key.replace("_", "-"), text]
    if config.get("score_size", "input") != "input":
        score += ["--score-size", config["score_size"]]
    if config.get("maps"):
        score.append("--maps")
    if config.get("image_labels") == NO_TAGS:
        score += ["--tags", "none"]
    lines = [shlex.join(score)]
    if table is not None and (options := repeat_options(batch_facts(table))):
        lines.append(shlex.join(["alseg", "select", "RUN", "--out", "BATCH.parquet", *options]))
    report = ["alseg", "report", "RUN", "--out", "report.html"]
    if table is not None:
        report += ["--batch", "BATCH.parquet"]
    return [*lines, shlex.join(report)]
