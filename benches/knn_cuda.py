"""`alseg bench knn --device cuda`: the same tables, searched by FAISS's GPU build."""

from __future__ import annotations

from pathlib import Path

from alseg_fast import config
from alseg_fast.errors import UsageError

from . import knn
from .tables import Result, format_table

__all__ = ["format_table", "run"]


def run(
    quick: bool = False,
    save_to: str | Path | None = None,
    *,
    device: str = "cuda",
    part: str = "all",
    data: str | Path | None = None,
) -> Result:
    """As `knn.run`, with as many threads as there are CPUs.

    Raises: UsageError: a device other than the first. BackendError: FAISS cannot use a GPU here, and why.
    """
    if device not in ("cuda", "cuda:0"):
        raise UsageError(f"bench knn: --device must be cpu, cuda or cuda:0; got {device!r}.")
    return knn.run(quick, (config.available_cpus(),), save_to, part=part, data=data, device="cuda")
