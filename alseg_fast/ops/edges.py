"""edge_map and edge_weighted: more weight for uncertain pixels where objects meet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_dtype, check_ndim, check_threads
from ..errors import DtypeError, RangeError, ShapeError
from ..kernels.edge_map import edge_map as _op
from .simd import apply_simd_level


def edge_map(
    image: NDArray[np.uint8] | None = None,
    *,
    labels: NDArray[Any] | None = None,
    threshold: float = 0.1,
    dilation: int = 1,
    num_threads: int | None = None,
) -> NDArray[np.bool_]:
    """Pixels on an edge of a picture, or of a label map.

    The paper that weights edges does not say which detector it uses: the Sobel gradient, its threshold and the
    widening are choices of this package, and parameters.

    Args:
        image: [H, W, 3] RGB or [H, W] grey, uint8. Edge: Sobel magnitude of the BT.601 luma, scaled so that the
            steepest possible one is 1, at least `threshold`; the border pixels are repeated.
        labels: [H, W] integers, instead of `image`. Edge: one of the four neighbours has another label.
        threshold: 0..1, for `image`.
        dilation: edges are widened by so many pixels in every direction.
        num_threads: None uses every CPU of the process; same bits for any number.
    Returns: [H, W] bool.
    Raises: ShapeError, DtypeError, RangeError: the message names the argument.
    """
    name = "edge_map"
    if (image is None) == (labels is None):
        raise ShapeError(f"{name}: either image or labels must be given; got {'neither' if image is None else 'both'}.")
    if not 0.0 <= threshold <= 1.0:
        raise RangeError(f"{name}: threshold must be in [0, 1]; got {threshold!r}. 0.1 is the default.")
    if isinstance(dilation, bool) or not isinstance(dilation, (int, np.integer)) or dilation < 0:
        raise RangeError(f"{name}: dilation must be an integer >= 0; got {dilation!r}. 0 keeps edges as they are.")
    picture = ids = None
    if image is not None:
        picture = np.ascontiguousarray(image)
        check_dtype(name, "image", picture.dtype, ("uint8",), "Decode to 8-bit RGB first.")
        check_ndim(name, "image", picture, (2, 3), "[H, W, 3] or [H, W]")
        if picture.ndim == 3 and picture.shape[2] != 3:
            raise ShapeError(f"{name}: image must have 3 channels; got {list(picture.shape)}. Convert it to RGB.")
    else:
        ids = np.asarray(labels)
        check_ndim(name, "labels", ids, (2,), "[H, W]")
        if ids.dtype.kind not in "iu":
            raise DtypeError(f"{name}: labels must be integers; got {ids.dtype}. Pass class or segment ids.")
        ids = np.ascontiguousarray(ids, np.int32)
    apply_simd_level()
    edges: NDArray[np.bool_] = _op(
        "cpu", picture, ids, float(threshold), int(dilation), check_threads(name, num_threads)
    )
    return edges


def edge_weighted(
    entropy: NDArray[np.float32], edges: NDArray[np.bool_], *, weight: float = 1.0, mode: str = "multiply"
) -> NDArray[np.float32]:
    """Entropy with more weight on edges, the ranking key of "Entropy + Edge".

    Kasarla et al. give edge pixels "higher weight"; whether that is a factor or a sum, and how large, they do not
    say.

    Args:
        entropy: [..., H, W] float32, nats.
        edges: bool of the same shape (:func:`edge_map`).
        weight: w >= 0.
        mode: "multiply": (1 + w edge) entropy, which never chooses an edge whose prediction is certain; "add":
            entropy + w edge, w in nats, which does.
    Returns: float32 of the same shape.
    Raises: ShapeError, RangeError.
    Source: Kasarla et al., Region-based active learning for efficient labeling in semantic segmentation, WACV 2019.
    """
    name = "edge_weighted"
    check_choice(name, "mode", mode, ("multiply", "add"))
    if not (math.isfinite(weight) and weight >= 0):
        raise RangeError(f"{name}: weight must be a number >= 0; got {weight!r}. 0 leaves the entropy as it is.")
    u, e = np.asarray(entropy), np.asarray(edges)
    if u.shape != e.shape:
        raise ShapeError(f"{name}: edges must have the shape of entropy {list(u.shape)}; got {list(e.shape)}.")
    w = np.float32(weight)
    weighted = u * (1 + w * e) if mode == "multiply" else u + w * e
    return np.asarray(weighted, np.float32)
