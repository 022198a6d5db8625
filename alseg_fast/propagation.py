"""Label propagation over a pool: histograms, the gate class by class, pseudo-masks, and a directory with all of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .engine import Scorer
from .errors import UsageError
from .histogram_pass import HistogramSource, open_histograms
from .mask_pass import MaskOptions, estimate_threshold, make_masks, mask_summary
from .ops.histogram_spec import HistogramSpec
from .stages.decode import DEFAULT_MAX_PIXELS
from .stages.mask_files import mask_columns
from .stages.own_directory import locked
from .stages.pool import Pool
from .stages.propagate_class import ADDED, KEPT, NEW, SearchSettings, gate_class
from .stages.propagate_files import finish_directory
from .stages.propagate_histograms import HistogramRows
from .stages.propagate_inputs import Labelled, PropagationPool, find_labelled, read_labelled, read_propagation_pool
from .stages.propagate_options import TABLE, PropagateOptions
from .stages.propagate_pairs import PAIRS, class_pairs, image_manifest, join_pairs, pair_table, with_masks
from .stages.propagate_report import Tally, vacuous_warning
from .stages.propagate_state import remove_other_states
from .stages.pseudo_masks import is_binary

__all__ = ["MaskOptions", "Propagation", "propagate"]

log = logging.getLogger("alseg")

Progress = Callable[[int, int], None]  # (images done, of which failed) since the last call
_COPIES = 3  # of a class's histograms while it is searched: as read, in the index, embedded
_BLOCK_SHARE = 0.25  # of the memory, for queries


@dataclass(frozen=True)
class Propagation:
    """What :func:`propagate` did.

    Attributes:
        path: the directory.
        summary: summary.json.
        computed: what was done for how many classes: "new", "kept", "labels added", and why others were done again.
    """

    path: Path
    summary: Mapping[str, Any]
    computed: Mapping[str, int] = field(default_factory=dict)

    def pairs(self) -> pa.Table:
        """pairs.parquet: an image that a label reaches and the labelled image it comes from, a row each."""
        return pq.read_table(self.path / PAIRS)


def propagate(
    pool: str | os.PathLike[str] | Pool | pa.Table,
    labelled: Labelled,
    *,
    k: int,
    out: str | os.PathLike[str],
    histogram: str | HistogramSpec = "belharbi",
    run: str | os.PathLike[str] | None = None,
    index: str | os.PathLike[str] | None = None,
    direction: str = "unlabelled",
    claims: str = "one",
    max_distance: float | None = None,
    weights: str = "published",
    exact: bool = True,
    table: tuple[int, ...] = TABLE,
    multi_label: bool = False,
    masks: MaskOptions | None = None,
    device: str = "auto",
    workers: int | None = None,
    max_memory: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
    on_stage: Callable[[str, int, int], None] = lambda what, total, done: None,
    progress: Progress = lambda done, failed: None,
) -> Propagation:
    """Find the unlabelled images that a label reaches: near a labelled image of the same class in colour.

    An unlabelled image passes if a labelled image is among its k nearest same-class images under the Jensen-Shannon
    divergence of their histograms; the nearest labelled one is its partner. Images at equal distances are taken
    labelled before unlabelled, then by image_id (byte order). The partner's mask is not copied, as published: with
    `masks` a model predicts a mask of each passing image, to train on beside the labelled images.

    The same call again goes on where an earlier one stopped, after being killed too. With more labels it only
    searches what they change and gives the files of a call from nothing, byte for byte; where labels were taken back
    or images changed, classes are computed again. A picture that changed under its old uri is not noticed.

    Args:
        pool: manifest with image_id, uri and label (the class, known for every image), the labelled images among them.
        labelled: the images with a pixel mask: a manifest with image_id and perhaps mask_uri, ids, or {id: mask_uri}.
        k: neighbours that count. Where k is at least the number of unlabelled images of a class, all of them pass,
            whatever the histograms say; a warning tells.
        out: directory to write: pairs.parquet, manifest.parquet (a row an image), masks/, summary.json,
            failures.parquet (images that cannot be read; they take no part).
        histogram: which colour histogram to compute, see ``HistogramSpec``; "belharbi" is the published one.
        run: a RUN scored with --histogram, to take them from instead.
        index: a saved HistogramIndex, to take them from instead.
        direction, claims, max_distance, weights, exact, table: see ``PropagateOptions``.
        multi_label: label holds several classes an image (a list, or a text "a,b,c"); an image passes for each on its
            own, and pairs.parquet has a row for each.
        masks: make pseudo-masks.
        device: where to search: "auto" | "cpu" | "cuda" | "cuda:I".
        workers: threads; None: one a CPU.
        max_memory: bytes for histograms of a class and for blocks of queries; None: half of the machine's.
        max_pixels: larger pictures are refused before they are decoded.
        overwrite: delete what an earlier propagation left in `out` first.
        on_stage, progress: called with (name, images in all, images done before) and (images done, of which failed).
    Raises: PoolError, RunError, UsageError, RangeError, ModelError.

    Source: Belharbi et al., Deep active learning for joint classification and segmentation with weak annotator
    (WACV 2021), section 3; the test that needs no sorting is derived from it, see ``stages/propagate_gate.py``.
    """
    options = PropagateOptions(k, direction, claims, max_distance, weights, exact, tuple(table))
    if run is not None and index is not None:
        raise UsageError("propagate: run and index must not both be given; got both. Take the histograms from one.")
    for what, value in (("workers", workers), ("max_memory", max_memory), ("max_pixels", max_pixels)):
        if value is not None and value < 1:
            raise UsageError(f"propagate: {what} must be at least 1; got {value}.")
    spec = HistogramSpec.parse(histogram) if isinstance(histogram, str) else histogram
    memory = max_memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    images = read_propagation_pool(pool, multi_label=multi_label, storage_options=storage_options)
    partner_masks = read_labelled(labelled)
    is_labelled, unknown = find_labelled(images, partner_masks)
    scorer = None if masks is None else masks.scorer()  # a wrong model must be known before the first picture
    job = _Job(Path(out), images, options, on_stage, progress, storage_options)
    with locked(job.root):
        hist, failures = open_histograms(
            job.root,
            images,
            HistogramSource(spec, run, index),
            overwrite=overwrite,
            workers=workers,
            max_pixels=max_pixels,
            decode_bytes=memory // 2,
            storage_options=storage_options,
            on_start=lambda n, done: on_stage("histograms", n, done),
            advance=progress,
        )
        settings = SearchSettings(device, workers, int(memory * _BLOCK_SHARE))
        tally, pairs, computed = _gate(job, hist, is_labelled, partner_masks, settings, memory)
        summary: dict[str, Any] = {
            "options": {**options.to_json(), "histogram": str(spec) if run is None and index is None else None},
            "unknown_labelled": unknown,
            **tally.summary(),
            "pairs": len(pairs),
            "certified": int(np.count_nonzero(pairs.column("certified").to_numpy())),
        }
        if masks is not None and scorer is not None:
            pairs, summary["masks"], failed = _masks(job, pairs, masks, scorer)
            failures += failed
        failures.sort(key=lambda row: (row["image_id"], row["stage"]))
        summary["failures"] = len(failures)
        summary["warning"] = vacuous_warning(summary, options.k)
        if summary["warning"]:
            log.warning("%s", summary["warning"])
        finish_directory(job.root, pairs, image_manifest(pairs, multi_label), failures, summary)
    return Propagation(job.root, summary, computed)


@dataclass(frozen=True)
class _Job:
    """What every step needs."""

    root: Path
    images: PropagationPool
    options: PropagateOptions
    on_stage: Callable[[str, int, int], None]
    progress: Progress
    storage_options: dict[str, Any] | None


def _gate(
    job: _Job,
    hist: HistogramRows,
    is_labelled: NDArray[np.bool_],
    partner_masks: Mapping[str, str | None],
    settings: SearchSettings,
    memory: int,
) -> tuple[Tally, pa.Table, dict[str, int]]:
    """The classes one after another, each in memory by itself."""
    images, options = job.images, job.options
    tally = Tally(len(images), options)
    tables: list[pa.Table] = []
    computed: dict[str, int] = {}
    classes = {name: rows[hist.known[rows]] for name, rows in images.classes.items()}
    classes = {name: rows for name, rows in classes.items() if len(rows)}
    largest = max(map(len, classes.values()), default=0) * hist.dim * 4 * _COPIES
    if largest > memory * (1 - _BLOCK_SHARE):
        name = max(classes, key=lambda name: len(classes[name]))
        raise UsageError(
            f"propagate: max_memory must hold the histograms of class {name} ({len(classes[name]):,} images of "
            f"{hist.dim} numbers, {largest / 1e9:.1f} GB while it is searched); got {memory / 1e9:.1f} GB. Raise it, "
            "or use a histogram with fewer bins."
        )
    job.on_stage("gate", sum(map(len, classes.values())), 0)
    for name, rows in classes.items():
        ids = images.image_id.take(pa.array(rows)).to_pylist()
        bar = _ClassProgress(len(rows), job.progress)
        state, what = gate_class(
            job.root,
            name,
            ids,
            hist.take(rows),
            hist.channels,
            is_labelled[rows],
            options,
            replace(settings, advance=bar.searched),
        )
        if what not in (NEW, KEPT, ADDED):
            log.info("class %s is computed again: %s", name, what)
        computed[what] = computed.get(what, 0) + 1
        pairs = class_pairs(state.found, state.labelled, options, options.k)
        tally.add(state, rows, pairs)
        tables.append(pair_table(images, name, rows, pairs, partner_masks))
        bar.finish()
    remove_other_states(job.root, list(classes))
    return tally, join_pairs(tables), computed


def _masks(
    job: _Job, pairs: pa.Table, masks: MaskOptions, scorer: Scorer
) -> tuple[pa.Table, dict[str, Any], list[dict[str, str]]]:
    """The pairs with their masks, facts for the summary, and the images whose mask could not be made."""
    threshold: dict[str, Any] = {"threshold": masks.threshold}
    if masks.validation is not None:
        threshold = estimate_threshold(
            scorer,
            masks,
            job.root,
            storage_options=job.storage_options,
            on_start=lambda n: job.on_stage("threshold", n, 0),
            advance=job.progress,
        )
    rows = _rows_of(job.images, pairs)
    made = make_masks(
        scorer,
        masks,
        threshold["threshold"],
        job.root,
        rows,
        storage_options=job.storage_options,
        on_start=lambda n, done: job.on_stage("masks", n, done),
        advance=job.progress,
    )
    uris = {row[0]: row[1] for row in rows}
    failures = [
        {"image_id": name, "uri": uris[name], "stage": row["stage"], "error": row["error"]}
        for name, row in made.items()
        if row["error"] is not None
    ]
    kept = {key: threshold[key] for key in threshold if key != "identity"}
    facts = {"model_sha256": scorer.spec.sha256, **kept, **mask_summary(list(made.values()))}
    full = facts["full"] if is_binary(scorer.spec) else 0  # with several classes, every pixel may well have its own
    if facts["empty"] or full:
        log.warning(
            "%d of %d pseudo-masks name no pixel and %d every pixel; a model trained on them confirms itself",
            facts["empty"],
            facts["masks"],
            full,
        )
    return with_masks(pairs, mask_columns(made)), facts, failures


class _ClassProgress:
    """Tells of a class's images while its blocks of queries are searched, each image up to twice."""

    def __init__(self, images: int, progress: Progress) -> None:
        self._images, self._progress = images, progress
        self._searches = self._told = 0

    def searched(self, queries: int) -> None:
        self._searches += queries
        self._tell(min(self._searches // 2, self._images))

    def finish(self) -> None:
        self._tell(self._images)

    def _tell(self, images: int) -> None:
        self._progress(images - self._told, 0)
        self._told = images


def _rows_of(images: PropagationPool, pairs: pa.Table) -> list[tuple[str, str, int | None, int | None]]:
    """The images of the pairs, once each, in order of image_id."""
    rows = np.unique(images.rows_of(pa.concat_arrays([pa.array([], pa.string()), *pairs.column("image_id").chunks])))
    columns = (images.image_id, images.uri, images.offset, images.size)
    return list(zip(*(column.take(pa.array(rows)).to_pylist() for column in columns), strict=True))
