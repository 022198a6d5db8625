"""The Jensen-Shannon divergence of each query and each of its candidate rows.

``reference.py`` is the definition; every implementation has its signature.
"""

from ...dispatch import Impl, Op

js_rerank = Op(
    __name__,
    (
        Impl("native", "native_cpu:js_rerank", device="cpu", needs=("alseg_fast._native",)),
        Impl("numba", "numba_cpu:js_rerank", device="cpu", needs=("numba",)),
        Impl("reference", "reference:js_rerank", device="cpu"),
    ),
)
