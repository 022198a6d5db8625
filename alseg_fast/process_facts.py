"""Facts of this process for run.json: versions of the libraries, and its highest memory."""

from __future__ import annotations

import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("numpy", "pyarrow", "pillow", "simplejpeg", "onnxruntime", "onnxruntime-gpu")


def versions() -> dict[str, str]:
    """Versions of everything that can change a result, for run.json."""
    from . import __version__, _native

    found = {"alseg-fast": __version__, "python": platform.python_version(), "simd": _native.simd_level()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue  # an extra that is not installed
    return found


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far, in bytes."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        # Right too, but on Linux it may be a larger parent's, from before this program was started.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    high = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(high.split()[1]) * 1024
