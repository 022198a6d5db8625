"""Entropy of the class shares in a window around every pixel, times the mean entropy there.

``reference.py`` is the definition; every implementation has its signature.
"""

from ...dispatch import Impl, Op

region_impurity = Op(
    __name__,
    (
        Impl("triton", "triton_gpu:region_impurity", device="cuda", needs=("triton", "torch")),
        Impl("native", "native_cpu:region_impurity", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:region_impurity", device="cpu"),
    ),
)
