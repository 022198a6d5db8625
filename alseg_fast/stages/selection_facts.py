"""What a selection says of itself: the facts in the batch's metadata, and the lines in the log."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, fields

from .batch import Facts
from .budget import Budget, Tally
from .exclusions import Exclusions
from .run_reader import Run
from .select_options import SelectOptions
from .selection_plan import Plan
from .strategies import Picks

log = logging.getLogger("alseg")

# Names of the settings that have a say, by their beginnings.
_SETTINGS = {
    "entropy-edge": ("edge_",),
    "superpixel-crf": ("crf_use",),
    "class-superpixel-crf": ("crf_use", "class_rule"),
}


def selection_facts(
    run: Run,
    plan: Plan,
    budget: Budget,
    options: SelectOptions,
    picks: Picks,
    tally: Tally,
    excluded: Exclusions,
    seed: int,
) -> Facts:
    """See `batch.batch_facts` for the keys."""
    bought = math.fsum(picks.table.column("cost").to_pylist())
    facts: Facts = {
        "strategy": plan.name,
        "measure": plan.column,
        "unit": budget.unit,
        "budget": budget.given,
        "budget_scope": budget.scope,
        "bought": _number(bought),
        "pool": _number(tally.total),
        "share": bought / tally.total if tally.total else 0.0,
        "seed": int(seed),
        "considered": picks.considered,
        "excluded": excluded.met,
        "config_hash": run.info["config_hash"],
    }
    if plan.kind == "regions":
        facts["regions"] = str(run.info["config"].get("regions"))
    if plan.name in _SETTINGS:
        facts |= {name: value for name, value in asdict(options).items() if name.startswith(_SETTINGS[plan.name])}
    return facts


def repeat_options(facts: Mapping[str, object]) -> list[str]:
    """The options of `alseg select` that repeat a selection, without --out; [] where the facts do not tell.

    What was excluded or ignored is not among the facts.
    """
    if not {"budget", "unit", "strategy", "measure", "seed"} <= facts.keys():
        return []
    words = [
        word for key in ("budget", "unit", "strategy", "measure", "seed") for word in (f"--{key}", str(facts[key]))
    ]
    if facts.get("budget_scope") == "image":
        words.append("--per-image")
    settings = [field.name for field in fields(SelectOptions) if field.name in facts]
    return words + [word for name in settings for word in (f"--{name.replace('_', '-')}", str(facts[name]))]


def tell(budget: Budget, picks: Picks, tally: Tally, facts: Facts, excluded: Exclusions) -> None:
    """Log what was bought, and where a budget was more than there is or less than what comes first."""
    ids, parts = len(excluded), len(excluded.parts)
    if ids:
        log.info("exclude: %d ids, %d of them not among the scored images", ids, excluded.unknown)
    if parts:
        log.info("exclude: %d regions and pixel masks, %d of them not found", parts, parts - excluded.parts.found)
    there = _text(tally.total)
    if budget.unit != "images":
        log.info("bought %s of %s %s (%.2f %%)", facts["bought"], there, budget.unit, 100 * float(facts["share"]))
    if tally.exhausted:
        log.warning(
            "the budget of %s is more than there is in %d of %d images; these are selected whole",
            budget,
            tally.exhausted,
            tally.images,
        )
    elif budget.scope == "pool" and budget.amount(tally.total) > tally.total:
        log.warning("the budget of %s is more than the %s to choose from; all are selected", budget, there)
    elif not picks.table.num_rows and tally.total > 0:
        smallest = _text(tally.smallest)
        log.warning(
            "the budget of %s does not pay for what ranks first, so nothing is selected; the smallest costs %s %s",
            budget,
            smallest,
            budget.unit,
        )


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _text(value: float) -> str:
    return f"{int(value)}" if value.is_integer() else f"{value:.6g}"
