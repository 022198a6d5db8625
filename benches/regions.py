"""`alseg bench regions`: what the regions of a picture cost, beside the inference and at a million pictures."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alseg_fast.errors import UsageError

from . import machine, regions_hours
from .cases import SEED, smooth_logits
from .cases import Case as LogitCase
from .pictures import Folder, find_pictures, get_picture
from .pool_images import encode_jpeg
from .regions_steps import CRF_STEPS, PLAIN, POOLED, ROW_STEPS, SLIC, Case, Image, make_steps, prepare
from .rivals import OURS, PART, Rival, time_rivals
from .tables import Result, Row, finish_result, format_table, goal, make_table, ratio
from .timing import Quiet, error_text

__all__ = ["PARTS", "format_table", "run"]

log = logging.getLogger("alseg")

PARTS = ("steps", "core-hours", "all")
INFERENCE = "session.run of the network, 1 thread"
SHARE = 0.05  # goal: region CRF and pooling over the network's inference

CASES = (Case((512, 512), 400, by_network=True), Case((1024, 2048), 1000))
QUICK_CASES = (Case((128, 128), 60, by_network=True), Case((160, 320), 100))
N_CLASSES = 21
HOURS_SIZE, QUICK_HOURS_SIZE = (1024, 2048), (192, 320)
HOURS_PICTURES, QUICK_HOURS_PICTURES = 500, 20

STEP_COLUMNS = [
    *[("backend", "step"), ("median_ms", "median ms"), ("iqr_ms", "IQR"), ("min_ms", "min ms"), ("reps", "reps")],
    *[("call_mib", "MiB a call"), ("share", "share of inference")],
]
SUM_COLUMNS = [
    *[("case", "case"), ("threads", "thr"), ("slic_ms", "slic ms"), ("pool_ms", "pooling ms"), ("crf_ms", "CRF ms")],
    *[("row_ms", "geometry + RLE ms"), ("inference_ms", "inference ms"), ("share", "pooling + CRF / inference")],
    *[("row_share", "+ geometry + RLE"), ("slic_share", "+ slic")],
]
NOTES = (
    f"Pooling: {POOLED!r} less {PLAIN!r}. CRF: {', '.join(CRF_STEPS)}. Geometry + RLE: {', '.join(ROW_STEPS)}.",
    "The network is MobileNetV2 with an LR-ASPP head; the picture has the size of its input, logits are its own. "
    "At two megapixels logits are smooth random fields of 19 classes, and no inference is measured.",
    "Core-hours: the median of one picture on one thread times a million, over 3,600 s; a smaller picture's time is "
    "first divided by its share of 1024x2048 pixels. The selection's time is that of a RUN over its pictures; "
    "decoding, inference and writing are not in the table.",
)


def _logits(case: Case, image: Image, work: Path) -> tuple[NDArray[np.float32], Rival | None]:
    """Logits of a picture, and the network's inference on it where it has one."""
    if not case.by_network:
        low = (max(2, case.size[0] // 16), max(2, case.size[1] // 16))
        return smooth_logits(LogitCase(19, low, case.size), SEED), None
    import onnxruntime

    from .networks import prepare_picture, save_mobile_network

    side = case.size[0]
    jpeg = encode_jpeg(image)
    save_mobile_network(work / "mobile.onnx", [jpeg], side=side, n_classes=N_CLASSES)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(work / "mobile.onnx"), sess_options=options, providers=["CPUExecutionProvider"]
    )
    feed = {"image": prepare_picture(jpeg, side)}
    return session.run(None, feed)[0], Rival(INFERENCE, PART, lambda: lambda: session.run(None, feed))


def _summarise(case: Case, threads: int, rows: Sequence[Row]) -> Row:
    times = {row["backend"]: row.get("median_ms") for row in rows}

    def total(values: Sequence[float | None]) -> float | None:
        return None if None in values else float(sum(v for v in values if v is not None))

    def add(names: Sequence[str]) -> float | None:
        return total([times.get(name) for name in names])

    def share(values: Sequence[float | None]) -> float | None:
        return ratio(total(values), times.get(INFERENCE))

    plain, pooled, slic = (times.get(name) for name in (PLAIN, POOLED, SLIC))
    rows_ms, crf = add(ROW_STEPS), add(CRF_STEPS)
    pool = None if plain is None or pooled is None else max(0.0, pooled - plain)
    return {
        "id": f"regions/{case.name}/{threads}t",
        "case": case.name,
        "threads": threads,
        "error": None,
        "slic_ms": slic,
        "pool_ms": pool,
        "crf_ms": crf,
        "row_ms": rows_ms,
        "inference_ms": times.get(INFERENCE),
        "share": share([pool, crf]),
        "row_share": share([pool, crf, rows_ms]),
        "slic_share": share([pool, crf, rows_ms, slic]),
    }


def measure_case(case: Case, threads: int, folder: Folder | None, quick: bool, quiet: Quiet) -> tuple[list[Row], str]:
    """Rows of the steps and of the inference, and what the picture is."""
    image, source = get_picture(case.size, folder)
    with tempfile.TemporaryDirectory(prefix="alseg-bench-") as work:
        logits, inference = _logits(case, image, Path(work))
        steps: dict[str, Callable[[], Any]] = make_steps(case, prepare(case, image, logits), threads)
        rivals = [Rival(name, OURS, lambda call=call: call) for name, call in steps.items()]  # type: ignore[misc]
        if inference is not None:
            rivals.append(inference)
        rows, _ = time_rivals(f"regions/{case.name}/{threads}t", rivals, quick, quiet)
    whole = next((row.get("median_ms") for row in rows if row["backend"] == INFERENCE), None)
    for row in rows:
        row["share"] = ratio(row.get("median_ms"), whole)
    return rows, source


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    part: str = "all",
    data: str | Path | None = None,
    cases: Sequence[Case] | None = None,
    allocator: str = "default",
) -> Result:
    """Time the steps, and extrapolate them.

    Args:
        quick: small pictures and few repetitions; the figures are rough.
        threads: of the steps; inference and core-hours always use one.
        save_to: directory for the JSON file; None writes none.
        part: "steps", "core-hours" or "all".
        data: folder of BSDS500; None takes the usual one if it is there, else drawn pictures.
        cases: sizes other than the usual ones, of the steps.
        allocator: "default" or "keep", see `machine.set_allocator`.
    Returns: see `tables`.
    Raises: UsageError: there is no such part, or no BSDS500 in `data`.
    """
    if part not in PARTS:
        raise UsageError(f"bench regions: part must be one of {', '.join(PARTS)}; got {part!r}.")
    folder = find_pictures(data)
    facts = machine.describe_machine(threads, machine.set_allocator(allocator))
    quiet = Quiet(0.2, 1.0) if quick else Quiet()
    tables: list[Row] = []
    summaries: list[Row] = []
    goals: list[Row] = []
    sources: list[str] = []
    for case, n in (
        ((c, n) for c in cases or (QUICK_CASES if quick else CASES) for n in threads) if part != "core-hours" else ()
    ):
        log.info("bench regions: %s, %d thread(s)", case.name, n)
        try:
            rows, source = measure_case(case, n, folder, quick, quiet)
        except Exception as exc:  # a case that cannot be measured is a row with its reason
            log.warning("bench regions: %s: %s", case.name, error_text(exc))
            summaries.append({"id": f"regions/{case.name}/{n}t", "case": case.name, "error": error_text(exc)})
            continue
        sources.append(source)
        tables.append(make_table(f"{case.name}, {n} thread{'s' if n > 1 else ''}", STEP_COLUMNS, rows))
        summaries.append(_summarise(case, n, rows))
        if case.by_network:
            for key, what in (("share", ""), ("row_share", " + geometry and RLE")):
                text = f"region CRF + pooling{what} / inference on one thread, {case.name}, {n} thr"
                goals.append(goal(text, summaries[-1][key], SHARE, at_least=False))
    if summaries:
        tables.append(make_table("Sums of medians", SUM_COLUMNS, summaries))
    method = {"part": part, "order": "contenders take turns"}
    if part != "steps":
        log.info("bench regions: core-hours")
        size, pictures = (QUICK_HOURS_SIZE, QUICK_HOURS_PICTURES) if quick else (HOURS_SIZE, HOURS_PICTURES)
        rows, source, share = regions_hours.measure_hours(folder, size, pictures, quick, quiet)
        title = "Core-hours for a million pictures of two megapixels"
        tables.append(make_table(title, regions_hours.COLUMNS, rows))
        sources.append(source)
        method["core-hours"] = f"{size[1]}x{size[0]}, divided by {share:.3g}; selection from {pictures} pictures"
    method["quiet"] = str(quiet)
    method["pictures"] = "; ".join(dict.fromkeys(sources))
    return finish_result(
        "regions",
        quick=quick,
        facts=facts,
        method=method,
        tables=tables,
        goals=goals,
        notes=NOTES,
        save_to=save_to,
    )
