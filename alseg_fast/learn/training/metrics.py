"""How good label maps are: confusion, intersection over union, Dice, and the threshold that suits a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import check_choice, is_torch
from ...errors import DtypeError, RangeError, ShapeError
from ..data.dataset import IGNORE

THRESHOLD_GRID: tuple[float, ...] = tuple(i / 100 for i in range(5, 100))
"""0.05, 0.06, ..., 0.99: the thresholds tried by Belharbi et al. (2021)."""


class ConfusionMeter:
    """Counts of (true class, predicted class) over any number of label maps.

    Args:
        n_classes: C >= 2; ids are 0..C - 1.
        unlabelled_prediction: what a predicted 255 (no label) where the truth is known means: "error" raises,
            "wrong" counts it against the true class's recall and for no class, "skip" leaves the pixel out.
    """

    def __init__(self, n_classes: int, *, unlabelled_prediction: str = "error") -> None:
        name = "ConfusionMeter"
        if isinstance(n_classes, bool) or not isinstance(n_classes, int) or not 2 <= n_classes <= IGNORE:
            raise RangeError(f"{name}: n_classes must be 2..{IGNORE}; got {n_classes!r}. Count the background too.")
        check_choice(name, "unlabelled_prediction", unlabelled_prediction, ("error", "wrong", "skip"))
        self.n_classes = n_classes
        self._unlabelled = unlabelled_prediction
        self._counts = np.zeros((n_classes, n_classes + 1), np.int64)  # last column: predicted as nothing

    def add(self, pred: Any, truth: Any) -> None:
        """Count label maps of one shape (NumPy or torch, integer or bool); pixels with truth 255 do not count."""
        name = "ConfusionMeter.add"
        predicted, true = _label_pair(name, pred, truth)
        known = true != IGNORE
        predicted, true = predicted[known].astype(np.int64), true[known].astype(np.int64)
        nothing = predicted == IGNORE
        if nothing.any():
            if self._unlabelled == "error":
                raise RangeError(
                    f"{name}: pred must hold class ids; got {IGNORE} at {int(nothing.sum())} pixels. "
                    'Say what it means with unlabelled_prediction="wrong" or "skip".'
                )
            if self._unlabelled == "skip":
                predicted, true = predicted[~nothing], true[~nothing]
            else:
                predicted[nothing] = self.n_classes
        limit = self.n_classes + (self._unlabelled == "wrong")
        _check_ids(name, "pred", predicted, limit, self.n_classes)
        _check_ids(name, "truth", true, self.n_classes, self.n_classes)
        columns = self.n_classes + 1
        self._counts += np.bincount(true * columns + predicted, minlength=self._counts.size).reshape(-1, columns)

    def add_counts(self, matrix: npt.ArrayLike) -> None:
        """Add [C, C] counts, rows = truth."""
        counts = np.asarray(matrix)
        if counts.shape != (self.n_classes, self.n_classes):
            raise ShapeError(
                f"ConfusionMeter.add_counts: matrix must have shape {[self.n_classes] * 2}; got {list(counts.shape)}. "
                "Rows are true classes, columns predicted ones."
            )
        self._counts[:, :-1] += counts.astype(np.int64)

    @property
    def matrix(self) -> npt.NDArray[np.int64]:
        """[C, C] counts, rows = truth."""
        return self._counts[:, :-1].copy()

    @property
    def n_pixels(self) -> int:
        """Pixels counted."""
        return int(self._counts.sum())

    @property
    def per_class(self) -> npt.NDArray[np.float64]:
        """[C] intersection over union; NaN for a class that neither truth nor prediction holds."""
        hits = np.diag(self._counts[:, :-1])
        union = self._counts.sum(1) + self._counts[:, :-1].sum(0) - hits
        values = np.full(self.n_classes, np.nan)
        np.divide(hits, union, out=values, where=union > 0)
        return values

    @property
    def miou(self) -> float:
        """Mean of `per_class` over the classes that occur in the truth or the prediction; 0 without pixels."""
        values = self.per_class
        return float(np.nanmean(values)) if self.n_pixels else 0.0

    @property
    def class_dice(self) -> float:
        """Mean over the same classes of 2 |A and B| / (|A| + |B|), counted over all pixels; 0 without pixels."""
        values = self.per_class
        return float(np.nanmean(2 * values / (1 + values))) if self.n_pixels else 0.0

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that are right; 0 without pixels."""
        total = self.n_pixels
        return float(np.diag(self._counts[:, :-1]).sum() / total) if total else 0.0


def dice_per_image(pred: Any, truth: Any, *, empty: str = "published") -> float:
    """Dice of one image's foreground.

    ``2 |A and B| / (|A| + |B| + 1e-8)``; the mean over the images of a test set is the published figure.

    Args:
        pred: [H, W] bool or integer; foreground is everything but 0.
        truth: [H, W] likewise; pixels with 255 (integer maps) count nowhere.
        empty: an image whose truth has no foreground: "published" = 0 whatever is predicted; "agreement" = 1 where
            the prediction is empty too, else 0.

    Raises: ShapeError, DtypeError, RangeError.
    Source: Belharbi et al. (2021), released code; "agreement" is the usual alternative.
    """
    name = "dice_per_image"
    check_choice(name, "empty", empty, ("published", "agreement"))
    predicted, true = _label_pair(name, pred, truth)
    known = true != IGNORE
    a, b = (predicted != 0) & known, (true != 0) & known
    n_predicted, n_true = int(a.sum()), int(b.sum())
    if empty == "agreement" and n_true == 0:
        return float(n_predicted == 0)
    return float(dice_of_counts(int((a & b).sum()), n_predicted, n_true))


def dice_of_counts(n_both: Any, n_predicted: Any, n_true: Any) -> Any:
    """The formula of :func:`dice_per_image` on counts (numbers or arrays)."""
    return 2 * n_both / (n_predicted + n_true + 1e-8)


def choose_threshold(
    probabilities: Iterable[Any], truths: Iterable[Any], *, grid: tuple[float, ...] = THRESHOLD_GRID
) -> float:
    """The threshold of foreground probability that suits annotated images best.

    Of the thresholds t of the grid, the one with the highest mean over images of (IoU of foreground + IoU of
    background) / 2 for the mask "probability >= t", each IoU with 1 added to numerator and denominator; of equals
    the lowest.

    Args:
        probabilities: [H, W] floating in 0..1, one an image; an iterator is read once, an image at a time.
        truths: [H, W] bool or integer, foreground is everything but 0, 255 counts nowhere.
        grid: ascending thresholds in (0, 1].

    Returns: a value of the grid.
    Raises: ShapeError, DtypeError, RangeError (no image; values outside 0..1 or NaN).
    Source: Belharbi et al. (2021), released code; which of equals wins is this package's choice.
    """
    scores = threshold_scores(probabilities, truths, grid=grid)
    return float(grid[int(np.argmax(scores))])


def threshold_scores(
    probabilities: Iterable[Any], truths: Iterable[Any], *, grid: tuple[float, ...] = THRESHOLD_GRID
) -> npt.NDArray[np.float64]:
    """[T] the score of every threshold that :func:`choose_threshold` compares."""
    name = "choose_threshold"
    values = check_grid(name, "grid", grid)
    total, n = np.zeros(len(values)), 0
    for probability, truth in zip(probabilities, truths, strict=True):
        p, true = to_numpy(name, "probabilities", probability), to_numpy(name, "truths", truth)
        if p.shape != true.shape or p.ndim != 2:
            raise ShapeError(
                f"{name}: truths must have the shapes of probabilities, [H, W]; got {list(true.shape)} and "
                f"{list(p.shape)} at index {n}. Resize the probabilities to the mask's size."
            )
        if p.dtype.kind != "f":
            raise DtypeError(f"{name}: probabilities must be floating; got {p.dtype} at index {n}. Not masks.")
        if not ((p >= 0) & (p <= 1)).all():
            raise RangeError(f"{name}: probabilities must be in 0..1; got others at index {n}. Apply the sigmoid.")
        known = true != IGNORE
        foreground = known & (true != 0)
        reached = bin_of(p, values)
        n_true, n_known = int(foreground.sum()), int(known.sum())
        hits = at_least(np.bincount(reached[foreground], minlength=len(values) + 1))  # [T]
        marked = at_least(np.bincount(reached[known], minlength=len(values) + 1))
        iou_foreground = (hits + 1) / (marked + n_true - hits + 1)
        misses = n_true - hits
        empty_hits = n_known - marked - misses
        iou_background = (empty_hits + 1) / (n_known - hits + 1)
        total += (iou_foreground + iou_background) / 2
        n += 1
    if n == 0:
        raise RangeError(f"{name}: probabilities must hold at least one image; got none. Annotate a validation image.")
    return total / n


def bin_of(values: npt.NDArray[Any], grid: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How many of the ascending thresholds each value reaches (>=), compared in the values' own precision."""
    return np.searchsorted(grid.astype(values.dtype), values, side="right")


def at_least(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[..., T + 1] counts per number of thresholds reached -> [..., T] counts that reach each threshold."""
    return np.flip(np.cumsum(np.flip(counts, -1), -1), -1)[..., 1:]


def check_grid(function: str, name: str, grid: Any) -> npt.NDArray[np.float64]:
    """Ascending thresholds in (0, 1]."""
    values = np.asarray(grid, np.float64)
    if values.ndim != 1 or not len(values) or not ((values > 0) & (values <= 1)).all() or (np.diff(values) <= 0).any():
        raise RangeError(f"{function}: {name} must be ascending values in (0, 1]; got {grid!r}. 0.05 to 0.99 is usual.")
    return values


def to_numpy(function: str, name: str, x: Any) -> npt.NDArray[Any]:
    """The array behind an array or a torch tensor on any device."""
    if is_torch(x):
        x = x.detach().cpu().numpy()
    if not isinstance(x, np.ndarray):
        raise DtypeError(f"{function}: {name} must be an array; got {type(x).__name__}. Use numpy.asarray.")
    return x


def _label_pair(name: str, pred: Any, truth: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    predicted, true = to_numpy(name, "pred", pred), to_numpy(name, "truth", truth)
    for label, x in (("pred", predicted), ("truth", true)):
        if x.dtype.kind not in "biu":
            raise DtypeError(f"{name}: {label} must be bool or integer; got {x.dtype}. Pass class ids, not scores.")
    if predicted.shape != true.shape:
        raise ShapeError(
            f"{name}: pred must have shape {list(true.shape)} to match truth; got {list(predicted.shape)}. "
            "Compare at the size of the annotation."
        )
    return predicted, true


def _check_ids(name: str, label: str, ids: npt.NDArray[np.int64], limit: int, n_classes: int) -> None:
    if ids.size and (ids.min() < 0 or ids.max() >= limit):
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise RangeError(
            f"{name}: {label} must hold ids 0..{n_classes - 1} or {IGNORE}; got {wrong}. "
            "Check the classes of the data set against the network's."
        )
