"""`alseg bench pipeline`: a pool of JPEGs through the engine, beside its stages alone and the usual loops."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import alseg_fast.demo
from alseg_fast import config

from . import machine
from .pipeline_engine import Engine, Pool, check_logits, check_pictures
from .pipeline_report import (
    ENGINE,
    NAIVE_ALL,
    NAIVE_ONE,
    NOTES,
    STAGE_COLUMNS,
    SUMMARY_COLUMNS,
    WAY_COLUMNS,
    list_goals,
    stage_rows,
    summarise,
)
from .pool_images import PHOTO_BYTES, PHOTO_SIZE, fill_directory, make_photo
from .stages_alone import StagesAlone
from .tables import Result, Row, finish_result, format_table, make_table, ratio
from .timing import Contender, Quiet, Spread, error_text, interleave

__all__ = ["format_table", "run"]

log = logging.getLogger("alseg")

EXAMPLE = Path(alseg_fast.demo.__file__).parent / "example.onnx"


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


FULL = Sizes(images=400, distinct=24, naive_images=24, fewest=5, most=9)
QUICK = Sizes(images=40, distinct=8, naive_images=8, fewest=2, most=2)


def make_pool(folder: Path, sizes: Sizes) -> Pool:
    """Procedural JPEGs."""
    contents = [make_photo(seed, sizes.photo, sizes.photo_bytes) for seed in range(sizes.distinct)]
    return Pool(folder, fill_directory(folder, contents, sizes.images), contents)


def _make_peers(
    model: Path, engine: Engine, paths: list[Path], threads: int
) -> dict[str, Callable[[], Callable[[], list[float]]]]:
    from .baselines import data_loader, naive_loop

    spec = engine.spec
    return {
        NAIVE_ONE: lambda: naive_loop.make_loop(model, spec, paths, 1, threads),
        NAIVE_ALL: lambda: naive_loop.make_loop(model, spec, paths, None, threads),
        "naive loop, 1 thread, entropy only": lambda: naive_loop.make_loop(model, spec, paths, 1, threads, True),
        "DataLoader, 0 workers, batch 4": lambda: data_loader.make_loop(model, spec, paths, 0, threads),
        "DataLoader, 2 workers, batch 4": lambda: data_loader.make_loop(model, spec, paths, 2, threads),
    }


@dataclass
class Measured:
    """Rows of one model."""

    stages: list[Row]
    ways: list[Row]
    summary: Row
    wrong: list[str]


def measure_model(name: str, model: Path, pool: Pool, work: Path, workers: int, sizes: Sizes, quiet: Quiet) -> Measured:
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
    parity, wrong = check_logits(alone)
    reference: list[float] | None = None
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
            if reference is None:
                reference = scores
                found, failed = check_pictures(engine.scores()[: len(scores)], scores, engine.spec.n_classes)
                parity.update(found)
                wrong += failed
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
    stages = stage_rows(prefix, stage_times, engine.stage_seconds(), len(pool.paths))
    for row in ways.values():
        row["ratio"] = ratio(row.get("median_ms"), ways[ENGINE].get("median_ms"))
    summary = summarise(prefix, name, stages, ways, min(workers, config.available_cpus()))
    return Measured(stages, list(ways.values()), {**summary, **parity}, [f"{prefix}: {w}" for w in wrong])


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
                    raise FileNotFoundError(
                        f"{EXAMPLE.name} is not in the package; train it with alseg_fast.demo.train"
                    )
                model = EXAMPLE
                if name == "mobile":
                    from .networks import save_mobile_network

                    model = work / "mobile.onnx"
                    gflop = save_mobile_network(model, pool.contents[:8])
                measured = measure_model(name, model, pool, work, workers, sizes, quiet)
            except Exception as exc:  # a model that cannot be measured is a row with its reason
                log.warning("bench pipeline: %s: %s", name, error_text(exc))
                summaries.append({"id": f"pipeline/{name}", "model": name, "error": error_text(exc)})
                continue
            tables.append(make_table(f"{name}: stages alone, one thread", STAGE_COLUMNS, measured.stages))
            tables.append(make_table(f"{name}: whole pools", WAY_COLUMNS, measured.ways))
            summaries.append(measured.summary)
            wrong += measured.wrong
        lengths = [len(data) for data in pool.contents]
    return finish_result(
        "pipeline",
        quick=quick,
        facts=facts,
        method={
            "order": "contenders take turns",
            "quiet": str(quiet),
            "pool": f"{sizes.images} JPEGs of {sizes.photo[1]}x{sizes.photo[0]}, quality 90, 4:2:0, "
            f"{len(lengths)} distinct, {min(lengths):,} to {max(lengths):,} bytes",
            "mobile_gflop": gflop,
            "workers": workers,
        },
        tables=[*tables, make_table("Summary (ratios of medians)", SUMMARY_COLUMNS, summaries)],
        goals=list_goals(summaries),
        notes=NOTES,
        wrong=wrong,
        save_to=save_to,
    )
