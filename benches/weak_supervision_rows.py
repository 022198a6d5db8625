"""What `alseg bench weak-supervision` trains: each row adds one part to the row before it."""

from __future__ import annotations

from dataclasses import dataclass

from .drawn_tags import CLASSES, SIZE


@dataclass(frozen=True)
class Training:
    """One way of training; `settings` are those of `alseg train ccp_small --set`."""

    key: str
    settings: tuple[str, ...]


@dataclass(frozen=True)
class AblationRow:
    """A row of the table: a training, and the threshold that its activation maps are cut at ("fixed" or "fitted")."""

    name: str
    training: str
    threshold: str


@dataclass(frozen=True)
class Subject:
    """Pictures that the trainings see; `settings` say how ccp_small reads them."""

    key: str
    title: str
    settings: tuple[str, ...] = ()


DRAWN_TRAIN, DRAWN_TEST = 800, 150
SUBJECTS = (
    Subject("ccp", "CCP"),
    Subject(
        "drawn",
        "Drawn pictures",
        (
            "data.dataset=manifest",
            "data.tags=null",
            f"data.size=[{SIZE[0]},{SIZE[1]}]",
            f"data.options.classes=[{','.join(CLASSES)}]",
        ),
    ),
)

TRAININGS = (
    Training(
        "tags",
        ("options.assign.by=nobody", "options.reliability.use=false", "options.contrastive.weight=0.0"),
    ),
    Training(
        "labels",
        ("options.assign.by=own", "options.reliability.use=false", "options.contrastive.weight=0.0"),
    ),
    Training("reliability", ("options.assign.by=own", "options.contrastive.weight=0.0")),
    Training("contrastive", ("options.assign.by=own",)),
    Training("swapped", ("options.assign.by=teacher",)),
)

ROWS = (
    AblationRow("plain CAM, fixed threshold", "tags", "fixed"),
    AblationRow("+ GMM threshold", "tags", "fitted"),
    AblationRow("+ own maps label a segmentation head", "labels", "fitted"),
    AblationRow("+ reliability weights", "reliability", "fitted"),
    AblationRow("+ contrastive separation", "contrastive", "fitted"),
    AblationRow("+ swapped assignments", "swapped", "fitted"),
)

SEEDS = (0, 1)
