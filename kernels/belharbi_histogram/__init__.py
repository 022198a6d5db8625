"""The colour histogram that Belharbi et al. (WACV 2021) compare images by, as 65536ths of a pixel in each bin.

``reference.py`` is the definition; every implementation has its signature.
"""

from ...dispatch import Impl, Op

belharbi_histogram = Op(
    __name__,
    (
        Impl("native", "native_cpu:belharbi_histogram", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:belharbi_histogram", device="cpu"),
    ),
)
