"""Sums over passes and pixels of a foreground probability. ``reference.py`` is the definition."""

from ...dispatch import Impl, Op

foreground = Op(
    __name__,
    (
        Impl("native", "native_cpu:foreground", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:foreground", device="cpu"),
    ),
)
