"""A batch as the losses see it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B images of one size with all that is known about them.

    Attributes:
        image_ids: B ids.
        images: [B, 3, H, W] float32, normalised: what the network (a teacher: the weakly augmented view) sees.
        strong: [B, 3, H, W] float32, the same view after one strong colour operation, without any geometric
            difference; `images` itself where no strong view was asked for.
        rgb: [B, 3, H, W] uint8, the weak view before normalisation, for losses that look at colours.
        tags: [B, K] float32, 1 where the tag is present.
        masks: [B, H, W] int64 class ids; 255 = no label here: unlabelled images, padding, ignored pixels.
        labelled: [B] bool, the mask is an annotation.
        pseudo: [B] bool, the mask is a pseudo-label. Neither: no mask.
        valid: [B, H, W] bool, inside the picture (not padding).
    """

    image_ids: tuple[str, ...]
    images: Tensor
    strong: Tensor
    rgb: Tensor
    tags: Tensor
    masks: Tensor
    labelled: Tensor
    pseudo: Tensor
    valid: Tensor

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)[1:]}
        return replace(self, **moved)
