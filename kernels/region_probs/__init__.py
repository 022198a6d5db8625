"""Class probabilities of regions from class scores at the model's own resolution.

``reference.py`` is the definition; every implementation has its signature.
"""

from ...dispatch import Impl, Op

region_probs = Op(
    __name__,
    (
        Impl("native", "native_cpu:region_probs", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:region_probs", device="cpu"),
    ),
)
