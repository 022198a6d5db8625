"""One image's logits -> its row of scores and, when asked for, its maps."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError
from ..ops import uncertainty
from ..ops.cam import cam_probabilities
from ..ops.published import belharbi_entropy, belharbi_mc_dropout
from ..runtimes.spec import ModelSpec
from ..types import Uncertainty
from .prepare import Placement
from .region_columns import crf_columns, region_columns
from .regions import PictureRegions, at_size

LABELS = "labels"
SCORE_SIZES = ("input", "image")
PUBLISHED = {"belharbi_entropy": belharbi_entropy, "belharbi_mc_dropout": belharbi_mc_dropout}
_REGION_ROOM = 256


def label_names(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the arg-max ids. Beside activation maps the background is label 0; a one-channel model of another kind
    tells its class from what is not it."""
    if spec.activation == "cam":
        return ("background", *spec.classes)
    return spec.classes if spec.n_classes > 1 else (f"not {spec.classes[0]}", spec.classes[0])


def published_columns(n_passes: int) -> tuple[str, ...]:
    """Names of the scores of published programs that this many passes allow; see `ops.published`."""
    return tuple(PUBLISHED) if n_passes > 1 else ("belharbi_entropy",)


def measure_range(measure: str, spec: ModelSpec) -> tuple[float, float]:
    """Lowest and highest value a measure can take for this model; heatmaps are scaled by it."""
    ways = 2 if spec.activation == "sigmoid" else len(label_names(spec))
    doubt = 1.0 - 1.0 / ways
    if measure in ("entropy", "expected_entropy", "mutual_information"):
        return 0.0, math.log(ways)
    # Passes that all are certain, of another class each: sum over classes of the variance = 1 - sum of mean^2.
    return 0.0, {"margin": 1.0, "variance": doubt / ways}.get(measure, doubt)


@dataclass
class ScoredImage:
    """Scores of one image.

    Attributes:
        values: "<measure>_<mean|max|top>", predicted_label, class_fraction, class_<measure>.
        maps: measure -> [h, w] uint8 heatmap (0..255 over `measure_range`), "labels" -> [H, W] class ids at the
            image's own size; empty unless asked for.
        regions: columns of the picture's rows of a regions part, without image_id; empty without regions.
    """

    values: dict[str, Any]
    maps: dict[str, NDArray[Any]] = field(default_factory=dict)
    regions: dict[str, Any] = field(default_factory=dict)


class Reducer:
    """Turns logits into scores for one thread, in memory that is kept from image to image.

    Args:
        measures: names of the measures.
        score_size: "input" measures at the resolution the model saw; "image" at the picture's own.
        top_fraction: share of pixels behind `<measure>_top`.
        published: also the scores of `published_columns`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        measures: Sequence[str],
        score_size: str,
        top_fraction: float,
        num_threads: int = 1,
        *,
        published: bool = False,
    ) -> None:
        self._spec = spec
        self._measures = tuple(measures)
        self._score_size = score_size
        self._top_fraction = top_fraction
        self._num_threads = num_threads
        self._published = published
        self._kept: tuple[Any, Uncertainty] | None = None

    def reduce(
        self,
        logits: Any,
        placement: Placement,
        image_size: tuple[int, int],
        *,
        maps: bool,
        regions: PictureRegions | None = None,
        about: Any = None,
    ) -> ScoredImage:
        """Score one image.

        Args:
            logits: [1, C, h, w] or [1, T, C, h, w] as the model gave them, an array or a tensor on its device.
            placement: where the picture lies in the model's input.
            image_size: (height, width) of the picture.
            maps: also make heatmaps and the label map.
            regions: also pool over these.
            about: [C] which classes are present, for a model of activation maps; None: all may be.
        Raises: DataError: the logits hold NaN or inf, or are no probabilities where the model states so.
        """
        size = image_size if self._score_size == "image" else (placement.height, placement.width)
        box = placement.box((logits.shape[-2], logits.shape[-1]))
        activation = self._spec.activation
        if activation == "cam":
            present = None if about is None else like(np.asarray(about)[None], logits)
            assert self._spec.background is not None
            logits = cam_probabilities(logits, present, self._spec.background, box=box)
            activation = "probabilities"
        ids = None if regions is None else at_size(regions.segments, size)
        # Room for more regions than there are, so that pictures with other counts use the same memory.
        room = None if regions is None else -(-regions.count // _REGION_ROOM) * _REGION_ROOM
        key = (size, logits.shape, maps, room)
        out = self._kept[1] if self._kept is not None and self._kept[0] == key else None
        u = uncertainty(
            logits,
            size,
            measures=self._measures,
            maps=maps,
            labels=regions is not None,
            top_fraction=self._top_fraction,
            class_stats=True,
            activation=activation,
            box=box,
            segments=None if ids is None else like(ids, logits),
            n_segments=room,
            num_threads=self._num_threads,
            out=out,
        )
        self._kept = (key, u)
        names, numbers = list(u.scores), to_host([*u.scores.values(), u.class_fraction, *u.class_means.values()])
        values: dict[str, Any] = {name: float(v[0]) for name, v in zip(names, numbers, strict=False)}
        fraction, *means = (v[0] for v in numbers[len(names) :])
        values["predicted_label"] = int(fraction.argmax())
        values["class_fraction"] = fraction
        for measure, mean in zip(u.class_means, means, strict=True):
            values[f"class_{measure}"] = mean
        if self._published:
            (scores,) = to_host([logits])
            for name in published_columns(scores.shape[1] if scores.ndim == 5 else 1):
                values[name] = float(PUBLISHED[name](scores, size, activation=activation, num_threads=1)[0])
        scored = ScoredImage(values)
        if maps:
            for measure in self._measures:
                high = measure_range(measure, self._spec)[1]
                heat = np.clip(to_host([u.maps[measure]])[0][0] * np.float32(255.0 / high), 0, 255)
                scored.maps[measure] = np.rint(heat).astype(np.uint8)
            scored.maps[LABELS] = self._label_map(logits, activation, box, image_size)
        if regions is not None and ids is not None:
            names = [name for name in u.segments if name.endswith("_mean")] + ["class_fraction"]
            *pooled, labels = (a[0] for a in (*to_host([u.segments[n] for n in names]), *to_host([u.labels])))
            columns = dict(zip(names, pooled, strict=True))
            scored.regions = region_columns(regions, columns, self._measures, ids, labels, image_size)
            if regions.colors is not None:
                scores = to_host([logits])[0][0]
                scored.regions |= crf_columns(regions, scores, ids, activation, box)
        return scored

    def _label_map(self, logits: Any, activation: str, box: Any, image_size: tuple[int, int]) -> NDArray[Any]:
        u = uncertainty(
            logits,
            image_size,
            measures=(),
            maps=False,
            labels=True,
            activation=activation,
            box=box,
            num_threads=self._num_threads,
        )
        labels: NDArray[Any] = to_host([u.labels])[0][0]
        return labels


def like(array: NDArray[Any], other: Any) -> Any:
    """The array where `other` is: itself beside an array, a tensor on its device beside a tensor."""
    if isinstance(other, np.ndarray):
        return array
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(other.device)


def to_host(arrays: Sequence[Any]) -> list[NDArray[Any]]:
    """The same arrays as NumPy. Tensors of a device travel together: every copy would wait for the device."""
    if all(isinstance(a, np.ndarray) for a in arrays):
        return list(arrays)
    if len(arrays) == 1:
        return [arrays[0].cpu().numpy()]
    import torch

    flat = torch.cat([a.reshape(-1) for a in arrays]).cpu().numpy()
    ends = np.cumsum([a.numel() for a in arrays])[:-1]
    return [part.reshape(a.shape) for part, a in zip(np.split(flat, ends), arrays, strict=True)]


def encode_png(image: NDArray[Any]) -> bytes:
    """[h, w] uint8 or uint16 -> PNG bytes, lossless, fast rather than smallest."""
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise DataError(f"encode_png: image must be [h, w] uint8 or uint16; got {list(image.shape)} {image.dtype}.")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
