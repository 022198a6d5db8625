"""`build_network`: a `WeakNetwork` from the names of its parts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...checks import check_choice
from ...errors import RangeError, UsageError
from .decoders import DECODERS
from .encoders import ENCODERS
from .heads import HEADS
from .staged import Encoder
from .weak_network import WeakNetwork
from .weights import load_weights

NO_DECODER = "none"
CASCADE = (0, 3)  # halved before the first stage, and again before the fourth
CASCADE_OUTPUT_STRIDE = 8


def build_network(
    *,
    encoder: str = "light",
    n_tags: int,
    n_classes: int,
    pooling: str = "wildcat",
    decoder: str = "unet",
    dropout: float = 0.0,
    encoder_dropout: bool = True,
    aux_tags: bool = False,
    aux_block: int = -3,
    cascade: bool | None = None,
    weights: str | Path | None = None,
    seed: int | None = None,
    **options: Any,
) -> WeakNetwork:
    """A network for image tags, segmentation or both.

    Args:
        encoder: "light", "resnet18", "resnet50", "vit_tiny" or "vit_small".
        n_tags: image tags K; 0: no classifier.
        n_classes: segmentation classes, background included. 2 classes are one foreground logit (sigmoid), more are
            a channel each (softmax).
        pooling: head of the tags: "wildcat" (corrected), "wildcat_published", "average" (CAM), "max" (CoSA's) or
            "acol" (two classifiers, the second on features from which the first one's regions are erased).
        decoder: "none", "unet", "belharbi", "largefov" or "icnet".
        dropout: probability of a zero at every dropout place: after each stage of the encoder, in sequence, and the
            decoder's own places; element-wise, as published. The pooling has its own (``pooling_dropout``).
        encoder_dropout: False leaves out the places after the encoder's stages, so that stochastic passes of an
            exported network share its encoder.
        aux_tags: a second classifier, of the same kind, on an earlier block's features.
        aux_block: which one: index into the encoder's blocks (transformer blocks, residual blocks); -3 is CoSA's.
        cascade: the encoder sees pictures at half their height and width, and its fourth and fifth stage see the third
            one's output halved again: a quarter of the cost of large pictures. None: with icnet only, which is made
            for it. A network without decoder that is to become the classifier of such a network needs True too.
        weights: file of the encoder's weights (torchvision's for ResNets, DeiT's for transformers), which must fit;
            what was loaded is in `WeakNetwork.weights_report`.
        seed: of the first weights; None draws one from torch's global generator, which is not used otherwise.
        options: of the parts: ``output_stride`` (light: 8, ResNets: 32, cascades: 8), ``norm`` (light, unet,
            icnet), ``patch`` and ``image_size`` (transformers), ``modalities, kmax, kmin, alpha, pooling_dropout``
            (wildcat), ``threshold, hidden, smooth`` (acol), ``width`` (unet, icnet), ``full_resolution`` (unet),
            ``base, leak`` (belharbi), ``head_width, dilation`` (largefov). Those of any decoder may stay where the
            network has none, and those of any pooling where it has no tags.
    Raises:
        UsageError: unknown names, options that no chosen part has, or parts that do not fit each other.
        RangeError: a number is not as said.
        ModelError: the file of weights cannot be read or does not fit.
    """
    makers = _makers(encoder, pooling, decoder, n_tags)
    _check_numbers(n_tags, n_classes, dropout, decoder, aux_tags, pooling)
    if seed is not None and type(seed) is not int:
        raise RangeError(f"build_network: seed must be an integer or None; got {seed!r}. None draws one.")
    cascade = decoder == "icnet" if cascade is None else cascade
    if cascade and "output_stride" in _options_of(makers["encoder"]):
        options = {"output_stride": CASCADE_OUTPUT_STRIDE} | options
    given = {
        "encoder": encoder,
        "n_tags": n_tags,
        "n_classes": n_classes,
        "pooling": pooling,
        "decoder": decoder,
        "dropout": dropout,
        "encoder_dropout": encoder_dropout,
        "aux_tags": aux_tags,
        "aux_block": aux_block,
        "cascade": cascade,
        **options,
    }
    used = {part: {k: v for k, v in options.items() if k in _options_of(m)} for part, m in makers.items()}
    known = set().union(*map(_options_of, makers.values()))
    absent = [*(DECODERS.values() if decoder == NO_DECODER else ()), *(() if n_tags else HEADS.values())]
    if unknown := sorted(set(options).difference(known, *map(_options_of, absent))):
        raise UsageError(
            f"build_network: options must belong to the chosen parts ({', '.join(_named(encoder, pooling, decoder))}); "
            f"got {unknown[0]!r}. They take: {', '.join(sorted(known)) or 'none'}."
        )
    with torch.random.fork_rng(devices=()):  # torch fills new layers; these numbers are replaced below
        trunk: Encoder = makers["encoder"](**used["encoder"])
        _check_blocks(trunk, encoder, cascade, aux_tags, aux_block)
        tag_head = aux_head = head = None
        if n_tags:
            tag_head = makers["pooling"](trunk.widths[-1], n_tags, **used["pooling"])
        if aux_tags:
            aux_head = makers["pooling"](trunk.block_widths[aux_block], n_tags, **used["pooling"])
        if decoder != NO_DECODER:
            outputs = 1 if n_classes == 2 else n_classes
            head = makers["decoder"](trunk.widths, outputs, dropout=dropout, **used["decoder"])
    network = WeakNetwork(
        trunk,
        tag_head,
        aux_head,
        head,
        dropout=dropout,
        encoder_dropout=encoder_dropout,
        aux_block=aux_block,
        halve_before=CASCADE if cascade else (),
        config=given,
    )
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())) if seed is None else seed)
    # In this order, so that a classifier begins alike with and without a decoder.
    for part in (trunk, tag_head, aux_head, head):
        if part is not None:
            part.initialise(generator)
    if weights is not None:
        network.weights_report = load_weights(trunk, weights, strict=True)
    return network


def _makers(encoder: str, pooling: str, decoder: str, n_tags: int) -> dict[str, Callable[..., Any]]:
    """Makers of the parts that the network will have."""
    makers: dict[str, Callable[..., Any]] = {
        "encoder": ENCODERS[check_choice("build_network", "encoder", encoder, tuple(ENCODERS))]
    }
    check_choice("build_network", "pooling", pooling, tuple(HEADS))
    check_choice("build_network", "decoder", decoder, (NO_DECODER, *DECODERS))
    if n_tags:
        makers["pooling"] = HEADS[pooling]
    if decoder != NO_DECODER:
        makers["decoder"] = DECODERS[decoder]
    return makers


def _check_numbers(
    n_tags: object, n_classes: object, dropout: float, decoder: str, aux_tags: bool, pooling: str
) -> None:
    if type(n_tags) is not int or n_tags < 0:
        raise RangeError(f"build_network: n_tags must be an integer >= 0; got {n_tags!r}. 0 is a network without tags.")
    if type(n_classes) is not int or (decoder != NO_DECODER and not 2 <= n_classes <= 255) or n_classes < 0:
        raise RangeError(
            f"build_network: n_classes must be an integer in 2..255, background included; got {n_classes!r}. Masks "
            "hold ids of one byte, 255 is 'no label'."
        )
    if not 0 <= dropout < 1:
        raise RangeError(f"build_network: dropout must be in [0, 1); got {dropout}. 0 is none.")
    if n_tags == 0 and (decoder == NO_DECODER or aux_tags):
        wanted = "aux_tags" if aux_tags else "a network without a decoder"
        raise UsageError(f"build_network: n_tags must be at least 1 for {wanted}; got 0. Give the number of tags.")
    if aux_tags and pooling == "acol":
        raise UsageError("build_network: aux_tags must be off with pooling='acol'; it is on. ACoL has two classifiers.")


def _check_blocks(trunk: Encoder, name: str, cascade: bool, aux_tags: bool, aux_block: object) -> None:
    """What can only be checked against the encoder that was made."""
    if cascade and len(trunk.widths) <= max(CASCADE):
        raise UsageError(
            f"build_network: cascade must be off for an encoder of {len(trunk.widths)} stage, {name}; it is on. "
            "Choose a convolutional encoder, or decoder='largefov'."
        )
    blocks = len(trunk.block_widths)
    if aux_tags and (type(aux_block) is not int or not -blocks <= aux_block < blocks):
        raise RangeError(
            f"build_network: aux_block must be an integer in {-blocks}..{blocks - 1}; got {aux_block!r}. -3 is usual."
        )


def _options_of(maker: Callable[..., Any]) -> set[str]:
    """Options of a part: its parameters with defaults that are not `build_network`'s own."""
    return {
        name
        for name, parameter in inspect.signature(maker).parameters.items()
        if parameter.default is not parameter.empty and name not in ("dropout", "form")
    }


def _named(encoder: str, pooling: str, decoder: str) -> list[str]:
    return [f"encoder {encoder}", f"pooling {pooling}", f"decoder {decoder}"]
