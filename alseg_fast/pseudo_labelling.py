"""Pseudo-labels of a pool: activation maps -> threshold -> weights -> masks, in a directory that is a pool itself."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .atomic import write_atomic
from .checks import check_choice
from .engine import Scorer
from .errors import DataError, PoolError, RunError, UsageError
from .mask_pass import write_masks
from .ops.reliability import FORMS
from .runtimes.options import ModelOptions
from .stages.contact_sheet import SheetPicture, contact_sheet
from .stages.decode import DEFAULT_MAX_PIXELS, decode_image
from .stages.fetch import fetch_bytes
from .stages.foreground_maps import IGNORE, ForegroundMaps
from .stages.image_tags import LABEL, NO_TAGS, PoolTags, tags_of_rows
from .stages.label_confusion import Truth, add_counts, scores_of
from .stages.mask_files import MaskFiles
from .stages.masks import read_png
from .stages.pool import Pool, open_pool
from .stages.propagate_files import locked
from .stages.propagate_pairs import MANIFEST
from .stages.pseudo_label_files import (
    COLUMNS,
    OVERVIEW,
    finish_directory,
    manifest_rows,
    manifest_schema,
    open_directory,
    write_manifest,
)
from .stages.pseudo_labels import MASKS, WEIGHTS, About, CrfTerms, HistogramMaker, LabelMaker, LabelRule
from .stages.pseudo_threshold import HistogramParts, read_result, write_result
from .stages.readers.uris import is_remote
from .stages.run_identity import json_bytes
from .stages.run_layout import png_path
from .types import LABEL_THRESHOLDS
from .worker import Picture

__all__ = ["PseudoLabels", "pseudo_label"]

log = logging.getLogger("alseg")

Progress = Callable[[int, int], None]  # (images done, of which failed) since the last call
_BLOCK_ROWS = 4096
_SHEET_PIXELS = 256  # decoding may shrink a JPEG to no less than this
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


@dataclass(frozen=True)
class _Request:
    """Checked options; `to_json` is what decides the files."""

    threshold: str | float
    band: tuple[float, float] | None
    weights: str
    alpha: float
    beta: float
    weight_step: float
    crf: CrfTerms | None
    background_class: str | None

    def rule(self, chosen: Mapping[str, Any]) -> LabelRule:
        low, high = self.band or (chosen["low"], chosen["high"])
        return LabelRule(
            float(chosen["threshold"]),
            float(low),
            float(high),
            self.weights,
            self.alpha,
            self.beta,
            self.weight_step,
            self.crf,
            self.background_class,
        )


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
        crf: refine the masks by a dense CRF on the picture at its own size.
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
    request = _check_request(
        threshold, band, weights, alpha, beta, weight_step, crf_terms if crf else None, crf, background_class
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
    has_labels = LABEL in listing.table.column_names and tags == LABEL
    table = listing.table if has_labels or tags == LABEL else _without_labels(listing.table)
    known = PoolTags(table, maps.classes, listing.source)
    if known.untagged:
        log.warning("%d of %d images have no label; every class may be in them", known.untagged, known.images)
    truths = None if truth is None else _truths(truth, listing, storage_options)
    job = _Job(
        Path(out),
        scorer,
        request,
        listing,
        table,
        known,
        maps,
        truths,
        ignore_index,
        storage_options,
        on_stage,
        progress,
    )
    with locked(job.root):
        open_directory(job.root, job.info(max_pixels), overwrite=overwrite)
        chosen = job.threshold()
        rule = request.rule(chosen)
        files = job.masks(rule)
        summary = job.finish(files, rule, chosen, overlay)
    return PseudoLabels(job.root, summary)


def _check_request(
    threshold: Any,
    band: Any,
    weights: str,
    alpha: float,
    beta: float,
    weight_step: float,
    terms: CrfTerms | None,
    crf: bool,
    background_class: str | None,
) -> _Request:
    name = "pseudo_label"
    if isinstance(threshold, str):
        check_choice(name, "threshold", threshold, LABEL_THRESHOLDS)
    elif isinstance(threshold, bool) or not 0 < threshold < 1:
        raise UsageError(
            f"{name}: threshold must be {', '.join(LABEL_THRESHOLDS)} or a number in (0, 1); got {threshold!r}. 0.45 is usual."
        )
    if band is not None:
        try:
            low, high = (float(v) for v in band)
        except (TypeError, ValueError):
            low = high = -1.0
        if not 0 <= low <= high < 1:
            raise UsageError(f"{name}: band must be (low, high) with 0 <= low <= high < 1; got {band!r}.")
        band = (low, high)
    check_choice(name, "weights", weights, (*FORMS, "none"))
    if not 0 < alpha < 1 or not 0 < beta <= 10:
        raise UsageError(f"{name}: alpha must be in (0, 1) and beta in (0, 10]; got {alpha!r} and {beta!r}.")
    if not 0 < weight_step <= 1:
        raise UsageError(f"{name}: weight_step must be in (0, 1]; got {weight_step!r}. 1/32 is the default.")
    refined = (terms or CrfTerms()) if crf else None
    return _Request(threshold, band, weights, alpha, beta, weight_step, refined, background_class)


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


@dataclass(frozen=True)
class _Job:
    """What every step needs."""

    root: Path
    scorer: Scorer
    request: _Request
    listing: Pool
    table: pa.Table  # of the pool, without labels where they are not to count
    tags: PoolTags
    maps: ForegroundMaps
    truths: dict[str, str] | None
    ignore_index: int | None
    storage_options: dict[str, Any] | None
    on_stage: Callable[[str, int, int], None]
    progress: Progress
    cache: dict[str, Any] = field(default_factory=dict)

    def info(self, max_pixels: int) -> dict[str, Any]:
        """pseudo_label.json: everything that decides the files."""
        spec = self.scorer.spec
        truth = None if self.truths is None else _digest([sorted(self.truths.items()), self.ignore_index])
        config = {
            **asdict(self.request),
            "max_pixels": max_pixels,
            "image_labels": self.tags.digest or NO_TAGS,
            "truth": truth,
        }
        info = {
            "config": config,
            "classes": self.maps.labels,
            "model": {"sha256": spec.sha256, "spec": spec.identity()},
            "pool": {"source": self.listing.source, "images": len(self.listing), "digest": self.listing.digest()},
        }
        self.cache["identity"] = _digest([config, info["classes"], info["model"], info["pool"]["digest"]])
        return info

    @property
    def identity(self) -> str:
        return str(self.cache["identity"])

    def threshold(self) -> dict[str, Any]:
        """The threshold that was asked for, or that the pool suggests."""
        method = self.request.threshold
        if not isinstance(method, str):
            return {**dict.fromkeys(("threshold", "low", "high"), float(method)), "method": "given"}
        chosen = read_result(self.root, self.identity)
        if chosen is None:
            parts = HistogramParts(self.root, self.identity)
            only_tagged = self.tags.untagged < self.tags.images
            total = self.tags.images - (self.tags.untagged if only_tagged else 0)
            self.on_stage("threshold", total, parts.images)
            pictures = self._reduced(
                self._pictures(only_tagged=only_tagged, skip=parts.images),
                lambda: HistogramMaker(self.scorer.spec, self.request.background_class),
            )
            with closing(pictures):
                for picture in pictures:
                    parts.add(None if picture.failure is not None else picture.scored)
                    picture.scored = None
                    self.progress(1, int(picture.failure is not None))
            parts.commit()
            chosen = write_result(self.root, self.identity, method, parts)
        if chosen["status"] != "fitted":
            log.warning("threshold %.3g is the default: %s", chosen["threshold"], chosen["reason"])
        return chosen

    def masks(self, rule: LabelRule) -> MaskFiles:
        """Write the masks that are not there yet and remove all others."""
        folders = (MASKS,) if rule.weights == "none" else (MASKS, WEIGHTS)
        files = MaskFiles(self.root, _digest([self.identity, asdict(rule)]), COLUMNS, folders)
        ids = self.table.column("image_id")
        todo = {name for chunk in ids.chunks for name in chunk.to_pylist() if files.facts(name) is None}
        self.on_stage("masks", len(self.table), len(self.table) - len(todo))
        if todo:
            pictures = self._reduced(self._pictures(only=todo), lambda: LabelMaker(self.scorer.spec, rule))
            with closing(pictures):
                write_masks(files, pictures, self.progress)
        names = (name for chunk in ids.chunks for name in chunk.to_pylist())
        files.keep_only(name for name in names if self._facts(files, name)["error"] is None)
        return files

    def _facts(self, files: MaskFiles, name: str) -> dict[str, Any]:
        facts = files.facts(name)
        if facts is None:
            raise RunError(f"mask of {name} vanished from {self.root} meanwhile; run the command again")
        return facts

    def _reduced(self, pictures: Iterator[Picture], make_reducer: Callable[[], Any]) -> Any:
        remote = is_remote(self.table.column("uri")[0].as_py())
        return self.scorer.reduce_pool(pictures, make_reducer, remote=remote, storage_options=self.storage_options)

    def _pictures(self, *, only_tagged: bool = False, skip: int = 0, only: set[str] | None = None) -> Iterator[Picture]:
        """The pool's pictures in its order, with what is known of each."""
        for rows in _blocks(self.table):
            nothing = [None] * rows.num_rows
            keys = [
                rows.column(name).to_pylist() if name in rows.column_names else nothing
                for name in ("image_id", "uri", "offset", "size")
            ]
            tags = tags_of_rows(rows, self.maps.classes)
            for key, present in zip(zip(*keys, strict=True), tags, strict=True):
                if (only is not None and key[0] not in only) or (only_tagged and present is None):
                    continue
                if skip:
                    skip -= 1
                    continue
                truth = None if self.truths is None else self.truths.get(key[0])
                yield Picture(key, About(present, None if truth is None else Truth(truth, self.ignore_index)))

    def finish(self, files: MaskFiles, rule: LabelRule, chosen: Mapping[str, Any], overlay: int) -> dict[str, Any]:
        """Write the tables and the summary."""
        tally = _Tally(self.maps.labels)
        weights = rule.weights != "none"
        kept = {key: value for key, value in chosen.items() if key not in ("identity", "histogram")}
        facts = {"labels": list(self.maps.labels), "weight_step": rule.weight_step if weights else None}
        facts |= {"low": rule.low, "high": rule.high, "threshold": rule.threshold}
        schema = manifest_schema(self.listing.table.schema, facts)

        def tables() -> Iterator[pa.Table]:
            for rows in _blocks(self.listing.table):
                found = [self._facts(files, name) for name in rows.column("image_id").to_pylist()]
                tally.add(rows, found)
                yield manifest_rows(rows, found, schema, rule.threshold, weights=weights)

        write_manifest(self.root, schema, tables())
        summary = {
            "images": len(self.table),
            "untagged": self.tags.untagged,
            "labels": list(self.maps.labels),
            "threshold": {**kept, "threshold": rule.threshold, "low": rule.low, "high": rule.high},
            "weights": {"form": rule.weights, "step": rule.weight_step if weights else None},
            "crf": None if rule.crf is None else asdict(rule.crf),
            **tally.summary(compared=self.truths is not None),
        }
        if overlay:
            write_atomic(self.root / OVERVIEW, self._sheet(files, overlay))
        failures = sorted(tally.failures, key=lambda row: row["image_id"])
        finish_directory(self.root, failures, summary)
        return summary

    def _sheet(self, files: MaskFiles, n: int) -> bytes:
        """Pictures at equal steps through the pool that have a mask."""
        names = [i for chunk in self.table.column("image_id").chunks for i in chunk.to_pylist()]
        good = [row for row, name in enumerate(names) if self._facts(files, name)["error"] is None]
        places = sorted({good[len(good) * k // n] for k in range(n)}) if good else []
        rows = self.listing.table.take(pa.array(places, pa.int64()))
        shown: list[SheetPicture] = []
        for row in rows.to_pylist():
            name = row["image_id"]
            mask = read_png(png_path(self.root / MASKS, name), "mask", "run the command again")
            heat = read_png(png_path(self.root / WEIGHTS, name), "weights", "run the command again")
            try:
                data = fetch_bytes(row["uri"], row["offset"], row["size"], storage_options=self.storage_options)
                image = decode_image(data, min_size=(_SHEET_PIXELS, _SHEET_PIXELS)).image
            except DataError as error:
                log.warning("%s is not in the overview: %s", name, error)
                continue
            if mask is not None:
                label = row.get(LABEL)
                text = ",".join(map(str, label)) if isinstance(label, list) else str(label or "")
                clear = (self.maps.background, IGNORE)
                shown.append(SheetPicture(f"{name} {text}".strip(), np.array(image), mask, heat, clear))
        return contact_sheet(shown)


def _blocks(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, _BLOCK_ROWS):
        yield table.slice(start, _BLOCK_ROWS)


class _Tally:
    """Counts over all images."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        n = len(labels)
        self.failures: list[dict[str, str]] = []
        self._flags: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._masks = 0
        self._sums: Counter[str] = Counter()
        self._sure: list[float] = []
        self._truth_errors: list[str] = []
        self._confusion: dict[str, NDArray[np.int64]] = {
            key: np.zeros((n, n + 1), np.int64) for key in ("confusion", "confusion_free")
        }
        self._compared = 0

    def add(self, rows: pa.Table, found: Sequence[Mapping[str, Any]]) -> None:
        uris = rows.column("uri").to_pylist()
        for row, uri in zip(found, uris, strict=True):
            if row["error"] is not None:
                facts = {"image_id": row["image_id"], "uri": uri, "stage": row["stage"], "error": row["error"]}
                self.failures.append(facts)
                continue
            self._masks += 1
            self._flags.update(row["flags"])
            self._missing.update(row["missing"])
            for key in ("foreground_share", "ignore_share", "clipped_share"):
                self._sums[key] += row[key] or 0.0
            if row["reliability"] is not None:
                self._sure.append(row["reliability"])
            if row["truth_error"] is not None:
                self._truth_errors.append(row["truth_error"])
        for key, total in self._confusion.items():
            counts, pictures = add_counts((row[key] for row in found), len(self._labels))
            total += counts
            if key == "confusion":
                self._compared += pictures

    def summary(self, *, compared: bool) -> dict[str, Any]:
        def mean(key: str) -> float | None:
            return self._sums[key] / self._masks if self._masks else None

        facts: dict[str, Any] = {
            "masks": self._masks,
            "failures": len(self.failures),
            "foreground_share_mean": mean("foreground_share"),
            "ignore_share_mean": mean("ignore_share"),
            "clipped_weight_share_mean": mean("clipped_share"),
            "reliability_mean": float(np.mean(self._sure)) if self._sure else None,
            "flags": dict(sorted(self._flags.items())),
            "missing": dict(sorted(self._missing.items())),
        }
        if compared:
            facts["truth"] = {
                "images": self._compared,
                "errors": len(self._truth_errors),
                "first_error": self._truth_errors[0] if self._truth_errors else None,
                "tag_masked": scores_of(self._confusion["confusion"], self._labels),
                "unmasked": scores_of(self._confusion["confusion_free"], self._labels),
            }
        return facts


def _digest(facts: Any) -> str:
    text = json.dumps(json.loads(json_bytes({"facts": facts})), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
