"""Superpixels: clusters of pixels by colour and place, cut into connected segments of a least size.

``reference.py`` is the definition, in integers throughout: every implementation gives exactly its labels.
"""

from ...dispatch import Impl, Op

slic = Op(
    __name__,
    (
        Impl("native", "native_cpu:slic", device="cpu", needs=("alseg_fast._native",)),
        Impl("reference", "reference:slic", device="cpu"),
    ),
)
