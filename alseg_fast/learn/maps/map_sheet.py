"""A contact sheet of a network's activation maps on some pictures of a data set: what a person looks at first."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import nn

from ...errors import DataError, RangeError
from ..data.dataset import Dataset, Sample
from ..data.pictures import read_picture
from ..data.transforms import View
from .overlay import Picture, contact_sheet, map_row
from .teacher import activation_maps

log = logging.getLogger("alseg")


def map_sheet(
    network: nn.Module,
    dataset: Dataset,
    view: View,
    *,
    n: int = 6,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    aux: bool = False,
    title: str = "",
    height: int = 160,
    shown_tags: int = 4,
) -> Picture:
    """n pictures, each with the outline of its mask and the maps of the tags that are present.

    Args:
        network: answers `NetworkOutputs` with cams; may be on any device.
        dataset: pictures that have a tag; where a picture has a mask, each map shows the outline of its class.
        view: the pictures as the network sees them.
        n: pictures; chosen so that every tag comes up as evenly as possible, in the data set's order.
        scales, flip, aux: of `activation_maps`.
        height: of a row, in pixels.
        shown_tags: maps a picture, at most.

    Returns: [H, W, 3] uint8, see `overlay.write_sheet`. Pictures that cannot be read are logged and left out.
    Raises: DataError: no picture has a tag, or none can be read. RangeError: n or shown_tags below 1.
    """
    if n < 1 or shown_tags < 1:
        raise RangeError(f"map_sheet: n and shown_tags must be at least 1; got {n!r} and {shown_tags!r}. Show one.")
    tagged = [s for s in dataset.samples if s.tags]
    if not tagged:
        raise DataError(f"map_sheet: no image of {dataset.name} has a tag; there is no map to show")
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    rows, names = [], []
    for sample in _spread(tagged, n):
        try:
            read = read_picture(dataset, sample)
        except DataError as exc:
            log.warning("map_sheet: %s", exc)
            continue
        tags = torch.zeros((1, len(dataset.tag_names)), device=device)
        tags[0, list(sample.tags)] = 1.0
        image = view.tensor(read.image)[None].to(device)
        maps = activation_maps(network, image, tags, scales=scales, flip=flip, aux=aux)[0].cpu().numpy()
        shown = sample.tags[:shown_tags]
        rows.append(
            map_row(
                read.image,
                {dataset.tag_names[k]: maps[k] for k in shown},
                truth=read.mask,
                classes={dataset.tag_names[k]: dataset.class_of_tag[k] for k in shown},
                height=height,
            )
        )
        names.append(sample.image_id if len(sample.image_id) <= 24 else "…" + sample.image_id[-23:])
    if not rows:
        raise DataError(f"map_sheet: none of the {n} pictures of {dataset.name} can be read; see the log")
    return contact_sheet(rows, row_names=names, title=title, height=height)


def _spread(samples: Sequence[Sample], n: int) -> list[Sample]:
    """n samples whose tags come up as evenly as possible: always one that has the tag shown least so far."""
    left, shown = list(samples), dict.fromkeys((k for s in samples for k in s.tags), 0)
    chosen: list[Sample] = []
    while left and len(chosen) < n:
        best = min(left, key=lambda s: min(shown[k] for k in s.tags))  # the first of equals
        left.remove(best)
        chosen.append(best)
        for k in best.tags:
            shown[k] += 1
    return sorted(chosen, key=samples.index)
