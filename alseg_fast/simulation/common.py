"""What all runs of a simulation share: the data, the oracle's masks, their costs, the pool."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import atomic
from ..errors import UsageError
from ..learn.data.dataset import IGNORE, Dataset
from ..learn.data.pictures import read_mask
from ..learn.data.transforms import View
from ..learn.training.directory import check_data
from ..learn.training.job import Data
from ..learn.training.repeatable import resolve_device
from ..learn.training.setup import data_digest, prepare_data
from ..stages.run_layout import png_path
from ..stages.score import encode_png
from .config import SimulationConfig
from .costs import Cost, mask_cost
from .steps import Steps, Tell


@dataclass(frozen=True)
class Common:
    """What every run reads and none writes.

    Attributes:
        root: the simulation's directory.
        data: `train` has all its masks here; what a learner sees is made of it by `seen`.
        costs: image_id -> what its whole mask costs, of the training images.
        tell: told of steps as they are done.
    """

    config: SimulationConfig
    root: Path
    data: Data
    view: View
    device: torch.device
    costs: Mapping[str, Cost]
    tell: Tell

    @property
    def truth(self) -> Path:
        """Folder of the oracle's masks."""
        return self.root / "start" / "truth"

    @property
    def void(self) -> Path:
        """Folder of masks of what is never bought: non-zero where the truth has no class."""
        return self.root / "start" / "void"

    @property
    def pool(self) -> Path:
        """Manifest of all training images."""
        return self.root / "start" / "pool.csv"

    @property
    def validation(self) -> Path | None:
        """Manifest of the validation images with their masks; None: there are none."""
        return None if self.data.validation is None else self.root / "start" / "validation.csv"

    def others(self, number: int) -> Path:
        """List of the training images that are not of the image class of this number."""
        return self.root / "start" / "others" / f"{number}.txt"

    @property
    def side_by_side(self) -> bool:
        """Whether other processes work in the same directory."""
        return self.config.processes > 1

    @property
    def two_classes(self) -> bool:
        return len(self.data.train.classes) == 2

    @property
    def train_pixels(self) -> int:
        """Labelled pixels of all training masks."""
        return sum(cost.pixels for cost in self.costs.values())

    def label_of(self) -> dict[str, str]:
        """image_id -> the name of its tag, of the training images."""
        names = self.data.train.tag_names
        return {s.image_id: names[s.tags[0]] for s in self.data.train.samples if s.tags}

    def seen(self, labelled: Mapping[str, Path], pseudo: Mapping[str, Path] | None = None) -> Dataset:
        """The training images with a mask, as the learner sees them.

        Args:
            labelled: image_id -> what the oracle wrote. pseudo: image_id -> predicted mask.
        """
        made = dict(pseudo or {})
        samples = []
        for sample in self.data.train.samples:
            if sample.image_id in labelled:
                samples.append(replace(sample, mask=labelled[sample.image_id], ids=True, pseudo=False))
            elif sample.image_id in made:
                samples.append(replace(sample, mask=made[sample.image_id], ids=True, pseudo=True))
        return replace(self.data.train, samples=tuple(samples))

    def write_pool(self, path: Path, image_ids: Iterable[str]) -> Path:
        """A manifest of some training images, in the data set's order."""
        wanted = set(image_ids)
        return self._manifest(path, [s for s in self.data.train.samples if s.image_id in wanted], masks=False)

    def _manifest(self, path: Path, samples: Sequence[Any], *, masks: bool) -> Path:
        labels = self.data.train.tag_names if self.config.images is not None else ()
        rows = []
        for s in samples:
            row = {"image_id": s.image_id, "uri": str(Path(s.image).absolute())}
            if labels and s.tags:
                row["label"] = labels[s.tags[0]]
            if masks:
                row["mask_uri"] = str(png_path(self.truth, s.image_id).absolute())
            rows.append(row)
        return write_csv(path, rows)


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """A manifest, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_atomic(path, text.getvalue().encode())
    return path


def write_list(path: Path, image_ids: Iterable[str]) -> Path:
    """A list of ids, one a line, whole or not at all."""
    atomic.make_directory(path.parent)
    atomic.write_atomic(path, "".join(f"{image_id}\n" for image_id in image_ids).encode())
    return path


def prepare(config: SimulationConfig, root: Path, tell: Tell) -> Common:
    """Read the data, and write what the oracle, the pool and the validation need.

    Raises: UsageError: the data set does not fit the config.
    """
    start = root / "start"
    atomic.make_directory(start)
    data = prepare_data(config.data, config.split_seed, start)
    check_data(root, data_digest(data))
    _check(config, data)
    view = View(config.data.size, mean=config.data.mean, std=config.data.std)
    steps = Steps(start, tell)
    common = Common(config, root, data, view, resolve_device(config.device), {}, tell)
    found = steps.do("truth", lambda: _write_truth(common))
    costs = {name: Cost(**cost) for name, cost in found["costs"].items()}
    return replace(common, costs=costs)


def _check(config: SimulationConfig, data: Data) -> None:
    train = data.train
    without = [s.image_id for s in train.samples if s.mask is None]
    if without:
        raise UsageError(
            f"data: every training image must have a mask, the oracle's answer; {len(without)} of {train.name} have "
            f"none, such as {without[0]}; leave them out"
        )
    two = len(train.classes) == 2
    if two and config.threshold == "validation" and data.validation is None:
        raise UsageError("threshold: validation needs data.validation; give a share of the images, or threshold=0.5")
    if config.images is not None:
        if not train.single_tag:
            raise UsageError(f"images: every image must have one tag, its class; {train.name} has several")
        if not two:
            raise UsageError(
                f"images: the data must have a foreground and a background; {train.name} has {len(train.classes)} "
                "classes; use pixels"
            )
    needed = 0 if config.pixels is None else config.pixels.first + config.pixels.step * (config.rounds - 1)
    if needed > len(train):
        raise UsageError(
            f"pixels: first + step * (rounds - 1) must be at most the {len(train)} training images; got {needed}"
        )


def _write_truth(common: Common) -> dict[str, Any]:
    """The masks of training and validation images as PNGs of class ids, the manifests, and what masks cost."""
    config, data = common.config, common.data
    costs: dict[str, Any] = {}
    for part in (data.train, data.validation):
        for sample in () if part is None else part.samples:
            if sample.mask is None:
                continue
            mask = read_mask(data.train, sample)
            path = png_path(common.truth, sample.image_id)
            atomic.make_directory(path.parent)
            atomic.write_atomic(path, encode_png(mask))
            if part is not data.train:
                continue
            costs[sample.image_id] = mask_cost(mask, config.cost).to_json()
            if config.pixels is not None and config.pixels.skip_void and bool((mask == IGNORE).any()):
                void = png_path(common.void, sample.image_id)
                atomic.make_directory(void.parent)
                atomic.write_atomic(void, encode_png((mask == IGNORE).astype(np.uint8)))
    atomic.make_directory(common.void)
    common._manifest(common.pool, data.train.samples, masks=False)
    if config.images is not None:
        for number in range(len(data.train.tag_names)):
            ids = [s.image_id for s in data.train.samples if number not in s.tags]
            write_list(common.others(number), ids)
    if common.validation is not None and data.validation is not None:
        common._manifest(common.validation, [s for s in data.validation.samples if s.mask is not None], masks=True)
    return {"costs": costs}
