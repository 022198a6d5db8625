"""Uncertainty of bilinearly upsampled class scores, without storing the upsampled scores.

``reference.py`` is the definition; every implementation has its signature and returns its ``Raw``.
"""

from ...dispatch import Impl, Op

uncertainty = Op(
    __name__,
    (
        Impl("triton", "triton_gpu:uncertainty", device="cuda", needs=("triton", "torch")),
        Impl("native", "native_cpu:uncertainty", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:uncertainty", device="cpu"),
    ),
)
