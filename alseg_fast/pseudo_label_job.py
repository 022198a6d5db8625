"""The steps of a pseudo-labelling: the threshold of the pool, the masks, the tables."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .atomic import write_atomic
from .engine import Scorer
from .errors import DataError, RunError
from .mask_pass import write_masks
from .ops.gmm_threshold import BOUNDS
from .stages.contact_sheet import SheetPicture, contact_sheet
from .stages.decode import decode_image
from .stages.fetch import fetch_bytes
from .stages.foreground_maps import IGNORE, ForegroundMaps
from .stages.image_tags import LABEL, NO_TAGS, PoolTags, tags_of_rows
from .stages.label_confusion import Truth
from .stages.mask_files import MaskFiles
from .stages.masks import read_png
from .stages.pool import Pool
from .stages.pseudo_label_files import (
    COLUMNS,
    OVERVIEW,
    finish_directory,
    manifest_rows,
    manifest_schema,
    write_manifest,
)
from .stages.pseudo_label_options import LabelOptions
from .stages.pseudo_label_tally import LabelTally
from .stages.pseudo_labels import MASKS, WEIGHTS, About, HistogramMaker, LabelMaker, LabelRule
from .stages.pseudo_threshold import HistogramParts, read_result, write_result
from .stages.readers.uris import is_remote
from .stages.run_identity import json_bytes
from .stages.run_layout import png_path
from .worker import Picture

log = logging.getLogger("alseg")

Progress = Callable[[int, int], None]  # (images done, of which failed) since the last call
_BLOCK_ROWS = 4096
_SHEET_PIXELS = 256  # decoding may shrink a JPEG to no less than this


@dataclass
class LabellingJob:
    """One pseudo-labelling: what every step needs.

    Attributes:
        root: the directory.
        listing: the pool as it was listed.
        table: its rows, without labels where they are not to count.
        truths: {image_id: uri of its true mask}, or None where nothing is compared.
        max_pixels, ignore_index: as ``alseg.pseudo_label`` has them.
    """

    root: Path
    scorer: Scorer
    options: LabelOptions
    listing: Pool
    table: pa.Table
    tags: PoolTags
    maps: ForegroundMaps
    truths: dict[str, str] | None
    ignore_index: int | None
    max_pixels: int
    storage_options: dict[str, Any] | None
    on_stage: Callable[[str, int, int], None]
    progress: Progress

    @cached_property
    def info(self) -> dict[str, Any]:
        """pseudo_label.json: everything that decides the files."""
        spec = self.scorer.spec
        truth = None if self.truths is None else _digest([sorted(self.truths.items()), self.ignore_index])
        config = {
            **asdict(self.options),
            "max_pixels": self.max_pixels,
            "image_labels": self.tags.digest or NO_TAGS,
            "truth": truth,
        }
        return {
            "config": config,
            "classes": self.maps.labels,
            "model": {"sha256": spec.sha256, "spec": spec.identity()},
            "pool": {"source": self.listing.source, "images": len(self.listing), "digest": self.listing.digest()},
        }

    @cached_property
    def identity(self) -> str:
        """Text that decides the threshold of the pool and, with the rule, the masks."""
        info = self.info
        return _digest([info["config"], info["classes"], info["model"], info["pool"]["digest"]])

    def threshold(self) -> dict[str, Any]:
        """The threshold that was asked for, or that the pool suggests."""
        method = self.options.threshold
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
                lambda: HistogramMaker(self.scorer.spec, self.options.background_class),
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
        elif not BOUNDS[0] < chosen["low"] <= chosen["high"] < BOUNDS[1]:
            log.warning(
                "threshold %.3g is at the end of its range %g to %g: maps are nearly all or nothing, look at the masks",
                chosen["threshold"],
                *BOUNDS,
            )
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
        tally = LabelTally(self.maps.labels)
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


def _digest(facts: Any) -> str:
    text = json.dumps(json.loads(json_bytes({"facts": facts})), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
