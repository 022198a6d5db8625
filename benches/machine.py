"""What the machine was: facts without which a figure means nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from alseg_fast import __version__, config
from alseg_fast.freed_memory import keep_freed_memory

_LIBRARIES = (
    *("numpy", "pillow", "simplejpeg", "pyarrow", "onnxruntime", "onnx", "torch", "triton", "scipy", "baal"),
    *("opencv-python-headless", "opencv-contrib-python-headless", "opencv-python"),
    *("scikit-image", "fast-slic", "pydensecrf", "pydensecrf2", "SimpleCRF"),
    *("faiss-cpu", "faiss-gpu", "numba", "simsimd", "numkong", "usearch", "nmslib", "pynndescent"),
    "scikit-learn",
)
_ALLOCATOR = re.compile(r"MALLOC_\w+|GLIBC_TUNABLES|LD_PRELOAD")
_THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    "OPENBLAS_CORETYPE",
)
ALLOCATORS = ("default", "keep")


def set_allocator(name: str) -> str:
    """Choose how glibc's malloc treats large blocks in this process; returns the sentence for the metadata.

    "default" leaves it alone: blocks above 32 MiB come fresh from the kernel at every call, and the page
    faults cost peers that allocate full-size tensors more than their arithmetic. "keep" lets malloc keep freed
    memory, which makes such peers up to three times faster. It cannot be undone within the process.
    """
    if name == "default":
        return "glibc default"
    if name != "keep":
        raise ValueError(f"set_allocator: name must be one of {', '.join(ALLOCATORS)}; got {name!r}.")
    if not keep_freed_memory():
        raise OSError('set_allocator: not glibc, or MALLOC_... variables are set; use "default".')
    return "mallopt: freed memory is kept"


def describe_machine(threads: tuple[int, ...], allocator: str) -> dict[str, Any]:
    """Commit, CPU, instruction set, threads, versions, load and allocator as JSON values."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit(),
        "cpu": cpu_model(),
        "cpus": config.available_cpus(),
        **_simd_levels(),
        "threads": list(threads),
        "load_average": [round(v, 2) for v in os.getloadavg()],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "allocator": allocator,
        "environment": {
            k: v for k, v in sorted(os.environ.items()) if _ALLOCATOR.fullmatch(k) or k in _THREAD_VARIABLES
        },
        "versions": versions(),
    }


def _simd_levels() -> dict[str, Any]:
    try:
        from alseg_fast import _native
    except ImportError:  # a tree in which only the GPU is measured
        return {"simd_level": "C++ extension not built", "simd_available": []}
    return {"simd_level": _native.simd_level(), "simd_available": list(_native.available_levels())}


def versions() -> dict[str, str]:
    """Versions of this package and of every library that takes part."""
    found = {"alseg-fast": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue  # its rows say so
    return found


def call_memory(call: Callable[[], object]) -> float | None:
    """MiB by which the process grows while a call runs, beyond what it holds between calls; None off Linux."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again from here
        before = read_status_kib("VmRSS")
        call()
        return max(0, read_status_kib("VmHWM") - before) / 1024
    except OSError:
        return None


def read_status_kib(key: str) -> int:
    """A size of /proc/self/status, such as VmRSS. Raises: OSError: there is none."""
    found = re.search(rf"^{key}:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {key}")
    return int(found[1])


def commit() -> str | None:
    """Commit of the source tree, with "+changes" where files differ from it; None outside a repository."""
    git, root = shutil.which("git"), Path(__file__).resolve().parents[1]
    if git is None or not (root / ".git").exists():
        return None

    def ask(*arguments: str) -> str:
        done = subprocess.run(
            [git, "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout.strip()

    try:
        changed = ask("status", "--porcelain", "--", "alseg_fast", "csrc", "kernels", "benches", ":!benches/results")
        return ask("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None  # a tree without commits, or git refuses the directory's owner


def cpu_model() -> str:
    """The CPU's name as the system tells it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def cpu_slug() -> str:
    """The CPU's name as a directory name, with the number of CPUs."""
    return slug(f"{cpu_model()} {config.available_cpus()}cpu")


def slug(name: str) -> str:
    """A name as a directory name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
