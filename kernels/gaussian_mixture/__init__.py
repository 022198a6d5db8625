"""Values of activation maps in bins, and mixtures of Gaussians fitted to the bins.

``reference.py`` is the definition; every implementation has its signatures. What both share, and what needs no speed
(the points that stand for the bins, the starts of the iterations, the crossing of two densities), is in ``common.py``.
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


value_moments = _op("value_moments")
gaussian_mixture = _op("gaussian_mixture")
