"""Pseudo-masks of the images that a label reaches, by the model that the next round starts from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .atomic import write_atomic
from .engine import Scorer
from .errors import DataError, PoolError, RunError, UsageError
from .runtimes.options import ModelOptions
from .stages.decode import DEFAULT_MAX_PIXELS
from .stages.mask_files import PART_MASKS, MaskFiles
from .stages.masks import read_png
from .stages.pool import Pool, open_pool
from .stages.propagate_files import THRESHOLD
from .stages.pseudo_masks import BinMaker, MaskMaker, ThresholdSearch, check_model, is_binary
from .stages.readers.uris import is_remote, local_path
from .stages.run_identity import json_bytes
from .worker import Picture

log = logging.getLogger("alseg")

Advance = Callable[[int, int], None]  # (images done, of which failed) since the last call
Row = tuple[str, str, int | None, int | None]  # image_id, uri, offset, size
RULE = "mean over images of (IoU foreground + IoU background) / 2, each IoU (a + 1) / (b + 1); of equal ones the lowest"


@dataclass(frozen=True)
class MaskOptions:
    """How pseudo-masks are made.

    Attributes:
        model: path of an ONNX segmentation network, as for `Scorer`.
        options: what ONNX does not say about it.
        threshold: a foreground probability, or the least probability of the best class, from which on a pixel counts.
        validation: a manifest with mask_uri; the threshold is then the best on it (binary models only) and
            `threshold` is not used. Its masks are labels that somebody paid for.
        ignore_index: value of the validation masks that does not count; None: all pixels do, and all but 0 are
            foreground.
        device, batch_size, workers, max_pixels: see `Scorer`.
    """

    model: str | os.PathLike[str]
    options: ModelOptions | None = None
    threshold: float = 0.5
    validation: str | os.PathLike[str] | Pool | None = None
    ignore_index: int | None = None
    device: str = "auto"
    batch_size: int = 1
    workers: int | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UsageError(f"propagate: threshold must be in (0, 1]; got {self.threshold}. It is a probability.")

    def scorer(self) -> Scorer:
        """Raises: ModelError, UsageError."""
        scorer = Scorer(
            self.model,
            measures=("least_confidence",),
            options=self.options,
            device=self.device,
            workers=self.workers,
            batch_size=self.batch_size,
            max_pixels=self.max_pixels,
        )
        check_model(scorer.spec)
        if self.validation is not None and not is_binary(scorer.spec):
            raise UsageError(
                f"propagate: validation must be None for a model of {scorer.spec.n_classes} classes; its threshold is "
                "estimated for a foreground and a background only. Give --threshold."
            )
        return scorer


def estimate_threshold(
    scorer: Scorer,
    options: MaskOptions,
    root: Path,
    *,
    storage_options: dict[str, Any] | None = None,
    on_start: Callable[[int], None] = lambda n: None,
    advance: Advance = lambda done, failed: None,
) -> dict[str, Any]:
    """{"threshold", "score", "images", "rule" ...} of DIR/threshold.json, made there if need be.

    Raises: PoolError: the validation manifest has no masks. RunError: a mask cannot be read or no image could.
    """
    assert options.validation is not None
    pool = options.validation
    pool = pool if isinstance(pool, Pool) else open_pool(pool, storage_options=storage_options)
    if "mask_uri" not in pool.table.column_names or pool.table.column("mask_uri").null_count:
        raise PoolError(f"validation {pool.source} must have a mask_uri for every image; add the column")
    masks = dict(zip(*(pool.table.column(name).to_pylist() for name in ("image_id", "mask_uri")), strict=True))
    identity = _digest(
        [scorer.spec.identity(), pool.digest(), sorted(masks.items()), options.ignore_index, options.max_pixels]
    )
    path = root / THRESHOLD
    try:
        known = json.loads(path.read_bytes())
        if known["identity"] == identity:
            return dict(known)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none of this model and these masks yet
    search = ThresholdSearch()
    rows = _pool_rows(pool.table)
    on_start(len(pool))
    failed = 0
    pictures = scorer.reduce_pool(
        rows, lambda: BinMaker(scorer.spec), remote=is_remote(rows[0][1]), storage_options=storage_options
    )
    with closing(pictures):
        for picture in pictures:
            name = picture.key[0]
            if picture.failure is not None:
                failed += 1
                log.warning("validation image %s: %s: %s", name, *picture.failure)
            else:
                truth = _truth(masks[name], picture.scored.shape)
                search.add(picture.scored, truth, options.ignore_index)
            picture.scored = None
            advance(1, int(picture.failure is not None))
    if not search.images:
        raise RunError(f"no image of validation {pool.source} could be scored; correct the manifest")
    threshold, score = search.best()
    facts = {"threshold": threshold, "score": score, "images": search.images, "failed": failed, "rule": RULE}
    facts |= {"identity": identity}
    write_atomic(path, json_bytes(facts))
    return facts


def _truth(uri: str, shape: tuple[int, ...]) -> Any:
    path = local_path(uri)
    if path is None:
        raise RunError(f"validation mask {uri} is not on this machine; copy the masks here")
    mask = read_png(Path(path), "validation mask", "correct the validation manifest", (shape[0], shape[1]))
    if mask is None:
        raise RunError(f"validation mask {path} does not exist; correct the validation manifest")
    return mask


def make_masks(
    scorer: Scorer,
    options: MaskOptions,
    threshold: float,
    root: Path,
    rows: Sequence[Row],
    *,
    storage_options: dict[str, Any] | None = None,
    on_start: Callable[[int, int], None] = lambda n, done: None,
    advance: Advance = lambda done, failed: None,
) -> dict[str, dict[str, Any]]:
    """Write the masks of these images that are not there yet and remove all others.

    Returns: {image_id: row of DIR/mask_parts}, those that failed with `stage` and `error`.
    """
    files = MaskFiles(root, _digest([scorer.spec.identity(), threshold, options.max_pixels]))
    todo = [row for row in rows if files.facts(row[0]) is None]
    on_start(len(rows), len(rows) - len(todo))
    if todo:
        pictures = scorer.reduce_pool(
            todo,
            lambda: MaskMaker(scorer.spec, threshold),
            remote=is_remote(todo[0][1]),
            storage_options=storage_options,
        )
        with closing(pictures):
            write_masks(files, pictures, advance)
    found = {row[0]: files.facts(row[0]) for row in rows}
    complete = {name: facts for name, facts in found.items() if facts is not None}
    files.keep_only(name for name, facts in complete.items() if facts["error"] is None)
    return complete


def write_masks(files: MaskFiles, pictures: Iterator[Picture], advance: Advance) -> None:
    """Write what a reducer made of each picture: its `files`, PNG by folder, and its `facts`, in parts."""
    part: list[dict[str, Any]] = []
    for picture in pictures:
        name, made = picture.key[0], picture.scored
        picture.scored = None
        facts: dict[str, Any] = {"image_id": name, "stage": None, "error": None}
        if picture.failure is None:
            try:
                files.write(name, made.files)
                facts |= made.facts
            except DataError as error:
                picture.fail("write", error)
        if picture.failure is not None:
            facts["stage"], facts["error"] = picture.failure
            log.info("%s: %s: %s", name, *picture.failure)
        part.append(facts)
        if len(part) == PART_MASKS:
            _commit(files, part, advance)
            part = []
    if part:
        _commit(files, part, advance)


def _commit(files: MaskFiles, part: list[dict[str, Any]], advance: Advance) -> None:
    files.commit(part)
    advance(len(part), sum(row["error"] is not None for row in part))


def _pool_rows(table: pa.Table) -> list[Row]:
    nothing = [None] * len(table)
    columns = [
        table.column(name).to_pylist() if name in table.column_names else nothing
        for name in ("image_id", "uri", "offset", "size")
    ]
    return list(zip(*columns, strict=True))


def _digest(facts: Any) -> str:
    text = json.dumps(json.loads(json_bytes({"facts": facts})), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def mask_summary(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts for summary.json: how many there are, how many name no pixel or every pixel, and means."""
    good = [row for row in facts if row["error"] is None]
    shares = np.array([row["named_share"] for row in good])
    sure = [row["reliability"] for row in good if row["reliability"] is not None]
    return {
        "masks": len(good),
        "failed": len(facts) - len(good),
        "empty": int((shares == 0).sum()),
        "full": int((shares == 1).sum()),
        "named_share_mean": float(shares.mean()) if good else None,
        "reliability_mean": float(np.mean(sure)) if sure else None,
    }
