"""What scoring gives back: the scores of one picture, and the summary of a pool."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .stages.store import RunSummary
from .worker import Picture


@dataclass(frozen=True)
class ScoreResult:
    """Scores of one picture given to :meth:`Scorer.score_images`.

    Attributes:
        ok: whether it could be scored; if not, `error` says why and `stage` where, and `scores` is empty.
        scores: the columns of a RUN's scores: "<measure>_<mean|max|top>", predicted_label, class_fraction ...
        maps: measure -> [h, w] uint8 heatmap, "labels" -> [H, W] class ids; empty unless asked for.
        width, height: of the picture, upright, in pixels.
        regions: columns of a RUN's regions, [S] each (class_fraction [S, L]); empty unless asked for.
        histogram: [D] colour histogram, or None unless asked for.
    """

    ok: bool
    scores: dict[str, Any] = field(default_factory=dict)
    maps: dict[str, NDArray[Any]] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    phash: int = 0
    stage: str | None = None
    error: str | None = None
    regions: dict[str, Any] = field(default_factory=dict)
    histogram: NDArray[Any] | None = None


@dataclass(frozen=True)
class PoolSummary:
    """What one `score_pool` call did, and how far the RUN is with all others' work."""

    path: Path
    scored: int  # images of this call that got a row
    failed: int
    skipped: int  # images whose parts were there already
    seconds: float
    run: RunSummary

    @property
    def images_per_second(self) -> float:
        return (self.scored + self.failed) / self.seconds if self.seconds > 0 else 0.0


def result_of(picture: Picture) -> ScoreResult:
    """Of a picture that went through all stages, or failed in one."""
    if picture.failure is not None:
        stage, error = picture.failure
        return ScoreResult(False, width=picture.width, height=picture.height, stage=stage, error=error)
    assert picture.scored is not None
    scored = picture.scored
    return ScoreResult(
        True,
        scored.values,
        scored.maps,
        picture.width,
        picture.height,
        picture.phash,
        regions=scored.regions,
        histogram=picture.histogram,
    )
