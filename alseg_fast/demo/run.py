"""``alseg demo``: draw a pool with known truth, score it, select from it, and check that the selection is worth it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from .. import config
from ..engine import Progress, Scorer
from ..errors import RangeError
from ..reporting import make_report
from ..score_results import PoolSummary
from ..stages.error_detection import PixelCounts
from ..stages.select import select
from ..stages.store import Run, open_run
from .evaluate import SelectionGain, confusion, mean_iou, selection_gain
from .scenes import CLASSES, write_pool

SEED = 1_000_000  # far from the seeds the example model was trained on
_MEASURES = ("entropy", "margin", "least_confidence")
_SHOWN = 10


def example_model() -> Path:
    """Path of the small network that ships in the package (see ``train.py`` for how it was made)."""
    return Path(str(files(__package__) / "example.onnx"))


@dataclass(frozen=True)
class DemoOutcome:
    """Figures of one demo, as data and as text."""

    data: dict[str, Any]
    text: str


def run_demo(
    out: str | os.PathLike[str],
    n_images: int,
    *,
    progress: Progress | None = None,
    on_start: Callable[[int, int], None] | None = None,
) -> DemoOutcome:
    """Make an example pool in `out`, score, select and report it; what is there from an earlier demo is replaced.

    Args:
        out: directory; gets ``pool/``, ``run/``, ``batch.parquet`` and ``report.html``.
        n_images: size of the pool, at least 10.
    Raises: RangeError: fewer than 10 images. RunError: ``out/run`` is not a RUN.
    """
    if n_images < 10:
        raise RangeError(f"demo: images must be at least 10 for its figures to mean anything; got {n_images}.")
    folder = Path(out)
    drawn = write_pool(folder / "pool", n_images, SEED, workers=config.available_cpus())
    _remove_older(folder / "pool", set(drawn.image_ids))
    scorer = Scorer(example_model(), measures=_MEASURES)
    summary = scorer.score_pool(
        folder / "pool" / "images",
        folder / "run",
        maps=True,
        overwrite=(folder / "run" / "run.json").exists(),
        progress=progress,
        on_start=on_start,
    )
    budget = max(1, n_images // 10)
    batch = select(folder / "run", budget=budget, out=folder / "batch.parquet")
    run = open_run(folder / "run")
    report = make_report(run, folder / "report.html", batch=batch, title="alseg demo")
    quality = _measure(run, folder / "pool" / "masks", batch)
    data = {
        "images": summary.scored,
        "failed": summary.failed,
        "seconds": round(summary.seconds, 3),
        "images_per_second": round(summary.images_per_second, 2),
        "pixel_accuracy": round(quality.accuracy, 4),
        "mean_iou": round(quality.mean_iou, 4),
        "error_auroc": round(quality.auroc, 4),
        "picks": budget,
        "picked_error": round(quality.gain.picked, 4),
        "pool_error": round(quality.gain.pool, 4),
        "gain_over_random": round(quality.gain.ratio, 3),
        "ranking": batch.slice(0, _SHOWN).select(["rank", "image_id", "score"]).to_pylist(),
        "report": str(report.path),
        "run": str(run.path),
    }
    return DemoOutcome(data, _text(summary, quality, batch, budget, folder))


@dataclass(frozen=True)
class _Quality:
    accuracy: float
    mean_iou: float
    auroc: float
    gain: SelectionGain
    errors: dict[str, float]


def _measure(run: Run, masks: Path, batch: pa.Table) -> _Quality:
    """Compare the label maps and heatmaps of a RUN with the truth."""
    pixels = PixelCounts()
    errors: dict[str, float] = {}
    table = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for image_id in run.scores(["image_id"]).column("image_id").to_pylist():
        heat, labels = (_read(run.map_path(name, image_id)) for name in ("entropy", "labels"))
        truth = _read(masks / f"{Path(image_id).stem}.png")
        errors[image_id] = pixels.add(heat, labels, truth)
        table += confusion(labels, truth, len(CLASSES))
    gain = selection_gain(errors, batch.column("image_id").to_pylist())
    accuracy = float(np.trace(table) / table.sum())
    return _Quality(accuracy, mean_iou(table), pixels.auroc(), gain, errors)


def _read(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def _remove_older(pool: Path, keep: set[str]) -> None:
    """Pictures of an earlier, larger demo; only files that this demo names."""
    for path in (pool / "images").glob("scene_?????.jpg"):
        if path.name not in keep:
            path.unlink()
            (pool / "masks" / f"{path.stem}.png").unlink(missing_ok=True)


def _text(summary: PoolSummary, quality: _Quality, batch: pa.Table, budget: int, folder: Path) -> str:
    lines = [
        f"scored {summary.scored} drawn images in {summary.seconds:.1f} s: {summary.images_per_second:.1f} images/s",
        f"the example model: pixel accuracy {quality.accuracy:.3f}, mIoU {quality.mean_iou:.3f}",
        "",
        "rank  entropy  wrong pixels  image",
    ]
    for row in batch.slice(0, _SHOWN).to_pylist():
        wrong = quality.errors[row["image_id"]]
        lines.append(f"{row['rank']:>4}  {row['score']:.4f}   {100 * wrong:>10.1f} %  {row['image_id']}")
    lines += [
        "",
        f"uncertainty finds wrong pixels: AUROC {quality.auroc:.3f} (0.5 = chance, 1 = always)",
        f"the {budget} selected images have {100 * quality.gain.picked:.1f} % wrong pixels, the pool "
        f"{100 * quality.gain.pool:.1f} %: {quality.gain.ratio:.1f} times better than drawing at random",
        "",
        f"report: {folder / 'report.html'} (one file, opens offline)",
        f"next:   alseg inspect {folder / 'run'}; alseg select {folder / 'run'} --budget 20 --out batch.parquet",
    ]
    return "\n".join(lines)
