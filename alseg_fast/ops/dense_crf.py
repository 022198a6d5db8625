"""dense_crf and CrfLattice: mean field of a fully connected CRF over the pixels of one image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_dtype, check_threads
from ..errors import DataError, RangeError, ShapeError, UsageError
from ..kernels.dense_crf import dense_crf as _op
from ..kernels.dense_crf import filter_planes as _filter
from ..kernels.dense_crf import prepare as _prepare
from ..kernels.dense_crf.common import BAD_LABEL, NEGATIVE, NOT_FINITE, Lattice, Problem
from .dense_crf_inputs import (
    NORMALIZATIONS,
    UNARIES,
    cut,
    take_clamp,
    take_confidence,
    take_image,
    take_out,
    take_penalty,
    take_region,
    take_source,
    take_term,
)
from .simd import apply_simd_level

_NAME = "dense_crf"
GAUSSIAN = (3.0, 3.0)
BILATERAL = (80.0, 13.0, 10.0)
TOLERANCE = 1e-3
"""By which the probabilities of a pixel may miss a sum of 1."""


class CrfLattice:
    """The part of a dense CRF that depends on the image alone: built once, then read by any number of calls.

    Reading it from several threads at once is safe. It holds about 36 bytes a pixel (colour) and the image.

    Args: as :func:`dense_crf` has them. With `window` the lattice is of that region and its margin.
    Raises: ShapeError, DtypeError, RangeError; the message names the argument.
    """

    def __init__(
        self,
        image: NDArray[np.uint8],
        gaussian: tuple[float, float] | None = GAUSSIAN,
        bilateral: tuple[float, float, float] | None = BILATERAL,
        normalization: str = "symmetric",
        num_threads: int | None = None,
        *,
        window: tuple[int, int, int, int] | None = None,
        margin: int | None = None,
    ) -> None:
        name = "CrfLattice"
        pixels = take_image(name, image)
        self.gaussian = take_term(name, "gaussian", gaussian, ("sigma_xy", "weight"))
        self.bilateral = take_term(name, "bilateral", bilateral, ("sigma_xy", "sigma_rgb", "weight"))
        self.normalization = check_choice(name, "normalization", normalization, NORMALIZATIONS)
        self.size: tuple[int, int] = pixels.shape[:2]
        """(H, W) of the image."""
        self.region = take_region(name, window, margin, self.size, (self.gaussian, self.bilateral))
        """(x, y, w, h) of the pixels that are solved: the window and its margin, or the whole image."""
        threads = check_threads(name, num_threads)
        self._lattice = Lattice(
            cut(pixels, self.region, 0),
            None if self.gaussian is None or self.gaussian[1] == 0 else (self.gaussian[0], self.gaussian[1]),
            None
            if self.bilateral is None or self.bilateral[2] == 0
            else (self.bilateral[0], self.bilateral[1], self.bilateral[2]),
            normalization == "symmetric",
        )
        apply_simd_level()
        try:
            _prepare("cpu", self._lattice, threads)
        except ValueError as error:
            raise RangeError(
                f"{name}: bilateral must have deviations that a lattice of {self.region[3]}x{self.region[2]} pixels "
                f"can hold; got {bilateral!r} ({error}). Take larger ones: below 1 a grey level is a world of its own."
            ) from error

    def filter(
        self, planes: NDArray[Any], *, transpose: bool = False, num_threads: int | None = None
    ) -> NDArray[np.float32]:
        """The bilateral kernel applied to planes of pixels: out_c = K planes_c.

        K_ij = w exp(-|s_i - s_j|^2 / (2 sxy^2) - |I_i - I_j|^2 / (2 srgb^2)), divided by sqrt(d_i d_j) with d = K 1
        where `normalization` is "symmetric"; with it the sum of a row is about w. On the lattice K is not quite
        symmetric, since its directions do not quite commute at its border: `transpose` applies the exact transpose of
        what is applied without it, up to rounding, as gradients need it.

        Args:
            planes: [C, h, w] finite float16, float32 or float64, the size of the lattice's region.
            num_threads: None uses every CPU of the process; same bits for any number.
        Returns: [C, h, w] float32.
        Raises: UsageError: the lattice has a Gaussian term, or no bilateral one. ShapeError, DtypeError, DataError.
        Back ends: native (CPU), reference (the exact kernel).
        """
        name = "CrfLattice.filter"
        if self._lattice.gaussian is not None or self._lattice.bilateral is None:
            raise UsageError(
                f"{name}: the lattice must be made with gaussian=None and a bilateral term; got {self!r}. Make another."
            )
        source = np.asarray(planes)
        check_dtype(name, "planes", source.dtype, ("float16", "float32", "float64"), "Convert them to float32.")
        wanted = self.region[3], self.region[2]
        if source.ndim != 3 or not 1 <= source.shape[0] <= 65536 or source.shape[1:] != wanted:
            raise ShapeError(
                f"{name}: planes must be [C, h, w] with [h, w] = {list(wanted)}, that of the lattice; got "
                f"{list(source.shape)}. Resize them."
            )
        with np.errstate(over="ignore"):  # inf is refused
            source = np.ascontiguousarray(source, np.float32)
        if not np.isfinite(source).all():
            raise DataError(f"{name}: planes must be finite; they hold NaN or inf. Leave such images out.")
        apply_simd_level()
        return np.asarray(_filter("cpu", self._lattice, source, bool(transpose), check_threads(name, num_threads)))

    def __repr__(self) -> str:
        x, y, w, h = self.region
        return (
            f"CrfLattice({h}x{w} at ({x}, {y}), gaussian={self.gaussian}, bilateral={self.bilateral}, "
            f"normalization={self.normalization!r})"
        )


def dense_crf(
    image: NDArray[np.uint8] | None,
    probs: NDArray[Any],
    n_iter: int = 5,
    gaussian: tuple[float, float] | None = GAUSSIAN,
    bilateral: tuple[float, float, float] | None = BILATERAL,
    *,
    unary: str = "probs",
    n_classes: int | None = None,
    unsure: int | None = None,
    confidence: float | NDArray[Any] | None = None,
    clamp: NDArray[Any] | None = None,
    compatibility: str | NDArray[Any] = "potts",
    clip: float = 1e-5,
    normalization: str = "symmetric",
    lattice: CrfLattice | None = None,
    window: tuple[int, int, int, int] | None = None,
    margin: int | None = None,
    num_threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Marginals of a fully connected CRF with Gaussian edges, by mean field.

    E(x) = sum_i -ln p_i(x_i) + sum_{i<j} mu(x_i, x_j) (k1_ij + k2_ij), with s places in pixels and I colours 0..255:
    k1 = w1 exp(-|s_i - s_j|^2 / (2 sxy1^2)), k2 = w2 exp(-|s_i - s_j|^2 / (2 sxy2^2) - |I_i - I_j|^2 / (2 srgb^2)).
    Each iteration sets Q_i(l) to p_i(l) exp(-sum_m mu(l, m) sum_j k_ij Q_j(m)), normalised, for all pixels at once,
    from Q = p. As in the authors' program, sums over j include the pixel itself, and each kernel is normalised.

    The bilateral term is filtered on a permutohedral lattice, as there: a kernel of the right variance, some ten
    percent off in value. The lattice also holds the neighbours of the vertices that pixels touch, which the authors'
    does not and which halves the error of the marginals, unless there are more than 65536 + H W / 4 of them all. The
    Gaussian term is filtered on a spline grid, within 4 % of the kernel's peak.

    Args:
        image: [H, W, 3] RGB or [H, W] or [H, W, 1] grey, uint8. Not read (may be None) when `lattice` is given.
        probs: the unary term, float16, float32 or float64 [C, H, W]; with unary="labels" integers [H, W].
        n_iter: iterations, >= 0; 0 returns the unary as probabilities.
        gaussian: (sxy, w), or None for no such term. sxy > 0 in pixels, w >= 0.
        bilateral: (sxy, srgb, w), or None; srgb > 0 in grey levels.
        unary: what `probs` holds. "probs": probabilities, whose sum over classes must be 1 within 1e-3 (DataError
            else; a fraction that is missing is not spread silently). "logits": any finite numbers, softmax is taken.
            "labels": class ids.
        n_classes: C, needed for labels; otherwise None or the length of the first axis.
        unsure: label that says nothing about its pixel: its probabilities are 1 / C. None: there is none.
        confidence: c in [0, 1], one number or [H, W]. Probabilities p become c p + (1 - c) / C, default 1; a label
            has probability c, and the other classes share the rest, default 0.7.
        clamp: [H, W] integer ids of pixels that are known; -1 is free. A known pixel keeps its one-hot marginal and
            acts on the others through it.
        compatibility: "potts": mu(l, m) = 1 where l and m differ; or mu itself, [C, C], symmetric: the penalty for
            l beside m (larger is less likely; negative attracts), multiplied by w1 and w2. A constant added to it
            changes nothing.
        clip: least probability of the unary, in (0, 1): no class is impossible, ln p stays finite.
        normalization: "symmetric": k is D^-1/2 k D^-1/2 with D_i = sum_j k_ij, so that w counts in units of a pixel's
            whole neighbourhood; "none": k as above, whose sums grow with the size of an object.
        lattice: a :class:`CrfLattice` of this image. Its terms and normalization hold; others given here must agree.
        window: (x, y, w, h): only these pixels are wanted. The problem is solved for them and `margin` pixels around,
            as if there were nothing else. With a lattice: one made with the same window and margin.
        margin: None takes twice the larger sxy.
        num_threads: None uses every CPU of the process; same bits for any number.
        out: [C, H, W] (or [C, h, w] of the window) float32, C-contiguous, for the result. May be `probs` itself,
            without a window.
    Returns: [C, H, W] float32, summing to 1 over classes; with `window` [C, h, w].
    Raises: ShapeError, DtypeError, RangeError, DataError (NaN, negative or not normalised probabilities), UsageError
        (arguments that contradict each other); the message names the argument.
    Memory: about 150 bytes a pixel besides the result at 20 classes; kept by the process for the next call up
        to 384 MiB.
    Source: Krahenbuhl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS
        2011; lattice: Adams, Baek and Davis, Eurographics 2010. Back ends: native, reference.
    """
    check_choice(_NAME, "unary", unary, UNARIES)
    check_choice(_NAME, "normalization", normalization, NORMALIZATIONS)
    if isinstance(n_iter, bool) or not isinstance(n_iter, (int, np.integer)) or not 0 <= n_iter <= 10**6:
        raise RangeError(f"{_NAME}: n_iter must be an integer in 0..1000000; got {n_iter!r}. 5 to 10 are usual.")
    if not 0 < clip < 1:
        raise RangeError(f"{_NAME}: clip must lie in (0, 1); got {clip!r}. 1e-5 keeps every class possible.")
    threads = check_threads(_NAME, num_threads)
    if lattice is None:
        if image is None:
            raise UsageError(f"{_NAME}: image must be given where lattice is not; got None.")
        lattice = CrfLattice(
            image, gaussian, bilateral, normalization, num_threads=num_threads, window=window, margin=margin
        )
    else:
        _check_agreement(lattice, image, gaussian, bilateral, normalization, window, margin)
    size, region = lattice.size, lattice.region
    source, classes = take_source(_NAME, probs, unary, n_classes, size)
    problem = Problem(
        source=cut(source, region, source.ndim - 2),
        unary=unary,
        n_classes=classes,
        confidence=take_confidence(_NAME, confidence, 0.7 if unary == "labels" else 1.0, size, region),
        unsure=-1 if unsure is None else int(unsure),
        clip=float(clip),
        tolerance=TOLERANCE,
        clamp=take_clamp(_NAME, clamp, classes, size, region),
        penalty=take_penalty(_NAME, compatibility, classes),
        n_iter=int(n_iter),
    )
    wanted = size if window is None else (window[3], window[2])
    result = take_out(_NAME, out, (classes, *wanted))
    whole = region[2:] == wanted[::-1]
    if result is not None and np.may_share_memory(result, problem.source) and result is not probs:
        problem = replace(problem, source=problem.source.copy())
    apply_simd_level()
    marginals, status = _op("cpu", lattice._lattice, problem, threads, result if whole else None)
    _check_status(status, unary, classes)
    if whole:
        return np.asarray(marginals, np.float32)
    x, y = window[0] - region[0], window[1] - region[1]  # type: ignore[index]  # not whole: there is a window
    inside = marginals[:, y : y + wanted[0], x : x + wanted[1]]
    if result is None:
        return np.ascontiguousarray(inside)
    result[...] = inside
    return result


def _check_agreement(
    lattice: CrfLattice, image: Any, gaussian: Any, bilateral: Any, normalization: str, window: Any, margin: Any
) -> None:
    """What is given beside a lattice must be what it was made with, or the default."""
    given = {"gaussian": gaussian, "bilateral": bilateral, "normalization": normalization}
    defaults = {"gaussian": GAUSSIAN, "bilateral": BILATERAL, "normalization": "symmetric"}
    for key, value in given.items():
        made = getattr(lattice, key)
        if value not in (defaults[key], made):
            raise UsageError(
                f"{_NAME}: {key} must be that of the lattice, {made!r}; got {value!r}. Make a lattice for each setting."
            )
    if image is not None and np.shape(image)[:2] != lattice.size:
        raise UsageError(
            f"{_NAME}: image must have the size of the lattice, {list(lattice.size)}; got {list(np.shape(image)[:2])}. "
            "A lattice belongs to one image."
        )
    region = take_region(_NAME, window, margin, lattice.size, (lattice.gaussian, lattice.bilateral))
    if region != lattice.region:
        raise UsageError(
            f"{_NAME}: lattice must be made with the same window and margin; got one of the region {lattice.region} "
            f"(x, y, w, h) for {region}."
        )


def _check_status(status: int, unary: str, classes: int) -> None:
    if status & NOT_FINITE:
        raise DataError(f"{_NAME}: probs must be finite; it holds NaN or inf. Leave such images out.")
    if status & NEGATIVE:
        raise DataError(f"{_NAME}: probs must be >= 0; got negative values. Say unary='logits' for scores.")
    if status & BAD_LABEL:
        raise RangeError(
            f"{_NAME}: probs must hold labels in 0..n_classes - 1 = {classes - 1}, or unsure; got others. Name the "
            "label of ignored pixels with unsure=."
        )
    if status:
        raise DataError(
            f"{_NAME}: probs must sum to 1 over classes within {TOLERANCE:g}; got other sums. Normalise them, or say "
            "unary='logits' for scores."
        )
