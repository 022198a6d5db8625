"""A `WeakNetwork` as an ONNX file that the engine scores without further options."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...export import Export, to_onnx
from .weak_network import WeakNetwork


def export_network(
    network: WeakNetwork,
    path: str | Path,
    *,
    head: str = "segmentation",
    input_size: tuple[int, int],
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    mc_passes: int = 1,
    **options: Any,
) -> Export:
    """Write one head of a network, with its metadata, as ONNX: image (N, 3, H, W) -> scores.

    A pixel p (0..255) enters as (p / 255 - mean) / std. The activation is "softmax" for one logit a class,
    "sigmoid" for the one logit of two classes (label 1 is the foreground), "cam" for activation maps.

    Args:
        network: on any device, in any mode; left as it was.
        head: "segmentation" or "cam".
        input_size: (H, W) in pixels; pictures are stretched to it.
        classes: names. Segmentation: of all classes, background first; with two classes the file names the one
            channel it has after the second. "cam": of the tags.
        mean, std: of the training pictures, in the range 0..1.
        mc_passes: T stochastic passes with the network's dropout, see `to_onnx`.
        options: further ones of `to_onnx`: ``background`` (of "cam"), ``flips``, ``seed``, ``batch``, ``opset``,
            ``max_mask_bytes``.
    Raises:
        UsageError: the network has no such head, or the classes are not as many as it has.
        ModelError, RangeError: see `to_onnx`.
    """
    scorer = network.scorer(head)
    names = tuple(classes)
    expected = network.config["n_classes" if head == "segmentation" else "n_tags"]
    if isinstance(classes, str) or len(names) != expected:
        raise UsageError(
            f"export_network: classes must be {expected} names for head={head!r}; got {classes!r}. Give the data "
            f"set's {'classes' if head == 'segmentation' else 'tag names'}."
        )
    activation = "cam"
    if head == "segmentation":
        one_logit = expected == 2
        activation = "sigmoid" if one_logit else "softmax"
        names = names[1:] if one_logit else names
    if any(tensor.device.type != "cpu" for tensor in scorer.state_dict().values()):
        scorer = copy.deepcopy(scorer).cpu()
    return to_onnx(
        scorer,
        path,
        input_size=input_size,
        mc_passes=mc_passes,
        classes=names,
        mean=tuple(mean),
        std=tuple(std),
        scale=1 / 255,
        activation=activation,
        **options,
    )
