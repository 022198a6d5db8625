"""Resize a uint8 RGB picture with a triangle filter, normalise it and store it in a model's layout."""

from ...dispatch import Impl, Op

resize_normalize = Op(
    __name__,
    (
        Impl("native", "native_cpu:resize_normalize", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:resize_normalize", device="cpu"),
    ),
)
