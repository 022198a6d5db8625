"""Public functions, one file per operation: docstring, checks, then the operation's registry."""

from .dense_crf import CrfLattice, dense_crf
from .edges import edge_map, edge_weighted
from .published import belharbi_entropy, belharbi_mc_dropout
from .region_impurity import region_impurity
from .resize import resize_normalize
from .uncertainty import uncertainty

__all__ = [
    "CrfLattice",
    "belharbi_entropy",
    "belharbi_mc_dropout",
    "dense_crf",
    "edge_map",
    "edge_weighted",
    "region_impurity",
    "resize_normalize",
    "uncertainty",
]
