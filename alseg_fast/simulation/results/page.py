"""Results as one HTML file that opens without a network: curves, tables, and what they say in plain words."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...atomic import write_atomic
from ...stages.report_html import ADVICE, asset, check_target, content_policy, json_for_html
from ..rows import RoundRow
from .page_data import page_data
from .published import published as published_figures
from .summary import CHEAP_STEPS

_PACKAGE = __package__ or "alseg_fast.simulation.results"
SCRIPTS = ("chart.js", "results.js")


def write_page(
    rows: Iterable[RoundRow],
    path: str | os.PathLike[str],
    *,
    published: str | None = None,
    deviations: Sequence[str] = (),
    title: str = "Simulation",
    metric: str | None = None,
    main: Mapping[str, str] | None = None,
    full: str | None = None,
    cheap: Sequence[str] = CHEAP_STEPS,
) -> Path:
    """Write the page; it appears complete or not at all, and what stood there is replaced.

    Args:
        rows: as many as there are yet; none gives a page that says so.
        path: the file; its directory must exist.
        published: name of the published figures to put beside; see `published.published`. None: none.
        deviations: sentences: where the runs differ from the published setting.
        title: heading of the page.
        metric: name of the score; None takes that of the published figures, else "score".
        main: strategy -> the setting that stands for it beside published figures; by default its first.
        full: strategy that is full supervision; None finds "full", "full_sup" or "baseline".
        cheap: steps of a round whose share of its time is told.
    Raises:
        RangeError: there are no published figures of that name, or no strategy `full`.
        RunError: two rows are of one round of one run, or the file cannot be written.
    """
    out = Path(path)
    check_target(out)
    source = None if published is None else published_figures(published)
    name = metric or (source.metric if source else "score")
    data = page_data(
        rows, source=source, deviations=deviations, title=title, metric=name, main=main, full=full, cheap=cheap
    )
    style = asset("report.css") + asset("results.css", _PACKAGE)
    script = asset("basics.js") + "".join(asset(part, _PACKAGE) for part in SCRIPTS)
    parts = {
        "TITLE": html.escape(title),
        "POLICY": content_policy(style, script),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": json_for_html(data),
    }
    page = re.sub("@([A-Z]+)@", lambda found: parts[found[1]], asset("results.html", _PACKAGE))
    write_atomic(out, page.encode("utf-8", "replace"), advice=ADVICE)
    return out
