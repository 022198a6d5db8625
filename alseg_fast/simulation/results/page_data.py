"""What the page of results shows, as values that JSON can hold: curves, tables, sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..rows import RoundRow
from .ablations import ablation_charts
from .auc import Spread, auc
from .compare import RULE, differences, main_curves, orderings, stand_ins, within_strategies
from .published import Published
from .summary import CHEAP_STEPS, Curve, find_full, shares_of_full, step_times, summarise
from .tables import percent, published_of, published_percent

# key, label, what is divided by: the x axes; those that do not vary are left out.
AXES = (
    ("round", "round", 1.0),
    ("images", "pictures labelled", 1.0),
    ("pixels", "pixels labelled", 1.0),
    ("pixel_share", "% of all pixels labelled", 0.01),
    ("clicks", "clicks", 1.0),
    ("seconds", "annotation time, hours", 3600.0),
)
Y_FIELDS = ("score", "pseudo_score", "pseudo_foreground", "error_auroc")
_SHORT_SECONDS = 2 * 3600.0


def page_data(
    rows: Iterable[RoundRow],
    *,
    source: Published | None,
    deviations: Sequence[str],
    title: str,
    metric: str,
    main: Mapping[str, str] | None = None,
    full: str | None = None,
    cheap: Sequence[str] = CHEAP_STEPS,
) -> dict[str, Any]:
    """See `page.write_page`."""
    found = list(rows)
    curves = summarise(found)
    whole = find_full(curves, full)
    chosen = main_curves(curves, main)
    stand = stand_ins(chosen, source) if source else {}
    strategies = list(dict.fromkeys(curve.strategy for curve in curves))
    axes = _axes(curves)
    kind = source.headline if source else "auc"
    return {
        "title": title,
        "metric": metric,
        "banner": _banner(curves, found),
        "facts": _facts(curves, found, source),
        "axes": axes,
        "curves": [_curve(curve, strategies.index(curve.strategy), curve in chosen, axes) for curve in curves],
        "published": _published(source, stand, strategies) if source else None,
        "main_table": _main_table(curves, stand, whole, source, metric),
        "area_note": _area_note(chosen, source),
        "rounds": _rounds_tables(curves, source, whole, metric),
        "ablations": ablation_charts(curves, source, strategies),
        "orderings": [[o.outcome, o.words] for o in orderings(chosen, source)] if source else [],
        "differences": [
            [d.first, d.second, d.verdict, f"{100 * d.mean:.2f}", _points(d.noise), _ahead(d.ahead, d.paired)]
            for d in differences(chosen, kind) + within_strategies(curves, kind)
        ],
        "compared": f"AUC of {metric}" if kind == "auc" else f"{metric} after the last round",
        "rule": RULE,
        "times": _times(found, cheap),
        "cheap": list(cheap),
        "deviations": list(deviations),
    }


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _ahead(ahead: int, paired: int) -> str:
    return f"{ahead} of {paired}" if paired else "–"


def _axes(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    looped = [curve for curve in curves if len(curve.rounds) > 1] or list(curves)
    axes = []
    for key, label, unit in AXES:
        values = [x for curve in looped for x in _x(curve, key) if x is not None]
        if key == "seconds" and values and max(values) < _SHORT_SECONDS:
            label, unit = "annotation time, seconds", 1.0
        if key == "round" or (values and max(values) > min(values)):
            axes.append({"key": key, "label": label, "unit": unit})
    return axes


def _x(curve: Curve, key: str) -> list[float | None]:
    if key == "round":
        return [float(r.round) for r in curve.rounds]
    return [r.values[key].mean if key in r.values else None for r in curve.rounds]


def _curve(curve: Curve, colour: int, main: bool, axes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": curve.name,
        "setting": curve.setting,
        "strategy": curve.strategy,
        "colour": colour,
        "main": main,
        "once": len(curve.rounds) == 1,
        "x": {axis["key"]: [None if x is None else x / axis["unit"] for x in _x(curve, axis["key"])] for axis in axes},
        "y": {
            field: [list(r.values[field]) if field in r.values else None for r in curve.rounds]
            for field in Y_FIELDS
            if any(field in r.values for r in curve.rounds)
        },
    }


def _published(source: Published, stand: Mapping[str, Curve], strategies: Sequence[str]) -> dict[str, Any]:
    colours = {name: strategies.index(curve.strategy) for name, curve in stand.items()}
    return {
        "title": source.title,
        "source": source.source,
        "notes": list(source.notes),
        "axis": source.x[0],
        "curves": [
            {
                "name": source.labels[name],
                "colour": colours.get(name),
                "once": len(scores) == 1,
                "x": {"round": list(range(len(scores))), source.x[0]: list(source.x[1][: len(scores)])},
                "y": [score / 100 for score in scores],
            }
            for name, scores in source.curves.items()
        ],
        "pseudo": [[number - 1, value / 100] for number, value in source.pseudo.items()],
    }


def _facts(curves: Sequence[Curve], rows: Sequence[RoundRow], source: Published | None) -> list[list[str]]:
    hours = sum(s for row in rows for s in row.step_seconds.values() if math.isfinite(s)) / 3600
    rounds = max((len(curve.rounds) for curve in curves), default=0)
    seeds = len({row.seed for row in rows})
    facts = [
        ["Strategies", str(len({curve.strategy for curve in curves}))],
        ["with their settings", str(len(curves))],
        ["Seeds", str(seeds)],
        ["Rounds", str(rounds)],
    ]
    if hours > 0:
        facts.append(["Computing time", f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"])
    if source is not None:
        facts.append(["Published figures", source.title])
    return facts


def _banner(curves: Sequence[Curve], rows: Sequence[RoundRow]) -> str | None:
    told = []
    if not rows:
        told.append("No round is finished yet.")
    unfinished = [
        f"{curve.name} (seed {', '.join(map(str, curve.incomplete))})" for curve in curves if curve.incomplete
    ]
    if unfinished:
        names = "; ".join(unfinished)
        told.append(f"Runs without every round, or with a round without a score, do not count in areas: {names}.")
    if rows and len({row.seed for row in rows}) == 1:
        told.append("There is one seed only: nothing here says which differences are noise.")
    return " ".join(told) or None


def _main_table(
    curves: Sequence[Curve], stand: Mapping[str, Curve], full: Curve | None, source: Published | None, metric: str
) -> dict[str, Any]:
    heads = [["Strategy", "text"], ["Seeds", "number"], ["Rounds", "number"], [f"AUC of {metric}, %", "number"]]
    heads += [["published", "number"]] if source else []
    heads += [[f"Last {metric}, %", "number"]] + ([["published", "number"]] if source else [])
    heads += [["Share of full", "number"]] + ([["published", "number"]] if source else [])
    names = {id(curve): name for name, curve in stand.items()}
    rows = []
    for curve in curves:
        shares = shares_of_full(curve, full)
        name = names.get(id(curve))
        area, last = published_of(source, name) if source else (None, None)
        share = f"{100 * list(shares.values())[-1]:.1f} %" if shares else "–"
        told = _published_share(source, name) if source and name else "–"
        ours = [_text(curve.auc), _text(curve.last), share]
        paper = [_published_text(area), _last_text(source, last), told]
        cells = [cell for pair in zip(ours, paper, strict=True) for cell in pair] if source else ours
        rows.append([curve.name, str(len(curve.seeds)), str(len(curve.rounds)), *cells])
    if source:
        for name, label in source.labels.items():
            if name not in stand and name in source.curves:
                scores = source.curves[name]
                told = _published_share(source, name)
                area = source.auc.get(name)
                rows.append([f"{label} (not run here)", "–", "–", "–", _published_text(area), "–",
                             f"{scores[-1]:.{source.decimals}f}", "–", told])  # fmt: skip
    return {"heads": heads, "rows": rows}


def _published_share(source: Published, name: str) -> str:
    """Of the last round: as printed, else from the published scores."""
    printed = source.shares[name][-1] if name in source.shares else None
    own, whole = source.curves[name][-1], source.curves[source.full][-1]
    return f"{100 * own / whole if printed is None else printed:.1f} %"


def _area_note(chosen: Sequence[Curve], source: Published | None) -> str:
    """An area depends on the number of rounds: say so where it is not the published one."""
    here = max((len(curve.rounds) for curve in chosen), default=0)
    there = max((len(scores) for scores in source.curves.values()), default=0) if source else here
    if source is None or not source.auc or here == there:
        return ""
    return f"The published areas are over {there} rounds, those here over {here}: levels do not compare, orderings may."


def _text(value: Spread | None) -> str:
    return percent(value).replace("+-", "±").replace("-", "–") if value is not None else "–"


def _published_text(value: Spread | None) -> str:
    return published_percent(value).replace("+-", "±") if value is not None else "–"


def _last_text(source: Published | None, value: Spread | None) -> str:
    return f"{value.mean:.{source.decimals}f}" if source is not None and value is not None else "–"


def _rounds_tables(
    curves: Sequence[Curve], source: Published | None, full: Curve | None, metric: str
) -> list[dict[str, Any]]:
    tables = []
    for field, name in (
        ("score", metric),
        ("pseudo_score", f"{metric} of the pseudo-masks"),
        ("pseudo_foreground", "foreground share of the pseudo-masks"),
        ("error_auroc", "AUROC of uncertainty against wrong pixels"),
    ):
        shown = [curve for curve in curves if any(field in r.values for r in curve.rounds)]
        if not shown:
            continue
        values = [{r.round: r.values.get(field) for r in curve.rounds} for curve in shown]
        shares = [shares_of_full(curve, full) if field == "score" else {} for curve in shown]
        numbers = sorted({n for column in values for n in column})
        body = [
            [str(n), *(_with_share(column.get(n), share.get(n)) for column, share in zip(values, shares, strict=True))]
            for n in numbers
        ]
        note = " (share of full supervision)" if any(shares) else ""
        tables.append(_rounds_table(f"Here: {name}, %, a round{note}", "Round", [c.name for c in shown], body))
    if source is not None:
        looped = [name for name, scores in source.curves.items() if len(scores) > 1]
        count = max((len(source.curves[name]) for name in looped), default=0)
        body = [
            [str(n), f"{source.x[1][n]:,.0f}", *(_published_cell(source, name, n) for name in looped)]
            for n in range(count)
        ]
        if body:
            note = ", printed share of full supervision in brackets" if source.shares else ""
            heads = [source.x[0], *(source.labels[name] for name in looped)]
            tables.append(_rounds_table(f"Published: {source.metric}, %, a round{note}", "Round", heads, body))
            areas = [f"{source.labels[name]} {auc(source.curves[name]):.2f}" for name in looped]
            tables[-1]["note"] = "Area under these published curves: " + ", ".join(areas) + "."
    return tables


def _rounds_table(title: str, first: str, names: Sequence[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"title": title, "heads": [[n, "number"] for n in (first, *names)], "rows": rows, "note": ""}


def _with_share(value: Spread | None, share: float | None) -> str:
    return _text(value) + (f" ({100 * share:.1f})" if share is not None and value is not None else "")


def _published_cell(source: Published, name: str, number: int) -> str:
    scores, printed = source.curves[name], source.shares.get(name)
    if number >= len(scores):
        return "–"
    share = printed[number] if printed else None
    return f"{scores[number]:.{source.decimals}f}" + (f" ({share:.1f})" if share is not None else "")


def _times(rows: Sequence[RoundRow], cheap: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": t.name,
            "rounds": t.rounds,
            "seconds": t.total / t.rounds,
            "steps": {step: seconds / t.rounds for step, seconds in t.seconds.items()},
            "share": t.share(cheap),
        }
        for t in step_times(rows)
    ]
