"""The classification part that several methods share: loss of the image tags, main and auxiliary."""

from __future__ import annotations

from torch import Tensor

from ...errors import UsageError
from ..data.batch import Batch
from ..losses.classification import tag_loss
from ..networks.outputs import NetworkOutputs


def tag_parts(
    outputs: NetworkOutputs, batch: Batch, *, single_tag: bool, weight: float, aux_weight: float
) -> dict[str, Tensor]:
    """The parts "tags", and "aux_tags" where the network has an auxiliary classifier, weights included."""
    if outputs.tag_logits is None:
        raise UsageError(
            "tag_parts: network must have a tag head; got one without. Set n_tags to the number of the data set's tags."
        )
    parts = {"tags": weight * tag_loss(outputs.tag_logits, batch.tags, single_tag=single_tag)}
    if outputs.aux_tag_logits is not None:
        parts["aux_tags"] = aux_weight * tag_loss(outputs.aux_tag_logits, batch.tags, single_tag=single_tag)
    return parts
