"""Rows of rounds for the tests of a simulation's results."""

import numpy as np

from alseg_fast.simulation.rows import RoundRow


def row(strategy="random", setting="", seed=0, number=0, score=0.5, **changes):
    """One row; what is not told follows from the round."""
    given = {
        "images": 8 + 2 * number,
        "labelled_share": (8 + 2 * number) / 67,
        "pixels": (8 + 2 * number) * 1000,
        "pixel_share": (8 + 2 * number) / 67,
        "clicks": 10.0 * number,
        "seconds": 240.0 * (number + 1),
        **changes,
    }
    return RoundRow(strategy, setting, seed, number, score=score, **given)


def run(strategy, scores, seed=0, setting="", **changes):
    """One run: a row a score."""
    return [row(strategy, setting, seed, i, score, **changes) for i, score in enumerate(scores)]


def comparison(seeds=3, rounds=4):
    """All six methods of the tables of Belharbi et al., with settings, pseudo-masks, times and what may be missing."""
    rng = np.random.default_rng(0)
    rows = []

    def add(strategy, setting, base, gain, count=rounds, pseudo=False):
        for seed in range(seeds):
            for i in range(count):
                score = base + gain * (1 - np.exp(-i / 2)) + 0.002 * rng.standard_normal()
                steps = {"train": 60.0, "test": 4.0} | ({"score": 1.0, "select": 0.1} if count > 1 else {})
                rows.append(
                    row(
                        strategy,
                        setting,
                        seed,
                        i,
                        float(score),
                        figures={"dice": float(score)} | ({"pseudo_foreground": 0.4} if pseudo else {}),
                        pseudo_score=float(score) + 0.01 if pseudo and i else None,
                        pseudo_images=40 if pseudo else 0,
                        error_auroc=0.8,
                        step_seconds=steps | ({"propagate": 0.5} if pseudo else {}),
                    )
                )

    add("wsl", "", 0.62, 0.0, 1)
    add("random", "", 0.68, 0.12)
    add("entropy", "as published", 0.68, 0.12)
    add("entropy", "corrected", 0.68, 0.13)
    add("mc_dropout", "", 0.67, 0.12)
    for k in (40, 1, 5):
        add("label_prop", f"k={k} lambda=0.1", 0.7 + k / 4000, 0.14, pseudo=True)
    add("label_prop", "k=40 lambda=1", 0.69, 0.13, pseudo=True)
    add("full_sup", "", 0.86, 0.0, 1)
    return rows
