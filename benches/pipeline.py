"""`alseg bench pipeline`: a pool of JPEGs through the engine, beside its stages alone and the usual loops."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

import alseg_fast.demo
from alseg_fast import Scorer, config

from . import machine
from .pool_images import PHOTO_BYTES, PHOTO_SIZE, fill_directory, make_photo
from .stages_alone import COUNTED, StagesAlone
from .tables import Result, Row, format_table, goal, make_table, ratio, save_result
from .timing import Contender, Quiet, Spread, error_text, interleave

__all__ = ["format_table", "run"]

log = logging.getLogger("alseg")

EXAMPLE = Path(alseg_fast.demo.__file__).parent / "example.onnx"
SAME_LOGITS_TOLERANCE = 1e-4  # nats: the engine's reduction against torch's float32, on the same logits
SAME_PICTURE_TOLERANCE = 0.05  # of ln C, mean over pictures: decoding at a fraction of the size moves scores a little
LEAST_RANK_CORRELATION = 0.8


@dataclass(frozen=True)
class Sizes:
    """How much is measured. `distinct` picture contents repeat under `images` names."""

    images: int
    distinct: int
    naive_images: int
    fewest: int
    most: int
    photo: tuple[int, int] = PHOTO_SIZE
    photo_bytes: int | None = PHOTO_BYTES


FULL = Sizes(images=200, distinct=24, naive_images=24, fewest=5, most=9)
QUICK = Sizes(images=40, distinct=8, naive_images=8, fewest=2, most=2)


@dataclass
class Pool:
    """Pictures on the disk."""

    folder: Path
    paths: list[Path]
    contents: list[bytes]


def make_pool(folder: Path, sizes: Sizes) -> Pool:
    """Procedural JPEGs."""
    contents = [make_photo(seed, sizes.photo, sizes.photo_bytes) for seed in range(sizes.distinct)]
    return Pool(folder, fill_directory(folder, contents, sizes.images), contents)


def make_mobile_network(folder: Path, contents: Sequence[bytes]) -> tuple[Path, float]:
    """The MobileNet-class network, calibrated on some of the pictures; its path and GFLOP an image."""
    import io

    from PIL import Image

    from .networks import INPUT_SIDE, save_mobile_network

    def prepare(data: bytes) -> NDArray[np.float32]:
        image = Image.open(io.BytesIO(data)).resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.BILINEAR)
        x = (np.asarray(image, np.float32) / 255 - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
        return x.transpose(2, 0, 1)

    path = folder / "mobile.onnx"
    return path, save_mobile_network(path, np.stack([prepare(data) for data in contents[:8]]))


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's, without ties; None where one side is constant or there are fewer than three."""
    if len(a) < 3 or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    ranks = [np.argsort(np.argsort(np.asarray(v))) for v in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


class Engine:
    """Scores the whole pool into a new RUN at every call."""

    def __init__(self, model: Path, pool: Pool, runs: Path, workers: int) -> None:
        self._scorer = Scorer(model, measures=("entropy",), device="cpu", workers=workers)
        self._pool, self._runs, self._number = pool, runs, count()
        self.spec = self._scorer.spec
        self.last: Path = runs

    def __call__(self) -> None:
        self.last = self._runs / f"run-{next(self._number)}"
        summary = self._scorer.score_pool(self._pool.folder, self.last)
        if summary.failed or summary.scored != len(self._pool.paths):
            raise RuntimeError(f"{summary.scored} of {len(self._pool.paths)} pictures scored, {summary.failed} failed")

    def scores(self) -> list[float]:
        """entropy_mean of the distinct pictures, in the order of the pool."""
        table = pq.read_table(self.last / "scores", columns=["image_id", "entropy_mean"])
        by_id = dict(zip(table["image_id"].to_pylist(), table["entropy_mean"].to_pylist(), strict=True))
        return [by_id[path.name] for path in self._pool.paths[: len(self._pool.contents)]]

    def stage_seconds(self) -> dict[str, float]:
        """CPU seconds by stage as the last RUN recorded them."""
        timings: dict[str, Any] = json.loads((self.last / "run.json").read_text(encoding="utf-8"))["timings"]
        found = timings.get("cpu_seconds", {})
        return {str(k): float(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _check(alone: StagesAlone, engine: Engine, naive: list[float], n_classes: int) -> tuple[Row, list[str]]:
    """Both gates: the same logits give the same score, the same picture gives nearly the same score."""
    from .baselines.naive_loop import entropy_means

    placed = engine.spec.input_size
    torch_scores = [entropy_means(logits, placed)[0] for logits in alone.logits]
    same_logits = float(np.max(np.abs(np.subtract(torch_scores, alone.entropy_means))))
    scores = engine.scores()[: len(naive)]
    off = np.abs(np.subtract(scores, naive))
    correlation = rank_correlation(scores, naive)
    allowed = SAME_PICTURE_TOLERANCE * float(np.log(n_classes))
    wrong = []
    if not same_logits <= SAME_LOGITS_TOLERANCE:
        wrong.append(f"entropy_mean of the same logits differs by {same_logits:.2e}, {SAME_LOGITS_TOLERANCE:g} allowed")
    if not float(off.mean()) <= allowed:
        wrong.append(f"entropy_mean of the same pictures differs by {off.mean():.3g} on average, {allowed:.3g} allowed")
    if correlation is not None and len(scores) >= 8 and correlation < LEAST_RANK_CORRELATION:
        wrong.append(f"rank correlation with the naive loop is {correlation:.3f}, {LEAST_RANK_CORRELATION} asked for")
    return {
        "same_logits_max": same_logits,
        "same_picture_mean": float(off.mean()),
        "same_picture_max": float(off.max()),
        "score_spread": float(np.std(naive)),
        "rank_correlation": correlation,
    }, wrong


def _make_peers(
    model: Path, engine: Engine, paths: list[Path], threads: int
) -> dict[str, Callable[[], Callable[[], list[float]]]]:
    from .baselines import data_loader, naive_loop

    spec = engine.spec
    return {
        NAIVE_ONE: lambda: naive_loop.make_loop(model, spec, paths, 1, threads),
        NAIVE_ALL: lambda: naive_loop.make_loop(model, spec, paths, None, threads),
        "DataLoader, 0 workers, batch 4": lambda: data_loader.make_loop(model, spec, paths, 0, threads),
        "DataLoader, 2 workers, batch 4": lambda: data_loader.make_loop(model, spec, paths, 2, threads),
    }


ENGINE, NAIVE_ONE, NAIVE_ALL = "alseg engine", "naive loop, 1 thread", "naive loop, default threads"
_IN_ENGINE = {"decode": "decode", "resize + normalise": "prepare", "session.run": "infer", "reduce": "reduce"}


@dataclass
class Measured:
    """Rows of one model."""

    stages: list[Row]
    ways: list[Row]
    summary: Row
    wrong: list[str]


def measure_model(
    name: str, model: Path, pool: Pool, work: Path, workers: int, sizes: Sizes, quiet: Quiet
) -> Measured:
    """Stages alone, then the engine and the loops in turns."""
    log.info("bench pipeline: %s, stages alone", name)
    prefix = f"pipeline/{name}"
    alone = StagesAlone(model, pool.contents)
    stage_times = interleave(alone.contenders(), quiet=quiet, fewest=sizes.fewest, most=3 * sizes.most)
    log.info("bench pipeline: %s, engine and loops", name)
    engine = Engine(model, pool, work / f"runs-{name}", workers)
    ways: dict[str, Row] = {
        ENGINE: {"id": f"{prefix}/{ENGINE}", "way": ENGINE, "images": len(pool.paths), "error": None}
    }
    contenders = [Contender(ENGINE, engine, 1 / len(pool.paths))]
    engine()
    wrong, parity = [], {}
    subset = pool.paths[: min(sizes.naive_images, len(pool.contents))]
    try:
        peers = _make_peers(model, engine, subset, workers)
    except ImportError as exc:
        peers = {}
        ways["peers"] = {"id": f"{prefix}/peers", "way": "naive loop, DataLoader", "error": error_text(exc)}
    for peer, make in peers.items():
        row: Row = {"id": f"{prefix}/{peer}", "way": peer, "images": len(subset), "error": None}
        ways[peer] = row
        try:
            call = make()
            scores = call()
            if not parity:
                parity, wrong = _check(alone, engine, scores, engine.spec.n_classes)
                reference = scores
            off = float(np.max(np.abs(np.subtract(scores, reference))))
            if not off <= 1e-3:
                raise ValueError(f"wrong result: scores differ by {off:.2e} from the naive loop's")
        except Exception as exc:  # a peer that cannot run is a row with its reason
            row["error"] = error_text(exc)
            continue
        contenders.append(Contender(peer, call, 1 / len(subset)))
    if wrong:
        contenders = [c for c in contenders if c.name != ENGINE]
        ways[ENGINE]["error"] = f"wrong result: {wrong[0]}"
    timed = interleave(contenders, quiet=quiet, fewest=sizes.fewest, most=sizes.most, budget_seconds=30.0)
    for way, result in timed.items():
        if isinstance(result, Spread):
            ways[way].update(result.milliseconds(), images_s=1 / result.median)
        else:
            ways[way]["error"] = result
    stages = _stage_rows(prefix, stage_times, engine.stage_seconds(), len(pool.paths))
    for row in ways.values():
        row["ratio"] = ratio(row.get("median_ms"), ways[ENGINE].get("median_ms"))
    summary = _summary(prefix, name, stages, ways, min(workers, config.available_cpus()))
    return Measured(stages, list(ways.values()), {**summary, **parity}, [f"{prefix}: {w}" for w in wrong])


def _stage_rows(
    prefix: str, times: dict[str, Spread | str], in_engine: dict[str, float], images: int
) -> list[Row]:
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


def _summary(prefix: str, name: str, stages: list[Row], ways: dict[str, Row], cores: int) -> Row:
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


_STAGE_COLUMNS = [
    *[("stage", "stage"), ("median_ms", "alone, CPU ms/image"), ("iqr_ms", "IQR"), ("min_ms", "min"), ("reps", "reps")],
    ("engine_ms", "in the engine, CPU ms/image"),
]
_WAY_COLUMNS = [
    *[("way", "way"), ("images_s", "images/s"), ("median_ms", "wall ms/image"), ("iqr_ms", "IQR"), ("min_ms", "min")],
    *[("reps", "reps"), ("images", "images"), ("ratio", "x alseg")],
]
_SUMMARY_COLUMNS = [
    *[("model", "model"), ("engine_images_s", "images/s"), ("ideal_images_s", "sum of stages / cores")],
    *[("efficiency", "efficiency"), ("efficiency_of_minima", "of minima"), ("over_naive", "naive x")],
    *[("over_loader", "DataLoader x"), ("same_logits_max", "same logits, max |d|")],
    *[("same_picture_mean", "same picture, mean |d|"), ("score_spread", "spread of scores")],
    ("rank_correlation", "rank corr."),
]
_NOTES = (
    "Efficiency: CPU seconds of decode + resize and normalise + session.run + reduce, each alone on one thread, "
    "divided by the cores, over the engine's wall time, which also lists the pool, reads files and writes the RUN.",
    "The naive ratio is that of its faster thread setting. Every file lies in the page cache.",
    "Scores of the engine and of the naive loop differ because the engine may decode at 1/2, 1/4 or 1/8 and does "
    "not round the resized picture to 8 bits; |d| in nats.",
)


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    sizes: Sizes | None = None,
    allocator: str = "default",
) -> Result:
    """Measure both models.

    Args:
        quick: a small pool and two repetitions; the figures are rough.
        threads: the engine gets as many workers as the largest of these; stages alone always use one thread.
        save_to: directory for the JSON file; None writes none.
    Returns: see `tables`.
    """
    sizes = sizes or (QUICK if quick else FULL)
    workers = max(threads)
    facts = machine.describe_machine(threads, machine.set_allocator(allocator))
    quiet = Quiet(0.2, 1.0) if quick else Quiet(5.0, 180.0)
    tables, summaries, wrong = [], [], []
    with tempfile.TemporaryDirectory(prefix="alseg-bench-") as temporary:
        work = Path(temporary)
        log.info("bench pipeline: drawing %d pictures", sizes.distinct)
        pool = make_pool(work / "pool", sizes)
        gflop = None
        for name in ("example", "mobile"):
            try:
                if name == "example" and not EXAMPLE.is_file():
                    raise FileNotFoundError(f"{EXAMPLE.name} is not in the package; train it with alseg_fast.demo.train")
                model = EXAMPLE
                if name == "mobile":
                    model, gflop = make_mobile_network(work, pool.contents)
                measured = measure_model(name, model, pool, work, workers, sizes, quiet)
            except Exception as exc:  # a model that cannot be measured is a row with its reason
                log.warning("bench pipeline: %s: %s", name, error_text(exc))
                summaries.append({"id": f"pipeline/{name}", "model": name, "error": error_text(exc)})
                continue
            tables.append(make_table(f"{name}: stages alone, one thread", _STAGE_COLUMNS, measured.stages))
            tables.append(make_table(f"{name}: whole pools", _WAY_COLUMNS, measured.ways))
            summaries.append(measured.summary)
            wrong += measured.wrong
        lengths = [len(data) for data in pool.contents]
    goals = []
    for row in summaries:
        goals.append(goal(f"efficiency, {row['model']}", row.get("efficiency"), 0.9, at_least=True))
        goals.append(goal(f"engine / naive loop, {row['model']}", row.get("over_naive"), 6, at_least=True))
    result: Result = {
        "bench": "pipeline",
        "quick": quick,
        "metadata": facts,
        "method": {
            "order": "contenders take turns",
            "quiet": f"{quiet.looks - quiet.disturbed} of {quiet.looks} repetitions began in a quiet moment",
            "pool": f"{sizes.images} JPEGs of {sizes.photo[1]}x{sizes.photo[0]}, quality 90, 4:2:0, "
            f"{len(lengths)} distinct, {min(lengths):,} to {max(lengths):,} bytes",
            "mobile_gflop": gflop,
            "workers": workers,
        },
        "parity": {"ok": not wrong, "failed": wrong},
        "tables": [*tables, make_table("Summary (ratios of medians)", _SUMMARY_COLUMNS, summaries)],
        "goals": goals,
        "notes": list(_NOTES),
    }
    if save_to is not None:
        result["saved_as"] = str(save_result(result, save_to))
    return result
