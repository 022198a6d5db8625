"""Decoders by name."""

from __future__ import annotations

from collections.abc import Callable

from .belharbi import BelharbiDecoder
from .decoder import Decoder
from .icnet import IcnetDecoder
from .largefov import LargeFovDecoder
from .unet import UNetDecoder

DECODERS: dict[str, Callable[..., Decoder]] = {
    "unet": UNetDecoder,
    "belharbi": BelharbiDecoder,
    "largefov": LargeFovDecoder,
    "icnet": IcnetDecoder,
}
