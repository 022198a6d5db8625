"""Scoring, selection and propagation as a user does them; each call also gives its command line."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..engine import Scorer
from ..propagation import MaskOptions, Propagation, propagate
from ..stages.select import SelectOptions, select


def score(
    pool: Path,
    model: Path,
    out: Path,
    *,
    measures: Sequence[str] = ("entropy",),
    score_size: str = "input",
    histogram: str = "none",
    regions: str = "none",
    region_cache: Path | None = None,
    crf: bool = False,
    maps: bool = False,
    published: bool = False,
    device: str = "cpu",
    batch_size: int = 1,
    workers: int | None = None,
) -> str:
    """Score a pool into a RUN, see `alseg.Scorer`. Returns: the `alseg score` command."""
    scorer = Scorer(
        model,
        measures=tuple(measures),
        score_size=score_size,
        histogram=histogram,
        histogram_dtype="float32",
        regions=regions,
        region_cache=region_cache,
        crf=crf,
        device=device,
        batch_size=batch_size,
        workers=workers,
        published=published,
    )
    scorer.score_pool(pool, out, maps=maps)
    words: list[str | Path | int] = ["alseg", "score", pool, "--model", model, "--out", out]
    words += ["--measures", ",".join(measures), "--score-size", score_size, "--histogram-dtype", "float32"]
    words += ["--histogram", histogram, "--regions", regions, "--device", device, "--batch-size", batch_size]
    words += ["--region-cache", region_cache] if region_cache is not None else []
    words += ["--workers", workers] if workers is not None else []
    words += ["--crf"] if crf else []
    words += ["--maps"] if maps else []
    words += ["--published"] if published else []
    return _line(words)


def choose(
    run: Path,
    out: Path,
    *,
    budget: int | str,
    unit: str = "images",
    scope: str = "pool",
    strategy: str,
    measure: str = "entropy_mean",
    options: SelectOptions | None = None,
    exclude: Sequence[Path] = (),
    ignore: Path | None = None,
    seed: int,
) -> tuple[list[dict[str, Any]], str]:
    """Select from a RUN into a batch file, see `alseg.select`. Returns: the picks, and the `alseg select` command."""
    table = select(
        run,
        budget=budget,
        unit=unit,
        budget_scope=scope,
        strategy=strategy,
        measure=measure,
        options=options,
        exclude=list(exclude) or None,
        ignore=ignore,
        seed=seed,
        out=out,
    )
    words: list[str | Path | int] = ["alseg", "select", run, "--budget", budget, "--unit", unit, "--out", out]
    words += ["--strategy", strategy, "--measure", measure, "--seed", seed]
    words += ["--per-image"] if scope == "image" else []
    for path in exclude:
        words += ["--exclude", path]
    words += ["--ignore", ignore] if ignore is not None else []
    for field in dataclasses.fields(SelectOptions) if options is not None else ():
        value = getattr(options, field.name)
        if value != field.default:
            words += [f"--{field.name.replace('_', '-')}", value]
    picks = [{"image_id": r["image_id"], "region_id": r["region_id"], "cost": r["cost"]} for r in table.to_pylist()]
    return picks, _line(words)


def spread(
    pool: Path,
    labelled: Path,
    out: Path,
    *,
    k: int,
    run: Path,
    model: Path,
    threshold: float,
    validation: Path | None,
    device: str = "cpu",
    batch_size: int = 1,
    workers: int | None = None,
) -> tuple[Propagation, str]:
    """Pair unlabelled images and write their pseudo-masks, see `alseg.propagate`.

    Args: run: a RUN with histograms of the whole pool.
    Returns: what it did, and the `alseg propagate` command.
    """
    masks = MaskOptions(
        model,
        threshold=threshold,
        validation=validation,
        ignore_index=None if validation is None else 255,
        device=device,
        batch_size=batch_size,
        workers=workers,
    )
    done = propagate(pool, labelled, k=k, out=out, run=run, masks=masks, device=device, workers=workers)
    words: list[str | Path | int | float] = ["alseg", "propagate", "--pool", pool, "--labelled", labelled, "-k", k]
    words += ["--out", out, "--run", run, "--model", model, "--threshold", threshold, "--device", device]
    words += ["--batch-size", batch_size]
    words += ["--validation", validation, "--ignore-index", 255] if validation is not None else []
    words += ["--workers", workers] if workers is not None else []
    return done, _line(words)


def _line(words: Sequence[Any]) -> str:
    return shlex.join(str(word) for word in words)
