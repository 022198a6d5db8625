"""The network of weak supervision: one encoder, a classifier of image tags, a segmentation decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...checks import check_choice
from ...errors import ShapeError, UsageError
from .acol import AcolOutputs
from .decoder import Decoder
from .outputs import NetworkOutputs
from .staged import Encoder, Features
from .weights import WeightsReport

SCORER_HEADS = ("segmentation", "cam")


class WeakNetwork(nn.Module):
    """Made by `build_network`; images [B, 3, H, W] -> `NetworkOutputs`.

    Attributes:
        encoder: images -> `Features`.
        tag_head, aux_head: features -> logits and activation maps of the tags; None where there is none.
        decoder: images and features -> segmentation; None where there is none.
        config: keywords of `build_network` that build the same network again; first weights are no part of it.
        weights_report: what was loaded into the encoder; None = nothing.
    """

    def __init__(
        self,
        encoder: Encoder,
        tag_head: nn.Module | None,
        aux_head: nn.Module | None,
        decoder: Decoder | None,
        *,
        dropout: float,
        encoder_dropout: bool,
        aux_block: int,
        halve_before: tuple[int, ...],
        config: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.encoder, self.tag_head, self.aux_head, self.decoder = encoder, tag_head, aux_head, decoder
        # A part of the segmentation: it stays active where the classifier is frozen.
        self.stage_dropout = nn.Dropout(dropout) if dropout > 0 and encoder_dropout else None
        self.aux_block, self.halve_before = aux_block, halve_before
        self.config = dict(config)
        self.classifier_frozen = False
        self.weights_report: WeightsReport | None = None

    def forward(self, images: Tensor, tags: Tensor | None = None) -> NetworkOutputs:
        """Everything the network has to say about a batch.

        Args:
            images: [B, 3, H, W] float, normalised.
            tags: [B, K], for heads that look at them in training (ACoL erases what belongs to the present tags).
        Returns: what there is; of ACoL's head the second classifier's logits are ``aux_tag_logits``.
        Raises:
            ShapeError: images has another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ShapeError(
                f"WeakNetwork: images must have shape [B, 3, H, W]; got {list(images.shape)}. Pass a batch of "
                "normalised RGB pictures."
            )
        features = self.features(images)
        found: dict[str, Any] = {}
        if self.tag_head is not None:
            heard = self.tag_head(features.stages[-1], tags)
            found["tag_logits"], found["cams"] = heard[:2]
            if isinstance(heard, AcolOutputs):
                found["aux_tag_logits"] = heard.second_logits
        if self.aux_head is not None:
            found["aux_tag_logits"], found["aux_cams"] = self.aux_head(features.block, tags)[:2]
        if self.decoder is not None:
            segmentation = self.decoder(images, features)
            found["seg_logits"], found["aux_seg_logits"] = segmentation.logits, segmentation.auxiliary
        return NetworkOutputs(**found)

    def features(self, images: Tensor) -> Features:
        """The encoder's features as heads and decoder see them, stage dropout included."""
        features: Features = self.encoder(
            images,
            block=self.aux_block if self.aux_head is not None else None,
            after_stage=self.stage_dropout,
            halve_before=self.halve_before,
        )
        return features

    def classifier_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the encoder and of the classifiers of image tags."""
        for part in self._classifier():
            yield from part.parameters()

    def segmentation_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the decoder; none where there is none."""
        if self.decoder is not None:
            yield from self.decoder.parameters()

    def freeze_classifier(self) -> Self:
        """Keep encoder and classifiers as they are: no gradients, evaluation mode (normalisation, dropout of the
        pooling) also after ``train()``. Dropout between the encoder's stages belongs to the segmentation and stays
        active in training, as in the published MC dropout."""
        self.classifier_frozen = True
        for parameter in self.classifier_parameters():
            parameter.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; a frozen classifier stays in evaluation mode."""
        super().train(mode)
        if self.classifier_frozen:
            for part in self._classifier():
                part.eval()
        return self

    def reset_segmentation(self, seed: int) -> Self:
        """First weights for the decoder alone, from ``seed``: the same on every call, device and machine.

        Raises:
            UsageError: there is no decoder.
        """
        if self.decoder is None:
            raise UsageError("reset_segmentation: the network must have a decoder; it has none. Build it with one.")
        self.decoder.initialise(torch.Generator().manual_seed(seed))
        return self

    def scorer(self, head: str = "segmentation") -> nn.Module:
        """A module of one output on this network's own weights, as exports and engines want it.

        Args:
            head: "segmentation": logits [B, C, h, w]; "cam": raw activation maps [B, K, h, w].
        Raises:
            UsageError: the network has no such part.
        """
        check_choice("scorer", "head", head, SCORER_HEADS)
        missing = self.decoder is None if head == "segmentation" else self.tag_head is None
        if missing:
            part = "a decoder" if head == "segmentation" else "a classifier of tags (n_tags >= 1)"
            raise UsageError(f"scorer: head={head!r} must be part of the network; it has none. Build it with {part}.")
        return Scorer(self, head)

    def _classifier(self) -> list[nn.Module]:
        return [part for part in (self.encoder, self.tag_head, self.aux_head) if part is not None]


class Scorer(nn.Module):
    """One head of a `WeakNetwork` as a module of one output; computes nothing else."""

    def __init__(self, network: WeakNetwork, head: str) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        network = self.network
        features = network.features(images)
        if self.head == "segmentation" and network.decoder is not None:
            logits: Tensor = network.decoder(images, features).logits
            return logits
        if network.tag_head is None:
            raise UsageError(f"scorer: head={self.head!r} must be part of the network; it has none.")
        cams: Tensor = network.tag_head(features.stages[-1], None)[1]
        return cams
