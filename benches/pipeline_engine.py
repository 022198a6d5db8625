"""The engine as `bench pipeline` runs it, and the gates its scores must pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from alseg_fast import Scorer, uncertainty
from alseg_fast.dispatch import use_backend

from .stages_alone import StagesAlone
from .tables import Row

SAME_LOGITS_TOLERANCE = 1e-4  # nats: the engine's reduction against the float64 reference, on the same logits
SAME_PICTURE_TOLERANCE = 0.05  # of ln C, mean over pictures: decoding at a fraction of the size moves scores a little
LEAST_RANK_CORRELATION = 0.8
_FEWEST_RANKED = 8
_GATE_PICTURES = 8  # the reference takes half a second each


@dataclass
class Pool:
    """Pictures on the disk."""

    folder: Path
    paths: list[Path]
    contents: list[bytes]


class Engine:
    """Scores the whole pool into a new RUN at every call."""

    def __init__(self, model: Path, pool: Pool, runs: Path, workers: int) -> None:
        self._scorer = Scorer(model, measures=("entropy", "margin"), device="cpu", workers=workers)
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


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's, without ties; None where one side is constant or there are fewer than three."""
    if len(a) < 3 or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    first, second = (np.argsort(np.argsort(np.asarray(v))).astype(np.float64) for v in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def check_logits(alone: StagesAlone) -> tuple[Row, list[str]]:
    """The tight gate: the engine's reduction against the float64 reference, on the same logits."""
    some = range(min(_GATE_PICTURES, len(alone.logits)))
    with use_backend("reference"):
        expected = [
            float(uncertainty(alone.logits[i], alone.input_size, maps=False).scores["entropy_mean"][0]) for i in some
        ]
    off = float(np.max(np.abs(np.subtract(expected, alone.entropy_means[: len(some)]))))
    problem = f"entropy_mean of the same logits differs by {off:.2e}, {SAME_LOGITS_TOLERANCE:g} allowed"
    return {"same_logits_max": off}, [] if off <= SAME_LOGITS_TOLERANCE else [problem]


def check_pictures(scores: Sequence[float], naive: Sequence[float], n_classes: int) -> tuple[Row, list[str]]:
    """The loose gate: the engine's scores against the naive loop's, picture by picture."""
    off = np.abs(np.subtract(scores, naive))
    correlation = rank_correlation(scores, naive)
    allowed = SAME_PICTURE_TOLERANCE * float(np.log(n_classes))
    wrong = []
    if not float(off.mean()) <= allowed:
        wrong.append(f"entropy_mean of the same pictures differs by {off.mean():.3g} on average, {allowed:.3g} allowed")
    if correlation is not None and len(scores) >= _FEWEST_RANKED and correlation < LEAST_RANK_CORRELATION:
        wrong.append(f"rank correlation with the naive loop is {correlation:.3f}, {LEAST_RANK_CORRELATION} asked for")
    return {
        "same_picture_mean": float(off.mean()),
        "same_picture_max": float(off.max()),
        "score_spread": float(np.std(naive)),
        "rank_correlation": correlation,
    }, wrong
