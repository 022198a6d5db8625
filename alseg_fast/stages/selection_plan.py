"""What a request for a selection means: which candidates, which strategy, which column."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from ..errors import RunError, UsageError
from .run_reader import Run
from .select_options import SelectOptions
from .strategies import STRATEGIES, Request, Strategy
from .strategies.superpixels import CRF_CLASS, CRF_ENTROPY, PIXEL_STRATEGIES, REGION_STRATEGIES

DEFAULT_MEASURE = "entropy_mean"


@dataclass(frozen=True)
class Plan:
    """A request, resolved.

    Attributes:
        kind: "images", "regions" or "pixels": what is picked.
        name: of the strategy, for the batch's facts.
        column: what it ranks by, for the batch's facts.
        chooser: the strategy that ranks; None for pixels.
        ranks: whether it reads `column`; a random draw does not.
        by: the column with the class over which the budget is split; None: not split.
    """

    kind: str
    name: str
    column: str
    chooser: Strategy | None = None
    ranks: bool = True
    by: str | None = None


def make_plan(run: Run, strategy: str, measure: str, unit: str, options: SelectOptions) -> Plan:
    """Resolve the names. Raises: UsageError, RunError: the RUN lacks what the strategy needs."""
    if strategy in PIXEL_STRATEGIES:
        return _pixel_plan(run, strategy, measure, unit)
    if strategy in REGION_STRATEGIES:
        return _region_plan(run, strategy, measure, unit, options)
    if strategy in STRATEGIES:
        chooser, column = STRATEGIES[strategy], measure
    elif strategy in run.measures:
        chooser = STRATEGIES["top"]
        column = measure if measure.startswith(f"{strategy}_") else f"{strategy}_mean"
        if column != measure and measure != DEFAULT_MEASURE:
            raise UsageError(
                f"select: measure must be a column of {strategy} with strategy {strategy}; got {measure}. "
                "Use strategy top."
            )
    else:
        known = ", ".join([*STRATEGIES, *run.measures, *REGION_STRATEGIES, *PIXEL_STRATEGIES])
        raise UsageError(f"select: strategy must be one of {known}; got {strategy}.")
    kind = "images" if unit == "images" else "regions"
    return _ranked(run, Plan(kind, chooser.name, column, chooser), chooser)


def _pixel_plan(run: Run, strategy: str, measure: str, unit: str) -> Plan:
    if unit != "pixels":
        raise UsageError(f"select: unit must be pixels with strategy {strategy}; got {unit}.")
    if strategy == "random-pixels":
        return Plan("pixels", strategy, "draw", ranks=False)
    if measure not in (DEFAULT_MEASURE, "entropy"):
        raise UsageError(f"select: measure must be left at {DEFAULT_MEASURE} with strategy {strategy}; got {measure}.")
    if not run.info["config"].get("maps"):
        raise RunError(f"{run.path} has no heatmaps; score the pool with --maps into another --out")
    if "entropy" not in run.measures:
        raise RunError(f"{run.path} has no heatmaps of entropy; score the pool with --measures entropy --maps")
    return Plan("pixels", strategy, "entropy")


def _region_plan(run: Run, strategy: str, measure: str, unit: str, options: SelectOptions) -> Plan:
    if unit == "images":
        raise UsageError(
            f"select: unit must be regions, pixels, clicks or seconds with strategy {strategy}; got images."
        )
    kind = REGION_STRATEGIES[strategy]
    ranks_by_crf = kind.uses_crf and options.crf_use == "rank"
    if ranks_by_crf and measure not in (DEFAULT_MEASURE, CRF_ENTROPY):
        raise UsageError(
            f"select: measure must be left at {DEFAULT_MEASURE} where {strategy} ranks by {CRF_ENTROPY}; "
            f"got {measure}. Use crf_use labels."
        )
    names = run.region_schema().names
    if (ranks_by_crf or kind.by_class) and CRF_CLASS not in names:
        raise RunError(f"the regions of {run.path} have no {CRF_CLASS}; score the pool with --crf into another --out")
    chooser = STRATEGIES[kind.draw]
    column = CRF_ENTROPY if ranks_by_crf else measure
    return _ranked(run, Plan("regions", strategy, column, chooser, by=CRF_CLASS if kind.by_class else None), chooser)


def _ranked(run: Run, plan: Plan, chooser: Strategy) -> Plan:
    """The plan with its column checked, where it is read."""
    schema = run.score_schema() if plan.kind == "images" else run.region_schema()
    if plan.column not in chooser.columns(Request(1.0, plan.column, 0, "")):
        return replace(plan, ranks=False)
    numeric = [f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    if plan.column not in numeric:
        where = run.path if plan.kind == "images" else f"the regions of {run.path}"
        raise UsageError(f"select: measure must be one of {', '.join(numeric)} in {where}; got {plan.column}.")
    return plan
