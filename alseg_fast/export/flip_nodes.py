"""ONNX nodes for flip test-time augmentation: flipped views join the batch, their scores are flipped back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .flips import FLIP_AXES

_FIRST = np.iinfo(np.int64).min  # a Slice with step -1 ends before the first element


def views_of(image: str, views: str, flips: Sequence[str]) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """``views`` (F * N, channels, H, W) from ``image`` (N, channels, H, W): the image, then each flip of it."""
    nodes, constants, parts = [], [], [image]
    for flip in flips:
        parts.append(f"alseg/{flip}_view")
        node, slices = _flip(image, parts[-1], flip)
        nodes.append(node)
        constants.extend(slices)
    nodes.append(helper.make_node("Concat", parts, [views], axis=0))
    return nodes, constants


def scores_of_views(views: str, output: str, flips: Sequence[str]) -> list[onnx.NodeProto]:
    """``output`` (N, F * T, C, h, w) from the scores of all views, (F * N, T, C, h, w): view by view."""
    whole = [f"alseg/{flip}_scores" for flip in ("plain", *flips)]
    nodes = [helper.make_node("Split", [views], whole, axis=0, num_outputs=len(whole))]
    back = [whole[0]]
    for flip, part in zip(flips, whole[1:], strict=True):
        back.append(f"alseg/{flip}_back")
        nodes.append(_flip(part, back[-1], flip)[0])
    return [*nodes, helper.make_node("Concat", back, [output], axis=1)]


def _flip(x: str, y: str, flip: str) -> tuple[onnx.NodeProto, list[TensorProto]]:
    axes = FLIP_AXES[flip]
    every = len(axes)
    values = {"starts": [-1] * every, "ends": [_FIRST] * every, "axes": list(axes), "steps": [-1] * every}
    names = {key: f"alseg/{flip}/{key}" for key in values}
    constants = [numpy_helper.from_array(np.array(value, np.int64), names[key]) for key, value in values.items()]
    return helper.make_node("Slice", [x, *names.values()], [y]), constants
