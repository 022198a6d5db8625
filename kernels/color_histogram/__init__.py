"""How many pixels of each image fall into each bin of a colour histogram.

``reference.py`` is the definition; every implementation has its signature.
"""

from ...dispatch import Impl, Op

color_histogram = Op(
    __name__,
    (
        Impl("native", "native_cpu:color_histogram", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:color_histogram", device="cpu"),
    ),
)
