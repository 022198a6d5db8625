"""A simulation of seconds: drawn pictures, a small network, few steps."""

import copy

from alseg_fast.simulation.config import SimulationConfig

STAGE = {"steps": 4, "batch_size": 4, "rate": 1e-2, "evaluate_every": 2}
IMAGES = {
    "images": {"first": 1, "step": 1},
    "data": {
        "dataset": "glas",
        "root": "",
        "size": [32, 32],
        "validation": 0.2,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "workers": 0,
    },
    "rounds": 3,
    "threads": 1,
    "network": {"encoder": "light", "pooling": "average", "decoder": "unet"},
    "stages": {"classifier": STAGE, "segmentation": STAGE},
    "segmentation": {"normalisation": "belharbi", "pseudo_weight": {"start": 0.1}},
    "strategies": [{"name": "random"}],
}
PIXELS = {
    "pixels": {"first": 2, "step": 2, "budget": "10%"},
    "data": {"dataset": "camvid", "root": "", "size": [32, 32], "validation": None, "workers": 0},
    "rounds": 3,
    "threads": 1,
    "network": {"encoder": "light", "decoder": "unet"},
    "stages": {"segmentation": {**STAGE, "steps": 4, "keep": "last", "evaluate_every": None}},
    "threshold": 0.5,
    "strategies": [{"name": "full"}],
}


def values(kind, root, **changes):
    made = copy.deepcopy(IMAGES if kind == "images" else PIXELS)
    made["data"]["root"] = str(root)
    return {**made, **changes}


def config(kind, root, **changes):
    return SimulationConfig.model_validate(values(kind, root, **changes))


def timeless(rows):
    """Rows as dictionaries, without the wall times."""
    from dataclasses import asdict

    found = [asdict(row) for row in rows]
    for row in found:
        del row["step_seconds"]
    return found
