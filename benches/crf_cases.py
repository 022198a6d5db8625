"""What `bench crf` measures on: sizes, class probabilities of a picture, and the ways by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

import alseg_fast as alseg

from .crf_exact import Bilateral, Gaussian

Image = NDArray[np.uint8]
Probs = NDArray[np.float32]

SEED = 20110602
GAUSSIAN, BILATERAL = Gaussian(), Bilateral()
OURS, FRESH = "alseg", "alseg, fresh outputs"
REUSED, LATTICE = "alseg, lattice kept", "alseg, lattice alone"
PYDENSECRF, PYDENSECRF_LATTICE, SIMPLECRF = "pydensecrf", "pydensecrf, lattice alone", "SimpleCRF"
_STEP = 16  # pixels an image side has for each logit: the resolution that networks give
_SHARPNESS = 40.0  # grey levels by which colours of different classes differ, in deviations of the logits' noise


@dataclass(frozen=True)
class Case:
    """A picture of `size` (H, W) with so many classes."""

    n_classes: int
    size: tuple[int, int]

    @property
    def name(self) -> str:
        """E.g. C21-481x321, width before height."""
        return f"C{self.n_classes}-{self.size[1]}x{self.size[0]}"


CASES = (Case(21, (321, 481)), Case(19, (1024, 2048)))
QUICK_CASES = (Case(21, (96, 128)), Case(19, (160, 240)))
ITERATIONS = (5, 10)


def picture_probs(image: Image, n_classes: int, seed: int = SEED, step: int = _STEP) -> Probs:
    """[C, H, W] probabilities like those of a coarse network: classes are colours, blurred, with noise.

    Colours of `n_classes` places of the picture are the classes; at 1 / step of the resolution the logit of a class
    falls with the squared distance to its colour, and has noise of deviation 1; then bilinear upsampling and softmax.
    """
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    low = (max(2, width // step), max(2, height // step))
    small = np.asarray(Picture.fromarray(image).resize(low, Picture.Resampling.BOX), np.float32)
    chosen = rng.choice(low[0] * low[1], n_classes, replace=low[0] * low[1] < n_classes)
    colours = small.reshape(-1, 3)[chosen]
    probs = np.empty((n_classes, height, width), np.float32)
    for c, colour in enumerate(colours):
        logit = -((small - colour) ** 2).sum(axis=2) / (2 * _SHARPNESS**2)
        noisy = (logit + rng.standard_normal(logit.shape)).astype(np.float32)
        probs[c] = np.asarray(Picture.fromarray(noisy).resize((width, height), Picture.Resampling.BILINEAR))
    probs -= probs.max(axis=0)
    np.exp(probs, out=probs)
    probs /= probs.sum(axis=0)
    return probs


def random_probs(size: tuple[int, int], n_classes: int, seed: int = SEED) -> Probs:
    """[C, H, W], independent at every pixel."""
    drawn = np.random.default_rng(seed).dirichlet(np.ones(n_classes), size)
    return np.ascontiguousarray(drawn.transpose(2, 0, 1), np.float32)


def our_call(image: Image, probs: Probs, n_iter: int, threads: int, *, keep: bool) -> Callable[[], Probs]:
    """Lattice and iterations, into kept or fresh memory."""
    out = np.empty(probs.shape, np.float32) if keep else None

    def call() -> Probs:
        q: Probs = alseg.dense_crf(image, probs, n_iter, GAUSSIAN, BILATERAL, num_threads=threads, out=out)
        return q

    return call


def build_lattice(image: Image, threads: int) -> Any:
    return alseg.CrfLattice(image, GAUSSIAN, BILATERAL, num_threads=threads)


def our_reused(image: Image, probs: Probs, n_iter: int, threads: int) -> Callable[[], Probs]:
    """Iterations over a lattice that is kept, into kept memory."""
    lattice, out = build_lattice(image, threads), np.empty(probs.shape, np.float32)
    return lambda: alseg.dense_crf(None, probs, n_iter, lattice=lattice, num_threads=threads, out=out)


def peer_call(target: str, image: Image, probs: Probs, n_iter: int) -> Callable[[], Any]:
    """`target` is "module:function" in baselines/; the library loads here."""
    module, function = target.split(":")
    make = getattr(import_module(f".baselines.{module}", __package__), function)
    call: Callable[[], Any] = make(image, probs, n_iter, GAUSSIAN, BILATERAL)
    return call


# Name -> function that makes the call, for a process that measures one alone.
WAYS: dict[str, Callable[[Image, Probs, int, int], Callable[[], Any]]] = {
    OURS: partial(our_call, keep=True),
    FRESH: partial(our_call, keep=False),
    REUSED: our_reused,
    PYDENSECRF: lambda image, probs, n_iter, _: peer_call("crf_pydensecrf:marginals", image, probs, n_iter),
    SIMPLECRF: lambda image, probs, n_iter, _: peer_call("crf_simplecrf:labels", image, probs, n_iter),
}


def check_marginals(q: Any, probs: Probs) -> str | None:
    """None if they are probabilities of the right shape, or labels [H, W]."""
    q = np.asarray(q)
    if q.ndim == 2:
        return None if q.shape == probs.shape[1:] else f"labels have shape {list(q.shape)}"
    if q.shape != probs.shape:
        return f"marginals have shape {list(q.shape)}, not {list(probs.shape)}"
    off = float(np.abs(q.sum(axis=0, dtype=np.float64) - 1).max())
    return None if off <= 1e-4 and float(q.min()) >= 0 else f"sums differ from 1 by {off:.2e}"
