"""The k rows nearest to each query under the Jensen-Shannon divergence, within one class of a histogram index.

``reference.py`` is the definition; every implementation has its signature. ``common.py`` has the data they take.
"""

from ...dispatch import Impl, Op
from .gpu import gpu_missing

js_knn = Op(
    __name__,
    (
        Impl("native", "native_cpu:js_knn", device="cpu", needs=("alseg_fast._native",)),
        Impl("faiss", "faiss_cpu:js_knn", device="cpu", needs=("faiss", "numba")),
        Impl("faiss", "faiss_cuda:js_knn", device="cuda", needs=("faiss", "numba"), limits=gpu_missing),
        Impl("reference", "reference:js_knn", device="cpu"),
    ),
)
