"""Memory that one dense CRF call needs beyond its inputs, each way in a process of its own.

``python -m alseg_fast.benches.crf_memory WAY FOLDER N_ITER THREADS`` reads FOLDER/image.npy and FOLDER/probs.npy and
prints one JSON object. The first call of the process is measured: outputs and all memory that is kept count.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from . import machine
from .crf_cases import WAYS, Image, Probs
from .tables import Row
from .timing import error_text

_TIMEOUT_SECONDS = 1800


def save_inputs(folder: Path, image: Image, probs: Probs) -> None:
    np.save(folder / "image.npy", image)
    np.save(folder / "probs.npy", probs)


def call_in_process(way: str, folder: Path, n_iter: int, threads: int) -> Row:
    """`memory_mib` and `first_s` of one call, or the reason why there are none."""
    command = [sys.executable, "-P", "-m", __spec__.name, way, str(folder), str(n_iter), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return {"error": f"exit status {done.returncode}: {lines[-1]}"}
    found: Row = json.loads(done.stdout)
    return found


def _measure(way: str, folder: Path, n_iter: int, threads: int) -> Row:
    image, probs = np.load(folder / "image.npy"), np.load(folder / "probs.npy")
    try:
        start = time.perf_counter()
        memory = machine.call_memory(lambda: WAYS[way](image, probs, n_iter, threads)())
    except Exception as exc:  # a way that cannot run is a row with its reason
        return {"error": error_text(exc)}
    return {"error": None, "memory_mib": memory, "first_s": time.perf_counter() - start}


def main(arguments: list[str]) -> int:
    way, folder, n_iter, threads = arguments
    sys.stdout.write(json.dumps(_measure(way, Path(folder), int(n_iter), int(threads))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
