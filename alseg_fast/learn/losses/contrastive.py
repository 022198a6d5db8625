"""Contrastive separation of what activation maps say about different classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_choice
from ...errors import RangeError
from ..data.dataset import IGNORE
from .inputs import check_classes, check_ids, check_like, check_positive, check_scores, zero_of

SIMILARITIES = ("cosine", "dot", "negative_squared_distance")


def contrastive_separation(
    vectors: Tensor,
    labels: Tensor,
    perplexity: Tensor,
    *,
    epsilon: float,
    temperature: float,
    similarity: str = "cosine",
    max_anchors: int = 256,
    scope: str = "image",
    eps: float = 1e-5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """L_csc: vectors of sure pixels of one class are drawn together and pushed away from those of other classes.

    R holds the pixels with perplexity <= epsilon and a label. For an anchor a in R, the positives are the other
    pixels of R with the label of a, the negatives the pixels of R with another one; with s the similarity::

        loss = mean over anchors, mean over positives p of
               -ln( exp(s(a,p)/T) / (exp(s(a,p)/T) + sum over negatives n of exp(s(a,n)/T)) )

    computed by log-sum-exp. An anchor without a positive is left out; one without a negative adds 0. "The other
    pixels" leaves out the anchor alone; the printed "x != i, y != j" would leave out its row and its column.

    Args:
        vectors: [B, D, h, w], the main maps (or features) that are separated.
        labels: [B, h, w] integer, 255 = none. As published, from the *auxiliary* maps, and so is `perplexity`.
        perplexity: [B, h, w], lower = surer; inf is allowed. NaN makes the loss NaN.
        epsilon: highest perplexity of a sure pixel. No published value.
        temperature: T > 0. No published value.
        similarity: "cosine" (of vectors divided by their length + `eps`; a zero vector is at 0 from all others and
            gets no gradient), "dot", or "negative_squared_distance". A distance with its sign as it is would push
            the classes together.
        max_anchors: at most so many anchors a set are drawn, without repeats, among those with a positive; every
            anchor is compared with all of R. The cost is max_anchors * |R| * D a set.
        scope: the set that R is taken over: "image" (as the formula's indices say) or "batch".
        generator: for that draw; None is torch's global one (CPU).

    Returns: scalar; 0 with gradient 0 where there is no anchor. NaN where a vector holds NaN.
    Raises: ShapeError, DtypeError, DeviceError, RangeError.
    Source: Yang et al., CoSA (ECCV 2024); similarity, epsilon, temperature and the draw are not determined there.
    """
    name = "contrastive_separation"
    features = check_scores(name, "vectors", vectors, "[B, D, h, w]")
    n, d, height, width = features.shape
    ids = check_ids(name, "labels", labels, "[B, h, w]", features)
    check_like(name, "labels", ids, (n, height, width), features, "vectors")
    unsure = check_scores(name, "perplexity", perplexity, "[B, h, w]").detach()
    check_like(name, "perplexity", unsure, ids.shape, features, "vectors")
    check_choice(name, "similarity", similarity, SIMILARITIES)
    check_choice(name, "scope", scope, ("image", "batch"))
    epsilon = check_positive(name, "epsilon", epsilon)
    temperature = check_positive(name, "temperature", temperature)
    eps = check_positive(name, "eps", eps)
    if isinstance(max_anchors, bool) or not isinstance(max_anchors, int) or max_anchors < 1:
        raise RangeError(f"{name}: max_anchors must be an integer >= 1; got {max_anchors!r}. 256 is the default.")

    rows = features.permute(0, 2, 3, 1).reshape(1 if scope == "batch" else n, -1, d)  # [S, P, D]
    ids = ids.reshape(rows.shape[:2])
    sure = (unsure.reshape(rows.shape[:2]) <= epsilon) & check_classes(name, "labels", ids, IGNORE)
    total = zero_of(features) + zero_of(torch.where(unsure.isnan(), unsure, 0)).to(features.dtype)
    n_anchors = 0
    for vectors_of_set, ids_of_set, chosen in zip(rows, ids, sure, strict=True):
        region = vectors_of_set[chosen]  # [R, D]
        if similarity == "cosine":
            region = _unit(region, eps)
        losses = _anchor_losses(region, ids_of_set[chosen], temperature, similarity, max_anchors, generator)
        total = total + losses.sum()
        n_anchors += len(losses)
    return total / max(n_anchors, 1)


def _anchor_losses(
    region: Tensor,
    ids: Tensor,
    temperature: float,
    similarity: str,
    max_anchors: int,
    generator: torch.Generator | None,
) -> Tensor:
    """[A] losses of the anchors drawn from a region of [R, D] vectors; A may be 0."""
    anchors = (torch.bincount(ids)[ids] > 1).nonzero()[:, 0]
    if len(anchors) > max_anchors:
        where = "cpu" if generator is None else generator.device
        drawn = torch.randperm(len(anchors), generator=generator, device=where)[:max_anchors]
        anchors = anchors[drawn.sort().values.to(anchors.device)]
    if len(anchors) == 0:
        return region.new_zeros(0)
    with torch.autocast(device_type=region.device.type, enabled=False):
        scores = region[anchors] @ region.T  # [A, R]; a product in half precision may overflow
    if similarity == "negative_squared_distance":
        squares = (region * region).sum(1)
        scores = 2 * scores - squares[anchors, None] - squares
    scores = scores / temperature
    same = ids[anchors, None] == ids
    positive = same.scatter(1, anchors[:, None], False)
    others = ~same
    # without a negative the sum is empty: its logarithm is replaced before the gradient could meet -inf - -inf
    any_other = others.any(1, keepdim=True)
    pushed = torch.where(others, scores, -torch.inf)
    log_sum = torch.logsumexp(torch.where(any_other, pushed, 0), 1, keepdim=True)  # [A, 1]
    losses = torch.where(any_other, F.softplus(log_sum - scores), 0)
    return torch.where(positive, losses, 0).sum(1) / positive.sum(1)


def _unit(vectors: Tensor, eps: float) -> Tensor:
    """Vectors over their length + eps; zero vectors stay zero and have no gradient."""
    squares = (vectors * vectors).sum(1, keepdim=True)
    length = torch.where(squares == 0, 1, squares).sqrt()
    return torch.where(squares == 0, 0, vectors / (length + eps))
