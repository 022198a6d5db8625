"""What a report shows, collected in one pass over a run's scores; the page itself is made in report_html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UsageError
from .report_facts import (
    RunReader,
    failure_summary,
    incomplete_banner,
    pool_name,
    reproduce,
    run_details,
    run_facts,
    selection_facts,
)
from .report_html import ReportSummary, check_target, write_page
from .report_pictures import SMALLEST_SIDE, LoadImage, LoadOverlay
from .report_statistics import ClassTotals, StreamHistogram, TopRows, number

DEFAULT_PICKS = 100
STATISTICS = ("mean", "max", "top")


def write_report(
    run: RunReader,
    batch: pa.Table | None,
    out: Path,
    *,
    load_image: LoadImage,
    overlay: LoadOverlay,
    max_images: int = 1000,
    thumb_side: int = 256,
    measure: str | None = None,
    title: str | None = None,
    commands: Sequence[str] = (),
) -> ReportSummary:
    """Write one self-contained HTML file about a run and the pictures selected from it.

    Args:
        run: what ``open_run`` returns; its scores are read once, part by part.
        batch: rows of ``select`` (rank, image_id, uri, region_id, score, cost, reason); None shows the
            100 images with the highest mean of the measure.
        out: the file; appears complete or not at all. Its directory must exist.
        load_image: (image_id, uri) -> [h, w, 3] uint8, or None when the picture is not available.
        overlay: (image_id, uri) -> ([h, w] class ids, {measure: [h, w] uint8 over its map range}), or None.
        max_images: picks shown; the page says how many were left out.
        thumb_side: longest side of a thumbnail in pixels; lowered when the file would exceed 50 MB.
        measure: measure or score column to rank and colour by first; default the run's first measure.
        title: heading of the page; default names the pool.
        commands: the exact commands to show in the box "Reproduce"; default is built from run.json.
    Raises:
        UsageError: the measure is not one of the run, or a limit is not positive.
        RunError: the scores do not fit the run's classes, or the file cannot be written.
    Memory: the pictures pass through a temporary file; in memory stay the shown rows and the histograms.
    """
    if max_images < 1 or thumb_side < SMALLEST_SIDE:
        raise UsageError(
            "write_report: max_images must be >= 1 and thumb_side >= 32; "
            f"got {max_images} and {thumb_side}. Raise them."
        )
    check_target(out)
    data = collect(run, batch, max_images=max_images, measure=measure, title=title, commands=commands)
    return write_page(data, out, load_image=load_image, overlay=overlay, thumb_side=thumb_side)


def collect(
    run: RunReader,
    batch: pa.Table | None,
    *,
    max_images: int,
    measure: str | None = None,
    title: str | None = None,
    commands: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything the page needs except the pictures, as values that JSON can hold."""
    columns = [f"{name}_{statistic}" for name in run.measures for statistic in STATISTICS]
    rank_column = _rank_column(run, columns, measure)
    picks = None if batch is None else _picks(batch, max_images)
    picked_ids = None if picks is None else [pick["image_id"] for pick in picks]
    top = TopRows(rank_column, min(DEFAULT_PICKS, max_images))
    ranges = run.info.get("map_ranges", {})
    histograms = {name: StreamHistogram(_range(ranges, name.rsplit("_", 1)[0])[1]) for name in columns}
    totals = ClassTotals(list(run.measures))
    basic = ["image_id", "uri", "width", "height", "predicted_label", "class_fraction", *columns]
    found: dict[str, dict[str, Any]] = {}
    wanted = None if picked_ids is None else pa.array(sorted(set(picked_ids)), pa.string())
    for rows in run.score_batches([*basic, *(f"class_{name}" for name in run.measures)]):
        for name, histogram in histograms.items():
            histogram.add(rows.column(name).to_numpy(zero_copy_only=False))
        totals.add(rows)
        shown = rows.select(basic)
        if wanted is None:
            top.add(shown)
        else:
            chosen = shown.filter(pc.is_in(shown.column("image_id").cast(pa.string()), value_set=wanted))
            found.update((row["image_id"], row) for row in chosen.to_pylist())
    if picks is None:
        found = {row["image_id"]: row for row in top.rows}
        picks = [
            {"rank": rank, "score": row[rank_column], "reason": f"highest {rank_column}", **_identity(row)}
            for rank, row in enumerate(top.rows, 1)
        ]
    cards = [_card(pick, found.get(pick["image_id"]), columns) for pick in picks]
    return {
        "title": title or f"Annotation report: {pool_name(run)}",
        "banner": None if run.complete else incomplete_banner(run),
        "facts": run_facts(run, len(cards)),
        "details": run_details(run),
        "selection_note": _selection_note(run, batch, len(cards), rank_column),
        "classes": list(run.classes),
        "rank_column": rank_column,
        "columns": [{"name": name, "unit": _unit(run, name)} for name in columns],
        "measures": [
            {"name": name, "unit": _unit(run, f"{name}_mean"), "low": low, "high": high}
            for name, (low, high) in ((name, _range(ranges, name)) for name in run.measures)
        ],
        "start_measure": list(run.measures).index(rank_column.rsplit("_", 1)[0]),
        "cards": cards,
        "histograms": [
            {"column": name, "unit": _unit(run, name), **histograms[name].shown(_selected(cards, i))}
            for i, name in enumerate(columns)
        ],
        "class_table": totals.table(list(run.classes), list(found.values())),
        "failures": failure_summary(run.failures()),
        "reproduce": reproduce(run, batch, commands),
    }


def _rank_column(run: RunReader, columns: Sequence[str], measure: str | None) -> str:
    """The score column that a measure's or column's name means."""
    wanted = measure or (run.measures[0] if run.measures else "")
    for name in (wanted, f"{wanted}_mean"):
        if name in columns:
            return name
    raise UsageError(
        f"write_report: measure must be one of the run ({', '.join(run.measures) or 'none'}) "
        f"or a score column; got {wanted!r}. Score the pool with that measure or choose another."
    )


def _picks(batch: pa.Table, max_images: int) -> list[dict[str, Any]]:
    """The first picks of a batch by rank."""
    missing = [name for name in ("rank", "image_id", "uri") if name not in batch.column_names]
    if missing:
        raise UsageError(
            f"write_report: batch must have the columns rank, image_id and uri; "
            f"{', '.join(missing)} missing. Pass a file written by alseg select."
        )
    return list(batch.sort_by("rank").slice(0, max_images).to_pylist())


def _identity(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"image_id": row["image_id"], "uri": row["uri"]}


def _card(pick: Mapping[str, Any], row: Mapping[str, Any] | None, columns: Sequence[str]) -> dict[str, Any]:
    """One pick with the scores of its image; without a row the card says so."""
    fractions = [] if row is None else (row["class_fraction"] or [])
    shares = [(c, round(f, 5)) for c, f in enumerate(fractions) if f is not None and f >= 5e-6]
    return {
        "rank": pick["rank"],
        "region": pick.get("region_id"),
        "score": number(pick.get("score")),
        "cost": number(pick.get("cost")),
        "reason": str(pick.get("reason") or ""),
        **_identity(pick),
        "width": row["width"] if row else None,
        "height": row["height"] if row else None,
        "label": row["predicted_label"] if row else None,
        "shares": sorted(shares, key=lambda pair: (-pair[1], pair[0])),
        "scores": [number(row[name]) if row else None for name in columns],
        "note": "" if row else "no scores of this image in the run",
    }


def _selected(cards: Sequence[Mapping[str, Any]], column: int) -> list[float]:
    """One value an image, also when several regions of it were picked."""
    values = {card["image_id"]: card["scores"][column] for card in cards}
    return [value for value in values.values() if value is not None]


def _range(ranges: Mapping[str, Sequence[float]], measure: str) -> tuple[float, float]:
    low, high = ranges.get(measure, (0.0, 1.0))
    return float(low), float(high) if high > low else float(low) + 1.0


def _unit(run: RunReader, column: str) -> str:
    """The unit alone: "nats" of "nats, mean over the image"; nothing for plain ratios."""
    units = run.info.get("units") or {}
    unit = str(units.get(column) or "").split(",")[0]
    return "" if unit.startswith("1") else unit


def _selection_note(run: RunReader, batch: pa.Table | None, shown: int, rank_column: str) -> str:
    if batch is None:
        return f"No batch was given: these are the {shown:,} images with the highest {rank_column}."
    several = batch.num_rows > shown
    note = f"The first {shown:,} of {batch.num_rows:,} picks, by rank." if several else f"All {shown:,} picks."
    if selection_facts(batch).get("config_hash", run.info.get("config_hash")) != run.info.get("config_hash"):
        note += " The batch was selected from a run with another model, pool or configuration than this one."
    return note
