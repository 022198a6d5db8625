"""One parameter of a strategy varied, the others held: the area against it, with the published one beside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .published import Published, same_strategy
from .summary import Curve


def read_setting(setting: str) -> dict[str, str]:
    """ "k=5, lambda=0.1" -> {"k": "5", "lambda": "0.1"}; words without "=" stand for themselves under ""."""
    found: dict[str, str] = {}
    for part in re.split(r"[,;\s]+", setting.strip()):
        name, equals, value = part.partition("=")
        if equals:
            found[name] = value
        elif part:
            found[""] = f"{found.get('', '')} {part}".strip()
    return found


def ablation_charts(
    curves: Sequence[Curve], source: Published | None, strategies: Sequence[str]
) -> list[dict[str, Any]]:
    """A chart for each strategy and parameter that takes at least two values while the others stay.

    The settings of a chart agree in all other parameters; where several groups do, each is a line of its own.
    """
    charts = []
    for strategy in strategies:
        runs = [(read_setting(curve.setting), curve) for curve in curves if curve.strategy == strategy]
        for parameter in dict.fromkeys(name for setting, _ in runs for name in setting if name):
            groups: dict[tuple[tuple[str, str], ...], list[tuple[str, Curve]]] = {}
            for setting, curve in runs:
                if parameter in setting:
                    rest = tuple(sorted((k, v) for k, v in setting.items() if k != parameter))
                    groups.setdefault(rest, []).append((setting[parameter], curve))
            lines = [_line(rest, members) for rest, members in groups.items() if len(members) > 1]
            if lines:
                paper = _published(source, strategy, parameter)
                charts.append(
                    {
                        "strategy": strategy,
                        "parameter": parameter,
                        "colour": strategies.index(strategy),
                        "lines": lines,
                        "published": paper["points"] if paper else [],
                        "note": paper["note"] if paper else "",
                    }
                )
    return charts


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _line(rest: Sequence[tuple[str, str]], members: Sequence[tuple[str, Curve]]) -> dict[str, Any]:
    points = [
        {"value": value, "number": _number(value), "auc": list(curve.auc) if curve.auc else None}
        for value, curve in members
    ]
    named = [(name, value) for name, value in rest if name]
    return {"name": ", ".join(f"{name}={value}" for name, value in named), "points": points}


def _published(source: Published | None, strategy: str, parameter: str) -> Mapping[str, Any] | None:
    for ablation in source.ablations if source else ():
        if ablation.parameter == parameter and same_strategy(ablation.strategy) == same_strategy(strategy):
            return {
                "points": [{"number": value, "auc": score / 100} for value, score in ablation.values.items()],
                "note": ablation.note,
            }
    return None
