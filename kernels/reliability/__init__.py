"""Perplexity of activation maps, and the weights of pixels that follow from it.

``reference.py`` is the definition; every implementation has its signature.
"""

from ...dispatch import Impl, Op

reliability = Op(
    __name__,
    (
        Impl("native", "native_cpu:reliability", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:reliability", device="cpu"),
    ),
)
