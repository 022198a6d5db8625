"""Public functions, one file per operation: docstring, checks, then the operation's registry."""

from .edges import edge_map, edge_weighted
from .published import belharbi_entropy, belharbi_mc_dropout
from .region_impurity import region_impurity
from .resize import resize_normalize
from .superpixels import grid_segments, slic
from .uncertainty import uncertainty

__all__ = [
    "belharbi_entropy",
    "belharbi_mc_dropout",
    "edge_map",
    "edge_weighted",
    "grid_segments",
    "region_impurity",
    "resize_normalize",
    "slic",
    "uncertainty",
]
