"""`alseg bench weak-supervision`: what image tags alone can do, and what each part of CoSA adds. Not part of `all`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alseg_fast.errors import UsageError

from . import drawn_tags, machine
from .tables import Result, Row, finish_result, format_table, make_table
from .weak_supervision_rows import (
    DRAWN_TEST,
    DRAWN_TRAIN,
    ROWS,
    SEEDS,
    SUBJECTS,
    TRAININGS,
    AblationRow,
    Subject,
    Training,
)

if TYPE_CHECKING:
    from alseg_fast.learn.data.dataset import Dataset
    from alseg_fast.learn.training.job import Data

__all__ = ["PARTS", "format_table", "run"]

log = logging.getLogger("alseg")

PARTS = ("ccp", "drawn", "glas", "all")
WORK = Path("runs", "weak-supervision")
QUICK_STEPS = 10

Trained = Mapping[str, Any]

ABLATION_COLUMNS = [
    *[("name", "way"), ("cam_train", "CAM train"), ("cam_train_spread", "+-"), ("cam_test", "CAM held out")],
    *[("cam_test_spread", "+-"), ("cam_test_own", "unmasked"), ("cam_test_own_spread", "+-")],
    *[("oracle_test", "oracle"), ("seg_train", "seg train"), ("seg_train_spread", "+-")],
    *[("seg_test", "seg held out"), ("seg_test_spread", "+-"), ("seg_test_masked", "masked")],
    *[("threshold", "threshold"), ("seconds", "s")],
]
CLASS_COLUMNS_HEAD = ("name", "way")
GLAS_COLUMNS = [
    ("name", "masks of"),
    ("dice", "Dice"),
    ("miou", "mIoU"),
    ("threshold", "threshold"),
    ("labels", "masks used"),
]
ABLATION_NOTES = (
    "mIoU over all classes, background included, at each picture's own size; means over the seeds, +- half the range "
    "over them. CAM: of activation maps validated with the picture's true tags (as pseudo-labels of tagged pictures "
    "are made); unmasked: with the tags that the network predicts itself. oracle: the best threshold, chosen on the "
    "held-out masks; no method has it. seg: arg-max of the segmentation head, which the first two rows do not train; "
    "masked: classes removed that the true tags rule out.",
    "Each row adds one part to the row above. Reliability weights need a loss to weigh, so one row between lets the "
    "network's own maps label a segmentation head. Swapped: an averaged network labels both ways.",
    "All rows: the same steps, batch size, pictures, initialisation and order of batches; the first two share one "
    "training. s: of one training, on the stated threads, by the wall clock.",
)
GLAS_NOTES = (
    "Dice is the mean over the test images. The classifier has seen image tags only. Validation thresholds and the "
    "best step of the segmentation are chosen on the masks of the validation images, which are counted as labels; the "
    "oracle's is chosen on the test masks: no method has it, maps cannot reach more. published rule: foreground where "
    "the true class wins the arg-max.",
)


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    part: str = "all",
    data: str | Path | None = None,
    work: str | Path | None = None,
    seeds: Sequence[int] = SEEDS,
    steps: int | None = None,
    settings: Sequence[str] = (),
) -> Result:
    """Train the ready configs ccp_small (every row, every seed, on CCP and on drawn pictures) and glas_small.

    A run that was stopped goes on where it was: every training lies in a directory of its own.

    Args:
        quick: 10 steps a stage, one seed: a check that everything runs; the figures mean nothing.
        threads: the largest number is used.
        save_to: directory for the JSON file; None writes none.
        part: "ccp", "drawn", "glas" or "all".
        data: folder that holds `ccp` and `glas`, or the one of the part; the drawn pictures are drawn into `work`.
        work: where the trainings lie; None: runs/weak-supervision.
        seeds, steps, settings: other seeds, another number of steps a stage, further settings for every training.
    Raises: UsageError: there is no such part, or no data.
    """
    if part not in PARTS:
        raise UsageError(f"bench weak-supervision: part must be one of {', '.join(PARTS)}; got {part!r}.")
    chosen = PARTS[:-1] if part == "all" else (part,)
    folders = {name: _folder(data, name) for name in chosen if name != "drawn"}
    seeds, steps = (seeds[:1], steps or QUICK_STEPS) if quick else (seeds, steps)
    trainer = _Trainer(Path(work) if work is not None else WORK, max(threads), steps, tuple(settings), quick)
    tables: list[Row] = []
    notes: tuple[str, ...] = ()
    method: dict[str, Any] = {"part": part, "threads": max(threads)}
    for subject in SUBJECTS:
        if subject.key not in chosen:
            continue
        root = folders[subject.key] if subject.key in folders else trainer.drawn()
        found = trainer.ablation(subject, root, seeds)
        tables += _ablation_tables(subject, found, seeds, trainer.background(subject, root))
        method[subject.key] = trainer.describe("ccp_small", next(iter(found.values())))
        method["seeds"] = ", ".join(map(str, seeds))
        notes = ABLATION_NOTES
    if "glas" in folders:
        result = trainer.train("glas_small", folders["glas"], "glas", ("seed=0",))
        rows = [trainer.foreground(folders["glas"]), *_glas_rows(result)]
        tables.append(make_table("GlaS: activation maps against 8 labelled images", GLAS_COLUMNS, rows))
        method["glas"] = trainer.describe("glas_small", result)
        notes += GLAS_NOTES
    return finish_result(
        "weak-supervision" if part == "all" else f"weak-supervision-{part}",
        quick=quick,
        facts=machine.describe_machine(threads, machine.set_allocator("default")),
        method=method,
        tables=tables,
        goals=[],
        notes=notes,
        save_to=save_to,
    )


def _folder(data: str | Path | None, name: str) -> Path:
    if data is None:
        raise UsageError(f"bench weak-supervision: --data must be given; got none. Name the folder that holds {name}.")
    folder = Path(data, name) if Path(data, name).is_dir() else Path(data)
    if not folder.is_dir():
        raise UsageError(f"bench weak-supervision: --data must be a folder; got {str(data)!r}. Check the path.")
    return folder


class _Trainer:
    """Runs trainings, each in its own directory below `work`."""

    def __init__(self, work: Path, threads: int, steps: int | None, settings: tuple[str, ...], quick: bool) -> None:
        self.work, self.threads, self.steps, self.settings = work, threads, steps, settings
        self.quick = quick

    def train(self, ready: str, data: Path, name: str, settings: Iterable[str]) -> Trained:
        """The result of a ready config with settings; from its directory if it is finished."""
        import torch

        from alseg_fast.learn.training.config_file import read_config
        from alseg_fast.learn.training.train import run_training

        wanted = [f"data.root={data.resolve()}", *settings, *self.settings]
        stages = tuple(read_config(ready, wanted).stages)
        wanted += [f"stages.{stage}.threads={self.threads}" for stage in stages]
        if self.steps is not None:
            wanted += [f"stages.{stage}.steps={self.steps}" for stage in stages]
            wanted += [f"stages.{stage}.warmup={min(self.steps // 10, 100)}" for stage in stages]
            if ready == "ccp_small":
                wanted.append(f"options.warmup_steps={3 * self.steps // 10}")
        out = self.work / (f"{name}-quick" if self.quick else name)
        log.info("bench weak-supervision: %s", out)
        before, started = torch.get_num_threads(), time.monotonic()
        torch.set_num_threads(self.threads)
        try:
            result = run_training(read_config(ready, wanted), out, source=ready)
        finally:
            torch.set_num_threads(before)
        log.info("bench weak-supervision: %s took %.0f s", out, time.monotonic() - started)
        return result

    def ablation(self, subject: Subject, data: Path, seeds: Sequence[int]) -> dict[tuple[str, int], Trained]:
        """Every training with every seed; seed by seed, so that a stopped run has whole tables."""
        return {(way.key, seed): self._one(subject, way, data, seed) for seed in seeds for way in TRAININGS}

    def _one(self, subject: Subject, way: Training, data: Path, seed: int) -> Trained:
        settings = (f"seed={seed}", *subject.settings, *way.settings)
        return self.train("ccp_small", data, f"{subject.key}-{way.key}-seed{seed}", settings)

    def drawn(self) -> Path:
        """The manifest of the drawn pictures."""
        n_train, n_test = (16, 8) if self.quick else (DRAWN_TRAIN, DRAWN_TEST)
        return drawn_tags.make_pool(
            (self.work / ("drawn-quick" if self.quick else "drawn")).resolve(), seed=0, n_train=n_train, n_test=n_test
        )

    def background(self, subject: Subject, data: Path) -> Row:
        """What it is worth to call every pixel background: a row without any training."""
        found = self._data("ccp_small", data, subject.settings)
        row: Row = {"id": f"weak-supervision/{subject.key}/background", "name": "all background", "error": None}
        return row | {"cam_train": _constant(found.truth, 0)["miou"], "cam_test": _constant(found.test, 0)["miou"]}

    def foreground(self, data: Path) -> Row:
        """The same for glands everywhere, which the Dice is kind to."""
        row: Row = {"id": "weak-supervision/glas/foreground", "name": "all foreground", "error": None, "labels": 0}
        return row | _constant(self._data("glas_small", data, ()).test, 1)

    def _data(self, ready: str, data: Path, settings: Iterable[str]) -> Data:
        from alseg_fast.learn.training.config_file import read_config
        from alseg_fast.learn.training.setup import prepare_data

        wanted = [f"data.root={data.resolve()}", *settings, *self.settings]
        return prepare_data(read_config(ready, wanted).data, 0, self.work / "constant")

    def describe(self, ready: str, result: Trained) -> str:
        config, images = result["config"], result["images"]
        size = " x ".join(str(v) for v in config["data"]["size"])
        steps = ", ".join(
            f"{name}: {stage['steps']} steps of {stage['batch_size']}" for name, stage in config["stages"].items()
        )
        return (
            f"{ready}, {config['network']['encoder']} encoder from scratch, pictures {size} (H x W), {steps}; "
            f"{images['train']} training, {images['validation']} validation, {images['test']} held-out images, "
            f"{images['labelled']} of the training images with masks"
        )


def _constant(dataset: Dataset | None, label: int) -> Row:
    """Figures of one class everywhere."""
    from alseg_fast.learn.data.pictures import read_mask
    from alseg_fast.learn.training.metrics import ConfusionMeter, dice_per_image

    if dataset is None:
        return {"miou": None, "dice": None}
    meter, dice = ConfusionMeter(len(dataset.classes)), []
    for sample in dataset.samples:
        truth = read_mask(dataset, sample)
        pred = np.full_like(truth, label)
        meter.add(pred, truth)
        if label:
            dice.append(float(dice_per_image(pred, truth)))
    return {"miou": meter.miou, "dice": float(np.mean(dice)) if dice else None}


def _ablation_tables(
    subject: Subject, found: Mapping[tuple[str, int], Trained], seeds: Sequence[int], background: Row
) -> list[Row]:
    rows = [_ablation_row(subject, row, [found[row.training, seed] for seed in seeds]) for row in ROWS]
    classes = list(dict.fromkeys(name for row in rows for name in row["classes"]))
    per_class = [{"id": f"{row['id']}/classes", "name": row["name"], "error": None, **row["classes"]} for row in rows]
    held_out = found["tags", seeds[0]]["images"]["test"]
    title = f"{subject.title}: mIoU of pseudo-labels, {len(seeds)} seeds, {held_out} held-out pictures"
    columns = [CLASS_COLUMNS_HEAD, *((name, name) for name in classes)]
    return [
        make_table(title, ABLATION_COLUMNS, [background, *rows]),
        make_table(
            f"{subject.title}: IoU of each class, activation maps on held-out pictures, true tags", columns, per_class
        ),
    ]


def _ablation_row(subject: Subject, row: AblationRow, results: Sequence[Trained]) -> Row:
    cam = f"{row.threshold} threshold"
    trained = row.training != "tags"
    lines = {
        "cam_train": (f"cam, true tags, {cam}, training images", "miou"),
        "cam_test": (f"cam, true tags, {cam}, test", "miou"),
        "cam_test_own": (f"cam, predicted tags, {cam}, test", "miou"),
        "oracle_test": (f"cam, true tags, {cam}, test", "oracle_miou"),
        "threshold": (f"cam, true tags, {cam}, test", "threshold"),
        "seg_train": ("segmentation, training images", "miou"),
        "seg_test": ("segmentation, test", "miou"),
        "seg_test_masked": ("segmentation, true tags, test", "miou"),
    }
    out: Row = {
        "id": f"weak-supervision/{subject.key}/{row.name}",
        "name": row.name,
        "error": None,
        "training": row.training,
    }
    for key, (line, figure) in lines.items():
        if key.startswith("seg") and not trained:
            continue
        values = [float(result["figures"][line][figure]) for result in results]
        out[key], out[f"{key}_seeds"] = float(np.mean(values)), values
        out[f"{key}_spread"] = (max(values) - min(values)) / 2
    out["seconds"] = float(np.mean([result["facts"]["seconds"] for result in results]))
    tables = [result["figures"][f"cam, true tags, {cam}, test"] for result in results]
    names = [key for key in tables[0] if key.startswith("iou/")]
    out["classes"] = {key[4:]: float(np.mean([table.get(key, 0.0) for table in tables])) for key in names}
    return out


def _glas_rows(result: Trained) -> list[Row]:
    figures, facts = result["figures"], result["facts"]
    masks = {"train": facts["pixel_labelled"], "validation": facts["validation_images"]}
    lines = (
        ("activation maps, fixed threshold", "cam, true tags, test", "dice", 0),
        ("activation maps, published rule", "cam, published rule, test", "dice", 0),
        (
            "activation maps, validation threshold",
            "cam, true tags, validation threshold, test",
            "dice",
            masks["validation"],
        ),
        ("activation maps, oracle threshold", "cam, true tags, test", "oracle_dice", 0),
        ("segmentation, threshold 0.5", "segmentation, test", "dice", masks["train"] + masks["validation"]),
        (
            "segmentation, validation threshold",
            "segmentation, validation threshold, test",
            "dice",
            masks["train"] + masks["validation"],
        ),
    )
    rows = []
    for name, line, figure, labels in lines:
        found = figures[line]
        oracle = figure == "oracle_dice"
        row: Row = {"id": f"weak-supervision/glas/{name}", "name": name, "error": None, "dice": float(found[figure])}
        row |= {"miou": None if oracle else found.get("miou"), "labels": labels}
        row["threshold"] = found.get("oracle_dice_threshold" if oracle else "threshold")
        rows.append(row)
    return rows
