"""Masks and label maps as COCO's compressed run-length strings, and back.

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


encode_rle = _op("encode_rle")
encode_mask = _op("encode_mask")
decode_rle = _op("decode_rle")
decode_regions = _op("decode_regions")
