"""The area under a learning curve, as Belharbi et al. take it, and the spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import RangeError, ShapeError


class Spread(NamedTuple):
    """Mean and population standard deviation (ddof 0) of n values."""

    mean: float
    std: float
    n: int


def auc(scores: npt.ArrayLike) -> float:
    """Area under the scores over the round index, divided by its width: a score again, in the unit of the scores.

    Trapezoids of width 1 over the rounds 0..R-1, divided by R - 1. Rounds of equal cost give the same over the share
    of labelled pictures. A method of one round (trained once, without a loop) has that round's score as its area.

    Args:
        scores: [R] finite numbers, one a round in order, in any unit.
    Raises:
        ShapeError: scores is not 1-D or is empty. RangeError: a score is not finite.
    Source: Belharbi et al., WACV 2021, released evaluation code and result files.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ShapeError(f"auc: scores must have shape [R], R >= 1; got {list(values.shape)}. Pass one score a round.")
    if not np.isfinite(values).all():
        raise RangeError("auc: scores must be finite; got NaN or infinity. Leave runs with a failed round out.")
    if values.size == 1:
        return float(values[0])
    return float((values.sum() - 0.5 * (values[0] + values[-1])) / (values.size - 1))


def spread(values: Sequence[float]) -> Spread:
    """Mean and population standard deviation, as the published tables have them.

    Args:
        values: at least one finite number, one a seed.
    Raises: RangeError: there is none, or one is not finite.
    """
    array = np.asarray(values, np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise RangeError(
            f"spread: values must be finite and at least one; got {array.size} values. Leave missing ones out."
        )
    return Spread(float(array.mean()), float(array.std()), int(array.size))
