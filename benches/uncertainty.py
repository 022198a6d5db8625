"""`alseg bench uncertainty`: logits -> measures at full resolution, of one pass and of T passes, beside the strongest
peers. On the CPU; `uncertainty_cuda` does the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alseg_fast.errors import UsageError

from . import machine
from .cases import FORMS, INPUTS, SEED, Case, Form, Peer
from .contest import hold_contest
from .parity import reference_outputs
from .tables import Result, finish_result, format_table, make_table
from .timing import Quiet
from .uncertainty_report import NOTES, ROW_COLUMNS, SUMMARY_COLUMNS, add_ratios, list_goals, summarise

__all__ = ["PARTS", "Case", "Form", "Peer", "format_table", "run"]

PARTS = (*(form.name for form in FORMS), "all")


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    part: str = "all",
    forms: Sequence[Form] = FORMS,
    allocator: str = "default",
) -> Result:
    """Time every contender that gives right results.

    Args:
        quick: few repetitions and little waiting for quiet; the figures are rough.
        threads: numbers of threads, each a block of its own in which all contenders take turns.
        save_to: directory for the JSON file; None writes none.
        part: "single" (one pass), "mc" (T passes of MC dropout) or "all".
        allocator: "default" or "keep", see `machine.set_allocator`.
    Returns: see `tables`.
    Raises: UsageError: there is no such part.
    """
    if part not in PARTS:
        raise UsageError(f"bench uncertainty: part must be one of {', '.join(PARTS)}; got {part!r}.")
    sentence = machine.set_allocator(allocator)
    facts = machine.describe_machine(threads, sentence)
    tables, summaries, wrong = [], [], []
    looks = disturbed = 0
    chosen = [form for form in forms if part in (form.name, "all")]
    for form, case, kind in ((f, c, k) for f in chosen for c in f.cases for k in INPUTS):
        expected = reference_outputs(INPUTS[kind](case, SEED), case.high)
        peers = [p for p in form.peers if kind == "smooth" or p.in_noise]
        peers = [p for p in peers if p.most_classes is None or case.n_classes <= p.most_classes]
        for n in threads:
            quiet = Quiet(0.2, 1.0) if quick else Quiet()
            rows, failed = hold_contest(form, case, kind, n, peers, expected, quick, quiet)
            title = f"{case.name}, {kind} logits, {n} thread{'s' if n > 1 else ''}"
            tables.append(make_table(title, ROW_COLUMNS, add_ratios(case, rows)))
            summaries.append(summarise(form, case, kind, n, rows))
            wrong += failed
            looks, disturbed = looks + quiet.looks, disturbed + quiet.disturbed
    return finish_result(
        "uncertainty",
        quick=quick,
        facts=facts,
        method={
            "part": part,
            "seed": SEED,
            "order": "contenders take turns",
            "quiet": f"{looks - disturbed} of {looks} repetitions began in a quiet moment",
            "cache": "warm",
        },
        tables=[*tables, make_table("Summary (ratios of medians)", SUMMARY_COLUMNS, summaries)],
        goals=list_goals(summaries),
        notes=NOTES,
        wrong=wrong,
        save_to=save_to,
    )
