"""Foreground maps of one picture -> its pseudo-label: palette mask, reliability weights, what is known of them.

m is the largest of the maps of the present classes, bilinearly upsampled to the picture's own size. A pixel is its
class where m > high, the background where m <= low, and 255, "ignore", between; low == high: no pixel is ignored. A
model without a background has 255 in its place.

With the CRF the maps stand beside a background map of the constant value `high` (then `low`), both divided by their
sum, as the unary term; a pixel is a class where that wins against `high`, and background where `low` wins.

Reliability of a picture: the mean of m over the pixels that have a class. Weights of pixels: `reliability_weights` of m
and the threshold, in bytes: weight = byte * `weight_step`, larger ones are cut to 255 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RunError
from ..ops import CrfLattice, dense_crf
from ..ops.band_labels import band_labels
from ..ops.cam import Box
from ..ops.reliability import reliability_weights
from ..ops.value_moments import image_moments
from ..runtimes.spec import ModelSpec
from .foreground_maps import IGNORE, ForegroundMaps, inside_box, missing_names
from .label_confusion import Truth, count_pixels
from .prepare import Placement
from .pseudo_masks import Probabilities, encode_palette_png
from .score import encode_png

BINS, DROP_BELOW = 256, 0.05
NO_TAGS, EMPTY_MAP, NO_FOREGROUND, ALL_FOREGROUND = "no tags", "empty map", "no foreground", "no background"
MASKS, WEIGHTS = "masks", "weights"
_LEAST_LEVEL = 1e-5  # of the background map of a CRF, which has to divide by it


@dataclass(frozen=True)
class CrfTerms:
    """How masks are refined, see ``dense_crf``."""

    n_iter: int = 5
    gaussian: tuple[float, float] | None = (3.0, 3.0)
    bilateral: tuple[float, float, float] | None = (80.0, 13.0, 10.0)


@dataclass(frozen=True)
class LabelRule:
    """From maps to masks.

    Attributes:
        threshold: between background and object; weights are reckoned from it.
        low, high: of the band of ignored pixels; both are `threshold` where there is none.
        weights: "reciprocal", "printed" or "none".
        alpha, beta: of the perplexity.
        weight_step: weight of one byte.
        background_class: see `ForegroundMaps`.
    """

    threshold: float
    low: float
    high: float
    weights: str = "reciprocal"
    alpha: float = 0.9
    beta: float = 1.0
    weight_step: float = 1 / 32
    crf: CrfTerms | None = None
    background_class: str | None = None


@dataclass(frozen=True)
class About:
    """What is known of a picture: [C] classes that are present or None, and its true mask or None."""

    present: NDArray[Any] | None = None
    truth: Truth | None = None


@dataclass(frozen=True)
class PseudoLabel:
    """The files of one picture, by folder, and its row."""

    files: dict[str, bytes]
    facts: dict[str, Any] = field(default_factory=dict)


class _OneMap:
    """The spec of a map in 0..1, for `Probabilities`."""

    activation, n_classes = "probabilities", 1


class HistogramMaker:
    """Logits -> [BINS, 3] counts and moments of m at the model's own resolution; takes the place of a `Reducer`."""

    def __init__(self, spec: ModelSpec, background_class: str | None = None) -> None:
        self._maps = ForegroundMaps(spec, background_class)

    def reduce(
        self,
        logits: Any,
        placement: Placement,
        image_size: tuple[int, int],
        *,
        maps: bool,
        regions: Any = None,
        about: About | None = None,
    ) -> NDArray[np.float64]:
        box = placement.box((logits.shape[-2], logits.shape[-1]))
        values, _ = self._maps.of(logits, None if about is None else about.present, box)
        if not len(values):
            return np.zeros((BINS, 3))
        most = inside_box(values, box).max(axis=0)
        return image_moments("pseudo_label", most, None, BINS, DROP_BELOW, per_image=False, num_threads=1)


class LabelMaker:
    """Logits -> PseudoLabel, for one thread; takes the place of a `Reducer`."""

    def __init__(self, spec: ModelSpec, rule: LabelRule) -> None:
        self._maps, self._rule = ForegroundMaps(spec, rule.background_class), rule
        self._upsampled = Probabilities(_OneMap())
        self.wants_image = rule.crf is not None

    def reduce(
        self,
        logits: Any,
        placement: Placement,
        image_size: tuple[int, int],
        *,
        maps: bool,
        regions: Any = None,
        about: About | None = None,
        image: NDArray[np.uint8] | None = None,
    ) -> PseudoLabel:
        about = about or About()
        box = placement.box((logits.shape[-2], logits.shape[-1]))
        terms = self._rule.crf
        lattice = None
        if terms is not None:
            assert image is not None
            lattice = CrfLattice(image, terms.gaussian, terms.bilateral, num_threads=1)
        values, ids = self._maps.of(logits, about.present, box)
        mask, most = self._label(values, ids, box, image_size, lattice)
        facts = self._facts(mask, most, about)
        files = {MASKS: encode_palette_png(mask)}
        if self._rule.weights != "none":
            files[WEIGHTS], facts["clipped_share"] = self._weights(most)
        if about.truth is not None:
            free = mask
            if about.present is not None:
                values, ids = self._maps.of(logits, None, box)
                free, _ = self._label(values, ids, box, image_size, lattice)
            facts |= self._compare(about.truth, mask, free)
        return PseudoLabel(files, facts)

    def _label(
        self,
        values: NDArray[np.float32],
        ids: NDArray[np.uint8],
        box: Box | None,
        size: tuple[int, int],
        lattice: CrfLattice | None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """([H, W] mask, [H, W] m)."""
        rule = self._rule
        most, best = np.zeros(size, np.float32), np.zeros(size, np.uint8)
        full: list[NDArray[np.float32]] = []
        kept: list[int] = []
        for one, i in zip(values, ids, strict=True):
            if not one.any():
                continue
            at_size = self._upsampled.foreground(one[None, None], box, size)
            better = at_size > most
            most[better], best[better] = at_size[better], i
            if lattice is not None:
                full.append(at_size)
                kept.append(i)
        if full and lattice is not None:
            return self._refine(full, kept, lattice), most
        named = band_labels(most[None, None], low=rule.low, high=rule.high)[0]
        background = np.where(named == IGNORE, np.uint8(IGNORE), np.uint8(self._maps.background))
        return np.where(named == 1, best, background), most

    def _refine(
        self, full: Sequence[NDArray[np.float32]], ids: Sequence[int], lattice: CrfLattice
    ) -> NDArray[np.uint8]:
        assert self._rule.crf is not None
        background = self._maps.background
        names = np.array([background, *ids], np.uint8)
        found: list[NDArray[np.uint8]] = []
        for level in sorted({self._rule.high, self._rule.low}, reverse=True):
            scores = np.stack([np.full_like(full[0], max(level, _LEAST_LEVEL)), *full])
            scores /= scores.sum(axis=0)
            refined = dense_crf(None, scores, self._rule.crf.n_iter, lattice=lattice, num_threads=1, out=scores)
            found.append(refined.argmax(axis=0).astype(np.uint8))
        sure, possible = found[0], found[-1]
        between = np.where(possible > 0, np.uint8(IGNORE), np.uint8(background))
        return np.where(sure > 0, names[sure], between)

    def _weights(self, most: NDArray[np.float32]) -> tuple[bytes, float]:
        rule = self._rule
        weights = reliability_weights(most, rule.threshold, rule.alpha, rule.beta, form=rule.weights, num_threads=1)
        steps = np.rint(weights / np.float32(rule.weight_step))
        return encode_png(np.minimum(steps, 255).astype(np.uint8)), float((steps > 255).mean())

    def _facts(self, mask: NDArray[np.uint8], most: NDArray[np.float32], about: About) -> dict[str, Any]:
        ignored = mask == IGNORE
        named = ~ignored & (mask != self._maps.background)
        count = int(named.sum())
        flags = [] if about.present is not None else [NO_TAGS]
        flags += [] if most.any() else [EMPTY_MAP]
        full = count == mask.size and self._maps.background != IGNORE
        flags += [NO_FOREGROUND] if not count else [ALL_FOREGROUND] if full else []
        missing: list[str] = []
        if about.present is not None:
            present = np.asarray(about.present) * (self._maps.ids != self._maps.background)
            missing = missing_names(mask, present, self._maps.ids.tolist(), self._maps.classes)
        return {
            "width": mask.shape[1],
            "height": mask.shape[0],
            "foreground_share": count / mask.size,
            "ignore_share": int(ignored.sum()) / mask.size,
            "reliability": float(most[named].mean(dtype=np.float64)) if count else None,
            "flags": flags,
            "missing": missing,
        }

    def _compare(self, truth: Truth, mask: NDArray[np.uint8], free: NDArray[np.uint8]) -> dict[str, Any]:
        n = len(self._maps.labels)
        try:
            known = truth.read((mask.shape[0], mask.shape[1]), n)
        except RunError as error:
            return {"truth_error": " ".join(str(error).split())}
        counts = [count_pixels(known, m, n, truth.ignore_index) for m in (mask, free)]
        return {"confusion": counts[0], "confusion_free": counts[1]}
