"""Label maps of activation maps at every background threshold at once, from one histogram an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.dataset import IGNORE
from .metrics import ConfusionMeter, at_least, bin_of, dice_of_counts


class CamSweep:
    """Confusion and mean Dice at T thresholds: a pixel is background where its largest map is below the threshold.

    Memory: T * C * C counts, whatever the number of images.

    Args:
        n_classes: C, with the background 0.
        thresholds: [T] ascending, in (0, 1].
    """

    def __init__(self, n_classes: int, thresholds: npt.NDArray[np.float64]) -> None:
        self.thresholds = thresholds
        self._n_classes = n_classes
        self._counts = np.zeros((len(thresholds) + 1, n_classes, n_classes), np.int64)
        self._dice = np.zeros(len(thresholds))
        self._n_images = 0

    def add(self, values: npt.NDArray[np.float32], classes: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
        """Count one image.

        Args:
            values: [H, W] the largest map at each pixel, 0..1.
            classes: [H, W] its class.
            truth: [H, W] class ids, 255 counts nowhere.
        """
        c = self._n_classes
        known = truth != IGNORE
        cells = bin_of(values[known], self.thresholds)
        cells = (cells * c + truth[known]) * c + classes[known]
        counts = np.bincount(cells, minlength=self._counts.size).reshape(self._counts.shape)
        self._counts += counts
        true = counts[:, 1:].sum()
        marked = at_least(counts[:, :, 1:].sum((1, 2)))  # [T]
        hits = at_least(counts[:, 1:, 1:].sum((1, 2)))
        self._dice += dice_of_counts(hits, marked, true)
        self._n_images += 1

    def meter(self, index: int) -> ConfusionMeter:
        """Confusion at the threshold of this index."""
        kept = self._counts[index + 1 :].sum(0)
        kept[:, 0] += self._counts[: index + 1].sum((0, 2))
        meter = ConfusionMeter(self._n_classes)
        meter.add_counts(kept)
        return meter

    @property
    def dice(self) -> npt.NDArray[np.float64]:
        """[T] mean over images of the Dice of foreground (any class but 0), 0 for a truth without foreground."""
        return self._dice / max(self._n_images, 1)

    @property
    def miou(self) -> npt.NDArray[np.float64]:
        """[T] mean intersection over union."""
        return np.array([self.meter(i).miou for i in range(len(self.thresholds))])
