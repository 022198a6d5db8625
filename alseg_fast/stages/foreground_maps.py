"""What a network says of the foreground classes of one picture: a map in 0..1 for each class that is present.

Activation maps ("cam"): negative values are 0, each map is divided by its largest value inside the picture. Other
networks: the probabilities at the resolution of the scores, where classes that exclude each other share them among
those that are allowed: the classes that are present and the background. Several passes: the mean of their maps.

Classes that an image label rules out have no map (tag validation); of a picture of which nothing is known all have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ModelError, UsageError
from ..ops.cam import Box, cam_probabilities
from ..runtimes.spec import ModelSpec
from .score import label_names, to_host

IGNORE = 255
_BACKGROUNDS = ("background", "backgrnd", "bg")


class ForegroundMaps:
    """Reads the scores of one model.

    Args:
        background: name of the class of a segmentation network that is no object; None: the one that is called
            background, if there is one. Activation maps and one-channel networks have theirs in any case.
    Attributes:
        labels: names of the ids in masks.
        background: the id of what is no object; IGNORE where the model knows no such thing.
        classes: names that image labels may use, in the order of the model's channels.
        ids: the id in masks of each of them.
    Raises: UsageError: there is no such class. ModelError: more classes than a palette mask holds.
    """

    def __init__(self, spec: ModelSpec, background: str | None = None) -> None:
        self._spec = spec
        self.labels: tuple[str, ...] = label_names(spec)
        if len(self.labels) > IGNORE:
            raise ModelError(
                f"model {spec.path} has {len(self.labels)} labels, a palette mask holds {IGNORE}; use another"
            )
        self.classes: tuple[str, ...] = spec.classes
        extra = len(self.labels) - len(self.classes)  # the label of the background that has no channel
        self.ids: NDArray[np.uint8] = np.arange(extra, len(self.labels)).astype(np.uint8)
        self._channel = None if extra else self._background_channel(background)
        if extra and background is not None:
            raise UsageError(
                f"pseudo_label: background_class must be None for this model, whose label 0 is {self.labels[0]}; got "
                f"{background!r}."
            )
        self.background = 0 if extra else IGNORE if self._channel is None else self._channel
        foreground = np.ones(len(self.classes), np.bool_)
        if self._channel is not None:
            foreground[self._channel] = False
        self._foreground = foreground

    def _background_channel(self, name: str | None) -> int | None:
        if name is not None:
            if name not in self.classes:
                raise UsageError(
                    f"pseudo_label: background_class must be one of {', '.join(self.classes)}; got {name!r}."
                )
            return self.classes.index(name)
        alike = [i for i, c in enumerate(self.classes) if c.strip("_ ").casefold() in _BACKGROUNDS]
        return alike[0] if alike else None

    def of(
        self, logits: Any, present: NDArray[Any] | None, box: Box | None
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """([K, h, w] maps, [K] their ids in masks) of one picture.

        Args:
            logits: [1, C, h, w] or [1, T, C, h, w].
            present: [C] nonzero where the class is present; None: all may be.
            box: where the picture lies in them.
        Raises: DataError: NaN or inf, or values outside 0..1 of a network that states probabilities.
        """
        shown = self._foreground if present is None else self._foreground & (np.asarray(present) != 0)
        if self._spec.activation == "cam":
            assert self._spec.background is not None
            scores = to_host([cam_probabilities(logits, None, self._spec.background, box=box)])[0][0]
            maps = scores[..., 1:, :, :][..., shown, :, :]
            _check_finite(scores)
        else:
            allowed = shown.copy()
            if self._channel is not None:
                allowed[self._channel] = True
            scores = np.asarray(to_host([logits])[0][0], np.float32)
            _check_finite(scores)
            maps = self._probabilities(scores[..., allowed, :, :])[..., shown[allowed], :, :]
        if maps.ndim == 4:
            maps = maps.mean(axis=0, dtype=np.float32)
        return np.ascontiguousarray(maps, np.float32), self.ids[shown]

    def _probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """[..., A, h, w] of the allowed channels."""
        if scores.shape[-3] == 0:
            return scores
        if self._spec.activation == "sigmoid":
            e = np.exp(-np.abs(scores))
            p: NDArray[np.float32] = np.where(scores >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)
            return p
        if self._spec.activation == "softmax":
            e = np.exp(scores - scores.max(axis=-3, keepdims=True))
            return np.asarray(e / e.sum(axis=-3, keepdims=True), np.float32)
        if scores.min() < 0 or scores.max() > 1:
            raise DataError(
                f"the network states probabilities, but gives {scores.min():.4g} to {scores.max():.4g}; say "
                "--activation softmax or sigmoid"
            )
        if self._spec.n_classes == 1:
            return scores
        total = scores.sum(axis=-3, keepdims=True)
        return np.asarray(scores / np.where(total > 0, total, 1), np.float32)


def _check_finite(scores: NDArray[Any]) -> None:
    if not np.isfinite(scores).all():
        raise DataError("logits hold NaN or inf; leave such images out")


def inside_box(maps: NDArray[Any], box: Box | None) -> NDArray[Any]:
    """The cells [..., h', w'] that the picture touches."""
    if box is None:
        return maps
    top, left, height, width = box
    return maps[..., math.floor(top) : math.ceil(top + height), math.floor(left) : math.ceil(left + width)]


def missing_names(
    mask: NDArray[np.uint8], present: NDArray[Any], ids: Sequence[int], names: Sequence[str]
) -> list[str]:
    """Names of the classes that an image label gives and no pixel of the mask has."""
    there = np.bincount(mask.ravel(), minlength=256) > 0
    return [name for name, i, p in zip(names, ids, present, strict=True) if p and not there[i]]
