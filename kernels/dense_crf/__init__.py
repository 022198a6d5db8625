"""Mean field inference of a fully connected CRF with Gaussian edges (Krahenbuhl and Koltun, NIPS 2011).

``reference.py`` is the definition; every implementation has its signature. What depends on the image alone is a
``common.Lattice``, which ``prepare`` may fill in advance.
"""

from ...dispatch import Impl, Op

_NATIVE = ("alseg_fast._native",)

dense_crf = Op(
    __name__,
    (
        Impl("native", "native_cpu:dense_crf", device="cpu", needs=_NATIVE),
        Impl("reference", "reference:dense_crf", device="cpu"),
    ),
)
filter_planes = Op(
    __name__,
    (
        Impl("native", "native_cpu:filter_planes", device="cpu", needs=_NATIVE),
        Impl("reference", "reference:filter_planes", device="cpu"),
    ),
)
prepare = Op(
    __name__,
    (
        Impl("native", "native_cpu:prepare", device="cpu", needs=_NATIVE),
        Impl("reference", "reference:prepare", device="cpu"),
    ),
)
