"""Chooses what to annotate next: memory bounded by the budget, whatever the size of the pool.

The driver here reads candidates, leaves out what is excluded, and writes ranks and reasons; how to choose is
the business of a strategy (see `strategies`; single pixels: `pixel_select`). Equal scores are drawn by lot with a
hash of seed and image_id, so the same seed gives the same batch whatever the parts or the order of the rows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..errors import RunError, UsageError
from .batch import BATCH_SCHEMA, batch_facts, batch_table, read_batch, write_batch
from .bought import write_masks
from .budget import UNITS, Budget, Tally, parse_budget
from .exclusions import Exclude, Exclusions, read_exclusions
from .never_buy import NeverBuy
from .pixel_select import PixelRequest, pick_pixels
from .pixel_values import pixel_values
from .region_candidates import region_candidates
from .run_reader import Run, open_run
from .select_options import SelectOptions
from .selection_facts import selection_facts, tell
from .selection_plan import DEFAULT_MEASURE, Plan, make_plan
from .strategies import Candidates, Picks, Ranking, Request, Strategy, id_hashes
from .strategies.per_class import PerClass, PerImageAndClass
from .strategies.per_image import PerImage

__all__ = ["BATCH_SCHEMA", "DEFAULT_MEASURE", "UNITS", "SelectOptions", "batch_facts", "read_batch", "select"]

log = logging.getLogger("alseg")

_BLOCK_ROWS = 1 << 16


def select(
    run: Run | str | os.PathLike[str],
    *,
    budget: int | float | str,
    unit: str = "images",
    budget_scope: str = "pool",
    strategy: str = "top",
    measure: str = DEFAULT_MEASURE,
    options: SelectOptions | None = None,
    exclude: Exclude | None = None,
    ignore: str | os.PathLike[str] | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
) -> pa.Table:
    """Choose the images, regions or pixels to annotate next.

    Picks are taken in rank order until the next one no longer fits the budget (of each image with budget_scope
    "image", of each class with class-superpixel-crf); nothing smaller further down is taken in its place. What the
    picks cost together and their share of the pool are in `batch_facts`.

    Args:
        run: a RUN directory or an opened one; an unfinished one is used as far as it is, with a warning.
        budget: how much, > 0 (a whole number of images, regions or pixels); more than there is takes all, with a
            warning. Or a share as text, "10%": of what there is to choose from in this unit, without what is
            excluded or ignored; whole units are rounded down.
        unit: what the budget counts: "images" (whole ones), "regions", "pixels", "clicks" or "seconds" (of regions,
            by the RUN's cost_clicks and cost_seconds). All but images need a RUN scored with regions, apart from the
            strategies of single pixels.
        budget_scope: "pool": the budget holds over the whole pool; "image": in each image anew.
        strategy:
            "top" (highest values of `measure`), "random", or a measure of the RUN ("entropy" is the top of
            entropy_mean, or of `measure` where that is another column of the same measure): images or regions.
            "superpixel": regions by `measure`; "random-superpixels"; "superpixel-crf": regions by crf_entropy, the
            entropy after the region CRF; "class-superpixel-crf": the same with the budget split over the classes
            after the CRF (crf_class). The last two need a RUN scored with --crf; see `SelectOptions`.
            "entropy-pixels", "entropy-edge" (entropy, edges weighted), "random-pixels": unit "pixels". The first
            two read the RUN's heatmaps and label maps (scored with --maps); heatmaps of the model's resolution
            are resized bilinearly to the picture's own size. Exactly as many pixels as the budget says.
        measure: any numeric column of the scores, or of the regions. Null and NaN are never selected.
        options: settings of the region and pixel strategies; None: the defaults of `SelectOptions`.
        exclude: a file (str or Path: an earlier batch, a manifest, a text list of ids), or an iterable of ids
            (str) and files (Path). Of an earlier batch of regions or pixels just these are left out; where whole
            images are selected, their images.
        ignore: directory of PNG masks <image_id>.png (or with .png in place of the suffix), non-zero = never buy;
            an image without one is ignored nowhere. A region's cost and rle shrink by the ignored pixels (clicks
            and seconds with the area), its score does not; one that is ignored wholly is no candidate.
        seed: decides between equal scores, and the random draw.
        out: also write the result to this Parquet file.
        masks: also write one PNG a picked image to this directory, <image_id>.png, 0 = not bought, 255 = bought.
    Returns: `BATCH_SCHEMA`, best first: rank from 1, image_id, uri, region_id (null for whole images and pixels),
        score, cost, reason, rle (COCO compressed RLE over the image of exactly what was bought; null for whole
        images). Pixels have one row an image: cost = pixels bought there, score = their mean value. With the
        budget split over classes, ranks go by the part of its budget that a class had spent before a pick, then by
        score: the best of every class come first.
    Raises:
        UsageError: an impossible budget, unit, strategy, measure or option.
        RunError: the RUN lacks what the strategy needs; the RUN, a mask or an exclude file cannot be read; the result
            cannot be written.
    Source: the region and pixel strategies follow Kasarla et al., Region-based active learning for efficient labeling
        in semantic segmentation, WACV 2019.
    """
    asked = parse_budget(budget, unit, budget_scope)
    _check_seed(seed)
    target = _checked_target(out)
    settings = options or SelectOptions()
    opened = run if isinstance(run, Run) else open_run(run)
    plan = make_plan(opened, strategy, measure, unit, settings)
    if ignore is not None and plan.kind == "images":
        raise UsageError("select: ignore must be used with regions or pixels; got unit images.")
    made_from = opened.info["config"].get("regions")
    excluded = read_exclusions(exclude, seed, unit=plan.kind, regions=made_from)
    never = NeverBuy(ignore, excluded.parts.pixels)
    if not opened.complete:
        done = len(opened.parts_done)
        log.warning("%s is not finished: selecting from %d of %d parts", opened.path, done, opened.parts)
    if plan.chooser is None:
        label = f"random draw (seed {seed})" if plan.column == "draw" else plan.name.replace("-pixels", "")
        values = pixel_values(opened, plan.name, settings)
        picks, tally = pick_pixels(PixelRequest(opened, values, asked, excluded, never, seed, label))
    else:
        picks, tally = _pick(opened, plan, plan.chooser, asked, excluded, never, seed, settings)
    excluded.parts.met_pixels = never.met
    facts = selection_facts(opened, plan, asked, settings, picks, tally, excluded, seed)
    tell(asked, picks, tally, facts, excluded)
    batch = batch_table(picks, facts)
    if masks is not None:
        write_masks(opened, batch, masks)
    if target is not None:
        write_batch(target, batch)
    return batch


def _check_seed(seed: int) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise UsageError(f"select: seed must be a whole number; got {seed}.")


def _checked_target(out: str | os.PathLike[str] | None) -> Path | None:
    if out is None:
        return None
    target = Path(out)
    if not target.parent.is_dir():
        raise RunError(f"cannot write {target}: the directory {target.parent} does not exist; make it or change --out")
    if target.is_dir():
        raise RunError(f"cannot write {target}: it is a directory; give a file name such as {target / 'batch.parquet'}")
    return target


def _pick(
    run: Run,
    plan: Plan,
    chooser: Strategy,
    budget: Budget,
    excluded: Exclusions,
    never: NeverBuy,
    seed: int,
    options: SelectOptions,
) -> tuple[Picks, Tally]:
    """The picks of a strategy, and what there was to choose from."""
    ranked_by = plan.column if plan.ranks else None
    tally = Tally()
    counted = budget.scope == "pool" and (budget.is_share or plan.by is not None)
    if counted:  # a pass of its own: the budget, or its split, depends on what there is
        columns = [name for name in (ranked_by, plan.by) if name is not None]
        stream = _stream(run, plan, budget.unit, columns, excluded, never, seed, False)
        for _ in tally.watch(stream, ranked_by, plan.by):
            pass
    amount = budget.amount(tally.total) if counted or not budget.is_share else 0.0
    ranking: Ranking | None = None
    if budget.scope == "image":
        if plan.by is None:
            ranking = PerImage(budget.amount)
        else:
            ranking = PerImageAndClass(plan.by, run.classes, budget.amount, options.class_rule)
    elif plan.by is not None:
        ranking = PerClass(
            plan.by,
            run.classes,
            amount,
            tally.class_costs,
            tally.class_areas,
            tally.class_largest,
            options.class_rule,
        )
    request = Request(amount, plan.column, seed, budget.unit if plan.kind == "images" else plan.kind, ranking)
    columns = [*chooser.columns(request), *([plan.by] if plan.by is not None else [])]
    stream = _stream(run, plan, budget.unit, columns, excluded, never, seed, True)
    picks = chooser.pick(stream if counted else tally.watch(stream, ranked_by), request)
    if isinstance(ranking, PerImage | PerImageAndClass):
        tally.images, tally.exhausted = ranking.images, ranking.exhausted
    return picks, tally


def _stream(
    run: Run,
    plan: Plan,
    unit: str,
    columns: Sequence[str],
    excluded: Exclusions,
    never: NeverBuy,
    seed: int,
    with_rle: bool,
) -> Iterator[Candidates]:
    if plan.kind == "images":
        return _image_candidates(run, columns, excluded, seed)
    return region_candidates(run, unit, columns, excluded, never, seed, with_rle=with_rle)


def _image_candidates(run: Run, columns: Sequence[str], excluded: Exclusions, seed: int) -> Iterator[Candidates]:
    """Whole images at cost 1, in blocks large enough for vectorised work."""
    names = ["image_id", "uri", *(name for name in columns if name not in ("image_id", "uri"))]
    for table in _blocks(run.score_batches(names)):
        ids = table.column("image_id").combine_chunks()
        ties = id_hashes(ids, seed)
        keep = excluded.keep_mask(ids, ties)
        table = table.append_column("region_id", pa.nulls(len(ids), pa.int64()))
        table = table.append_column("cost", pa.array(np.ones(len(ids))))
        table = table.append_column("tie", pa.array(ties))
        yield Candidates(table if keep.all() else table.filter(pa.array(keep)))


def _blocks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= _BLOCK_ROWS:
            yield pa.Table.from_batches(waiting).combine_chunks()
            waiting, rows = [], 0
    if rows:
        yield pa.Table.from_batches(waiting).combine_chunks()
