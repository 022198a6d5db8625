"""Edges of a picture or of a label map, widened by a square. ``reference.py`` is the definition."""

from ...dispatch import Impl, Op

edge_map = Op(
    __name__,
    (
        Impl("native", "native_cpu:edge_map", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:edge_map", device="cpu"),
    ),
)
