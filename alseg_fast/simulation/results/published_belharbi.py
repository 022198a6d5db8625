"""Figures of Belharbi et al., WACV 2021. Dice in percent; means over five seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SEEDS = 5
LABELS = {
    "wsl": "WSL",
    "random": "Random",
    "entropy": "Entropy",
    "mc_dropout": "MC_Dropout",
    "label_prop": "Label_prop",
    "full_sup": "Full_sup",
}


@dataclass(frozen=True)
class Figures:
    """Of one dataset; see `published.Published`. AUC as (mean, population standard deviation)."""

    images: tuple[float, ...]
    curves: Mapping[str, tuple[float, ...]]
    auc: Mapping[str, tuple[float, float]]
    per_seed: Mapping[str, tuple[float, ...]]
    pseudo: Mapping[int, float]
    ablations: Mapping[str, Mapping[float, float]]


ABLATION_NOTE = (
    "Read off the plots of the authors' slides, to about 0.1. The levels are not those of the main table: rounds and "
    "seeds of the ablation are not stated, so only its shape can be compared."
)
NOTES = (
    "The validation images (18 of GlaS, 1,200 of CUB) are fully labelled and serve to choose checkpoints and the mask "
    "threshold; they are not counted as annotation.",
    "With k = 40 every class lies inside the neighbourhood, so every unlabelled picture is pseudo-labelled; k = 40 and "
    "k = 50 define the same set and still differ by 0.4 points of AUC, which is a measure of the noise of a run.",
    "Entropy and MC_Dropout were measured with scores that are neither the binary entropy nor the mean of the pixels' "
    "variances.",
    "The released loader flips pictures but not their masks; a loop with aligned augmentation can be expected above "
    "the published Dice, full supervision included. Orderings and gaps compare, absolute figures do not.",
)
GLAS = Figures(
    images=tuple(8.0 + 2 * i for i in range(25)),
    curves={
        "wsl": (66.44,),
        "random": (
            67.14, 70.27, 71.59, 71.44, 74.06, 75.37, 73.76, 72.20, 74.40, 79.22, 79.81, 82.04, 80.44, 82.40, 82.26,
            81.53, 81.89, 75.22, 81.25, 82.53, 83.12, 83.77, 85.34, 85.66, 84.98,
        ),
        "entropy": (
            67.26, 72.76, 70.94, 72.61, 73.45, 75.15, 75.32, 73.25, 76.58, 79.89, 80.23, 79.76, 81.32, 82.31, 82.34,
            82.29, 83.11, 79.25, 81.26, 83.64, 83.67, 83.61, 85.36, 84.88, 85.28,
        ),
        "mc_dropout": (
            70.02, 68.45, 69.70, 69.97, 72.71, 73.00, 74.06, 72.57, 76.39, 78.99, 78.76, 80.50, 79.76, 80.06, 82.19,
            81.77, 82.24, 78.55, 80.58, 81.18, 81.86, 82.77, 83.48, 83.82, 83.45,
        ),
        "label_prop": (
            67.20, 71.03, 74.08, 76.53, 77.64, 78.41, 79.11, 80.16, 80.43, 81.61, 82.90, 82.77, 83.82, 83.97, 83.97,
            84.10, 84.83, 84.39, 85.19, 83.89, 84.63, 84.97, 85.31, 85.39, 85.55,
        ),
        "full_sup": (86.53,),
    },
    auc={
        "wsl": (66.44, 0.20),
        "random": (78.57, 0.93),
        "entropy": (79.13, 0.26),
        "mc_dropout": (77.92, 0.49),
        "label_prop": (81.48, 1.03),
        "full_sup": (86.53, 0.31),
    },
    per_seed={"wsl": (66.39, 66.59, 66.41, 66.11, 66.68), "full_sup": (86.07, 86.33, 87.00, 86.63, 86.61)},
    pseudo={1: 67.0, 10: 84.0, 25: 89.0},
    ablations={
        "k": {
            1: 80.8, 2: 81.8, 3: 80.4, 4: 80.7, 5: 81.6, 6: 81.9, 7: 80.6, 8: 81.9, 9: 81.4, 10: 82.2, 15: 81.8,
            20: 81.4, 30: 81.5, 40: 82.4, 50: 82.0,
        },
        "lambda": {
            0.009: 76.8, 0.01: 77.4, 0.02: 78.1, 0.03: 77.7, 0.04: 77.6, 0.05: 78.2, 0.06: 78.8, 0.07: 77.2,
            0.08: 78.6, 0.09: 77.1, 0.1: 79.1, 0.2: 77.8, 0.3: 77.6, 0.4: 78.6, 0.5: 76.8, 0.6: 78.6, 0.7: 76.3,
            0.8: 76.4, 0.9: 76.5, 1.0: 74.8,
        },
    },
)  # fmt: skip
CUB = Figures(
    images=tuple(200.0 + 200 * i for i in range(20)),
    curves={
        "wsl": (39.22,),
        "random": (
            52.95, 56.86, 61.39, 62.98, 63.56, 66.99, 66.48, 68.78, 66.31, 68.80, 69.42, 71.31, 72.04, 73.22, 72.17,
            73.78, 72.62, 72.37, 72.74, 73.01,
        ),
        "entropy": (
            54.05, 57.38, 59.11, 60.48, 63.82, 63.59, 67.07, 68.81, 67.29, 69.79, 69.98, 72.11, 70.46, 71.96, 73.11,
            74.59, 73.64, 74.27, 75.00, 74.47,
        ),
        "mc_dropout": (
            54.68, 57.13, 59.98, 63.52, 63.03, 64.68, 64.41, 67.03, 68.89, 68.31, 69.09, 69.06, 70.94, 70.78, 72.06,
            73.25, 72.29, 74.20, 73.05, 74.23,
        ),
        "label_prop": (
            59.07, 62.59, 66.33, 67.02, 69.40, 68.28, 70.71, 72.11, 71.73, 74.12, 74.96, 73.15, 74.10, 74.49, 74.06,
            74.59, 74.87, 77.25, 75.92, 75.37,
        ),
        "full_sup": (75.29,),
    },
    auc={
        "wsl": (39.22, 0.19),
        "random": (68.15, 0.61),
        "entropy": (68.25, 0.29),
        "mc_dropout": (67.69, 0.27),
        "label_prop": (71.73, 0.67),
        "full_sup": (75.29, 1.50),
    },
    per_seed={"wsl": (39.04, 39.35, 39.06, 39.52, 39.14), "full_sup": (76.96, 76.82, 73.37, 73.75, 75.56)},
    pseudo={1: 59.0, 10: 74.0, 20: 75.5},
    ablations={
        "lambda": {
            1e-7: 66.3, 1e-6: 66.2, 1e-5: 66.5, 1e-4: 66.7, 1e-3: 66.9, 0.01: 64.6, 0.02: 64.6, 0.03: 63.6,
            0.04: 60.8, 0.05: 61.1, 0.06: 59.1, 0.07: 59.7, 0.08: 59.5, 0.09: 57.2, 0.1: 57.1,
        },
    },
)  # fmt: skip
