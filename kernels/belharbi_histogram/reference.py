"""The definition, step by step in NumPy; every step is exact in integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .common import (
    BIN_WIDTH,
    BINS,
    COEFFICIENT_BITS,
    EDGE,
    EDGE_STEP_BITS,
    HEIGHT,
    ONE,
    SATURATION,
    Ints,
    cubic_taps,
    edge_shares,
    gaussian_weights,
    width_for,
)


def saturate(rgb: Ints) -> Ints:
    """Three times as saturated: away from the grey of the same luma (Pillow's "L"), cut at 0 and 255."""
    luma = (19595 * rgb[..., 0] + 38470 * rgb[..., 1] + 7471 * rgb[..., 2] + (1 << 15)) >> 16
    return np.clip(SATURATION * rgb - (SATURATION - 1) * luma[..., None], 0, 255)


def resize(image: Ints, height: int, width: int) -> Ints:
    """Pillow's BICUBIC on bytes: across, then along, rounded to bytes after each; an axis of that size is left."""
    for axis, size in ((1, width), (0, height)):
        if image.shape[axis] == size:
            continue
        first, taps = cubic_taps(image.shape[axis], size)
        x = np.moveaxis(image, axis, 0)
        source = np.minimum(first[:, None] + np.arange(taps.shape[1]), x.shape[0] - 1)  # beyond it, taps are 0
        weights = taps.astype(np.int64)
        total = np.stack([np.tensordot(w, x[i], 1) for w, i in zip(weights, source, strict=True)])
        x = np.clip((total + (1 << (COEFFICIENT_BITS - 1))) >> COEFFICIENT_BITS, 0, 255)
        image = np.moveaxis(x, 0, axis)
    return image


def smooth(image: Ints) -> Ints:
    """3 x 3 Gaussian of sigma 0.9, the border reflected (an axis of one pixel repeated); 255 becomes 255 * 2^22."""
    p = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    centre, side, corner = gaussian_weights()
    sides = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
    corners = p[:-2, :-2] + p[:-2, 2:] + p[2:, :-2] + p[2:, 2:]
    smoothed: Ints = centre * p[1:-1, 1:-1] + side * sides + corner * corners
    return smoothed


def soft_counts(values: Ints) -> Ints:
    """[P] smoothed values -> [256] ONEs: a bin is a product of two sigmoids, one an edge."""
    shares = edge_shares()
    own = np.minimum(values // BIN_WIDTH, BINS - 1)
    above, below = values - own * BIN_WIDTH, (own + 1) * BIN_WIDTH - values  # distances to the bin's edges
    near = np.minimum(above, below)
    kept = np.where(near < EDGE, shares[np.minimum(near + (1 << (EDGE_STEP_BITS - 1)), EDGE) >> EDGE_STEP_BITS], ONE)
    other = np.where(above < below, own - 1, own + 1)
    counts = np.zeros(BINS + 2, np.int64)  # with the bins beyond both ends, where what is lost goes
    np.add.at(counts, own + 1, kept)
    np.add.at(counts, other + 1, ONE - kept)
    return counts[1:-1]


def belharbi_histogram(images: Sequence[NDArray[np.uint8]], num_threads: int = 0) -> NDArray[np.uint64]:
    """images [H, W, 3] -> [N, 768] ONEs in each bin of red, green, blue."""
    rows = []
    for image in images:
        vivid = saturate(image.astype(np.int64))
        small = smooth(resize(vivid, HEIGHT, width_for(image.shape[0], image.shape[1])))
        rows.append(np.concatenate([soft_counts(small[..., c].ravel()) for c in range(3)]))
    return np.stack(rows).astype(np.uint64)
