"""Finds every dropout call of a forward pass, of modules and functions alike, and hands it to a replacement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from ..errors import ModelError

_aten = torch.ops.aten
# Functions that are one dropout, and the name of the rule that shapes their noise.
_RULES: dict[Any, str] = {
    F.dropout: "dropout",
    F.dropout1d: "dropout1d",
    F.dropout2d: "dropout2d",
    F.dropout3d: "dropout3d",
    torch.dropout: "dropout",
    torch.dropout_: "dropout",
    torch.feature_dropout: "dropout2d",
    torch.feature_dropout_: "dropout2d",
    _aten.dropout.default: "dropout",
    _aten.dropout_.default: "dropout",
    _aten.feature_dropout.default: "dropout2d",
    _aten.feature_dropout_.default: "dropout2d",
}
_IN_PLACE = (torch.dropout_, torch.feature_dropout_, _aten.dropout_.default, _aten.feature_dropout_.default)
# No mask alone gives these: they shift and scale by statistics, or hide their mask.
_REFUSED: dict[Any, str] = {
    F.alpha_dropout: "alpha dropout",
    F.feature_alpha_dropout: "alpha dropout",
    torch.alpha_dropout: "alpha dropout",
    torch.alpha_dropout_: "alpha dropout",
    torch.feature_alpha_dropout: "alpha dropout",
    torch.feature_alpha_dropout_: "alpha dropout",
    torch.native_dropout: "native_dropout",
}
_ATTENTION = (F.scaled_dot_product_attention, _aten.scaled_dot_product_attention.default)


@dataclass(frozen=True)
class DropoutCall:
    """One call of a dropout in a forward pass.

    Attributes:
        index: number of the call in order of execution, from 0; calls with p = 0 do not count.
        function: "dropout" (elements) or "dropout1d", "dropout2d", "dropout3d" (whole channels).
        p: probability of a zero.
    """

    index: int
    function: str
    p: float
    inplace: bool

    def noise_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the mask that torch draws for an input of ``shape``."""
        if self.function == "dropout":
            return tuple(shape)
        unbatched = (self.function, len(shape)) in (("dropout1d", 2), ("dropout3d", 4))
        axes = 1 if unbatched else 2
        return (*shape[:axes], *(1 for _ in shape[axes:]))


@dataclass(frozen=True)
class Place:
    """A dropout call with its shapes for one image, and the axis that grows with the batch.

    Attributes:
        shape: of the input for a batch of one image.
        noise: of the mask for a batch of one image; broadcasts to ``shape``.
        batch_axis: the axis of the mask whose extent is N times that of one image; None = no axis of it.
    """

    call: DropoutCall
    shape: tuple[int, ...]
    noise: tuple[int, ...]
    batch_axis: int | None


Replacement = Callable[[torch.Tensor, DropoutCall], torch.Tensor]


class ReplacedDropout(TorchFunctionMode):
    """While active, every dropout with p > 0 becomes ``replacement(x, call)``, whatever its ``training`` says.

    Attention with a dropout of its own is computed by its definition, softmax(q k' / sqrt(E)) v, so that its
    dropout is seen. ``calls`` holds what was met.
    """

    def __init__(self, replacement: Replacement) -> None:
        super().__init__()
        self.calls: list[DropoutCall] = []
        self._replacement = replacement

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _RULES:
            return self._drop(_RULES[func], *_arguments(args, kwargs), inplace=func in _IN_PLACE)
        if func in _REFUSED and _arguments(args, kwargs)[1] > 0:
            raise ModelError(
                f"export: module must not call {_REFUSED[func]}, which is more than a mask. "
                "Replace it by nn.Dropout, or remove it."
            )
        if func in _ATTENTION:
            return self._attention(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            # A mode is off inside the function it was asked about, so the dropout in there is replaced by name.
            with mock.patch.multiple(F, dropout=self._functional, scaled_dot_product_attention=self._attention):
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _functional(
        self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        return self._drop("dropout", input, p, inplace)

    def _drop(self, function: str, x: torch.Tensor, p: float, given: bool, *, inplace: bool = False) -> torch.Tensor:
        if not 0 <= p <= 1:
            raise ModelError(f"export: dropout probability must be between 0 and 1; got {p}. Correct the module.")
        if p == 0:
            return x
        call = DropoutCall(len(self.calls), function, float(p), given or inplace)
        self.calls.append(call)
        return self._replacement(x, call)

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        if dropout_p == 0:
            return _ATTENTION[0](query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        if enable_gqa:
            groups = query.size(-3) // key.size(-3)
            key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
        if is_causal:
            allowed = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool).tril()
            scores = scores.masked_fill(~allowed, -math.inf)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._drop("dropout", scores.softmax(-1), dropout_p, False) @ value


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[torch.Tensor, float, bool]:
    """(input, p, inplace) of any of the dropout functions."""
    values = dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | kwargs
    return values["input"], values.get("p", 0.5), bool(values.get("inplace", False))
