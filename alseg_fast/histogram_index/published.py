"""The published channel weights of a class: 1 / Z_c, with Z_c the sum of the divergence over all ordered pairs.

Source: Belharbi et al., "Deep Active Learning for Joint Classification & Segmentation with Weak Annotator" (2021),
the released code: each channel counts by the inverse of its total spread inside the class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..kernels.js_channel_sums import js_channel_sums
from .rows import Part, Source


def channel_sums(
    parts: list[Part], keys: list[NDArray[np.int64]], channels: int, most: int, seed: int
) -> NDArray[np.float64]:
    """[C] Z_c over the living rows of a class.

    Args:
        keys: of each part's rows; the sample is drawn in their order, so it does not depend on how the rows are cut
            into parts.
        most: rows up to which every pair counts. A larger class is represented by so many of its rows, drawn without
            replacement, and the sum over their pairs is scaled up to all pairs: a declared approximation.
    """
    living = [part.living() for part in parts]
    total = sum(len(rows) for rows in living)
    if total < 2:
        return np.zeros(channels)
    order = np.argsort(np.concatenate([k[rows] for k, rows in zip(keys, living, strict=True)]), kind="stable")
    factor = 1.0
    if total > most:
        order = order[np.sort(np.random.default_rng(seed).choice(total, most, replace=False))]
        factor = total * (total - 1) / (most * (most - 1))
    arrays = [part.rows.hist for part in parts]
    source = Source(arrays, living, channels, arrays[0].dtype, stored=True)
    scales = np.concatenate([part.rows.scale[rows] for part, rows in zip(parts, living, strict=True)])
    return np.asarray(js_channel_sums("cpu", source.take(order), scales[order], 0) * factor)


def inverse(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """[C] 1 / Z_c; a channel with Z_c = 0 tells nothing and counts as 0; if all do, all count alike."""
    if not (sums > 0).any():
        return np.full(len(sums), 1 / len(sums))
    return np.divide(1.0, sums, out=np.zeros(len(sums)), where=sums > 0)
