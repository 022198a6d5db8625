"""One image's logits -> its pseudo-mask, how far it can be trusted, and the threshold that is best on known masks.

Binary models (one channel, or two classes of which class 1 is the foreground): a pixel is foreground, 1, where
p >= threshold, else 0. Other models: a pixel gets its most probable class where that probability >= threshold, else
255, "ignore". Probabilities are those of the bilinearly upsampled scores at the image's own size.

Reliability: the mean over the pixels that the mask names (foreground; all that are not 255) of the probability of
what it names there; None where it names none. Foreground share: the share of these pixels in the image; 0 and 1 are
worth a look, a model trained on them confirms itself.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ModelError
from ..ops import uncertainty
from ..runtimes.spec import ModelSpec
from .prepare import Placement
from .score import to_host

IGNORE = 255
# 0.05, 0.06, ..., 0.99: the values tried by Belharbi et al. float32, as the probabilities they are compared with.
THRESHOLDS: NDArray[np.float32] = (np.arange(5, 100) / 100).astype(np.float32)


@dataclass(frozen=True)
class PseudoMask:
    """mask: [H, W] uint8 at the image's own size; reliability and named_share: see the top of this file."""

    mask: NDArray[np.uint8]
    reliability: float | None
    named_share: float

    @property
    def files(self) -> dict[str, bytes]:
        return {"masks": encode_palette_png(self.mask)}

    @property
    def facts(self) -> dict[str, float | None]:
        return {"reliability": self.reliability, "named_share": self.named_share}


class Activated(Protocol):
    """What a `ModelSpec` says of the scores."""

    @property
    def activation(self) -> str: ...

    @property
    def n_classes(self) -> int: ...


def is_binary(spec: ModelSpec) -> bool:
    return spec.n_classes <= 2


def check_model(spec: ModelSpec) -> None:
    """Raises: ModelError: this model's classes cannot be written as a mask."""
    if spec.activation == "cam":
        raise ModelError(f"model {spec.path} gives activation maps; make masks of them with alseg pseudo-label")
    if spec.n_classes > IGNORE:
        raise ModelError(f"model {spec.path} has {spec.n_classes} classes, a palette mask holds {IGNORE}; use another")


class Probabilities:
    """Probabilities of one thread's images, in memory that is kept from image to image; never a map for every class.

    Args:
        num_threads: of one call.
    """

    def __init__(self, spec: Activated, num_threads: int = 1) -> None:
        self._spec, self._num_threads = spec, num_threads
        self._kept: dict[Any, Any] = {}

    def foreground(self, logits: Any, box: Any, size: tuple[int, int]) -> NDArray[np.float32]:
        """[H, W] float32 probability of the foreground of a binary model."""
        if self._independent:
            logits = logits[..., 1:2, :, :]
        labels, p = self._top(logits, box, size)
        return np.where(labels == 1, p, 1 - p)

    def best(self, logits: Any, box: Any, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """([H, W] class ids, [H, W] float32 probability); of equal probabilities the lower class."""
        if not self._independent:
            return self._top(logits, box, size)
        best = np.zeros(size, np.uint8)
        top: NDArray[np.float32] = np.full(size, -1, np.float32)
        for c in range(self._spec.n_classes):
            labels, p = self._top(logits[..., c : c + 1, :, :], box, size)
            p = np.where(labels == 1, p, 1 - p)
            better = p > top
            best[better], top[better] = c, p[better]
        return best, top

    @property
    def _independent(self) -> bool:
        return self._spec.activation == "sigmoid" and self._spec.n_classes > 1

    def _top(self, logits: Any, box: Any, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Arg-max and its probability, where the classes exclude each other."""
        key = (size, tuple(logits.shape))
        if key not in self._kept:
            self._kept.clear()
        found = uncertainty(
            logits,
            size,
            measures=("least_confidence",),
            maps=True,
            labels=True,
            reduce=("mean",),
            activation=self._spec.activation,
            box=box,
            num_threads=self._num_threads,
            out=self._kept.get(key),
        )
        self._kept[key] = found
        labels, doubt = to_host([found.labels])[0][0], to_host([found.maps["least_confidence"]])[0][0]
        return labels, np.float32(1) - doubt


class MaskMaker:
    """Logits -> PseudoMask, for one thread; takes the place of a `Reducer`."""

    def __init__(self, spec: ModelSpec, threshold: float) -> None:
        self._spec, self._threshold = spec, np.float32(threshold)
        self._probabilities = Probabilities(spec)

    def reduce(
        self, logits: Any, placement: Placement, image_size: tuple[int, int], *, maps: bool, regions: Any = None
    ) -> PseudoMask:
        box = placement.box((logits.shape[-2], logits.shape[-1]))
        if is_binary(self._spec):
            p = self._probabilities.foreground(logits, box, image_size)
            return binary_mask(p, self._threshold)
        labels, p = self._probabilities.best(logits, box, image_size)
        return class_mask(labels, p, self._threshold)


def binary_mask(p: NDArray[np.float32], threshold: np.float32) -> PseudoMask:
    """[H, W] probability of the foreground -> the mask."""
    return _summed((p >= threshold).astype(np.uint8), p, p >= threshold)


def class_mask(labels: NDArray[Any], p: NDArray[np.float32], threshold: np.float32) -> PseudoMask:
    """[H, W] class ids and their probabilities -> the mask."""
    return _summed(np.where(p >= threshold, labels, IGNORE).astype(np.uint8), p, p >= threshold)


def _summed(mask: NDArray[np.uint8], p: NDArray[np.float32], named: NDArray[np.bool_]) -> PseudoMask:
    count = int(named.sum())
    reliability = float(p[named].mean(dtype=np.float64)) if count else None
    return PseudoMask(mask, reliability, count / mask.size)


class BinMaker:
    """Logits -> how many of THRESHOLDS each pixel reaches, [H, W] uint8; takes the place of a `Reducer`."""

    def __init__(self, spec: ModelSpec) -> None:
        self._probabilities = Probabilities(spec)

    def reduce(
        self, logits: Any, placement: Placement, image_size: tuple[int, int], *, maps: bool, regions: Any = None
    ) -> NDArray[np.uint8]:
        box = placement.box((logits.shape[-2], logits.shape[-1]))
        return thresholds_reached(self._probabilities.foreground(logits, box, image_size))


def thresholds_reached(p: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.searchsorted(THRESHOLDS, p, side="right").astype(np.uint8)


class ThresholdSearch:
    """The threshold with the highest mean over images of (IoU of foreground + IoU of background) / 2, each IoU with 1
    added to its numerator and denominator; of equally good ones the lowest.

    Source: Belharbi et al., deep active learning for joint classification and segmentation with weak annotator.
    """

    def __init__(self) -> None:
        self._sum = np.zeros(len(THRESHOLDS))
        self.images = 0

    def add(self, reached: NDArray[np.uint8], truth: NDArray[Any], ignore_index: int | None) -> None:
        """Args: reached: of `thresholds_reached`; truth: [H, W], not 0 is foreground; ignore_index: does not count."""
        counted = np.ones(truth.shape, np.bool_) if ignore_index is None else truth != ignore_index
        real = (truth != 0)[counted]
        bins = reached[counted].astype(np.int64)
        n = len(THRESHOLDS) + 1
        # A pixel with b thresholds reached is foreground at the first b of them.
        inside, outside = np.bincount(bins[real], minlength=n), np.bincount(bins[~real], minlength=n)
        hit, false = (np.cumsum(counts[::-1])[::-1][1:] for counts in (inside, outside))
        missed, quiet = inside.sum() - hit, outside.sum() - false
        foreground = (hit + 1) / (hit + false + missed + 1)
        background = (quiet + 1) / (quiet + false + missed + 1)
        self._sum += (foreground + background) / 2
        self.images += 1

    def best(self) -> tuple[float, float]:
        """(threshold, its mean score)."""
        at = int(self._sum.argmax())
        return round(float(THRESHOLDS[at]), 2), float(self._sum[at] / self.images)


def _voc_palette() -> bytes:
    """The 256 colours of the PASCAL VOC masks: bit 7 - j of a channel is bit 3 j + channel of the class id."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for j in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * j + channel)) & 1) << (7 - j)).astype(np.uint8)
    return colours.tobytes()


VOC_PALETTE = _voc_palette()


def encode_palette_png(mask: NDArray[np.uint8]) -> bytes:
    """[H, W] uint8 -> PNG with the VOC palette; the same bytes for the same mask."""
    image = Image.frombytes("P", (mask.shape[1], mask.shape[0]), np.ascontiguousarray(mask).tobytes())
    image.putpalette(VOC_PALETTE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
