"""Public functions, one file per operation: docstring, checks, then the operation's registry."""

from .edges import edge_map, edge_weighted
from .published import belharbi_entropy, belharbi_mc_dropout
from .region_geometry import region_adjacency, region_colors, region_geometry
from .region_impurity import region_impurity
from .resize import resize_normalize
from .rle import decode_regions, decode_rle, encode_mask, encode_rle
from .uncertainty import uncertainty

__all__ = [
    "belharbi_entropy",
    "belharbi_mc_dropout",
    "decode_regions",
    "decode_rle",
    "edge_map",
    "edge_weighted",
    "encode_mask",
    "encode_rle",
    "region_adjacency",
    "region_colors",
    "region_geometry",
    "region_impurity",
    "resize_normalize",
    "uncertainty",
]
