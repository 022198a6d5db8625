"""What `bench gmm` measures: distributions of activations, ways to find their threshold, and the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg
from alseg_fast.kernels.gaussian_mixture.common import crossing

Values = NDArray[np.float32]
Band = tuple[float, float]
Call = Callable[[], Band]

OURS = "alseg"
SKLEARN = "scikit-learn, converged"
BINNED = "NumPy, 256 bins"
WHOLE = "NumPy, all values"
READ = "reading the values (NumPy max)"
N_VALUES, QUICK_VALUES = 141_000, 20_000  # 180 maps of 28 x 28, and what a quick run takes
LEAST = 0.05  # smaller values are background in CoSA's released code
TOLERANCES = (1e-6, 1e-7, 1e-8, 1e-9, 1e-10)  # of scikit-learn: the first that is right is timed
CONVERGED = 1e-12
GATE = 1e-3
RELEASED = {"form": "released", "tolerance": 1e-3, "max_iter": 100}
BIN = 1 / 256


@dataclass(frozen=True)
class Kind:
    """One distribution: values above LEAST, by a function of the generator and their number."""

    name: str
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]]

    def make(self, n: int, seed: int = 0) -> Values:
        rng = np.random.default_rng(seed)
        parts: list[Values] = []
        while sum(len(p) for p in parts) < n:
            values = np.minimum(self.draw(rng, n), 1).astype(np.float32)
            parts.append(values[values > np.float32(LEAST)])
        return np.concatenate(parts)[:n]


def _normals(*parts: tuple[float, float, float]) -> Callable[[np.random.Generator, int], NDArray[np.float64]]:
    """Shares, means and deviations."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        shares, means, deviations = np.array(parts).T
        which = rng.choice(len(parts), n, p=shares)
        return np.asarray(rng.normal(means[which], deviations[which]))

    return draw


def _betas(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return np.where(rng.random(n) < 0.65, rng.beta(2, 9, n), rng.beta(8, 3, n))


KINDS = (
    Kind("two humps (the released start is trapped)", _normals((0.6, 0.17, 0.1), (0.4, 0.77, 0.12))),
    Kind("humps that overlap", _normals((0.6, 0.35, 0.1), (0.4, 0.65, 0.12))),
    Kind("few object pixels", _normals((0.95, 0.2, 0.06), (0.05, 0.8, 0.1))),
    Kind("narrow humps", _normals((0.5, 0.3, 0.01), (0.5, 0.5, 0.02))),
    Kind("skewed humps", _betas),
)


@dataclass(frozen=True)
class Peer:
    """A baseline by where its function lives; its library loads when it is used."""

    name: str
    target: str  # "module:function" in baselines/

    def make(self, values: Values, threads: int, **options: Any) -> Call:
        module, function = self.target.split(":")
        loaded: Any = import_module(f".baselines.{module}", __package__)
        call: Call = getattr(loaded, function)(values, threads, **options)
        return call


SKLEARN_PEER = Peer(SKLEARN, "gmm_sklearn:converged")
NUMPY_PEERS = (Peer(BINNED, "gmm_numpy:binned"), Peer(WHOLE, "gmm_numpy:whole"))
RELEASED_PEER = Peer("scikit-learn, as released", "gmm_sklearn:released")


def our_call(values: Values, threads: int, **options: Any) -> Call:
    def call() -> Band:
        found = alseg.gmm_threshold(values, num_threads=threads, **options)
        if found.status != "fitted":
            raise ValueError(f"nothing was fitted: {found.reason}")
        return found.low, found.high

    return call


def find_truth(values: Values, threads: int) -> tuple[Band, float]:
    """The crossing of scikit-learn's mixture where no iteration changes it any more, and the loosest tolerance that
    comes near enough. ImportError: there is no scikit-learn."""
    truth = SKLEARN_PEER.make(values, threads, tolerance=CONVERGED)()
    for tolerance in TOLERANCES:
        if check(SKLEARN_PEER.make(values, threads, tolerance=tolerance)(), truth) is None:
            return truth, tolerance
    return truth, CONVERGED


def check(found: Band, truth: Band, gate: float = GATE) -> str | None:
    """None, or what is wrong with a band."""
    worst = max(abs(a - b) for a, b in zip(found, truth, strict=True))
    return None if worst <= gate else f"{found[0]:.5f}, {found[1]:.5f} instead of {truth[0]:.5f}, {truth[1]:.5f}"


def cross(shares: Any, means: Any, variances: Any) -> Band:
    """The crossing of two components given in any order."""
    order = np.argsort(means)
    parts = [(float(shares[k]), float(means[k]), float(variances[k])) for k in order]
    point = crossing(parts[0], parts[1])
    if point is None:
        raise ValueError("the densities do not cross between the means")
    return point, point
