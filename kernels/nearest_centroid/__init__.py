"""The nearest of some centroids to each embedded histogram.

``reference.py`` is the definition; every implementation has its signature.
"""

from ...dispatch import Impl, Op

nearest_centroid = Op(
    __name__,
    (
        Impl("native", "native_cpu:nearest_centroid", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:nearest_centroid", device="cpu"),
    ),
)
