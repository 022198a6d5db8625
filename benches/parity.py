"""The gate before every clock: nothing is timed whose results are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg
from alseg_fast.dispatch import use_backend

ENTROPY_TOLERANCE = 2e-5  # nats; float32 formulas with C = 21 stay below 3e-6, cv2's fixed weights below 1e-5
GAP_TOLERANCE = 2e-5
CLEAR_GAP = 1e-4  # labels may differ only where p1 - p2 is below this
_BANDS = 8  # the float64 reference holds [C, H / bands, W] several times


@dataclass(frozen=True)
class Expected:
    """What must come out, by the float64 reference: [1, H, W] each; gap is p1 - p2."""

    entropy: NDArray[np.float32]
    gap: NDArray[np.float32]
    labels: NDArray[Any]


def reference_outputs(logits: NDArray[np.float32], size: tuple[int, int]) -> Expected:
    """The reference in bands of rows, which gives the same values in an eighth of the memory."""
    height, width = size
    h, w = logits.shape[2:]
    edges = np.linspace(0, height, min(_BANDS, height) + 1).round().astype(int)
    parts = []
    with use_backend("reference"):
        for y0, y1 in pairwise(edges):
            box = (y0 * h / height, 0.0, (y1 - y0) * h / height, float(w))
            rows = (int(y1 - y0), width)
            u = alseg.uncertainty(logits, rows, measures=("entropy", "margin"), reduce=(), box=box)
            parts.append((u.maps["entropy"], u.maps["margin"], u.labels))
    entropy, margin, labels = (np.concatenate(p, axis=1) for p in zip(*parts, strict=True))
    return Expected(entropy, 1 - margin, labels)


def check_outputs(entropy: Any, gap: Any, labels: Any, expected: Expected) -> str | None:
    """None if all three agree with the reference, else what differs and by how much."""
    for name, got, want, allowed in (
        ("entropy", entropy, expected.entropy, ENTROPY_TOLERANCE),
        ("p1 - p2", gap, expected.gap, GAP_TOLERANCE),
    ):
        values = np.asarray(got)
        if values.shape != want.shape:
            return f"{name} has shape {list(values.shape)}, not {list(want.shape)}"
        off = float(np.abs(values - want).max())
        if not off <= allowed:  # NaN is wrong too
            return f"{name} is off by {off:.2e} from the float64 reference, {allowed:g} allowed"
    flipped = (np.asarray(labels) != expected.labels) & (expected.gap > CLEAR_GAP)
    if flipped.any():
        return f"{int(flipped.sum())} labels differ from the float64 reference where p1 - p2 > {CLEAR_GAP:g}"
    return None
