"""`alseg bench memory`: peak memory for a small and a ten times larger pool, and the time of `import alseg_fast`."""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import machine
from .pool_images import fill_directory, make_photo
from .tables import Result, Row, format_table, goal, make_table, ratio, save_result
from .timing import Quiet, error_text

__all__ = ["format_table", "run"]

log = logging.getLogger("alseg")

_PHOTO_SIZE = (120, 160)
_DISTINCT = 16
_TIMEOUT_SECONDS = 3600

# VmHWM belongs to this program alone; ru_maxrss also remembers the parent's memory from between fork and exec.
_SCORE = """
import json, re, sys
from alseg_fast import Scorer
def status(key):
    with open("/proc/self/status", encoding="ascii") as file:
        return int(re.search(rf"^{key}:\\s*(\\d+) kB", file.read(), re.MULTILINE)[1]) * 1024
scorer = Scorer(sys.argv[1], measures=("entropy",), device="cpu", workers=int(sys.argv[4]))
before = status("VmRSS")
done = scorer.score_pool(sys.argv[2], sys.argv[3])
print(json.dumps({"peak": status("VmHWM"), "before": before, "scored": done.scored, "failed": done.failed,
                  "seconds": done.seconds}))
"""
_IMPORTS = {
    "import alseg_fast": "import alseg_fast",
    "alseg_fast.uncertainty": "from alseg_fast import uncertainty",
    "alseg_fast.Scorer": "from alseg_fast import Scorer",
}


def _python(code: str, *arguments: str) -> str:
    """stdout of a fresh interpreter; RuntimeError with its last line on failure."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"exit status {done.returncode}: {lines[-1]}")
    return done.stdout


def peak_memory(images: int, model: Path, contents: list[bytes], work: Path, workers: int) -> Row:
    """Score a pool of `images` small JPEGs in a process of its own."""
    row: Row = {"id": f"memory/{images} images", "pool": f"{images:,} images", "images": images, "error": None}
    try:
        folder = work / f"pool-{images}"
        fill_directory(folder, contents, images)
        text = _python(_SCORE, str(model), str(folder), str(work / f"run-{images}"), str(workers))
        found: dict[str, Any] = json.loads(text)
        if found["failed"] or found["scored"] != images:
            raise RuntimeError(f"{found['scored']} of {images} pictures scored, {found['failed']} failed")
    except Exception as exc:  # a pool that cannot be scored is a row with its reason
        row["error"] = error_text(exc)
        return row
    row["peak_mib"] = found["peak"] / 2**20
    row["before_mib"] = found["before"] / 2**20
    row["images_s"] = images / found["seconds"]
    return row


def import_time(name: str, statement: str, runs: int, quiet: Quiet) -> Row:
    """Median over fresh interpreters of the seconds that one import statement takes."""
    row: Row = {"id": f"memory/{name}", "what": name, "reps": runs, "error": None}
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    try:
        _python(code)  # writes the byte code, fills the page cache
        seconds = []
        for _ in range(runs):
            quiet.wait()
            seconds.append(float(_python(code)))
    except Exception as exc:  # an import that fails is a row with its reason
        row["error"] = error_text(exc)
        return row
    row.update(median_s=statistics.median(seconds), min_s=min(seconds), max_s=max(seconds))
    return row


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    pools: tuple[int, int] | None = None,
    import_runs: int | None = None,
) -> Result:
    """Measure both.

    Args:
        quick: pools of 200 and 2,000 instead of 2,000 and 20,000 images, 3 instead of 10 imports.
        threads: the engine gets as many workers as the largest of these.
        save_to: directory for the JSON file; None writes none.
    Returns: see `tables`.
    """
    small, large = pools or ((200, 2000) if quick else (2000, 20000))
    runs = import_runs or (3 if quick else 10)
    facts = machine.describe_machine(threads, machine.set_allocator("default"))
    quiet = Quiet(0.2, 1.0) if quick else Quiet()
    with tempfile.TemporaryDirectory(prefix="alseg-bench-") as temporary:
        work = Path(temporary)
        contents = [make_photo(seed, _PHOTO_SIZE, None) for seed in range(_DISTINCT)]
        model = work / "tiny.onnx"
        try:
            from .networks import save_tiny_network

            save_tiny_network(model)
        except ImportError as exc:  # onnx is an extra
            missing = error_text(exc)
            rows: list[Row] = [
                {"id": f"memory/{n} images", "pool": f"{n:,} images", "error": missing} for n in (small, large)
            ]
        else:
            rows = []
            for n in (small, large):
                log.info("bench memory: %d images", n)
                rows.append(peak_memory(n, model, contents, work, max(threads)))
    imports = [import_time(name, statement, runs, quiet) for name, statement in _IMPORTS.items()]
    growth = ratio(rows[1].get("peak_mib"), rows[0].get("peak_mib"))
    result: Result = {
        "bench": "memory",
        "quick": quick,
        "metadata": facts,
        "method": {
            "pool": f"JPEGs of {_PHOTO_SIZE[1]}x{_PHOTO_SIZE[0]}, {_DISTINCT} distinct, one-layer network of 64x64",
            "peak": "VmHWM of a process of its own",
            "import": "inside a fresh interpreter, files in the page cache",
        },
        "parity": {"ok": True, "failed": []},
        "tables": [
            make_table(
                "Peak resident memory",
                [
                    ("pool", "pool"),
                    ("peak_mib", "peak MiB"),
                    ("before_mib", "before the first image"),
                    ("images_s", "images/s"),
                ],
                rows,
            ),
            make_table(
                "Time to import, seconds",
                [("what", "statement"), ("median_s", "median"), ("min_s", "min"), ("max_s", "max"), ("reps", "runs")],
                imports,
            ),
        ],
        "goals": [
            goal(f"peak memory, {large:,} / {small:,} images", growth, 1.1, at_least=False),
            goal("import alseg_fast, seconds", imports[0].get("median_s"), 0.3, at_least=False),
        ],
        "notes": [],
    }
    if save_to is not None:
        result["saved_as"] = str(save_result(result, save_to))
    return result
