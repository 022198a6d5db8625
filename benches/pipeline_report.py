"""Rows, summary lines and goals of `bench pipeline`."""

from __future__ import annotations

from .stages_alone import COUNTED
from .tables import Row, goal, ratio
from .timing import Spread

ENGINE, NAIVE_ONE, NAIVE_ALL = "alseg engine", "naive loop, 1 thread", "naive loop, default threads"
# The engine's own names of the stages.
_IN_ENGINE = {"decode": "decode", "resize + normalise": "prepare", "session.run": "infer", "reduce": "reduce"}


def stage_rows(prefix: str, times: dict[str, Spread | str], in_engine: dict[str, float], images: int) -> list[Row]:
    rows: list[Row] = []
    for stage, result in times.items():
        row: Row = {"id": f"{prefix}/stage {stage}", "stage": stage, "counted": stage in COUNTED, "error": None}
        if isinstance(result, Spread):
            row.update(result.milliseconds())
        else:
            row["error"] = result
        recorded = in_engine.get(_IN_ENGINE.get(stage, ""))
        row["engine_ms"] = None if recorded is None else recorded / images * 1e3
        rows.append(row)
    counted = [row for row in rows if row["counted"]]
    total: Row = {"id": f"{prefix}/stage sum", "stage": "sum of the counted", "counted": True, "error": None}
    for key in ("median_ms", "min_ms", "engine_ms"):
        values = [row.get(key) for row in counted]
        total[key] = None if None in values else sum(v for v in values if v is not None)
    rows.append(total)
    return rows


def summarise(prefix: str, name: str, stages: list[Row], ways: dict[str, Row], cores: int) -> Row:
    engine = ways[ENGINE]
    naive = [v for w in (NAIVE_ONE, NAIVE_ALL) if (v := ways.get(w, {}).get("median_ms")) is not None]
    loaders = [r["median_ms"] for w, r in ways.items() if w.startswith("DataLoader") and r.get("median_ms") is not None]
    work, work_min = stages[-1]["median_ms"], stages[-1]["min_ms"]
    ideal = None if work is None else work / cores
    return {
        "id": prefix,
        "model": name,
        "error": engine["error"],
        "engine_images_s": engine.get("images_s"),
        "work_ms": work,
        "cores": cores,
        "ideal_images_s": None if ideal is None else 1e3 / ideal,
        "efficiency": ratio(ideal, engine.get("median_ms")),
        "efficiency_of_minima": ratio(None if work_min is None else work_min / cores, engine.get("min_ms")),
        "over_naive": ratio(min(naive, default=None), engine.get("median_ms")),
        "over_loader": ratio(min(loaders, default=None), engine.get("median_ms")),
    }


STAGE_COLUMNS = [
    *[("stage", "stage"), ("median_ms", "alone, CPU ms/image"), ("iqr_ms", "IQR"), ("min_ms", "min"), ("reps", "reps")],
    ("engine_ms", "in the engine, CPU ms/image"),
]
WAY_COLUMNS = [
    *[("way", "way"), ("images_s", "images/s"), ("median_ms", "wall ms/image"), ("iqr_ms", "IQR"), ("min_ms", "min")],
    *[("reps", "reps"), ("images", "images"), ("ratio", "x alseg")],
]
SUMMARY_COLUMNS = [
    *[("model", "model"), ("engine_images_s", "images/s"), ("ideal_images_s", "sum of stages / cores")],
    *[("efficiency", "efficiency"), ("efficiency_of_minima", "of minima"), ("over_naive", "naive x")],
    *[("over_loader", "DataLoader x"), ("same_logits_max", "same logits, max |d|")],
    *[("same_picture_mean", "same picture, mean |d|"), ("score_spread", "spread of scores")],
    ("rank_correlation", "rank corr."),
]
NOTES = (
    "Efficiency: CPU seconds of decode + resize and normalise + session.run + reduce, each alone on one thread, "
    "divided by the cores, over the engine's wall time, which also lists the pool, reads files and writes the RUN.",
    "In the engine, resize + normalise includes the perceptual hash, and both cores share caches and memory.",
    "The engine and the loops give the mean entropy, the mean margin and the share of each predicted class of every "
    "picture (the engine also the maximum, the top 5 % and per-class means); a row says where it is entropy alone.",
    "The naive ratio is that of its faster thread setting. Every file lies in the page cache.",
    "Scores of the engine and of the naive loop differ because the engine may decode at 1/2, 1/4 or 1/8 and does "
    "not round the resized picture to 8 bits; |d| in nats.",
)


def list_goals(summaries: list[Row]) -> list[Row]:
    """The goals for each model, met or not."""
    goals = []
    for row in summaries:
        goals.append(goal(f"efficiency, {row['model']}", row.get("efficiency"), 0.9, at_least=True))
        goals.append(goal(f"engine / naive loop, {row['model']}", row.get("over_naive"), 6, at_least=True))
    return goals
