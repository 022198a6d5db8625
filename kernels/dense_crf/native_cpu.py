"""The C++ implementation: permutohedral lattice for the bilateral term, spline grid for the Gaussian one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty
from .common import Lattice, Problem


def prepare(lattice: Lattice, num_threads: int = 0) -> None:
    """Builds the lattice. ValueError where the deviations are too small for its keys of 64 bits."""
    lattice.native = _native.CrfLattice(
        lattice.image, lattice.gaussian, lattice.bilateral, lattice.symmetric, num_threads
    )


def dense_crf(
    lattice: Lattice, problem: Problem, num_threads: int = 0, out: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], int]:
    """Same as ``reference.dense_crf``; all arrays must be C-contiguous. `out` may be the source itself."""
    if lattice.native is None:
        prepare(lattice, num_threads)
    if out is None:
        out = empty((problem.n_classes, *lattice.image.shape[:2]), np.float32)
    uniform = isinstance(problem.confidence, float)
    status = lattice.native.infer(
        source=problem.source,
        unary=problem.unary,
        confidence=None if uniform else problem.confidence,
        common_confidence=problem.confidence if uniform else 1.0,
        unsure=problem.unsure,
        clip=problem.clip,
        tolerance=problem.tolerance,
        clamp=problem.clamp,
        penalty=problem.penalty,
        n_iter=problem.n_iter,
        num_threads=num_threads,
        out=out,
    )
    return out, status


def filter_planes(
    lattice: Lattice, planes: NDArray[np.float32], transpose: bool, num_threads: int = 0
) -> NDArray[np.float32]:
    """Same as ``reference.filter_planes``, as far as the lattice approximates the kernel; `planes` is C-contiguous."""
    if lattice.native is None:
        prepare(lattice, num_threads)
    out = empty(planes.shape, np.float32)
    lattice.native.filter(planes=planes, transpose=transpose, num_threads=num_threads, out=out)
    return out
