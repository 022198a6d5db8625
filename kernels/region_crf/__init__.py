"""Mean field over the graph of neighbouring regions.

``reference.py`` is the definition; every implementation has its signature.
"""

from ...dispatch import Impl, Op

region_crf = Op(
    __name__,
    (
        Impl("native", "native_cpu:region_crf", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:region_crf", device="cpu"),
    ),
)
