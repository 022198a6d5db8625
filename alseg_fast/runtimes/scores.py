"""Which output of a graph holds the scores, how its axes lie, and whether they look activated already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .layout import output_layout, show_shape
from .options import Stated

SCORE_DTYPES = ("float32", "float16")
_OUTPUT_FORMS = "output must be (N, C, h, w), (N, h, w, C) or (N, T, C, h, w)"


def choose_output(path: str, outputs: Mapping[str, NDArray[Any]], name: str | None) -> tuple[str, tuple[str, ...]]:
    """Name of the score output among what one run gave, and a warning where there was a choice.

    Raises:
        ModelError: the named output does not exist or holds no scores, or no output does.
    """
    listed = "; ".join(f"{k!r} {v.dtype} {show_shape(v.shape)}" for k, v in outputs.items())
    if name is not None:
        if name not in outputs:
            raise ModelError(f"model {path} has no output {name!r}; it has {listed}")
        if not _holds_scores(outputs[name]):
            raise ModelError(_wrong_output(path, name, outputs[name], listed))
        return name, ()
    candidates = [key for key, array in outputs.items() if _holds_scores(array)]
    if not candidates:
        first = next(iter(outputs), None)
        if first is None:
            raise ModelError(f"model {path} has no tensor output; {_OUTPUT_FORMS}")
        raise ModelError(_wrong_output(path, first, outputs[first], listed))
    if len(candidates) == 1:
        return candidates[0], ()
    others = ", ".join(map(repr, candidates[1:]))
    return candidates[0], (f"output {candidates[0]!r} taken, the first of several; --output can name {others}",)


def score_axes(
    path: str, name: str, array: NDArray[Any], batch: int, size: tuple[int, int], stated: Stated
) -> tuple[NDArray[Any], str, str]:
    """The output as a (..., C, h, w) view, its layout and where that was stated."""
    said = stated.get("output_layout")
    if array.shape[0] != batch:
        raise ModelError(
            f"model {path}: output {name!r} has shape {show_shape(array.shape)} for {batch} image(s); "
            "its first axis must be the image"
        )
    if 0 in array.shape:
        raise ModelError(f"model {path}: output {name!r} is empty, shape {show_shape(array.shape)}; use --input-size")
    if array.ndim == 5:
        if said == "NHWC":
            raise ModelError(f"model {path}: output {name!r} has rank 5, which is always (N, T, C, h, w), not NHWC")
        return array, "NTCHW", "graph"
    classes = stated.get("classes")
    count = len(classes) if isinstance(classes, tuple) else classes
    layout = output_layout(name, array.shape, size, said, count)
    view = array if layout == "NCHW" else array.transpose(0, 3, 1, 2)
    return view, layout, stated.source("output_layout") if said else "graph"


def activation_doubt(scores: NDArray[Any], activation: str, assumed: bool) -> str | None:
    """A warning where an assumed activation meets outputs that look activated already; nothing is changed."""
    if not assumed or not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        return None
    if scores.shape[-3] > 1 and np.allclose(scores.sum(axis=-3, dtype=np.float64), 1, atol=5e-3):
        seen = "lie in [0, 1] and add up to 1 over the classes"
    elif scores.max() > 0:
        seen = "lie in [0, 1]"
    else:
        return None
    return (
        f"{activation} is assumed, but on a test image all outputs {seen}: "
        "they may be probabilities already; if so say --activation probabilities"
    )


def _holds_scores(array: NDArray[Any]) -> bool:
    return array.ndim in (4, 5) and str(array.dtype) in SCORE_DTYPES


def _wrong_output(path: str, name: str, array: NDArray[Any], listed: str) -> str:
    got = f"got {array.dtype} {show_shape(array.shape)} named {name!r}"
    if array.dtype.kind in "iu" and array.ndim in (3, 4):
        return (
            f"model {path}: {got}: the graph ends in ArgMax and gives labels; scores are needed, "
            "export the network without its last ArgMax"
        )
    if array.ndim in (4, 5):
        return f"model {path}: {got}; scores must be float32 or float16, export the network so"
    return f"model {path}: {_OUTPUT_FORMS}; {got}; choose another with --output (there are: {listed})"
