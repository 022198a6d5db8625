"""One row of a simulation's results: what a strategy had spent after a round, and what its network was worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RoundRow:
    """After the training of one round of one run.

    Attributes:
        strategy: name in the config, such as "label_prop" or "superpixel-crf".
        setting: what tells variants of a strategy apart, such as "k=5"; "" where there is one only.
        seed: of the run.
        round: from 0; round 0 is the start that all strategies with the same seed share.
        images: pictures with an oracle label so far, whole or in part.
        labelled_share: of the training pictures that are fully labelled, or None where pixels are bought.
        pixels: pixels the oracle has labelled so far; pixel_share: of all training pixels.
        clicks, seconds: what an annotator would have spent so far, by the cost model of the config.
        score: the headline figure on the test images, in [0, 1]: Dice (per-image mean) or mIoU.
        figures: all figures on the test images, in [0, 1]; and "pseudo_foreground", the share of the pixels that this
            round's pseudo-masks call foreground, where there are such masks of two classes.
        pseudo_score: the headline figure of the pseudo-masks against the hidden truth; None where there are none.
        pseudo_images: pictures that learned from a pseudo-mask.
        error_auroc: AUROC of the pixel uncertainty as a detector of wrong pixels on the test images; None = not asked.
        threshold: foreground threshold in use; None where there is none.
        step_seconds: wall time of each step of the round: "train", "score", "select", "oracle", "propagate", ...
    """

    strategy: str
    setting: str
    seed: int
    round: int
    images: int
    labelled_share: float | None
    pixels: int
    pixel_share: float
    clicks: float
    seconds: float
    score: float
    figures: Mapping[str, float] = field(default_factory=dict)
    pseudo_score: float | None = None
    pseudo_images: int = 0
    error_auroc: float | None = None
    threshold: float | None = None
    step_seconds: Mapping[str, float] = field(default_factory=dict)
