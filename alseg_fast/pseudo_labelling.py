"""Pseudo-labels of a pool: activation maps -> threshold -> weights -> masks, in a directory that is a pool itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .checks import check_choice
from .engine import Scorer
from .errors import PoolError, UsageError
from .pseudo_label_job import LabellingJob, Progress
from .runtimes.options import ModelOptions
from .stages.decode import DEFAULT_MAX_PIXELS
from .stages.foreground_maps import IGNORE, ForegroundMaps
from .stages.image_tags import LABEL, NO_TAGS, PoolTags
from .stages.own_directory import locked
from .stages.pool import Pool, open_pool
from .stages.propagate_pairs import MANIFEST
from .stages.pseudo_label_files import open_directory
from .stages.pseudo_label_options import LabelOptions, take_band
from .stages.pseudo_labels import CrfTerms

__all__ = ["CrfTerms", "PseudoLabels", "pseudo_label"]

log = logging.getLogger("alseg")

POOL_TRUTH = "pool"


@dataclass(frozen=True)
class PseudoLabels:
    """What :func:`pseudo_label` did.

    Attributes:
        path: the directory.
        summary: summary.json.
    """

    path: Path
    summary: Mapping[str, Any]

    def manifest(self) -> pa.Table:
        """manifest.parquet: a row an image."""
        return pq.read_table(self.path / MANIFEST)


def pseudo_label(
    pool: str | os.PathLike[str] | Pool,
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    threshold: str | float = "gmm",
    band: tuple[float, float] | None = None,
    weights: str = "reciprocal",
    alpha: float = 0.9,
    beta: float = 1.0,
    weight_step: float = 1 / 32,
    crf: bool = False,
    crf_terms: CrfTerms | None = None,
    tags: str = LABEL,
    background_class: str | None = None,
    truth: str | os.PathLike[str] | Pool | None = None,
    ignore_index: int | None = IGNORE,
    overlay: int = 0,
    options: ModelOptions | None = None,
    device: str = "auto",
    batch_size: int = 1,
    workers: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
    on_stage: Callable[[str, int, int], None] = lambda what, total, done: None,
    progress: Progress = lambda done, failed: None,
) -> PseudoLabels:
    """Make masks of a pool from the activation maps of a classifier, or from a segmentation network.

    Of each picture, maps in 0..1 of the classes that its image label names are taken, see
    ``stages/foreground_maps.py``; m is the largest of them. A pixel is its class where m is above the threshold, else
    background. With "gmm", "gmm3" and "otsu" the pool is read twice: first for the distribution of m, at the resolution
    of the maps, over the pictures that have image labels (over all if none has), in bounded memory; then for the masks.

    The same call again goes on where an earlier one stopped, after being killed too, and gives the same files byte for
    byte. A picture that changed under its old uri is not noticed.

    Args:
        pool: whatever :func:`open_pool` takes; its column `label` names the classes that are in a picture: a name, a
            text "a,b,c" or a list. All classes may be in a picture without, which is flagged.
        model: an ONNX network of activation maps (activation "cam") or of segmentation.
        out: directory to write: masks/ (palette PNG of class ids at the picture's size, 255 = ignore), weights/ (8-bit
            PNG), manifest.parquet (a pool), failures.parquet, summary.json.
        threshold: "gmm" (where the densities of two Gaussians cross), "gmm3" (three, which leave a band of ignored
            pixels), "otsu", or a number in (0, 1).
        band: (low, high): pixels above `high` have a class, those up to `low` are background, those between are
            ignored; weights are reckoned from `threshold` all the same. None: as the threshold has it.
        weights: "reciprocal" or "printed", see ``alseg.reliability_weights``, or "none".
        alpha, beta: of the perplexity behind them.
        weight_step: weight of one step of the 8-bit file; larger weights than 255 steps are cut, which is counted. The
            mean weight of a picture is 1; its largest seldom exceeds 5.
        crf: refine the masks by a dense CRF on the picture at its own size; about 200 bytes a pixel and worker.
        crf_terms: of it; None: the defaults of ``alseg.dense_crf``.
        tags: "label", or "none": take no notice of the image labels.
        background_class: the class of a segmentation network that is no object; None: the one called background.
        truth: a manifest with mask_uri, or "pool" for that column of the pool itself: compare with these masks, of the
            same ids as those written, once as they are and once without image labels.
        ignore_index: value of the true masks that does not count; None: all do.
        overlay: draw so many of the pictures beside their masks into overview.jpg.
        options: what ONNX does not say about the model.
        device, batch_size, workers, max_pixels: see :class:`Scorer`. batch_size and workers do not change any file.
        overwrite: delete what an earlier pseudo-labelling left in `out` first.
        on_stage, progress: called with (name, images in all, images done before) and (images done, of which failed).
    Raises: PoolError, RunError, UsageError, ModelError. Pictures that fail are recorded, not raised.

    Sources: class activation maps, Zhou et al. (2016); validation by image labels, band, mixture threshold and weights,
    Yang et al., CoSA (ECCV 2024) and its released code, which uses constant thresholds 0.25 and 0.7 and no weights;
    the number of pictures behind the mixture is not stated there, here it is the pool.
    """
    asked = LabelOptions(
        threshold,
        take_band(band),
        weights,
        alpha,
        beta,
        weight_step,
        (crf_terms or CrfTerms()) if crf else None,
        background_class,
    )
    check_choice("pseudo_label", "tags", tags, (LABEL, NO_TAGS))
    if overlay < 0:
        raise UsageError(f"pseudo_label: overlay must be at least 0; got {overlay}.")
    scorer = Scorer(
        model,
        measures=("least_confidence",),
        options=options,
        device=device,
        workers=workers,
        batch_size=batch_size,
        max_pixels=max_pixels,
    )
    maps = ForegroundMaps(scorer.spec, background_class)
    listing = pool if isinstance(pool, Pool) else open_pool(pool, storage_options=storage_options)
    table = listing.table if tags == LABEL else _without_labels(listing.table)
    known = PoolTags(table, maps.classes, listing.source)
    if known.untagged:
        log.warning("%d of %d images have no label; every class may be in them", known.untagged, known.images)
    truths = None if truth is None else _truths(truth, listing, storage_options)
    job = LabellingJob(
        Path(out),
        scorer,
        asked,
        listing,
        table,
        known,
        maps,
        truths,
        ignore_index,
        max_pixels,
        storage_options,
        on_stage,
        progress,
    )
    with locked(job.root):
        open_directory(job.root, job.info, overwrite=overwrite)
        chosen = job.threshold()
        rule = asked.rule(chosen)
        summary = job.finish(job.masks(rule), rule, chosen, overlay)
    return PseudoLabels(job.root, summary)


def _without_labels(table: pa.Table) -> pa.Table:
    return table.drop_columns([LABEL]) if LABEL in table.column_names else table


def _truths(
    truth: str | os.PathLike[str] | Pool, listing: Pool, storage_options: dict[str, Any] | None
) -> dict[str, str]:
    """{image_id: uri of its true mask}."""
    own = isinstance(truth, str) and truth == POOL_TRUTH
    pool = listing if own else truth if isinstance(truth, Pool) else open_pool(truth, storage_options=storage_options)
    assert isinstance(pool, Pool)
    if "mask_uri" not in pool.table.column_names:
        raise PoolError(f"truth {pool.source} must have a column mask_uri; add it")
    rows = zip(*(pool.table.column(name).to_pylist() for name in ("image_id", "mask_uri")), strict=True)
    masks = {name: mask for name, mask in rows if mask}
    ids = set(listing.table.column("image_id").to_pylist())
    if not ids & masks.keys():
        raise PoolError(f"truth {pool.source} has no mask of an image of the pool; use the same image_id in both")
    return masks
