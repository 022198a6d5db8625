"""Activation maps from several scales and the mirror image: what a teacher network says of a picture."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...checks import check_size
from ...errors import ModelError, RangeError
from ..networks.map_range import MAP_EPSILON
from .inputs import above_zero, check_cams, check_images, interpolate, present_tags

TEACHER_SCALES = (1.0, 0.5, 1.5)


class TeacherMaps(NamedTuple):
    """Everything one run over the scales yields.

    Attributes:
        cams: [B, K, h, w] float32 in 0..1; absent tags and empty maps are 0.
        aux_cams: the same of the auxiliary classifier, or None where the network has none.
        seg_logits: [B, C, h, w] sum of the segmentation logits of all scales and mirror images, or None.
    """

    cams: Tensor
    aux_cams: Tensor | None
    seg_logits: Tensor | None


def activation_maps(
    network: nn.Module,
    images: Tensor,
    tags: Tensor | None,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    size: tuple[int, int] | None = None,
    aux: bool = False,
    align_corners: bool = False,
    multiple: int | None = None,
    eps: float = MAP_EPSILON,
) -> Tensor:
    """[B, K, h, w] float32 in 0..1: the main or, with `aux`, the auxiliary maps of `teacher_maps`."""
    made = _run("activation_maps", network, images, tags, scales, flip, size, align_corners, multiple, eps)
    if not aux:
        return made.cams
    if made.aux_cams is None:
        raise ModelError("activation_maps: the network has no auxiliary maps; build it with aux_tags=True")
    return made.aux_cams


def teacher_maps(
    network: nn.Module,
    images: Tensor,
    tags: Tensor | None,
    *,
    scales: Sequence[float] = TEACHER_SCALES,
    flip: bool = True,
    size: tuple[int, int] | None = None,
    align_corners: bool = False,
    multiple: int | None = None,
    eps: float = MAP_EPSILON,
) -> TeacherMaps:
    """Main maps, auxiliary maps and segmentation logits of one run of the network over scales and mirror images.

    For each map: maximum over the picture and its mirror image, ReLU, sum over the scales, minus the map's minimum,
    divided by (its maximum + eps), times the image tag. A map whose range is at most eps is 0 (the published form
    would blow it up). Segmentation logits are added up as they are. The auxiliary maps go through the same sum; in
    the released code their list is overwritten in each scale, so that only the last scale counts, which
    ``teacher_maps(..., scales=(last,))`` gives for comparison.

    Runs without gradients and in evaluation mode; every module gets its own mode back. The network sees the pictures
    alone, as its exported form does: tags decide which maps count, not what the network answers.

    Args:
        network: answers `NetworkOutputs`, with cams.
        images: [B, 3, H, W] normalised.
        tags: [B, K], nonzero where the tag is present: other maps are 0 and are not resized. None: all may be.
        scales: of the picture's sides; (1, 0.5, 1.5) is published. Sides are rounded down.
        flip: look at the mirror image too.
        size: (h, w) of the maps; None: the resolution that the network's main maps have at the first scale (and
            its segmentation logits for those).
        align_corners: of every resize here; False as released.
        multiple: scaled sides are rounded to the nearest multiple of it; None: the side of the patches of the
            network's encoder (`encoder.patch`), 1 where it has none.
        eps: see above.

    Raises: ShapeError, DtypeError, RangeError: an argument is wrong. ModelError: the network has no maps.
        DataError: maps hold NaN or inf.
    Memory: two batches of the largest scale, and the maps of the tags that are present.
    Source: CoSA as released (Yang and others 2024).
    """
    return _run("teacher_maps", network, images, tags, scales, flip, size, align_corners, multiple, eps)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each module's own mode again afterwards, frozen parts included."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class _Sum:
    """Adds up one kind of map over the scales."""

    def __init__(self, size: tuple[int, int] | None, present: Tensor | None, mirrored: bool, aligned: bool) -> None:
        self.size, self.mirrored, self.aligned = size, mirrored, aligned
        self.which = None if present is None else present.nonzero(as_tuple=True)
        self.total, self.empty = torch.zeros(()), True

    def add_cams(self, cams: Tensor) -> None:
        """[B or 2 B, K, h, w]: ReLU of the larger of picture and mirror image; only what is present."""
        both = [self._select(part) for part in self._parts(cams)]
        self._add(torch.relu(both[0] if len(both) == 1 else torch.maximum(*both)))

    def add_logits(self, logits: Tensor) -> None:
        """[B or 2 B, C, h, w]: the sum of picture and mirror image."""
        for part in self._parts(logits):
            self._add(self._fit(part.float()))

    def _parts(self, maps: Tensor) -> list[Tensor]:
        if not self.mirrored:
            return [maps]
        straight, mirrored = maps.chunk(2)
        return [straight, mirrored.flip(-1)]

    def _select(self, maps: Tensor) -> Tensor:
        maps = maps.float()
        return self._fit(maps if self.which is None else maps[self.which][:, None])

    def _fit(self, maps: Tensor) -> Tensor:
        self.size = self.size or (maps.shape[-2], maps.shape[-1])
        return interpolate(maps, self.size, align_corners=self.aligned)

    def _add(self, maps: Tensor) -> None:
        self.total, self.empty = maps if self.empty else self.total + maps, False


def _run(
    name: str,
    network: nn.Module,
    images: Tensor,
    tags: Tensor | None,
    scales: Sequence[float],
    flip: bool,
    size: tuple[int, int] | None,
    align_corners: bool,
    multiple: int | None,
    eps: float,
) -> TeacherMaps:
    check_images(name, images)
    above_zero(name, "eps", eps)
    if not scales or not all(s > 0 for s in scales):
        raise RangeError(f"{name}: scales must be positive numbers; got {scales!r}. (1.0,) is the picture alone.")
    step = getattr(getattr(network, "encoder", None), "patch", 1) if multiple is None else multiple
    if step < 1:
        raise RangeError(f"{name}: multiple must be at least 1; got {multiple!r}. 1 rounds to whole pixels.")
    shape = None if size is None else check_size(name, "size", size)
    sums: list[_Sum] = []
    present: Tensor | None = None
    n_tags = 0
    with torch.no_grad(), evaluating(network):
        for scale in scales:
            out: Any = network(_scaled(images, scale, flip, step, align_corners))
            if out.cams is None:
                raise ModelError(f"{name}: the network has no activation maps; build it with n_tags > 0")
            check_cams(name, out.cams)
            if not sums:
                n_tags = out.cams.shape[1]
                present = present_tags(name, tags, (len(images), n_tags), images.device)
                sums = [_Sum(shape, present, flip, align_corners) for _ in range(3)]
                # The auxiliary maps are finer or coarser; both kinds come out on the main maps' grid.
                sums[0].size = sums[1].size = shape or (out.cams.shape[-2], out.cams.shape[-1])
            sums[0].add_cams(out.cams)
            if out.aux_cams is not None:
                check_cams(name, out.aux_cams)
                sums[1].add_cams(out.aux_cams)
            if out.seg_logits is not None:
                sums[2].add_logits(out.seg_logits)
    grid = (len(images), n_tags)
    main, auxiliary, logits = sums
    return TeacherMaps(
        _normalised(main, grid, eps),
        None if auxiliary.empty else _normalised(auxiliary, grid, eps),
        None if logits.empty else logits.total,
    )


def _scaled(images: Tensor, scale: float, flip: bool, multiple: int, align_corners: bool) -> Tensor:
    height, width = (max(1, int(scale * side)) for side in images.shape[-2:])
    if multiple > 1:
        height, width = (multiple * max(1, round(side / multiple)) for side in (height, width))
    images = interpolate(images, (height, width), align_corners=align_corners)
    return torch.cat([images, images.flip(-1)]) if flip else images


def _normalised(of: _Sum, grid: tuple[int, int], eps: float) -> Tensor:
    """Sum over the scales -> [B, K, h, w] in 0..1."""
    lifted = of.total - of.total.amin(dim=(-2, -1), keepdim=True)
    top = lifted.amax(dim=(-2, -1), keepdim=True)
    scaled = (lifted / (top + eps)).masked_fill(top <= eps, 0.0)
    if of.which is None:
        return scaled
    return scaled.new_zeros((*grid, *scaled.shape[-2:])).index_put(of.which, scaled[:, 0])
