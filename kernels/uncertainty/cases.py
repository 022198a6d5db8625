"""Inputs on which every implementation must agree with the reference: plain data, and one function that makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .common import MEASURES, Request


@dataclass(frozen=True)
class Case:
    """One call; small enough for an interpreter."""

    name: str
    shape: tuple[int, int, int, int, int]  # N, T, C, h, w
    size: tuple[int, int]
    activation: str = "softmax"
    dtype: str = "float32"  # "float16", or "bfloat16" as its bits in uint16
    fill: str = "normal"  # see `scores`
    layout: str = "contiguous"  # "channels_last"; "sliced": every other row and column of a larger array; "flipped"
    align_corners: bool = False
    box: tuple[float, float, float, float] | None = None
    temperature: float = 1.0
    valid: str = "all"  # "some"; "none": the first image has no valid pixel
    segments: int = 0
    ids: str = "blocks"  # "noise": any id anywhere; "even": only even ids appear
    top_fraction: float = 0.05


CASES = (
    Case("one pixel", (1, 1, 2, 1, 1), (1, 1)),
    Case("one pixel of many", (1, 3, 4, 5, 6), (1, 1)),
    Case("prime sizes", (2, 1, 5, 3, 7), (13, 37)),
    Case("one column, one row", (1, 1, 3, 5, 1), (1, 65)),
    Case("sixteen times", (1, 1, 19, 2, 3), (32, 48), top_fraction=0.5),
    Case("300 classes", (1, 1, 300, 2, 3), (3, 9)),
    Case("downsampling", (1, 1, 4, 12, 14), (5, 6)),
    Case("same size", (2, 1, 3, 3, 7), (3, 7)),
    Case("aligned corners", (1, 1, 4, 4, 5), (9, 11), align_corners=True),
    Case("aligned corners, one output", (1, 2, 3, 4, 5), (1, 11), align_corners=True),
    Case("box", (1, 1, 3, 8, 10), (7, 12), box=(1.5, 2.0, 5.0, 6.5)),
    Case("valid and segments", (2, 1, 4, 3, 4), (7, 19), valid="some", segments=5),
    Case("no valid pixel in an image", (2, 1, 3, 2, 2), (5, 6), valid="none", segments=3),
    Case("more segments than pixels", (1, 1, 3, 2, 2), (3, 4), segments=40, ids="noise"),
    Case("empty segments", (1, 1, 3, 2, 3), (6, 9), segments=8, ids="even"),
    Case("segments like noise", (1, 1, 3, 2, 3), (9, 17), segments=30, ids="noise"),
    Case("half precision", (1, 1, 6, 3, 4), (11, 13), dtype="float16"),
    Case("bfloat16", (1, 1, 6, 3, 4), (11, 13), dtype="bfloat16"),
    Case("subnormal half precision", (1, 1, 3, 3, 4), (5, 7), dtype="float16", fill="tiny"),
    Case("constant", (1, 1, 5, 2, 3), (6, 7), fill="constant"),
    Case("logits of 1e4", (1, 1, 4, 3, 4), (11, 15), fill="huge"),
    Case("logits of 1e30", (1, 1, 4, 3, 4), (11, 15), fill="absurd"),
    Case("opposite neighbours", (1, 1, 3, 2, 4), (9, 33), fill="opposite"),
    Case("temperature", (1, 1, 4, 3, 3), (8, 9), temperature=2.5),
    Case("channels last", (1, 2, 5, 3, 4), (8, 9), layout="channels_last"),
    Case("sliced", (2, 1, 3, 3, 4), (8, 9), layout="sliced"),
    Case("flipped", (1, 2, 3, 3, 4), (3, 4), layout="flipped", dtype="float16"),
    Case("two passes", (2, 2, 4, 3, 4), (7, 17), valid="some", segments=4),
    Case("eight passes", (1, 8, 19, 1, 2), (5, 18)),
    Case("eight passes, bfloat16", (1, 8, 5, 3, 3), (7, 8), dtype="bfloat16", temperature=0.7),
    Case("three passes, 40 classes", (1, 3, 40, 2, 2), (6, 7), segments=3),
    Case("two passes, 300 classes", (1, 2, 300, 1, 2), (2, 5)),
    Case("twenty passes", (1, 20, 3, 2, 3), (5, 6)),
    Case("255 passes, all of one mind", (1, 255, 2, 1, 1), (1, 2), fill="equal passes"),
    Case("equal passes", (1, 4, 4, 3, 3), (7, 8), fill="equal passes"),
    Case("eight passes of 1e4", (1, 8, 4, 3, 3), (7, 8), fill="huge"),
    Case("eight passes, downsampling", (1, 8, 3, 9, 9), (4, 5)),
    Case("three passes, opposite neighbours, 40 classes", (1, 3, 40, 2, 2), (5, 9), fill="opposite"),
    Case("sigmoid", (1, 1, 4, 3, 4), (9, 11), "sigmoid", valid="some", segments=3),
    Case("sigmoid, one channel", (2, 1, 1, 3, 4), (9, 11), "sigmoid", "float16"),
    Case("sigmoid, temperature", (1, 2, 3, 3, 4), (6, 6), "sigmoid", temperature=3.0),
    Case("sigmoid, 1e4", (1, 1, 3, 3, 4), (9, 11), "sigmoid", fill="huge"),
    Case("sigmoid, constant", (1, 2, 3, 2, 2), (5, 5), "sigmoid", fill="constant"),
    Case("sigmoid, eight passes", (1, 8, 4, 3, 4), (7, 9), "sigmoid", "bfloat16"),
    Case("sigmoid, eight passes of one channel", (1, 8, 1, 3, 4), (7, 9), "sigmoid"),
    Case("sigmoid, same size", (1, 2, 3, 4, 5), (4, 5), "sigmoid"),
    Case("probabilities", (2, 1, 5, 3, 4), (9, 11), "probabilities", valid="some", segments=3),
    Case("probabilities, one channel", (1, 1, 1, 3, 4), (9, 11), "probabilities"),
    Case("probabilities, one-hot", (1, 1, 4, 3, 4), (9, 11), "probabilities", fill="one-hot"),
    Case("probabilities, all zero", (1, 1, 4, 2, 2), (5, 6), "probabilities", fill="zero"),
    Case("probabilities, half precision", (1, 2, 4, 3, 4), (9, 11), "probabilities", "float16"),
    Case("probabilities, eight passes", (1, 8, 3, 3, 4), (7, 9), "probabilities"),
    Case("probabilities, passes of one channel", (1, 4, 1, 3, 4), (7, 9), "probabilities"),
    Case("probabilities, 40 classes, a zero pass", (1, 3, 40, 2, 2), (5, 6), "probabilities", fill="zero pass"),
    Case("probabilities, a zero pass", (1, 3, 4, 2, 2), (5, 6), "probabilities", fill="zero pass"),
)


@dataclass(frozen=True)
class Inputs:
    """The arguments of one call, and the scores as float64 for whoever computes them otherwise."""

    logits: NDArray[Any]  # [N, T, C, h, w] float32, float16, or bits of bfloat16 in uint16
    request: Request
    valid: NDArray[np.bool_] | None  # [N, H, W]
    segments: NDArray[np.int32] | None  # [N, H, W]
    exact: NDArray[np.float64]  # the values of logits


def to_bfloat16_bits(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounds to the nearest bfloat16, ties to even; no NaN."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def scores(case: Case, rng: np.random.Generator) -> NDArray[np.float32]:
    """[N, T, C, h, w] of a case's kind.

    normal: standard deviation 4, passes differ by a third of it. tiny: times 1e-6. constant: 3.25. huge: 1e4 or -1e4,
    plus normal. absurd: 1e30, -1e30 or 0. opposite: a winner by 200 that changes from pixel to pixel. one-hot, zero,
    equal passes, zero pass (the last): as they say. Probabilities are the softmax (sigmoid of one channel) of normal.
    """
    n, passes, classes, h, w = case.shape
    z = rng.normal(size=(n, 1, classes, h, w)) * 4
    if case.fill != "equal passes":
        z = z + rng.normal(size=case.shape) * (4 / 3)
    z = np.broadcast_to(z, case.shape)
    if case.activation == "probabilities":
        e = np.exp(z - z.max(axis=2, keepdims=True))
        z = e / e.sum(axis=2, keepdims=True) if classes > 1 else 1 / (1 + np.exp(-z))
    winner = np.arange(classes)[:, None, None] == rng.integers(0, classes, (n, passes, 1, h, w))
    match case.fill:
        case "tiny":
            z = z * 1e-6
        case "constant":
            z = np.full(case.shape, 3.25)
        case "huge":
            z = z + rng.choice([-1e4, 1e4], size=(n, 1, classes, h, w))
        case "absurd":
            z = rng.choice([-1e30, 0.0, 1e30], size=case.shape)
        case "opposite":
            z = z + 200.0 * winner
        case "one-hot":
            z = winner.astype(float)
        case "zero":
            z = np.zeros(case.shape)
        case "zero pass":
            z = np.where(np.arange(passes)[:, None, None, None] == passes - 1, 0.0, z)
    return np.ascontiguousarray(z, np.float32)


def _laid_out(x: NDArray[Any], layout: str) -> NDArray[Any]:
    """The same values with other strides."""
    if layout == "channels_last":
        return np.ascontiguousarray(x.transpose(0, 1, 3, 4, 2)).transpose(0, 1, 4, 2, 3)
    if layout == "sliced":
        wide = np.zeros((*x.shape[:3], 2 * x.shape[3], 2 * x.shape[4]), x.dtype)
        wide[..., ::2, ::2] = x
        return wide[..., ::2, ::2]
    if layout == "flipped":  # axes of passes and classes changed over
        return np.ascontiguousarray(x.transpose(0, 2, 1, 4, 3)).transpose(0, 2, 1, 4, 3)
    return x


def _segments(case: Case, rng: np.random.Generator) -> NDArray[np.int32] | None:
    if not case.segments:
        return None
    height, width = case.size
    shape = (case.shape[0], height, width)
    if case.ids == "noise":
        ids = rng.integers(0, case.segments, shape)
    else:
        blocks = rng.integers(0, case.segments, (case.shape[0], -(-height // 4), -(-width // 4)))
        ids = blocks.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    if case.ids == "even":
        ids = ids // 2 * 2
    return np.ascontiguousarray(ids, np.int32)


def make_inputs(case: Case) -> Inputs:
    """The same arrays on every call."""
    rng = np.random.default_rng(sum(case.name.encode()))
    z = scores(case, rng)
    logits: NDArray[Any] = z
    exact = z.astype(np.float64)
    if case.dtype == "bfloat16":
        logits = to_bfloat16_bits(z)
        exact = from_bfloat16_bits(logits).astype(np.float64)
    elif case.dtype == "float16":
        logits = z.astype(np.float16)
        exact = logits.astype(np.float64)
    n, _, _, h, w = case.shape
    valid = None if case.valid == "all" else rng.random((n, *case.size)) < 0.6
    if valid is not None and case.valid == "none":
        valid[0] = False
    request = Request(
        size=case.size,
        measures=MEASURES,
        activation=case.activation,
        align_corners=case.align_corners,
        box=case.box or (0.0, 0.0, float(h), float(w)),
        maps=True,
        labels=True,
        class_stats=True,
        top_fraction=case.top_fraction,
        sums=True,
        num_threads=1,
        bfloat16=case.dtype == "bfloat16",
        temperature=case.temperature,
        n_segments=case.segments,
    )
    return Inputs(_laid_out(logits, case.layout), request, valid, _segments(case, rng), exact)
