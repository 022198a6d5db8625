"""The options of pseudo-labelling that decide its files, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..checks import check_choice
from ..errors import UsageError
from ..ops.reliability import FORMS
from ..types import LABEL_THRESHOLDS
from .pseudo_labels import CrfTerms, LabelRule

_NAME = "pseudo_label"


@dataclass(frozen=True)
class LabelOptions:
    """See ``alseg.pseudo_label``; `crf` None: no refinement.

    Raises: UsageError, RangeError: a value is not what it must be.
    """

    threshold: str | float
    band: tuple[float, float] | None
    weights: str
    alpha: float
    beta: float
    weight_step: float
    crf: CrfTerms | None
    background_class: str | None

    def __post_init__(self) -> None:
        if isinstance(self.threshold, str):
            check_choice(_NAME, "threshold", self.threshold, LABEL_THRESHOLDS)
        elif isinstance(self.threshold, bool) or not 0 < self.threshold < 1:
            known = ", ".join(LABEL_THRESHOLDS)
            raise UsageError(
                f"{_NAME}: threshold must be {known} or a number in (0, 1); got {self.threshold!r}. 0.45 is usual."
            )
        check_choice(_NAME, "weights", self.weights, (*FORMS, "none"))
        if not 0 < self.alpha < 1 or not 0 < self.beta <= 10:
            raise UsageError(
                f"{_NAME}: alpha must be in (0, 1) and beta in (0, 10]; got {self.alpha!r} and {self.beta!r}."
            )
        if not 0 < self.weight_step <= 1:
            raise UsageError(f"{_NAME}: weight_step must be in (0, 1]; got {self.weight_step!r}. 1/32 is the default.")

    def rule(self, chosen: Mapping[str, Any]) -> LabelRule:
        """Maps to masks, with the threshold that was given or chosen."""
        low, high = self.band or (chosen["low"], chosen["high"])
        return LabelRule(
            float(chosen["threshold"]),
            float(low),
            float(high),
            self.weights,
            self.alpha,
            self.beta,
            self.weight_step,
            self.crf,
            self.background_class,
        )


def take_band(band: Any) -> tuple[float, float] | None:
    """(low, high) of what a caller passes. Raises: UsageError."""
    if band is None:
        return None
    try:
        low, high = (float(v) for v in band)
    except (TypeError, ValueError):
        low = high = -1.0
    if not 0 <= low <= high < 1:
        raise UsageError(f"{_NAME}: band must be (low, high) with 0 <= low <= high < 1; got {band!r}.")
    return low, high
