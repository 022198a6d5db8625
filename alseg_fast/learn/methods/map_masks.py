"""Steps 2 and 3 of the four: activation maps, refined, as pseudo-masks on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from ...atomic import make_directory, write_atomic
from ...errors import DataError
from ...ops.band_labels import band_labels
from ...ops.dense_crf import dense_crf
from ...ops.gmm_threshold import GmmThreshold, gmm_threshold
from ...stages.pseudo_masks import encode_palette_png
from ...stages.run_layout import png_path
from ..data.dataset import Dataset, Sample
from ..data.pictures import read_image
from ..data.transforms import View
from ..losses.swapped import tags_to_classes
from ..maps.teacher import teacher_maps
from ..networks.weak_network import WeakNetwork
from ..training.config import Settings

Uint8 = npt.NDArray[np.uint8]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Inside = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class CrfOptions(Settings):
    """The dense CRF; defaults are those of ToCo and CoSA: one iteration, Gaussian 1/1, bilateral 121/5/4.

    Attributes:
        use: off leaves the maps as they are.
        n_iter: mean-field iterations.
        gaussian: (sigma of position, weight); bilateral: (sigma of position, of colour, weight).
    """

    use: bool = False
    n_iter: Annotated[int, Field(ge=1)] = 1
    gaussian: Annotated[tuple[Positive, Positive], BeforeValidator(_tuple)] = (1.0, 1.0)
    bilateral: Annotated[tuple[Positive, Positive, Positive], BeforeValidator(_tuple)] = (121.0, 5.0, 4.0)


class RefineOptions(Settings):
    """From maps to masks.

    Attributes:
        threshold: "fixed": background below `low`, foreground above `high`, ignored between; "gmm": fitted to the maps
            of up to `fit_images` training images.
        fit_images: the first so many, in the data set's order.
        scales, flip: of the passes whose maps are summed.
        crf: with it the background's share of a pixel is the threshold (the middle of a band) and a tag's is its map;
            both are divided by their sum, refined, and the largest wins. The band is then not used.
    """

    threshold: Literal["fixed", "gmm"] = "fixed"
    low: Inside = 0.3
    high: Inside = 0.3
    fit_images: Annotated[int, Field(ge=1)] = 1000
    scales: Annotated[tuple[Positive, ...], BeforeValidator(_tuple), Field(min_length=1)] = (1.0,)
    flip: bool = True
    crf: CrfOptions = CrfOptions()

    @model_validator(mode="after")
    def _check(self) -> RefineOptions:
        if self.low > self.high:
            raise ValueError(f"low must be at most high; got {self.low:g} and {self.high:g}")
        return self


@dataclass(frozen=True)
class Band:
    """Background below low, foreground above high, ignored between."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


def fit_band(network: WeakNetwork, dataset: Dataset, view: View, options: RefineOptions) -> Band:
    """The thresholds of all masks of a data set.

    Raises: DataError: "gmm", and no mixture can be fitted: too few values above zero, or no crossing.
    """
    if options.threshold == "fixed":
        return Band(options.low, options.high)
    found = fit_maps(network, dataset, view, options)
    if found.status != "fitted":
        raise DataError(
            f"fit_band: no threshold can be fitted to the maps of {dataset.name} ({found.reason}); "
            "use threshold fixed, or train the classifier longer"
        )
    return Band(found.low, found.high)


def fit_maps(network: WeakNetwork, dataset: Dataset, view: View, options: RefineOptions, **fit: Any) -> GmmThreshold:
    """The mixture of the maps of the first images with tags.

    Args:
        fit: keywords of `gmm_threshold`.
    Raises: DataError: no image has a tag.
    """
    hottest: list[npt.NDArray[np.float32]] = []
    for sample in dataset.samples:
        if sample.tags and len(hottest) < options.fit_images:
            picture = read_image(sample, at_least=view.size)
            cams = _maps(network, dataset, sample, view, picture, options)
            hottest.append(cams[0].amax(dim=0).cpu().numpy())
    if not hottest:
        raise DataError(f"fit_maps: dataset {dataset.name} must have images with tags; got none of {len(dataset)}.")
    return gmm_threshold(np.stack(hottest), **fit)


def make_pseudo_masks(
    network: WeakNetwork, dataset: Dataset, view: View, folder: Path, band: Band, options: RefineOptions
) -> dict[str, Any]:
    """Write <folder>/<image_id>.png of class ids, 255 = ignored, at each picture's own size.

    Images without a tag get none, nor do images whose maps are all zero: an all-background mask would be invented.
    Files that are there already are kept, so that a second start goes on where the first was stopped.

    Returns: {"written": n, "kept": n, "without_tag": n, "empty_maps": n}.
    """
    make_directory(folder)
    counts = {"written": 0, "kept": 0, "without_tag": 0, "empty_maps": 0}
    for sample in dataset.samples:
        path = png_path(folder, sample.image_id)
        if not sample.tags:
            counts["without_tag"] += 1
        elif path.exists():
            counts["kept"] += 1
        else:
            image = read_image(sample)
            cams = _maps(network, dataset, sample, view, image, options)
            if not bool(cams.any()):
                counts["empty_maps"] += 1
                continue
            mask = _label(image, cams, sample, dataset, band, options)
            make_directory(path.parent)
            write_atomic(path, encode_palette_png(mask))
            counts["written"] += 1
    return counts


def written_masks(dataset: Dataset, folder: Path) -> Iterator[tuple[str, Path]]:
    """(image id, file) of the images that have a pseudo-mask in `folder`."""
    for sample in dataset.samples:
        path = png_path(folder, sample.image_id)
        if path.is_file():
            yield sample.image_id, path


def _maps(
    network: WeakNetwork, dataset: Dataset, sample: Sample, view: View, image: Uint8, options: RefineOptions
) -> Tensor:
    """[1, K, h, w] in 0..1, zero for absent tags."""
    device = next(network.parameters()).device
    tags = torch.zeros((1, len(dataset.tag_names)), device=device)
    tags[0, list(sample.tags)] = 1
    picture = view.tensor(image)[None].to(device)
    return teacher_maps(network, picture, tags, scales=options.scales, flip=options.flip).cams


def _label(image: Uint8, cams: Tensor, sample: Sample, dataset: Dataset, band: Band, options: RefineOptions) -> Uint8:
    """[H, W] class ids at the picture's size."""
    size = (image.shape[0], image.shape[1])
    present = cams[:, list(sample.tags)]
    full = F.interpolate(present, size, mode="bilinear", align_corners=False)
    if options.crf.use:
        shares = torch.cat([torch.full_like(full[:, :1], band.middle), full], dim=1)[0]
        probs = (shares / shares.sum(dim=0)).cpu().numpy()
        crf = options.crf
        refined = dense_crf(image, probs, n_iter=crf.n_iter, gaussian=crf.gaussian, bilateral=crf.bilateral)
        among = torch.from_numpy(np.asarray(refined).argmax(axis=0))
    else:
        among = torch.as_tensor(band_labels(full, None, low=band.low, high=band.high))[0].to(torch.int64).cpu()
    # Positions among the present tags become classes.
    classes = tags_to_classes(among, [dataset.class_of_tag[k] for k in sample.tags])
    return classes.to(torch.uint8).numpy()
