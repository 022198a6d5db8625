"""The gate before every clock: nothing is timed whose results are wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg
from alseg_fast.dispatch import use_backend

GAP, LABELS = "p1 - p2", "labels"
SINGLE_OUTPUTS = ("entropy", GAP, LABELS)  # what a baseline of the single form gives, in this order
MC_OUTPUTS = ("entropy", "expected_entropy", "mutual_information", "variance")

# Absolute; float32 formulas with C = 21 stay below 3e-6 nats (cv2's fixed weights below 1e-5) and, in the variance,
# below 4e-7.
TOLERANCES = {
    "entropy": 2e-5,
    GAP: 2e-5,
    "expected_entropy": 2e-5,
    "mutual_information": 2e-5,
    "variance": 2e-6,
}
CLEAR_GAP = 1e-4  # labels may differ only where p1 - p2 is below this
_BAND_VALUES = 2**23  # upsampled values of one band: the float64 reference holds them several times
_MOST_WORKERS = 8

Expected = Mapping[str, NDArray[Any]]


def reference_outputs(logits: NDArray[np.float32], size: tuple[int, int]) -> Expected:
    """What must come out, by the float64 reference: name -> [N, H, W].

    SINGLE_OUTPUTS of logits [N, C, h, w], MC_OUTPUTS of [N, T, C, h, w]. Computed in bands of rows, which gives the
    same values in a part of the memory, image by image and in several threads.
    """
    single = logits.ndim == 4
    measures = ("entropy", "margin") if single else MC_OUTPUTS
    height, width = size
    h, w = logits.shape[-2:]
    bands = min(height, -(-int(np.prod(logits.shape[1:-2])) * height * width // _BAND_VALUES))
    edges = np.linspace(0, height, bands + 1).round().astype(int)

    def band(part: tuple[int, int, int]) -> list[NDArray[Any]]:
        image, y0, y1 = part
        box = (y0 * h / height, 0.0, (y1 - y0) * h / height, float(w))
        with use_backend("reference"):
            u = alseg.uncertainty(
                logits[image : image + 1], (y1 - y0, width), measures=measures, labels=single, reduce=(), box=box
            )
        return [u.maps[m] for m in measures] + ([u.labels] if single else [])

    parts = [(i, int(y0), int(y1)) for i in range(logits.shape[0]) for y0, y1 in pairwise(edges)]
    with ThreadPoolExecutor(min(_MOST_WORKERS, os.cpu_count() or 1)) as pool:
        found = list(pool.map(band, parts))
    names = SINGLE_OUTPUTS if single else MC_OUTPUTS
    outputs = {name: _join([values[k] for values in found], bands) for k, name in enumerate(names)}
    if single:
        outputs[GAP] = 1 - outputs[GAP]
    return outputs


def _join(parts: Sequence[NDArray[Any]], bands: int) -> NDArray[Any]:
    """Bands [1, rows, W] of every image -> [N, H, W]."""
    return np.concatenate([np.concatenate(parts[i : i + bands], axis=1) for i in range(0, len(parts), bands)])


def check_outputs(outputs: Any, expected: Expected, gives: Sequence[str] | None = None) -> str | None:
    """None if every output agrees with the reference, else what differs and by how much.

    Args:
        outputs: name -> map, or a tuple in the order of `expected`.
        gives: the outputs that must be there; None is all.
    """
    named = outputs if isinstance(outputs, Mapping) else dict(zip(expected, outputs, strict=True))
    if set(named) != set(gives or expected):
        return f"gives {', '.join(sorted(named))}, not {', '.join(sorted(gives or expected))}"
    for name, got in named.items():
        values, want = _on_host(got), expected[name]
        if values.shape != want.shape:
            return f"{name} has shape {list(values.shape)}, not {list(want.shape)}"
        if name == LABELS:
            flipped = (values != want) & (expected[GAP] > CLEAR_GAP)
            if flipped.any():
                return f"{int(flipped.sum())} labels differ from the float64 reference where p1 - p2 > {CLEAR_GAP:g}"
            continue
        off = float(np.abs(values - want).max())
        if not off <= TOLERANCES[name]:  # NaN is wrong too
            return f"{name} is off by {off:.2e} from the float64 reference, {TOLERANCES[name]:g} allowed"
    return None


def check_means(scores: Mapping[str, Any], expected: Expected) -> str | None:
    """The same for "<measure>_mean" [N], where no maps were asked for."""
    for name, maps in expected.items():
        if name == LABELS:
            continue
        measure, want = ("margin", 1 - maps) if name == GAP else (name, maps)
        got = _on_host(scores[f"{measure}_mean"])
        off = float(np.abs(got - want.mean(axis=(1, 2), dtype=np.float64)).max())
        allowed = TOLERANCES[name] / 2
        if not off <= allowed:
            return f"{measure}_mean is off by {off:.2e} from the float64 reference, {allowed:g} allowed"
    return None


def _on_host(values: Any) -> NDArray[Any]:
    """An array, or a torch tensor of any device, as an array."""
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)
