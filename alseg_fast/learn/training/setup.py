"""From the config's `data` to the images a training learns from, and what it may see of their labels."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ... import atomic
from ...errors import DataError, UsageError
from ..data.annotation_cost import annotation_seconds
from ..data.dataset import Dataset, Sample
from ..data.mask_tags import in_order
from ..data.pictures import read_mask, read_picture
from ..data.readers import read_dataset
from ..data.splits import draw_labelled, hold_out
from ..data.tag_choice import keep_tags
from ..data.weak_labels import weak_labels
from .config import DataConfig, WeakConfig
from .job import Data

log = logging.getLogger("alseg")


def prepare_data(config: DataConfig, seed: int, out: Path) -> Data:
    """Read the data set, split it, choose the labelled images, and draw weak labels where they are asked for.

    Args:
        config: see `DataConfig`.
        seed: of the hold-out, the choice of labelled images, and the weak labels.
        out: the training's directory; weak labels are written to OUT/weak.
    Raises:
        UsageError: a split or an image id that the data set does not have.
        DataError, PoolError: the data set cannot be read.
    """
    dataset = read_dataset(config.dataset, config.root, **config.options)
    if config.tags is not None:
        dataset = keep_tags(dataset, config.tags if isinstance(config.tags, int) else list(config.tags))
    splits = {"train_split": config.train_split, "test_split": config.test_split}
    if isinstance(config.validation, str):
        splits["validation"] = config.validation.removeprefix("split:")
    for key, split in splits.items():
        _check_split(dataset, key, split)
    failures: dict[str, str] = {}
    if config.check:
        used = tuple(s for s in dataset.samples if s.split in splits.values())
        dataset, failures = readable(replace(dataset, samples=used))
        for key, split in splits.items():
            _check_split(dataset, key, split, failures)
    train = dataset.split(config.train_split)
    test = None if config.test_split is None else dataset.split(config.test_split)
    validation: Dataset | None = None
    if "validation" in splits:
        validation = dataset.split(str(splits["validation"]))
    elif isinstance(config.validation, float):
        train, validation = hold_out(train, config.validation, seed, keep_groups=config.keep_groups)
    labelled = choose_labelled(train, config.labelled, seed)
    seen = train.with_labels(labelled)
    seconds = None
    if config.weak is not None:
        seen, seconds = with_weak_labels(seen, config.weak, seed, out / "weak")
    return Data(seen, train, validation, test, labelled, seconds, failures)


def readable(dataset: Dataset) -> tuple[Dataset, dict[str, str]]:
    """The images whose picture and mask can be read, and of the others id -> why not.

    Every file is read once, at the lowest resolution its format can be decoded at, so that a damaged test image is
    known before the training and not after it.
    Raises: DataError: none can be read.
    """

    def problem(sample: Sample) -> str | None:
        try:
            read_picture(dataset, sample, stored_size=lambda size: (1, 1))
        except DataError as error:
            return str(error)
        return None

    found = zip(dataset.samples, in_order(problem, dataset.samples), strict=True)
    failures = {sample.image_id: text for sample, text in found if text is not None}
    kept = tuple(s for s in dataset.samples if s.image_id not in failures)
    if failures:
        first, why = next(iter(failures.items()))
        if not kept:
            raise DataError(
                f"none of the {len(failures)} images of {dataset.name} can be read; the first, {first}: {why}"
            )
        log.warning("%d images cannot be read and are left out; the first, %s: %s", len(failures), first, why)
    return replace(dataset, samples=kept), failures


def data_digest(data: Data) -> str:
    """SHA-256 (hex) of which images there are, in which part, with which tags and whose masks; not of their pixels."""
    rows = {
        name: [[s.image_id, list(s.tags), s.mask is not None] for s in part.samples]
        for name, part in (("train", data.train), ("validation", data.validation), ("test", data.test))
        if part is not None
    }
    rows["names"] = [[*data.train.classes], [*data.train.tag_names]]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def choose_labelled(train: Dataset, wanted: int | str, seed: int) -> tuple[str, ...]:
    """Ids of the images whose masks the learner sees, as `DataConfig.labelled` says, in the data set's order."""
    masked = replace(train, samples=tuple(s for s in train.samples if s.mask is not None))
    if wanted == "all":
        return tuple(s.image_id for s in masked.samples)
    if isinstance(wanted, int):
        if wanted > len(masked):
            raise UsageError(f"data.labelled must be at most the {len(masked)} images with a mask; got {wanted}")
        chosen = set(draw_labelled(masked, n=wanted, seed=seed)) if wanted else set()
    elif wanted.startswith("per-class:"):
        chosen = set(draw_labelled(masked, per_class=int(wanted.removeprefix("per-class:")), seed=seed))
    else:
        chosen = _ids_in(Path(wanted.removeprefix("file:")))
        unknown = sorted(chosen - {s.image_id for s in masked.samples})
        if unknown:
            raise UsageError(
                f"data.labelled: {unknown[0]!r} of {wanted.removeprefix('file:')} is no training image with a mask"
                f" ({len(unknown)} such ids); correct the file"
            )
    return tuple(s.image_id for s in masked.samples if s.image_id in chosen)


def with_weak_labels(train: Dataset, weak: WeakConfig, seed: int, directory: Path) -> tuple[Dataset, float]:
    """`train` with weak labels in place of its masks, and the seconds an annotator would have needed for them.

    The labels of an image depend on seed and image id alone, and are written once.
    """
    atomic.make_directory(directory)
    samples: list[Sample] = []
    seconds = 0.0
    for sample in train.samples:
        if sample.mask is None:
            samples.append(sample)
            continue
        digest = hashlib.sha256(f"{seed}\0{sample.image_id}".encode()).digest()
        mask = read_mask(train, sample)
        path = directory / f"{digest.hex()[:24]}.png"
        if not path.exists():
            drawn = weak_labels(mask, weak.kind, seed=int.from_bytes(digest[:7], "big"), **weak.options)
            file = io.BytesIO()
            Image.fromarray(drawn).save(file, "PNG")
            atomic.write_atomic(path, file.getvalue())
        seconds += annotation_seconds(weak.kind, mask, **weak.options)
        samples.append(replace(sample, mask=path, ids=True))
    return replace(train, samples=tuple(samples)), seconds


def _check_split(dataset: Dataset, key: str, split: str | None, failures: Mapping[str, str] | None = None) -> None:
    """Raises: UsageError: there is no image of this split; after reading them, with `failures`: none that is whole."""
    known = sorted({s.split for s in dataset.samples})
    if split is None or split in known:
        return
    if failures:
        raise DataError(
            f"no image of the split {split!r} of {dataset.name} can be read, such as {next(iter(failures))}"
        )
    raise UsageError(
        f"data.{key}: the data set {dataset.name} has no image of the split {split!r}; it has {', '.join(known)}"
    )


def _ids_in(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        text = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"data.labelled: cannot read {path}: {text}; check the path") from error
    return {line.strip() for line in lines if line.strip()}
