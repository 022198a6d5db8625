"""The published figures, as data: Belharbi et al. (WACV 2021) and Kasarla et al. (WACV 2019).

All figures in percent, as printed or as in the released result files; nothing is recomputed here. `published(name)`
finds a set by the name of the config that repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import RangeError
from . import published_belharbi as belharbi
from . import published_kasarla as kasarla
from .auc import Spread


@dataclass(frozen=True)
class Ablation:
    """The same strategy under one changed parameter.

    Attributes:
        parameter: its name, such as "k". strategy: as in `Published.curves`.
        values: setting -> AUC in percent, read off a plot to about 0.1.
        note: what a reader must know before comparing.
    """

    parameter: str
    strategy: str
    values: Mapping[float, float]
    note: str


@dataclass(frozen=True)
class Published:
    """One published comparison.

    Attributes:
        name: of the config with the published settings. metric: "Dice" or "mIoU". source: where the figures stand.
        labels: name of a strategy -> how the paper calls it, in the paper's order.
        full: the fully supervised one among them.
        headline: what strategies are ranked by: "auc", or "last", the score after the last round.
        x: name and value of the annotation at each round, such as ("images", (8, 10, ...)).
        curves: strategy -> score a round, the mean over seeds; `runs` says how many seeds, None = not stated;
            `decimals` how many are printed.
        auc: strategy -> AUC as printed, its population standard deviation and number of seeds; empty: none printed.
        per_seed: strategy -> scores of its seeds, where they are known.
        shares: strategy -> printed share of full supervision a round; None where nothing is printed.
        pseudo: round (from 1) -> quality of the pseudo-masks, read off a figure.
        budget_sweep: share of the pixels bought -> share of full supervision.
        ablations, notes: further figures, and what a reader must know.
    """

    name: str
    title: str
    metric: str
    source: str
    labels: Mapping[str, str]
    full: str
    headline: str
    x: tuple[str, tuple[float, ...]]
    curves: Mapping[str, tuple[float, ...]]
    runs: int | None
    decimals: int = 2
    auc: Mapping[str, Spread] = field(default_factory=dict)
    per_seed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    shares: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    pseudo: Mapping[int, float] = field(default_factory=dict)
    budget_sweep: Mapping[float, float] = field(default_factory=dict)
    ablations: tuple[Ablation, ...] = ()
    notes: tuple[str, ...] = ()


_BELHARBI_SOURCE = (
    "Belharbi et al., Deep Active Learning for Joint Classification and Segmentation with Weak Annotator, WACV 2021: "
    "AUC table of the paper; scores a round from the released result files"
)
_KASARLA_SOURCE = (
    "Kasarla et al., Region-Based Active Learning for Efficient Labeling in Semantic Segmentation, WACV 2019"
)


def _belharbi(name: str, title: str, data: belharbi.Figures) -> Published:
    return Published(
        name=name,
        title=title,
        metric="Dice",
        source=_BELHARBI_SOURCE,
        labels=belharbi.LABELS,
        full="full_sup",
        headline="auc",
        x=("images", data.images),
        curves=data.curves,
        runs=belharbi.SEEDS,
        auc={name: Spread(mean, std, belharbi.SEEDS) for name, (mean, std) in data.auc.items()},
        per_seed=data.per_seed,
        pseudo=data.pseudo,
        ablations=tuple(
            Ablation(parameter, "label_prop", values, belharbi.ABLATION_NOTE)
            for parameter, values in data.ablations.items()
        ),
        notes=belharbi.NOTES,
    )


PUBLISHED: Mapping[str, Published] = {
    item.name: item
    for item in (
        _belharbi("belharbi_glas", "GlaS, Dice of the test images", belharbi.GLAS),
        _belharbi("belharbi_cub", "CUB-200-2011, Dice of the test images", belharbi.CUB),
        Published(
            name="kasarla_cityscapes",
            title="Cityscapes, mIoU",
            metric="mIoU",
            source=_KASARLA_SOURCE,
            labels=kasarla.CITYSCAPES_LABELS,
            full="full",
            headline="last",
            x=("images", kasarla.CITYSCAPES_IMAGES),
            curves=kasarla.CITYSCAPES,
            runs=None,
            decimals=1,
            shares=kasarla.CITYSCAPES_SHARES,
            budget_sweep=kasarla.BUDGET_SWEEP,
            notes=(*kasarla.NOTES, kasarla.MISPRINT),
        ),
        Published(
            name="kasarla_mapillary",
            title="Mapillary Vistas, mIoU",
            metric="mIoU",
            source=_KASARLA_SOURCE,
            labels=kasarla.MAPILLARY_LABELS,
            full="full",
            headline="last",
            x=("images", kasarla.MAPILLARY_IMAGES),
            curves=kasarla.MAPILLARY,
            runs=None,
            decimals=1,
            shares=kasarla.MAPILLARY_SHARES,
            budget_sweep=kasarla.BUDGET_SWEEP,
            notes=kasarla.NOTES,
        ),
    )
}


def published(name: str) -> Published:
    """The published figures by name: belharbi_glas, belharbi_cub, kasarla_cityscapes or kasarla_mapillary.

    Raises: RangeError: there is none of that name.
    """
    if name not in PUBLISHED:
        raise RangeError(
            f"published: name must be one of {', '.join(PUBLISHED)}; got {name!r}. Choose one of them, or none."
        )
    return PUBLISHED[name]


_SAME = {
    "full": "full",
    "full-sup": "full",
    "full-supervision": "full",
    "baseline": "full",
    "sp": "superpixel",
    "superpixels": "superpixel",
    "sp-crf": "superpixel-crf",
    "entropy+edge": "entropy-edge",
    "random-pixels": "random",
    "entropy-pixels": "entropy",
    "entropy-published": "entropy",
    "mc-dropout-published": "mc-dropout",
}


def same_strategy(name: str) -> str:
    """One spelling of a strategy's names: "full_sup" and "full" are one, and so are "entropy" in all its forms."""
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    return _SAME.get(plain, plain)
