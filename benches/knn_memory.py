"""Build time, memory and files of an index, each in a process of its own.

``python -m alseg_fast.benches.knn_memory ROWS.npy CHANNELS DTYPE FOLDER`` prints one JSON object. Memory is what the
process holds privately (RssAnon of Linux): pages of the file with the rows do not count, those of the index do.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import alseg_fast as alseg

from .machine import read_status_kib
from .tables import Row
from .timing import error_text

_TIMEOUT_SECONDS = 1800
_QUERIES = 8
COLUMNS = [
    *[("dtype", "stored as"), ("rows", "rows"), ("build_s", "build s"), ("resident_mib", "resident MiB")],
    *[("resident_share", "/ float32 embedding"), ("save_s", "save s"), ("file_mib", "files MiB"), ("load_s", "load s")],
    ("first_search_s", "first search s"),
]


def _private() -> int:
    """Bytes that this process alone holds, after what can be given back was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return read_status_kib("RssAnon") * 1024


def measure_here(rows_file: Path, channels: int, dtype: str, folder: Path) -> Row:
    """Build, save, load and search once."""
    rows = np.load(rows_file, mmap_mode="r")
    warm = alseg.HistogramIndex(rows.shape[1], device="cpu", channels=channels, dtype=dtype)
    warm.add(np.arange(1000), np.array(rows[:1000]))  # loads libraries
    warm.search(rows[:_QUERIES], k=1)
    del warm
    before = _private()
    index = alseg.HistogramIndex(rows.shape[1], device="cpu", channels=channels, dtype=dtype)
    start = time.perf_counter()
    index.add(np.arange(len(rows)), rows)
    build = time.perf_counter() - start
    resident = _private() - before
    start = time.perf_counter()
    index.save(folder)
    save = time.perf_counter() - start
    start = time.perf_counter()
    loaded = alseg.HistogramIndex.load(folder, device="cpu")
    load = time.perf_counter() - start
    start = time.perf_counter()
    found = loaded.search(np.array(rows[:_QUERIES]), k=1)
    first = time.perf_counter() - start
    if not found.certified.all() or not bool((found.distances < 1e-6).all()):
        raise RuntimeError("the loaded index does not find its own rows")
    embedding = rows.shape[0] * rows.shape[1] * 4
    return {
        "dtype": dtype,
        "rows": len(rows),
        "build_s": build,
        "resident_mib": resident / 2**20,
        "resident_share": resident / embedding,
        "save_s": save,
        "file_mib": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20,
        "load_s": load,
        "first_search_s": first,
    }


def measure_in_process(rows_file: Path, channels: int, dtype: str, folder: Path) -> Row:
    """The same in a fresh process, or the reason why there are no figures."""
    row: Row = {"id": f"knn/build/{dtype}", "dtype": dtype, "error": None}
    command = [sys.executable, "-P", "-m", __spec__.name, str(rows_file), str(channels), dtype, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return row | {"error": f"exit status {done.returncode}: {lines[-1]}"}
    found: Row = json.loads(done.stdout)
    return row | found


def main(arguments: list[str]) -> int:
    rows_file, channels, dtype, folder = arguments
    try:
        row = measure_here(Path(rows_file), int(channels), dtype, Path(folder))
    except Exception as exc:  # becomes the row's reason
        row = {"error": error_text(exc)}
    sys.stdout.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
