"""What the regions of a label map are like: extent, boundary, neighbours, mean colour.

``reference.py`` is the definition; every implementation has its signatures.
"""

from ...dispatch import Impl, Op


def _op(function: str) -> Op:
    return Op(
        __name__,
        (
            Impl("native", f"native_cpu:{function}", device="cpu", needs=("alseg_fast._native",)),
            Impl("reference", f"reference:{function}", device="cpu"),
        ),
    )


region_geometry = _op("region_geometry")
region_colors = _op("region_colors")
region_adjacency = _op("region_adjacency")
