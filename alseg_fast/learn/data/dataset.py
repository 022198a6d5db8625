"""What a data set is: classes, image tags, and one `Sample` an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

IGNORE = 255
"""Value of pixels that have no label; the same in every mask, target and pseudo-mask of this package."""

MaskReader = Callable[[Path], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Sample:
    """One image and what is known about it.

    Attributes:
        image_id: stable and unique in the data set.
        image: path of the picture.
        mask: path of the pixel labels; None where there are none or where they are hidden from the learner.
        tags: indices into `Dataset.tag_names` of the classes that are present, ascending; () = no tag is known.
        split: "train", "val" or "test".
        group: patient, drive or sequence, where the data set tells it.
        pseudo: the mask is a prediction (`ids`), not an annotation.
        ids: the mask is a PNG of class ids, as this package writes them, not in the data set's own format.
    """

    image_id: str
    image: Path
    mask: Path | None
    tags: tuple[int, ...]
    split: str
    group: str | None = None
    pseudo: bool = False
    ids: bool = False


@dataclass(frozen=True)
class Dataset:
    """Samples with the meaning of their labels.

    Attributes:
        classes: names of the segmentation classes; the index is the id in masks, 0 the background where there is one.
        tag_names: names of the image-level tags.
        class_of_tag: the segmentation class that a tag's activation map marks; GlaS: benign and malignant both mark
            the class gland.
        single_tag: exactly one tag an image (softmax), else any number (sigmoids).
        samples: in a stable order.
        read_native_mask: file of the data set's own format -> [H, W] uint8 class ids, `IGNORE` where none.
    """

    name: str
    classes: tuple[str, ...]
    tag_names: tuple[str, ...]
    class_of_tag: tuple[int, ...]
    single_tag: bool
    samples: tuple[Sample, ...]
    read_native_mask: MaskReader

    def __len__(self) -> int:
        return len(self.samples)

    def split(self, name: str) -> Dataset:
        """The samples of one split."""
        return replace(self, samples=tuple(s for s in self.samples if s.split == name))

    def only(self, image_ids: Iterable[str]) -> Dataset:
        """The named samples, in the data set's order."""
        wanted = set(image_ids)
        return replace(self, samples=tuple(s for s in self.samples if s.image_id in wanted))

    def with_labels(self, labelled: Iterable[str], pseudo: Mapping[str, Path] | None = None) -> Dataset:
        """All samples, but masks only of `labelled` (their own) and of `pseudo` (id -> PNG of class ids)."""
        known, made = set(labelled), dict(pseudo or {})
        return replace(
            self,
            samples=tuple(
                s
                if s.image_id in known
                else replace(s, mask=made.get(s.image_id), pseudo=s.image_id in made, ids=s.image_id in made)
                for s in self.samples
            ),
        )
