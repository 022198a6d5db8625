"""The Jensen-Shannon divergence of each channel, added over all pairs of a set of histograms.

``reference.py`` is the definition; every implementation has its signature.
"""

from ...dispatch import Impl, Op

js_channel_sums = Op(
    __name__,
    (
        Impl("native", "native_cpu:js_channel_sums", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:js_channel_sums", device="cpu"),
    ),
)
