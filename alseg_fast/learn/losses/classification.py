"""Loss of image tags."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ...checks import check_choice
from ...errors import RangeError
from .inputs import check_scores, check_tags, zero_of


def tag_loss(tag_logits: Tensor, tags: Tensor, *, single_tag: bool, empty: str = "unknown") -> Tensor:
    """Classification loss from image tags.

    Equivalent NumPy, for an image with logits z and tags t (K of them)::

        single_tag: log(exp(z).sum()) - z[t == 1]
        else:       mean(log(1 + exp(z)) - t * z)                 # multi-label soft margin

    and the mean over the images that count.

    Args:
        tag_logits: [B, K] floating.
        tags: [B, K], 1 where the tag is present, else 0.
        single_tag: exactly one tag an image: softmax and cross-entropy; else independent sigmoids.
        empty: what an image without any tag says: "unknown" (nothing: it is left out) or, only for several tags an
            image, "absent" (no tag is present).

    Returns: scalar; 0 with gradient 0 where no image counts. NaN where a logit is NaN.
    Raises: ShapeError, DtypeError, DeviceError, RangeError: an argument is wrong; the message names it.
    Source: multi-class cross-entropy as in Belharbi et al. (2021), multi-label soft margin as in CoSA (Yang et al.,
    2024). The rule for images without tags is this package's choice.
    """
    name = "tag_loss"
    logits = check_scores(name, "tag_logits", tag_logits, "[B, K]")
    present = check_tags(name, tags, logits.shape, logits, "tag_logits")
    check_choice(name, "empty", empty, ("unknown", "absent"))
    n_present = present.sum(1)  # [B]
    if single_tag:
        if empty == "absent":
            raise RangeError(f"{name}: empty must be 'unknown' with single_tag; got 'absent'. One tag is always there.")
        if int(n_present.max()) > 1:
            raise RangeError(
                f"{name}: tags must name at most one tag an image with single_tag; got {int(n_present.max())}. "
                "Use single_tag=False for images with several tags."
            )
        each = F.cross_entropy(logits, present.long().argmax(1), reduction="none")  # [B]
    else:
        each = F.binary_cross_entropy_with_logits(logits, present.to(logits.dtype), reduction="none").mean(1)  # [B]
    counts = n_present > 0 if empty == "unknown" else n_present >= 0
    if not bool(counts.any()):
        return zero_of(logits)
    return each[counts].mean()
