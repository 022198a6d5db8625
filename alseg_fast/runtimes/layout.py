"""Which axis of a model's input and output is which: stated or deduced, never guessed."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ModelError

Dim = int | None  # None: the graph leaves it open
LAYOUT_AXES = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}  # where C, H and W are


def show_shape(shape: Sequence[Dim]) -> str:
    """``[?, 3, 512, 512]``; a question mark where the graph leaves the extent open."""
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"


def image_shape(layout: str, n: int, size: tuple[int, int], channels: int) -> tuple[int, int, int, int]:
    """Shape of the tensor of n images of ``size`` = (h, w)."""
    return (n, channels, *size) if layout == "NCHW" else (n, *size, channels)


def input_layout(name: str, shape: Sequence[Dim], stated: str | None) -> str:
    """Layout of the image input: the axis of extent 3 (or 1, grey) is the channel.

    Args:
        shape: four extents as the graph declares them.
        stated: layout said by option, metadata or sidecar.
    Raises:
        ModelError: no layout fits the shape, or both do and none is stated.
    """
    what = f"input {name!r} has shape {show_shape(shape)}"
    if stated is not None:
        channels = shape[LAYOUT_AXES[stated][0]]
        if channels not in (1, 3, None):
            raise ModelError(f"{what}: {stated} would make {channels} channels of it; an image has 3 or 1")
        return stated
    fits = [layout for layout, (c, _, _) in LAYOUT_AXES.items() if shape[c] in (1, 3)]
    if len(fits) == 1:
        return fits[0]
    if fits or any(shape[c] is None for c, _, _ in LAYOUT_AXES.values()):
        raise ModelError(f"{what}: NCHW and NHWC are both possible; say --input-layout NCHW or NHWC")
    raise ModelError(f"{what}: it must be (N, 3, h, w) or (N, h, w, 3); export the network for RGB or grey images")


def output_layout(
    name: str, shape: Sequence[int], image: tuple[int, int], stated: str | None, n_classes: int | None
) -> str:
    """Layout of a rank-4 score output computed for an image of ``image`` = (h, w) pixels.

    The class count decides where it is known and fits one axis only. Else the two spatial axes must be the
    image's, divided by one stride and rounded; an exact division wins over a rounded one.

    Raises:
        ModelError: both layouts remain possible, or neither does.
    """
    if stated is not None:
        return stated
    fits = list(LAYOUT_AXES)
    if n_classes is not None:
        fits = [layout for layout in fits if shape[LAYOUT_AXES[layout][0]] == n_classes] or fits
    for same_aspect in (_divides_exactly, _divides_rounded):
        if len(fits) == 1:
            return fits[0]
        close = [k for k in fits if same_aspect(image, (shape[LAYOUT_AXES[k][1]], shape[LAYOUT_AXES[k][2]]))]
        if len(close) == 1:
            return close[0]
        fits = close or fits
    raise ModelError(
        f"output {name!r} has shape {show_shape(shape)} for a {image[0]}x{image[1]} image: NCHW and NHWC are "
        "both possible; say --output-layout NCHW or NHWC, or the classes"
    )


def _divides_exactly(image: tuple[int, int], scores: tuple[int, int]) -> bool:
    return image[0] * scores[1] == image[1] * scores[0]


def _divides_rounded(image: tuple[int, int], scores: tuple[int, int]) -> bool:
    """Whether some stride s gives |h - H/s| < 1 and |w - W/s| < 1, that is, (h, w) is (H/s, W/s) rounded."""
    low = max(side / (extent + 1) for side, extent in zip(image, scores, strict=True))
    high = min(side / max(extent - 1, 1e-9) for side, extent in zip(image, scores, strict=True))
    return low < high
