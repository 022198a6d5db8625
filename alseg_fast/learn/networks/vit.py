"""Small vision transformers as encoders (Dosovitskiy et al., 2021), with the parameter names of DeiT's files."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import RangeError, ShapeError, UsageError
from .layers import initialise, spatial_size
from .staged import Between, Encoder, Features

_WEIGHT_STD = 0.02


class Attention(nn.Module):
    """Self-attention of several heads over tokens [B, n, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        n, width = tokens.shape[1:]
        q, k, v = self.qkv(tokens).reshape(-1, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)  # [B, heads, n, D / heads]
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(-1, n, width))
        return projected


class Mlp(nn.Module):
    """Two linear layers with a GELU between, on each token alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        changed: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return changed


class Block(nn.Module):
    """Attention and MLP, each on normalised tokens and added to them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class PatchEmbed(nn.Module):
    """One token a patch: a convolution whose stride is its size."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        embedded: Tensor = self.proj(images)
        return embedded


class VisionTransformer(Encoder):
    """One stage: the map of normalised tokens at 1 / patch of the input; the class token takes part, but is left out.

    `Features.block` holds the tokens of an earlier block as they are, before the final normalisation.

    Args:
        width, depth, heads: of the transformer.
        patch: side of a patch in pixels; the input's sides must be multiples of it.
        image_size: side of the square pictures that the position embeddings are made for; they are resampled
            (bicubic) for any other size. A file must have been trained with the same one.
    """

    def __init__(self, width: int, depth: int, heads: int, *, patch: int = 16, image_size: int = 224) -> None:
        super().__init__()
        if type(patch) is not int or patch < 1:
            raise RangeError(f"VisionTransformer: patch must be an integer >= 1; got {patch!r}. Usual: 16.")
        if type(image_size) is not int or image_size < patch or image_size % patch:
            raise RangeError(
                f"VisionTransformer: image_size must be a multiple of patch = {patch}; got {image_size}. "
                f"Take {max(patch, image_size // patch * patch)}."
            )
        self.patch, self.grid = patch, image_size // patch
        self.patch_embed = PatchEmbed(patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widths, self.strides = (width,), (patch,)
        self.block_widths = (width,) * depth

    def forward(
        self,
        images: Tensor,
        *,
        block: int | None = None,
        after_stage: Between | None = None,
        halve_before: Sequence[int] = (),
    ) -> Features:
        if halve_before:
            raise UsageError("VisionTransformer: halve_before must be empty; got stages. It has one stage only.")
        height, width = spatial_size(images)
        if height % self.patch or width % self.patch:
            raise ShapeError(
                f"VisionTransformer: images must have sides that are multiples of the patch size {self.patch}; got "
                f"{height} x {width}. Choose another input size."
            )
        size = height // self.patch, width // self.patch
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2)  # [B, n, D]
        first = self.cls_token.expand(tokens.shape[0], -1, -1)
        tokens = torch.cat([first, tokens], 1) + self._positions(size)
        wanted = None if block is None else block % len(self.blocks)
        heard = None
        for number, part in enumerate(self.blocks):
            tokens = part(tokens)
            heard = _token_map(tokens, size) if number == wanted else heard
        stage = _token_map(self.norm(tokens), size)
        return Features((stage if after_stage is None else after_stage(stage),), heard)

    def _positions(self, size: tuple[int, int]) -> Tensor:
        """[1, 1 + h w, D] for a grid of (h, w) patches."""
        if size == (self.grid, self.grid):
            return self.pos_embed
        square = self.pos_embed[:, 1:].transpose(1, 2).reshape(1, -1, self.grid, self.grid)
        stretched = F.interpolate(square, size, mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], stretched.flatten(2).transpose(1, 2)], 1)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Normal weights of standard deviation 0.02, cut at two of them; patches as a linear layer."""
        initialise(self, generator)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                _draw_cut_normal(layer.weight, _WEIGHT_STD, generator)
        projection = self.patch_embed.proj
        _draw_cut_normal(projection.weight, 1 / math.sqrt(projection.weight[0].numel()), generator)
        _draw_cut_normal(self.pos_embed, _WEIGHT_STD, generator)
        _draw_cut_normal(self.cls_token, _WEIGHT_STD, generator)


def _token_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, D, h, w] of tokens [B, 1 + h w, D]."""
    return tokens[:, 1:].transpose(1, 2).reshape(-1, tokens.shape[2], *size)


def _draw_cut_normal(target: Tensor, std: float, generator: torch.Generator) -> None:
    values = torch.empty(target.shape)
    nn.init.trunc_normal_(values, std=std, a=-2 * std, b=2 * std, generator=generator)
    target.copy_(values)


def vit_tiny(*, patch: int = 16, image_size: int = 224) -> VisionTransformer:
    """12 blocks of 192 channels and 3 heads: 5.5 million parameters."""
    return VisionTransformer(192, 12, 3, patch=patch, image_size=image_size)


def vit_small(*, patch: int = 16, image_size: int = 224) -> VisionTransformer:
    """12 blocks of 384 channels and 6 heads: 21.7 million parameters."""
    return VisionTransformer(384, 12, 6, patch=patch, image_size=image_size)
