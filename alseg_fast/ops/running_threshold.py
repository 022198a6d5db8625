"""RunningThreshold: a threshold that follows the activation maps while a network learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice
from ..errors import DataError, RangeError
from .gmm_threshold import (
    BOUNDS,
    DROP_BELOW,
    MAX_ITER,
    TOLERANCE,
    VARIANCE_FLOOR,
    GmmThreshold,
    MixtureSettings,
    fit_threshold,
    take_previous,
)
from .map_inputs import NUMBERS
from .value_moments import BINS, check_bins, check_drop, image_moments

_NAME = "RunningThreshold"
BEGINNINGS = ("empty", "uniform")


class RunningThreshold:
    """`gmm_threshold` of the latest images, fitted now and then, and smoothed.

    Each update puts the bins of its images into a ring memory (`bins` x 3 numbers an image, whatever its size). The
    mixture is fitted to the whole memory at every `period`-th update, and, while the memory fills, at updates 1, 2,
    4, 8, ... before it. Every update moves the threshold towards the latest fit: t <- momentum t + (1 - momentum) fit.
    With period=1 that is the moving average of CoSA's released code, which fits at every step. The first successful fit
    sets the threshold, unless `initial` is given. A fit that fails (see `gmm_threshold`) changes nothing.

    Args:
        memory: images that are remembered.
        period: updates between two fits.
        momentum: in [0, 1), of one update.
        initial: threshold, or (low, high), that the average starts from; None: the first fit. The released code
            starts from (0.25, 0.7).
        beginning: "empty", or "uniform": the memory begins full of images of uniform random values, as in the
            released code. For comparison only: it takes `memory` images for them to leave.
        pixels: of such an image.
        seed: of their random numbers.
        components, bins, drop_below, bounds, tolerance, max_iter, variance_floor, form: see `gmm_threshold`.
        num_threads: None uses every CPU of the process; same bits for any number.
    Raises: RangeError: an argument is out of range.
    Source: Yang et al., CoSA, ECCV 2024, its released code. Memory, period, bounds and momentum of the paper are not
    known: 200 images and 0.99 are the released code's, fitting each 100 updates is this package's choice.
    """

    def __init__(
        self,
        memory: int = 200,
        period: int = 100,
        momentum: float = 0.99,
        *,
        initial: Any = None,
        beginning: str = "empty",
        pixels: int = 784,
        seed: int = 0,
        components: int = 2,
        bins: int = BINS,
        drop_below: float | None = DROP_BELOW,
        bounds: tuple[float, float] = BOUNDS,
        tolerance: float = TOLERANCE,
        max_iter: int = MAX_ITER,
        variance_floor: float = VARIANCE_FLOOR,
        form: str = "crossing",
        num_threads: int | None = None,
    ) -> None:
        for argument, value in (("memory", memory), ("period", period), ("pixels", pixels)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= 10**7:
                raise RangeError(f"{_NAME}: {argument} must be an integer in 1..10^7; got {value!r}.")
        if isinstance(momentum, bool) or not isinstance(momentum, NUMBERS) or not 0 <= momentum < 1:
            raise RangeError(f"{_NAME}: momentum must be in [0, 1); got {momentum!r}. 0 takes each fit as it is.")
        check_choice(_NAME, "beginning", beginning, BEGINNINGS)
        self._settings: MixtureSettings = MixtureSettings.checked(
            _NAME, components, tolerance, max_iter, variance_floor, bounds, form
        )
        self._bins, self._drop_below = check_bins(_NAME, bins), check_drop(_NAME, drop_below)
        self._period, self._momentum, self._threads = int(period), float(momentum), num_threads
        self._band: tuple[float, float] = take_previous(_NAME, initial, self._settings.components, "initial")
        self._target: tuple[float, float] | None = None  # of the latest successful fit
        self._started: bool = initial is not None  # the average has a value to start from
        self._memory: NDArray[np.float64] = np.zeros((int(memory), self._bins, 3))
        self._filled: int = 0
        self._next: int = 0
        self._updates: int = 0
        self._latest: GmmThreshold = GmmThreshold(sum(self._band) / 2, *self._band, reason="nothing was seen yet")
        if beginning == "uniform":
            values = np.random.default_rng(seed).random((int(memory), 1, int(pixels)), np.float32)
            self._remember(self._moments(values))

    @property
    def threshold(self) -> float:
        """Between background and object; the middle of the band with three components."""
        return sum(self._band) / 2

    @property
    def low(self) -> float:
        return self._band[0]

    @property
    def high(self) -> float:
        return self._band[1]

    @property
    def updates(self) -> int:
        """How many there have been."""
        return self._updates

    def update(self, cams: Any) -> GmmThreshold:
        """Remember the images of a batch, and fit if it is time.

        Args:
            cams: [N, K, h, w], [N, h, w] or [h, w] in 0..1, see `gmm_threshold`.
        Returns: the running threshold, with the mixture of the latest fit. status is "fitted" where this update fitted
            one; otherwise `reason` says why not.
        Raises: as `gmm_threshold`; the memory is then unchanged.
        """
        self._remember(self._moments(cams))
        self._updates += 1
        if self._is_time():
            fit = fit_threshold(self._memory[: self._filled].sum(axis=0), self._settings, self._band)
            if fit.status == "fitted":
                self._target = (fit.low, fit.high)
                if not self._started:
                    self._band, self._started = self._target, True
        else:
            fit = replace(self._latest, status="kept", reason=f"the last fit was not {self._period} updates ago")
        if self._target is not None:
            m = self._momentum
            low, high = (m * old + (1 - m) * new for old, new in zip(self._band, self._target, strict=True))
            self._band = (low, high)
        self._latest = replace(fit, threshold=self.threshold, low=self.low, high=self.high)
        return self._latest

    def _is_time(self) -> bool:
        n = self._updates
        return n % self._period == 0 or (n < self._period and n & (n - 1) == 0)

    def _moments(self, cams: Any) -> NDArray[np.float64]:
        return image_moments(_NAME, cams, None, self._bins, self._drop_below, per_image=True, num_threads=self._threads)

    def _remember(self, images: NDArray[np.float64]) -> None:
        size = len(self._memory)
        for image in images[-size:]:
            self._memory[self._next] = image
            self._next = (self._next + 1) % size
            self._filled = min(self._filled + 1, size)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` has changed, as numbers and bytes: it can be saved with any checkpoint."""
        return {
            "shape": list(self._memory.shape),
            "components": self._settings.components,
            "memory": self._memory[: self._filled].astype("<f8").tobytes(),
            "next": self._next,
            "updates": self._updates,
            "started": self._started,
            "band": list(self._band),
            "target": None if self._target is None else list(self._target),
            "latest": {
                "means": list(self._latest.means),
                "variances": list(self._latest.variances),
                "shares": list(self._latest.shares),
                "n_values": self._latest.n_values,
                "n_iter": self._latest.n_iter,
                "status": self._latest.status,
                "reason": self._latest.reason,
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken: further updates then give the same bits.

        Raises: DataError: it was taken with another memory, other bins or components, or it is damaged.
        """
        expected = {"shape": list(self._memory.shape), "components": self._settings.components}
        found = {key: state.get(key) for key in expected}
        if found != expected:
            raise DataError(
                f"{_NAME}: the saved state must have {expected}; got {found}. Make it with the same settings."
            )
        try:
            memory = np.frombuffer(state["memory"], "<f8").reshape(-1, *self._memory.shape[1:])
            numbers = {key: int(state[key]) for key in ("next", "updates")}
            low, high = (float(v) for v in state["band"])
            target = None if state["target"] is None else tuple(float(v) for v in state["target"])
            latest: dict[str, Any] = {
                key: tuple(value) if isinstance(value, (list, tuple)) else value
                for key, value in dict(state["latest"]).items()
            }
            made = GmmThreshold((low + high) / 2, low, high, **latest)
            started = bool(state["started"])
        except (KeyError, TypeError, ValueError) as exc:
            raise DataError(f"{_NAME}: the saved state is damaged: {type(exc).__name__}: {exc}. Start anew.") from exc
        if len(memory) > len(self._memory) or not 0 <= numbers["next"] < len(self._memory):
            raise DataError(f"{_NAME}: the saved state is damaged: {len(memory)} images. Start anew.")
        self._memory[:] = 0
        self._memory[: len(memory)] = memory
        self._filled, self._next, self._updates = len(memory), numbers["next"], numbers["updates"]
        self._band, self._started, self._latest = (low, high), started, made
        self._target = None if target is None else (target[0], target[1])
