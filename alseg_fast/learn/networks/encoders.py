"""Encoders by name."""

from __future__ import annotations

from collections.abc import Callable

from .light import LightEncoder
from .resnet import resnet18, resnet50
from .staged import Encoder
from .vit import vit_small, vit_tiny

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "light": LightEncoder,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vit_tiny": vit_tiny,
    "vit_small": vit_small,
}
