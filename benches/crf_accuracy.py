"""The accuracy part of `bench crf`: how far the marginals are from an exact mean field, and from pydensecrf's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .crf_cases import BILATERAL, GAUSSIAN, OURS, PYDENSECRF, SEED, WAYS, Image, Probs, picture_probs, random_probs
from .crf_exact import free_energy, gibbs_energy, mean_field, pair_weights
from .pictures import Folder, get_picture
from .tables import Row, goal, ratio
from .timing import error_text

log = logging.getLogger("alseg")

EXACT, GIVEN = "exact mean field", "probabilities as given"
N_ITER = 5
WHOLE = (321, 481)  # pictures that are compared with pydensecrf's result as a whole
WHOLE_CLASSES = 21
ROUNDING = 1.01  # two lattices that are alike may differ by so much in their mean error
WORST = 0.3  # a lattice as coarse as pydensecrf's leaves about 0.15 of the distance
_CROP_STEP = 8  # crops are small: finer logits, so that several regions fit

EXACT_COLUMNS = [
    *[("backend", "way"), ("mean_off", "mean |Q - exact|"), ("max_off", "max"), ("agreement", "same arg-max")],
    *[("gibbs", "Gibbs energy of arg-max"), ("free", "mean-field free energy")],
]
WHOLE_COLUMNS = [
    *[("backend", "picture"), ("mean_off", "mean |Q - pydensecrf's|"), ("max_off", "max")],
    ("agreement", "same arg-max"),
]


@dataclass(frozen=True)
class Small:
    """A picture small enough for the O(N^2) mean field."""

    name: str
    image: Image
    probs: Probs


def small_cases(folder: Folder | None, quick: bool) -> list[Small]:
    """Random pictures with random probabilities, and crops of pictures with probabilities like a network's."""
    rng = np.random.default_rng(SEED)
    cases = [
        Small(
            f"random 32x24, C = {c}",
            rng.integers(0, 256, (24, 32, 3), np.uint8),
            random_probs((24, 32), c, SEED + c),
        )
        for c in (3, 5)
    ]
    crops = [(24, 32, 3), (24, 32, 5), (40, 48, 5)]
    for seed, (height, width, n_classes) in enumerate(crops[:1] if quick else crops):
        image, source = get_picture(WHOLE, folder, seed * 3)
        top, left = (WHOLE[0] - height) // 2, (WHOLE[1] - width) // 2
        crop = np.ascontiguousarray(image[top : top + height, left : left + width])
        probs = picture_probs(crop, n_classes, SEED + seed, _CROP_STEP)
        cases.append(Small(f"crop {width}x{height}, C = {n_classes}, of {source.split(': ', 1)[1]}", crop, probs))
    return cases


def compare_with_exact(case: Small, ways: Sequence[str] = (OURS, PYDENSECRF), n_iter: int = N_ITER) -> list[Row]:
    """A row for the exact marginals, for each way, and for the probabilities as they were."""
    weights = pair_weights(case.image, GAUSSIAN, BILATERAL)
    exact = mean_field(case.image, case.probs, n_iter, GAUSSIAN, BILATERAL)
    makers: dict[str, Callable[[], Probs]] = {
        EXACT: lambda: exact,
        **{name: lambda name=name: np.asarray(WAYS[name](case.image, case.probs, n_iter, 1)()) for name in ways},  # type: ignore[misc]
        GIVEN: lambda: case.probs,
    }
    rows: list[Row] = []
    for name, make in makers.items():
        row: Row = {"id": f"crf/accuracy/{case.name}/{name}", "backend": name, "error": None}
        rows.append(row)
        try:
            q = make()
        except Exception as exc:  # a way that cannot run is a row with its reason
            row["error"] = error_text(exc)
            continue
        row.update(
            difference(q, exact),
            gibbs=gibbs_energy(weights, case.probs, q.argmax(axis=0)),
            free=free_energy(weights, case.probs, q),
        )
    return rows


def difference(q: Probs, other: Probs) -> Row:
    """Mean and maximum over all marginals, and the share of pixels with the same most likely class."""
    off = np.abs(q - other)
    same = float((q.argmax(axis=0) == other.argmax(axis=0)).mean())
    return {"mean_off": float(off.mean(dtype=np.float64)), "max_off": float(off.max()), "agreement": same}


def compare_whole(folder: Folder | None, quick: bool, n_iter: int = N_ITER) -> list[Row]:
    """Ours beside pydensecrf's on whole pictures, a row each."""
    rows: list[Row] = []
    for seed in range(1 if quick else 3):
        image, source = get_picture((96, 128) if quick else WHOLE, folder, seed * 3)
        probs = picture_probs(image, WHOLE_CLASSES, SEED + seed)
        row: Row = {"id": f"crf/whole/{source}", "backend": f"{source}, C = {WHOLE_CLASSES}", "error": None}
        rows.append(row)
        try:
            ours, theirs = (np.asarray(WAYS[name](image, probs, n_iter, 1)()) for name in (OURS, PYDENSECRF))
            row.update(difference(ours, theirs))
        except Exception as exc:  # without one of them there is nothing to compare
            row["error"] = error_text(exc)
    return rows


def mean_error(blocks: Sequence[Sequence[Row]], name: str) -> float | None:
    """Mean over the small pictures; None where the way could not run."""
    found = [row.get("mean_off") for rows in blocks for row in rows if row["backend"] == name]
    values = [v for v in found if v is not None]
    return float(np.mean(values)) if values and len(values) == len(found) else None


def check_ours(folder: Folder | None) -> str | None:
    """The gate before the clock, on the quickest small pictures: None, or how wrong our marginals are.

    Their mean distance to the exact mean field may be `WORST` times that of the probabilities as given.
    """
    blocks = [compare_with_exact(case, (OURS,)) for case in small_cases(folder, True)]
    for rows in blocks:
        failed = next((row["error"] for row in rows if row["error"]), None)
        if failed is not None:
            return str(failed)
    ours, given = (mean_error(blocks, name) or 0.0 for name in (OURS, GIVEN))
    if not ours <= WORST * given:
        return f"mean |Q - exact| is {ours:.2e}, that of the probabilities as given {given:.2e}"
    return None


def list_goals(blocks: Sequence[Sequence[Row]]) -> list[Row]:
    """No further from the exact mean field than pydensecrf."""
    times = ratio(mean_error(blocks, OURS), mean_error(blocks, PYDENSECRF))
    return [goal("mean |Q - exact|, alseg / pydensecrf, over the small pictures", times, ROUNDING, at_least=False)]
