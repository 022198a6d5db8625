"""Runs an exported graph in ONNX Runtime and compares it with torch; a wrong export never reaches its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from ..errors import ModelError
from ..runtimes.onnx_session import first_line, runtime_errors
from .module_state import OutputKey
from .passes import one_pass
from .run_graph import run_graph

# Largest difference over the largest score. Sums of float32 products in another order differ by 1e-6 to 1e-5;
# a wrong mask changes scores by its gain, far more.
TOLERANCE = 2e-4
_IMAGES = 3  # neither one nor the batch that was traced, so that a batch baked into the graph shows


def compare_with_torch(
    path: Path,
    module: nn.Module,
    shape: tuple[int, int, int],
    *,
    mc_passes: int,
    flips: tuple[str, ...],
    seed: int,
    batch: int | None,
    output: OutputKey,
) -> float:
    """Largest difference, relative to the largest score, between graph and torch on noise of (channels, H, W).

    The first and last image of a batch, every view, and the first, middle and last pass are compared with full
    torch passes of the image alone.

    Raises:
        ModelError: the graph is not valid ONNX, does not run, or differs by more than `TOLERANCE`.
    """
    n = batch or _IMAGES
    # One stream for any torch; unit variance, as normalised images have.
    x = np.random.Generator(np.random.Philox(0)).standard_normal((n, *shape), np.float32)
    scores = _scores(path, x, n)
    scores = scores if scores.ndim == 5 else scores[:, None]
    passes = sorted({0, mc_passes // 2, mc_passes - 1})
    worst = 0.0
    for i in sorted({0, n - 1}):
        image = torch.from_numpy(x[i : i + 1])
        for f, flip in enumerate((None, *flips)):
            for t in passes:
                index = t if mc_passes > 1 else None
                expected = one_pass(module, image, seed=seed, index=index, flip=flip, output=output).numpy()
                worst = max(
                    worst,
                    _difference(scores[i, f * mc_passes + t], expected, f"image {i}, {flip or 'plain'} view, pass {t}"),
                )
    return worst


def _scores(path: Path, x: np.ndarray, n: int) -> np.ndarray:
    failures: tuple[type[Exception], ...] = (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        *runtime_errors(),
    )
    try:
        onnx.checker.check_model(str(path), full_check=True)
        return run_graph(path, {"image": x})[0]
    except failures as exc:
        raise ModelError(
            f"to_onnx: the exported graph must run on a batch of {n}; it fails: {first_line(exc)}. Nothing was "
            "written. If the module takes its batch size as a number, give it with batch=."
        ) from exc


def _difference(got: np.ndarray, expected: np.ndarray, where: str) -> float:
    largest = float(np.abs(expected).max())
    if not np.isfinite(largest):
        raise ModelError(
            f"to_onnx: scores must be finite; torch gives {largest} on noise ({where}). Train or correct the module."
        )
    difference = float(np.abs(got - expected).max()) / max(largest, 1e-6) if got.shape == expected.shape else np.inf
    if not difference <= TOLERANCE:
        raise ModelError(
            f"to_onnx: the exported graph must equal torch within {TOLERANCE:g} of the largest score; {where} "
            f"differs by {difference:.3g}. Nothing was written. Look for in-place dropout whose input is used again, "
            "other randomness, Python branches on values, or a batch size that is a number (give it with batch=)."
        )
    return difference
