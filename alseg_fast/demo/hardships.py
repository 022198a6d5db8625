"""What makes a scene hard after it is painted: light, weather and the camera."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter

from .paint import between, noise_plane, pick, share

HARD_KINDS = ("camouflage", "clutter", "fog", "low_contrast", "night", "scale", "sensor", "texture")


def spoil(rgb: Any, rng: np.random.Generator, degree: float, kinds: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """Light the picture, then add the camera's faults.

    Every picture gets a mild light gradient and a little grain. ``night``, ``low_contrast`` and ``sensor``
    add theirs by degree; the other kinds were painted. Returns [h, w, 3] uint8.
    """
    degree /= 0.6 + 0.4 * max(1, len(kinds))  # several faults together need less of each
    noise = between(rng, 1, 5)
    gain, lift = 1.16, 0.0
    tone = pick(rng, ((1.05, 1.0, 0.95), (1.0, 1.0, 1.0), (0.95, 1.0, 1.05)))  # white balance
    if "night" in kinds:
        gain *= 0.55 - 0.4 * degree
        tone = (0.85, 1.0, 1.25)
        noise += 10 * degree
    if "low_contrast" in kinds:
        keep = 1 - 0.8 * degree
        gain *= keep
        lift = (1 - keep) * between(rng, 70, 190)
    if "sensor" in kinds:
        noise += 30 * degree
        rgb = rgb.filter(ImageFilter.BoxBlur(share(between(rng, 0.3, 1)) * 4 * degree * min(rgb.size) / 480))
    # A slow light gradient over the whole picture, then one look-up per channel, then grain.
    field = noise_plane(rng, rgb.size, max(64, max(rgb.size) // 2)).point([210 + v * 45 // 255 for v in range(256)])
    rgb = ImageChops.multiply(rgb, Image.merge("RGB", (field, field, field)))
    rgb = rgb.point([min(255, round(v * gain * t + lift)) for t in tone for v in range(256)])
    image = np.asarray(_add_grain(rgb, rng, round(noise)))
    return _recompress(image, round(40 - 30 * degree)) if "sensor" in kinds else image


def _add_grain(rgb: Any, rng: np.random.Generator, amount: int) -> Any:
    """Add whole numbers drawn evenly from -amount..amount, the same to all three channels."""
    grain = Image.frombytes("L", rgb.size, rng.bytes(rgb.width * rgb.height))
    grain = grain.point([v * (2 * amount) // 255 for v in range(256)])
    return ImageChops.add(rgb, Image.merge("RGB", (grain, grain, grain)), 1, -amount)


def _recompress(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer).convert("RGB"))
