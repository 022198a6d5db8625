"""The k rows nearest to each query under the Jensen-Shannon divergence, within one class of a histogram index.

``reference.py`` is the definition; every implementation has its signature. ``common.py`` has the data they take.
"""

from __future__ import annotations

from typing import Any

from ...dispatch import Impl, Op


def _no_gpu(*arguments: Any, **options: Any) -> str | None:
    """Why FAISS cannot search on a GPU here; FAISS is loaded to find out."""
    from .faiss_library import gpu_missing

    return gpu_missing()


js_knn = Op(
    __name__,
    (
        Impl("faiss", "faiss_cpu:js_knn", device="cpu", needs=("faiss", "numba")),
        Impl("faiss", "faiss_cuda:js_knn", device="cuda", needs=("faiss", "numba"), limits=_no_gpu),
        Impl("reference", "reference:js_knn", device="cpu"),
    ),
)
