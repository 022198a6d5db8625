"""Results as text: the table of areas, scores a round, orderings and times, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..rows import RoundRow
from .auc import Spread
from .compare import RULE, differences, main_curves, orderings, stand_ins, within_strategies
from .published import Published, published
from .summary import CHEAP_STEPS, Curve, StepTimes, find_full, shares_of_full, step_times, summarise


def percent(value: Spread | None) -> str:
    """A fraction as percent with its spread, "81.48 +- 1.03"; without a spread for one value; "-" for None."""
    if value is None:
        return "-"
    return f"{100 * value.mean:.2f}" + (f" +- {100 * value.std:.2f}" if value.n > 1 else "")


def published_percent(value: Spread | None) -> str:
    """The same for a published value, which is in percent already."""
    return percent(None if value is None else Spread(value.mean / 100, value.std / 100, value.n))


def text_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first to the left, the others to the right."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]

    def padded(line: Sequence[str]) -> str:
        cells = zip(line, widths, strict=True)
        return "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(cells)).rstrip()

    return "\n".join(padded(line) for line in lines)


def main_table(
    curves: Sequence[Curve], source: Published | None, metric: str, main: Mapping[str, str] | None = None
) -> str:
    """Area and last score of every strategy and setting, the published ones and the share of full supervision."""
    full = find_full(curves)
    heads = ["", "seeds", "rounds", f"AUC of {metric}", f"last {metric}", "of full"]
    if source is not None:
        heads += ["published AUC", "published last"]
    names = {id(c): name for name, c in stand_ins(main_curves(curves, main), source).items()} if source else {}
    rows = []
    for curve in curves:
        shares = shares_of_full(curve, full)
        row = [curve.name, str(len(curve.seeds)), str(len(curve.rounds)), percent(curve.auc), percent(curve.last)]
        row.append(f"{100 * list(shares.values())[-1]:.1f} %" if shares else "-")
        if source is not None:
            told = published_of(source, names.get(id(curve)))
            row += [published_percent(told[0]), f"{told[1].mean:.{source.decimals}f}" if told[1] else "-"]
        rows.append(row)
    return text_table(heads, rows)


def published_of(source: Published, name: str | None) -> tuple[Spread | None, Spread | None]:
    """Published area and last score of a strategy of `Published.labels`, in percent; None where nothing is printed."""
    if name is None:
        return None, None
    scores = source.curves.get(name)
    return source.auc.get(name), Spread(scores[-1], 0.0, 1) if scores else None


def rounds_table(curves: Sequence[Curve], field: str = "score", *, at_most: int = 6) -> str:
    """Mean of a field of fractions, in percent: a line a curve that has it, a column a round.

    Of more rounds than `at_most` the first, the last and some evenly between them are shown.
    """
    shown = [curve for curve in curves if any(field in r.values for r in curve.rounds)]
    numbers = sorted({r.round for curve in shown for r in curve.rounds if field in r.values})
    if len(numbers) > at_most:
        places = [round(i * (len(numbers) - 1) / (at_most - 1)) for i in range(at_most)]
        numbers = [numbers[i] for i in places]
    lines = []
    for curve in shown:
        known = {r.round: r.values[field].mean for r in curve.rounds if field in r.values}
        lines.append([curve.name, *(f"{100 * known[n]:.2f}" if n in known else "-" for n in numbers)])
    return text_table(["round", *map(str, numbers)], lines)


def time_table(times: Sequence[StepTimes], cheap: Sequence[str] = CHEAP_STEPS) -> str:
    """Seconds a round of every step, and the share of what the engine does."""
    steps = list(dict.fromkeys(step for t in times for step in t.seconds))
    rows = []
    for t in times:
        share = t.share(cheap)
        each = (f"{t.seconds[step] / t.rounds:.2f}" if step in t.seconds else "-" for step in steps)
        rows.append([t.name, *each, f"{100 * share:.1f} %" if share is not None else "-"])
    return text_table(["seconds a round", *steps, " + ".join(cheap)], rows)


def summary_text(
    rows: Iterable[RoundRow],
    *,
    source: str | None = None,
    metric: str | None = None,
    main: Mapping[str, str] | None = None,
) -> str:
    """Everything above as one text for a terminal.

    Args:
        source: name of the published figures to put beside, or None.
        metric: name of the score, "Dice" or "mIoU"; None takes that of the published figures, or "score".
        main: strategy -> its setting that stands for it in comparisons; by default the first.
    """
    found = list(rows)
    if not found:
        return "no rounds yet"
    paper = published(source) if source is not None else None
    curves, times = summarise(found), step_times(found)
    name = metric or (paper.metric if paper else "score")
    kind = paper.headline if paper else "auc"
    chosen = main_curves(curves, main)
    blocks = [main_table(curves, paper, name, main), f"{name} a round, %\n{rounds_table(curves)}"]
    if any("pseudo_score" in r.values for curve in curves for r in curve.rounds):
        blocks.append(f"quality of the pseudo-masks a round, %\n{rounds_table(curves, 'pseudo_score')}")
    if any("error_auroc" in r.values for curve in curves for r in curve.rounds):
        blocks.append(f"uncertainty as a detector of wrong pixels, AUROC, %\n{rounds_table(curves, 'error_auroc')}")
    if paper is not None and (told := orderings(chosen, paper)):
        blocks.append("Published orderings\n" + "\n".join(f"{o.outcome}: {o.words}" for o in told))
    if pairs := differences(chosen, kind) + within_strategies(curves, kind):
        lines = [f"{d.first} over {d.second}: {100 * d.mean:.2f} points, {d.verdict}" for d in pairs]
        blocks.append("Differences here\n" + "\n".join(lines) + f"\n{RULE}")
    if times:
        blocks.append(time_table(times))
    return "\n\n".join(blocks)
