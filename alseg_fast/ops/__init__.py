"""Public functions, one file per operation: docstring, checks, then the operation's registry."""

from .band_labels import band_labels
from .color_histogram import color_histogram
from .dense_crf import CrfLattice, dense_crf
from .edges import edge_map, edge_weighted
from .gmm_threshold import GmmThreshold, gmm_threshold
from .histogram_spec import HistogramSpec
from .js_divergence import js_divergence
from .published import belharbi_entropy, belharbi_mc_dropout
from .region_cost import region_clicks, region_seconds
from .region_crf import region_crf
from .region_geometry import region_adjacency, region_colors, region_geometry
from .region_impurity import region_impurity
from .region_probs import region_probs
from .reliability import perplexity, reliability_weights
from .resize import resize_normalize
from .rle import decode_regions, decode_rle, encode_mask, encode_rle
from .running_threshold import RunningThreshold
from .superpixels import grid_segments, slic
from .uncertainty import uncertainty

__all__ = [
    "CrfLattice",
    "GmmThreshold",
    "HistogramSpec",
    "RunningThreshold",
    "band_labels",
    "belharbi_entropy",
    "belharbi_mc_dropout",
    "color_histogram",
    "decode_regions",
    "decode_rle",
    "dense_crf",
    "edge_map",
    "edge_weighted",
    "encode_mask",
    "encode_rle",
    "gmm_threshold",
    "grid_segments",
    "js_divergence",
    "perplexity",
    "region_adjacency",
    "region_clicks",
    "region_colors",
    "region_crf",
    "region_geometry",
    "region_impurity",
    "region_probs",
    "region_seconds",
    "reliability_weights",
    "resize_normalize",
    "slic",
    "uncertainty",
]
