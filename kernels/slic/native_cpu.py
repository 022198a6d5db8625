"""The C++ implementation: blocks of pixels against the centres near them, sums and components by runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty
from .common import Plan, lab_tables


def slic(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    plan: Plan,
    *,
    lab: bool,
    num_threads: int = 0,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Same as ``reference.slic``; image and mask must be C-contiguous."""
    labels = empty(image.shape[:2], np.int32) if out is None else out
    to_xyz, roots = lab_tables()
    _native.slic(
        image=image,
        mask=mask,
        to_xyz=to_xyz if lab else None,
        roots=roots,
        band_rows=plan.band_rows,
        band_clusters=plan.band_clusters,
        row_step=plan.row_step,
        color_shift=plan.color_shift,
        spatial_weight=plan.spatial_weight,
        adaptive=plan.adaptive,
        blur=plan.blur,
        n_iter=plan.n_iter,
        min_area=plan.min_area,
        most_segments=plan.most_segments,
        num_threads=num_threads,
        labels=labels,
    )
    return labels
