"""Activation maps to counts and moments in bins: all that fitting a mixture needs to know of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_dtype, check_threads
from ..errors import DataError, RangeError
from ..kernels.gaussian_mixture import value_moments as _op
from ..kernels.gaussian_mixture.common import BAD_VALUE, BAD_WEIGHT, SLACK, VALUE_BITS
from .map_inputs import NUMBERS, Maps, take_beside, take_maps
from .simd import apply_simd_level

F64 = NDArray[np.float64]

BINS = 256
_BIN_CHOICES = tuple(2**bits for bits in range(5, 13))
_CHUNK = 8192  # positions of a product on the device
_LETTERS = "[N, K, h, w], [N, h, w], [h, w] or [n]"


def check_bins(name: str, bins: Any) -> int:
    if isinstance(bins, bool) or bins not in _BIN_CHOICES:
        raise RangeError(
            f"{name}: bins must be a power of 2 in {_BIN_CHOICES[0]}..{_BIN_CHOICES[-1]}; got {bins!r}. "
            f"{BINS} is the default."
        )
    return int(bins)


def check_drop(name: str, drop_below: Any) -> float | None:
    if drop_below is None:
        return None
    if isinstance(drop_below, bool) or not isinstance(drop_below, NUMBERS) or not 0 <= drop_below < 1:
        raise RangeError(
            f"{name}: drop_below must be None or in [0, 1); got {drop_below!r}. None keeps all values, 0 those above 0."
        )
    return float(drop_below)


def image_moments(
    name: str,
    cams: Any,
    weights: Any,
    bins: int,
    drop_below: float | None,
    *,
    per_image: bool,
    num_threads: int | None = None,
) -> F64:
    """Sums [bins, 3] over all images, or [N, bins, 3]: see kernels/gaussian_mixture/reference.py.

    Args:
        name: the function that speaks in error messages.
        cams: [N, K, h, w] (the largest of the K maps counts), [N, h, w], [h, w] or [n], in 0..1.
        weights: of the pixels, or None.
        drop_below: only larger values count; None: all.
    """
    maps = take_maps(name, "cams", cams, (1, 2, 3, 4), _LETTERS)
    shape = tuple(int(v) for v in maps.array.shape)
    images = shape[0] if len(shape) > 2 else 1
    planes = shape[1] if len(shape) == 4 else 1
    groups = (images, 1) if per_image else (1, images)
    values = maps.array.reshape(*groups, planes, -1)
    mass: Any = None
    if weights is not None:
        pixels = (shape[0], *shape[2:]) if len(shape) == 4 else shape
        mass = _take_weights(name, weights, maps, pixels, (*groups, -1))
    least = -np.inf if drop_below is None else float(np.nextafter(np.float32(drop_below), np.float32(2)))
    threads = check_threads(name, num_threads)
    bits = bins.bit_length() - 1
    if maps.device == "cpu":
        apply_simd_level()
        sums, status = _op("cpu", values, mass, bits, least, threads)
    else:
        sums, status = _with_torch(values, mass, bits, least)
    if status & BAD_VALUE:
        low, high = float(maps.array.min()), float(maps.array.max())
        if not (low - low == 0 and high - high == 0):
            raise DataError(f"{name}: cams must be finite; it holds NaN or inf. Leave such images out.")
        raise RangeError(f"{name}: cams must be in 0..1; got {low:g} to {high:g}. Normalise the maps first.")
    if status & BAD_WEIGHT:
        raise RangeError(
            f"{name}: weights must be in 0..1e30; got {float(mass.min()):g} to {float(mass.max()):g}. "
            "A weight of 0 leaves a pixel out."
        )
    return np.asarray(sums if per_image else sums[0])


def _take_weights(name: str, weights: Any, maps: Maps, pixels: tuple[int, ...], groups: tuple[int, ...]) -> Any:
    mass = take_beside(name, "weights", weights, maps, pixels, "that of the pixels of cams")
    kind = str(mass.dtype).removeprefix("torch.")
    floats = ("float16", "bfloat16", "float32", "float64")
    check_dtype(name, "weights", kind, floats, "Convert them to float32.")
    if maps.device != "cpu":
        return mass.float().reshape(groups)
    with np.errstate(over="ignore"):  # inf is refused
        return np.ascontiguousarray(mass, np.float32).reshape(groups)


def _with_torch(values: Any, weights: Any, bin_bits: int, least: float) -> tuple[F64, int]:
    """The reference on the tensors' device: whole numbers exactly, weighted sums in a fixed order."""
    import torch

    if not bool(((values >= -SLACK) & (values <= 1 + SLACK)).all()):
        return np.zeros((0, 1, 3)), BAD_VALUE
    if weights is not None and not bool(((weights >= 0) & (weights <= 1e30)).all()):
        return np.zeros((0, 1, 3)), BAD_WEIGHT
    groups, bins, shift = values.shape[0], 1 << bin_bits, VALUE_BITS - bin_bits
    largest = values.amax(dim=2).reshape(groups, -1)
    keep = largest >= least
    q = (largest.clamp(0, 1 - 2.0**-VALUE_BITS) * 2**VALUE_BITS).to(torch.int64)
    place = (q >> shift) + bins * torch.arange(groups, device=q.device)[:, None]
    offset = q & (1 << shift) - 1
    place, offset = place[keep], offset[keep]
    if weights is None:
        sums = torch.zeros((groups * bins, 3), dtype=torch.int64, device=q.device)
        terms = torch.stack([torch.ones_like(offset), offset, offset * offset], dim=1)
        sums.index_add_(0, place, terms)  # whole numbers: the order does not matter
        return sums.reshape(groups, bins, 3).cpu().numpy().astype(np.float64), 0
    mass = weights.reshape(groups, -1)[keep].double()
    terms = torch.stack([mass, mass * offset, mass * offset * offset])  # [3, n]
    total = torch.zeros((3, groups * bins), dtype=torch.float64, device=q.device)
    ids = torch.arange(groups * bins, device=q.device)
    for at in range(0, place.shape[0], _CHUNK):
        chosen = (place[at : at + _CHUNK, None] == ids).double()
        total += terms[:, at : at + _CHUNK] @ chosen
    return np.ascontiguousarray(total.T.reshape(groups, bins, 3).cpu().numpy()), 0
