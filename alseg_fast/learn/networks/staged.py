"""The form of every encoder: stages of ever coarser features, made of blocks that can be listened to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import RangeError
from .layers import resize, spatial_size

OUTPUT_STRIDES = (8, 16, 32)

Between = Callable[[Tensor], Tensor]


class Features(NamedTuple):
    """What an encoder answers.

    Attributes:
        stages: [B, widths[i], h, w], finest first; the last one feeds the classifier.
        block: output of the block that was asked for; None where none was.
    """

    stages: tuple[Tensor, ...]
    block: Tensor | None = None


class Encoder(nn.Module, ABC):
    """Images [B, 3, H, W] -> `Features`.

    Attributes:
        widths, strides: channels and stride of each stage.
        block_widths: channels of each block, in order of execution.
    """

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    block_widths: tuple[int, ...]

    @abstractmethod
    def forward(
        self,
        images: Tensor,
        *,
        block: int | None = None,
        after_stage: Between | None = None,
        halve_before: Sequence[int] = (),
    ) -> Features:
        """Features of a batch.

        Args:
            block: index into `block_widths` (negative from the end) of the block to listen to.
            after_stage: applied to each stage's features before the next stage sees them (dropout).
            halve_before: numbers of the stages whose input is halved in height and width first (cascades).
        """

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw first weights."""


class StagedEncoder(Encoder):
    """A convolutional encoder: `enter` leads into a stage, then its blocks follow."""

    @abstractmethod
    def enter(self, stage: int, x: Tensor) -> Tensor:
        """What comes before the first block of a stage: the stem, a pooling, nothing."""

    @abstractmethod
    def blocks(self, stage: int) -> Iterable[nn.Module]:
        """The blocks of a stage, in order."""

    def forward(
        self,
        images: Tensor,
        *,
        block: int | None = None,
        after_stage: Between | None = None,
        halve_before: Sequence[int] = (),
    ) -> Features:
        wanted = None if block is None else block % len(self.block_widths)
        x, heard, number, stages = images, None, 0, []
        for stage in range(len(self.widths)):
            if stage in halve_before:
                height, width = spatial_size(x)
                x = resize(x, (max(1, height // 2), max(1, width // 2)))
            x = self.enter(stage, x)
            for part in self.blocks(stage):
                x = part(x)
                heard = x if number == wanted else heard
                number += 1
            x = x if after_stage is None else after_stage(x)
            stages.append(x)
        return Features(tuple(stages), heard)


def dilations(output_stride: int, full: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and dilations of stages whose strides multiply to ``full[-1]``, so that none exceeds output_stride.

    A stage that may not stride dilates instead, so that its field of view stays (Chen et al., 2015).

    Args:
        full: stride of each stage without dilation, such as (2, 4, 8, 16, 32).
    Returns: per stage the step from the stage before, and the dilation.
    Raises:
        RangeError: output_stride is not 8, 16 or 32.
    """
    if type(output_stride) is not int or output_stride not in OUTPUT_STRIDES:
        raise RangeError(f"encoder: output_stride must be 8, 16 or 32; got {output_stride!r}. 8 gives the finest maps.")
    steps, widths = [], []
    before, dilation = 1, 1
    for stride in full:
        step = stride // before
        before = stride
        if stride > output_stride:
            dilation *= step
            step = 1
        steps.append(step)
        widths.append(dilation)
    return tuple(steps), tuple(widths)
