"""How good image tags are: accuracy and mean average precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import check_ndim
from ...errors import RangeError, ShapeError
from .metrics import to_numpy


def tag_accuracy(tag_logits: Any, tags: Any, *, single_tag: bool) -> float:
    """Share of right answers, over the images with a known tag (without one: 0).

    Args:
        tag_logits: [N, K].
        tags: [N, K], 1 = present; images without any are left out.
        single_tag: an image is right where the arg-max is its tag; else every (image, tag) counts for itself and is
            right where logit > 0 says what the tag says.
    """
    logits, present = _inputs("tag_accuracy", tag_logits, tags)
    if not len(logits):
        return 0.0
    if single_tag:
        return float((logits.argmax(1) == present.argmax(1)).mean())
    return float(((logits > 0) == present).mean())


def tag_average_precision(tag_logits: Any, tags: Any) -> float:
    """Mean over tags of the average precision of ranking the images by the tag's logit.

    Average precision of one tag: the sum over ranks with a new positive of (gain in recall) * precision, equal
    logits sharing one rank. Tags that no image has (or every image) count like others where they have a positive;
    tags without a positive are left out; none left: 0.

    Args:
        tag_logits: [N, K].
        tags: [N, K], 1 = present; images without any are left out.
    """
    logits, present = _inputs("tag_average_precision", tag_logits, tags)
    values = [_average_precision(logits[:, k], present[:, k]) for k in range(logits.shape[1]) if present[:, k].any()]
    return float(np.mean(values)) if values else 0.0


def _average_precision(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_]) -> float:
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    last = np.append(scores[1:] != scores[:-1], True)  # the last image of every group of equal scores
    hits = np.cumsum(positive)[last]
    shown = (np.arange(len(scores)) + 1)[last]
    gained = np.diff(hits, prepend=0) / positive.sum()
    return float((gained * hits / shown).sum())


def _inputs(name: str, tag_logits: Any, tags: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    logits, present = to_numpy(name, "tag_logits", tag_logits), to_numpy(name, "tags", tags).astype(bool)
    check_ndim(name, "tag_logits", logits, (2,), "[N, K]")
    if present.shape != logits.shape:
        raise ShapeError(
            f"{name}: tags must have shape {list(logits.shape)} to match tag_logits; got {list(present.shape)}. "
            "One row an image, one column a tag."
        )
    if np.isnan(logits).any():
        raise RangeError(f"{name}: tag_logits must be numbers; got NaN. The network is broken.")
    known = present.any(1)
    return logits[known], present[known]
