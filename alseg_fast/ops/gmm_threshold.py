"""gmm_threshold: where activation maps stop being background, from a mixture of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_threads
from ..errors import RangeError
from ..kernels.gaussian_mixture import gaussian_mixture as _op
from ..kernels.gaussian_mixture.common import crossing, points_of, spread_start, starts_of
from .map_inputs import NUMBERS
from .reliability import take_bounds
from .simd import apply_simd_level
from .value_moments import BINS, check_bins, check_drop, image_moments

F64 = NDArray[np.float64]

_NAME = "gmm_threshold"
FORMS = ("crossing", "released")
MOST_COMPONENTS = 8
FALLBACK = {2: (0.45, 0.45), 3: (0.25, 0.7)}  # without a fit: this package's background score; CoSA's released band
DROP_BELOW, BOUNDS, TOLERANCE, MAX_ITER, VARIANCE_FLOOR = 0.05, (0.05, 0.95), 1e-6, 1000, 1e-6
LEAST_SHARE = 1e-6  # of a component of weighted values that is not empty; of counted ones it is one value


@dataclass(frozen=True)
class GmmThreshold:
    """A threshold and the mixture it comes from.

    Attributes:
        threshold: between background and object; with three components the middle of `low` and `high`.
        low, high: the band between background and object; both are `threshold` with two components.
        means, variances, shares: of the components, by ascending mean; empty where nothing was fitted.
        n_values: values that took part: their number, or the sum of their weights.
        n_iter: iterations of the start that won; 0 where nothing was fitted.
        status: "fitted", or "kept": the threshold is the previous one.
        reason: why it was kept; None where it was fitted.
    """

    threshold: float
    low: float
    high: float
    means: tuple[float, ...] = ()
    variances: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    n_values: float = 0.0
    n_iter: int = 0
    status: str = "kept"
    reason: str | None = None


@dataclass(frozen=True)
class MixtureSettings:
    """How a mixture is fitted and turned into a threshold; see `gmm_threshold`."""

    components: int
    tolerance: float
    max_iter: int
    variance_floor: float
    bounds: tuple[float, float]
    form: str

    @classmethod
    def checked(
        cls,
        name: str,
        components: Any,
        tolerance: Any,
        max_iter: Any,
        variance_floor: Any,
        bounds: Any,
        form: Any,
    ) -> MixtureSettings:
        if isinstance(components, bool) or components not in FALLBACK:
            raise RangeError(f"{name}: components must be 2 or 3; got {components!r}. 2 gives one threshold.")
        for argument, value, low, high in (
            ("tolerance", tolerance, 0.0, 1.0),
            ("variance_floor", variance_floor, 1e-12, 1.0),
        ):
            if isinstance(value, bool) or not isinstance(value, NUMBERS) or not low <= value <= high:
                raise RangeError(f"{name}: {argument} must be in [{low:g}, {high:g}]; got {value!r}. 1e-6 is usual.")
        if isinstance(max_iter, bool) or not isinstance(max_iter, (int, np.integer)) or not 1 <= max_iter <= 10**9:
            raise RangeError(f"{name}: max_iter must be an integer in 1..10^9; got {max_iter!r}. 1000 is the default.")
        check_choice(name, "form", form, FORMS)
        return cls(
            int(components),
            float(tolerance),
            int(max_iter),
            float(variance_floor),
            take_bounds(name, "bounds", bounds),
            form,
        )


def gmm_threshold(
    cams: Any,
    *,
    weights: Any = None,
    components: int = 2,
    bins: int = BINS,
    drop_below: float | None = DROP_BELOW,
    previous: Any = None,
    bounds: tuple[float, float] = BOUNDS,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
    variance_floor: float = VARIANCE_FLOOR,
    form: str = "crossing",
    num_threads: int | None = None,
) -> GmmThreshold:
    """The threshold between background and object that the distribution of the activations suggests.

    A mixture of Gaussians is fitted to the values above `drop_below`. The threshold is the point between two means
    where the weighted densities cross: it maximises the sum of ln(share N) of the upper component over the values
    above it and of the lower component over those below. (The product of densities that the talk prints underflows.)

    The fit sees bins, not values. Of each bin it knows the weight, the mean and the variance, exactly, and takes it as
    two points, one standard deviation from the mean to either side; what is lost is of the third order of the
    bin's width. Iterations of expectation maximisation (accelerated by SQUAREM) begin from four starts, see
    `kernels.gaussian_mixture.common.starts_of`, and the result of the highest likelihood wins; components are sorted by
    their means. Nothing is random. A start with the variance 1 on data in 0..1, as released, with a loose tolerance,
    stops where it began, at a wrong threshold.

    The previous threshold is kept, with a reason, where: no value is left (an all-zero map), or fewer than components;
    all values are equal; a component has lost its values; or the densities do not cross between the means.

    Three components give a band: `low` and `high` are the crossings of the lower and of the upper two. With
    form="released", as in CoSA's released code, `low` is the largest value that belongs to component 0 and `high` the
    smallest that belongs to component 2 (known to a bin: 1 / bins); the only start is the released one, variances of 1
    and means at least, median and largest value; and `tolerance` is that of the mean log-likelihood, as scikit-learn's
    (released: 1e-3, with max_iter=100). For comparison: it meets the trap above, and a wide component may own values
    on both sides.

    Args:
        cams: normalised activations in 0..1, absent tags being 0: [N, K, h, w] (the largest of the K maps counts at
            each pixel), [N, h, w], [h, w] or [n]. NumPy or torch (CPU, CUDA), any float dtype.
        weights: of the pixels, >= 0: [N, h, w] for [N, K, h, w], else the shape of `cams`; None: all weigh 1.
        components: 2 or 3.
        bins: a power of 2 in 32..4096.
        drop_below: values up to this one are left out; None: none are.
        previous: what is kept: a threshold, (low, high), or a GmmThreshold. None: 0.45, or (0.25, 0.7) for three
            components. 0.45 is this package's background score, the pair that of CoSA's released code.
        bounds: thresholds are cut to these.
        tolerance: the iterations stop when no share, mean or standard deviation changes by more.
        max_iter: at most so many iterations of a start.
        variance_floor: added to every variance, as scikit-learn's reg_covar, so that no component is infinitely narrow.
        form: "crossing" or "released".
        num_threads: None uses every CPU of the process; same bits for any number.
    Returns: GmmThreshold.
    Raises: ShapeError, DtypeError, DeviceError, RangeError (also of values that are not in 0..1), DataError (NaN, inf).
    Sources: Yang et al., CoSA, ECCV 2024, as given in the authors' talk, and its released code; SQUAREM: Varadhan &
    Roland, Scandinavian Journal of Statistics 35 (2008), scheme S3. The number of values, bounds and fitting period of
    the paper are not known; those here are choices.
    Back ends: native (CPU), reference; on CUDA the bins are counted there by torch, and the mixture fitted on the CPU.
    """
    settings = MixtureSettings.checked(_NAME, components, tolerance, max_iter, variance_floor, bounds, form)
    band = take_previous(_NAME, previous, settings.components)
    sums = image_moments(
        _NAME,
        cams,
        weights,
        check_bins(_NAME, bins),
        check_drop(_NAME, drop_below),
        per_image=False,
        num_threads=num_threads,
    )
    return fit_threshold(sums, settings, band, weights is None, check_threads(_NAME, num_threads))


def take_previous(name: str, previous: Any, components: int, argument: str = "previous") -> tuple[float, float]:
    """(low, high) of a number, a pair, a GmmThreshold or None."""
    if previous is None:
        return FALLBACK[components]
    if isinstance(previous, GmmThreshold):
        return previous.low, previous.high
    return take_bounds(name, argument, (previous, previous) if isinstance(previous, NUMBERS) else previous)


def fit_threshold(
    sums: F64, settings: MixtureSettings, previous: tuple[float, float], counted: bool = True, num_threads: int = 0
) -> GmmThreshold:
    """The threshold from sums [bins, 3] of `image_moments`; counted: all values weigh 1."""
    total = float(sums[:, 0].sum())

    def made(low: float, high: float, **facts: Any) -> GmmThreshold:
        least, most = settings.bounds
        low, high = min(max(low, least), most), min(max(high, least), most)
        return GmmThreshold((low + high) / 2, low, high, n_values=total, **facts)

    if total <= 0:
        return made(*previous, reason="no value is above drop_below")
    x, weight = points_of(sums)
    order = np.argsort(x, kind="stable")
    x, weight = x[order], weight[order] / total
    if counted and total < settings.components:
        return made(*previous, reason=f"{total:g} values are fewer than {settings.components} components")
    if x[-1] - x[0] < 1e-6:
        return made(*previous, reason=f"all values are equal to {x[0]:.6g}")
    released = settings.form == "released"
    k, floor = settings.components, settings.variance_floor
    starts = spread_start(x, weight, k, 1.0)[None] if released else starts_of(x, weight, k, floor)
    apply_simd_level()
    found, facts = _op("cpu", x, weight, starts, settings.tolerance, settings.max_iter, floor, released, num_threads)
    best = int(np.argmax(facts[:, 0] >= facts[:, 0].max() - 1e-9))  # the first of equals
    parts = found[best][np.argsort(found[best][:, 1], kind="stable")]
    mixture: dict[str, Any] = {
        "means": tuple(parts[:, 1].tolist()),
        "variances": tuple(parts[:, 2].tolist()),
        "shares": tuple(parts[:, 0].tolist()),
        "n_iter": int(facts[best, 1]),
    }
    empty = np.flatnonzero(parts[:, 0] < (1 / total if counted else LEAST_SHARE))
    if empty.size:
        reason = f"component {empty[0]} holds no value (its share is {parts[empty[0], 0]:.3g})"
        return made(*previous, reason=reason, **mixture)
    band = _assigned(x, parts) if released and k == 3 else _crossings(parts)
    if isinstance(band, str):
        return made(*previous, reason=band, **mixture)
    return made(*band, status="fitted", **mixture)


def _crossings(parts: F64) -> tuple[float, float] | str:
    """Between the lower and between the upper two components, or why there is none."""
    rows = parts.tolist()
    found = [crossing(lower, upper) for lower, upper in pairwise(rows)]
    for k, point in enumerate(found):
        if point is None:
            means = f"{rows[k][1]:.4g} and {rows[k + 1][1]:.4g}"
            return f"the densities of components {k} and {k + 1} do not cross between their means, {means}"
    return found[0], found[-1]  # type: ignore[return-value]  # none is None


def _assigned(x: F64, parts: F64) -> tuple[float, float] | str:
    """The largest value of the first component and the smallest of the last one, where each value belongs to the
    component that is most likely for it."""
    share, mean, variance = parts.T
    log = np.log(share) - np.log(variance) / 2 - (x[:, None] - mean) ** 2 / (2 * variance)
    owner = log.argmax(axis=1)
    for k in (0, len(parts) - 1):
        if not (owner == k).any():
            return f"no value belongs to component {k}"
    low, high = float(x[owner == 0].max()), float(x[owner == len(parts) - 1].min())
    return (low, high) if low <= high else f"component 0 reaches {low:.4g}, beyond component 2 from {high:.4g} on"
