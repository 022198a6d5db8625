"""
Compiled kernels of alseg_fast. Private: call the functions of alseg_fast instead.
"""
from __future__ import annotations
import collections.abc
import numpy
import typing
__all__: list[str] = ['CrfLattice', 'N_MEASURES', 'available_cpus', 'available_levels', 'belharbi_histogram', 'color_histogram', 'current_cpu', 'decode_regions', 'decode_rle', 'edge_map', 'encode_mask', 'encode_rle', 'foreground_moments', 'gaussian_mixture', 'js_channel_sums', 'js_knn', 'js_rerank', 'nearest_centroid', 'region_adjacency', 'region_colors', 'region_crf', 'region_geometry', 'region_impurity', 'region_probs', 'reliability', 'resize_normalize', 'set_simd_level', 'simd_level', 'slic', 'uncertainty', 'value_moments']
class CrfLattice:
    """
    What a dense CRF knows of its image; see kernels/dense_crf.
    """
    def __init__(self, image: numpy.ndarray, gaussian: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex] | None, bilateral: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex] | None, symmetric: bool, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def filter(self, planes: numpy.ndarray, transpose: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> None:
        """
        Fill `out`; see kernels/dense_crf/native_cpu.py.
        """
    def infer(self, source: typing.Any, unary: str, confidence: typing.Any, common_confidence: typing.SupportsFloat | typing.SupportsIndex, unsure: typing.SupportsInt | typing.SupportsIndex, clip: typing.SupportsFloat | typing.SupportsIndex, tolerance: typing.SupportsFloat | typing.SupportsIndex, clamp: typing.Any, penalty: typing.Any, n_iter: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, out: numpy.ndarray) -> int:
        """
        Fill `out`; see kernels/dense_crf/native_cpu.py.
        """
    @property
    def n_slots(self) -> int:
        """
        Vertices, counted once for each tile that touches them.
        """
    @property
    def n_vertices(self) -> int:
        """
        Vertices of the permutohedral lattice.
        """
def available_cpus() -> int:
    """
    CPUs this process may use.
    """
def available_levels() -> list[str]:
    """
    Instruction-set levels this CPU can run, worst first.
    """
def belharbi_histogram(image: numpy.ndarray, out_width: typing.SupportsInt | typing.SupportsIndex, first_x: numpy.ndarray, weight_x: numpy.ndarray, first_y: numpy.ndarray, weight_y: numpy.ndarray, gaussian: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"], shares: numpy.ndarray, num_threads: typing.SupportsInt | typing.SupportsIndex, counts: typing.Any) -> None:
    """
    Fill `counts`; see kernels/belharbi_histogram/native_cpu.py.
    """
def color_histogram(images: collections.abc.Sequence[numpy.ndarray], masks: typing.Any, space: typing.SupportsInt | typing.SupportsIndex, bins: typing.SupportsInt | typing.SupportsIndex, joint: bool, to_xyz: typing.Any, ab: typing.Any, lightness: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, counts: typing.Any) -> None:
    """
    Fill `counts`; see kernels/color_histogram/native_cpu.py.
    """
def current_cpu() -> int:
    """
    The CPU the calling thread runs on, or -1.
    """
def decode_regions(texts: collections.abc.Sequence[str], out: numpy.ndarray) -> tuple[int, int]:
    """
    Fill `out`; see kernels/rle/native_cpu.py.
    """
def decode_rle(text: str, out: numpy.ndarray) -> int:
    """
    Fill `out`; see kernels/rle/native_cpu.py.
    """
def edge_map(image: typing.Any, labels: typing.Any, threshold: typing.SupportsFloat | typing.SupportsIndex, dilation: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, out: numpy.ndarray) -> None:
    """
    Fill `out`; see kernels/edge_map/native_cpu.py.
    """
def encode_mask(mask: numpy.ndarray) -> str:
    """
    See kernels/rle/native_cpu.py.
    """
def encode_rle(ids: numpy.ndarray, n_segments: typing.SupportsInt | typing.SupportsIndex) -> typing.Any:
    """
    See kernels/rle/native_cpu.py.
    """
def foreground_moments(logits: numpy.ndarray, dtype: typing.SupportsInt | typing.SupportsIndex, size: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex], sigmoid: bool, align_corners: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, sums: typing.Any, status: typing.Any) -> None:
    """
    Fill `sums`; see kernels/foreground/native_cpu.py.
    """
def gaussian_mixture(x: typing.Any, weight: typing.Any, components: numpy.ndarray, tolerance: typing.SupportsFloat | typing.SupportsIndex, max_iter: typing.SupportsInt | typing.SupportsIndex, variance_floor: typing.SupportsFloat | typing.SupportsIndex, plain: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, facts: typing.Any) -> None:
    """
    Improve `components`; see kernels/gaussian_mixture/native_cpu.py.
    """
def js_channel_sums(hist: numpy.ndarray, scale: numpy.ndarray, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> None:
    """
    Fill `out`; see kernels/js_channel_sums/native_cpu.py.
    """
def js_knn(queries: numpy.ndarray, query_scale: numpy.ndarray, blocks: collections.abc.Sequence[tuple[typing.Any, ...]], k: typing.SupportsInt | typing.SupportsIndex, weights: typing.Any, exclude: typing.Any, within: typing.Any, candidates: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, keys: typing.Any, distances: typing.Any, certified: typing.Any, visited: typing.Any, reranked: typing.Any) -> None:
    """
    Fill the results; see kernels/js_knn/native_cpu.py.
    """
def js_rerank(queries: numpy.ndarray, query_scale: numpy.ndarray, hist: numpy.ndarray, scale: numpy.ndarray, weights: typing.Any, index: numpy.ndarray, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> None:
    """
    Fill `out`; see kernels/js_rerank/native_cpu.py.
    """
def nearest_centroid(hist: numpy.ndarray, scale: numpy.ndarray, weights: typing.Any, centroids: numpy.ndarray, num_threads: typing.SupportsInt | typing.SupportsIndex, cell: typing.Any, distance: typing.Any) -> None:
    """
    Fill `cell` and `distance`; see kernels/nearest_centroid/native_cpu.py.
    """
def region_adjacency(ids: numpy.ndarray, n_segments: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex) -> typing.Any:
    """
    See kernels/region_geometry/native_cpu.py.
    """
def region_colors(image: numpy.ndarray, ids: numpy.ndarray, n_segments: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> bool:
    """
    Fill `out`; see kernels/region_geometry/native_cpu.py.
    """
def region_crf(probs: numpy.ndarray, colors: typing.Any, pairs: numpy.ndarray, lengths: typing.Any, n_iter: typing.SupportsInt | typing.SupportsIndex, weight: typing.SupportsFloat | typing.SupportsIndex, sigma: typing.SupportsFloat | typing.SupportsIndex, penalty: typing.Any, clamp: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> None:
    """
    Fill `out`; see kernels/region_crf/native_cpu.py.
    """
def region_geometry(ids: numpy.ndarray, n_segments: typing.SupportsInt | typing.SupportsIndex, labels: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, area: typing.Any, boxes: typing.Any, perimeter: typing.Any, label_edges: typing.Any) -> bool:
    """
    Fill the outputs; see kernels/region_geometry/native_cpu.py.
    """
def region_impurity(labels: numpy.ndarray, entropy: typing.Any, valid: typing.Any, n_classes: typing.SupportsInt | typing.SupportsIndex, radius: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> int:
    """
    Fill `out`; see kernels/region_impurity/native_cpu.py.
    """
def region_probs(scores: numpy.ndarray, activation: typing.SupportsInt | typing.SupportsIndex, box: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], ids: numpy.ndarray, n_segments: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> int:
    """
    Fill `out`; see kernels/region_probs/native_cpu.py.
    """
def reliability(maps: numpy.ndarray, valid: typing.Any, threshold: typing.SupportsFloat | typing.SupportsIndex, alpha: typing.SupportsFloat | typing.SupportsIndex, beta: typing.SupportsFloat | typing.SupportsIndex, least_ratio: typing.SupportsFloat | typing.SupportsIndex, form: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> int:
    """
    Fill `out`; see kernels/reliability/native_cpu.py.
    """
def resize_normalize(image: numpy.ndarray, out: numpy.ndarray, channel_axis: typing.SupportsInt | typing.SupportsIndex, gain: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"], bias: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"], reverse_channels: bool, antialias: bool, num_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Fill `out`; see kernels/resize_normalize/native_cpu.py.
    """
def set_simd_level(name: str) -> None:
    """
    Pin a level for the whole process.
    """
def simd_level() -> str:
    """
    The level in use.
    """
def slic(image: numpy.ndarray, mask: typing.Any, to_xyz: typing.Any, roots: numpy.ndarray, band_rows: numpy.ndarray, band_clusters: numpy.ndarray, row_step: typing.SupportsInt | typing.SupportsIndex, color_shift: typing.SupportsInt | typing.SupportsIndex, spatial_weight: typing.SupportsInt | typing.SupportsIndex, adaptive: bool, blur: bool, n_iter: typing.SupportsInt | typing.SupportsIndex, min_area: typing.SupportsInt | typing.SupportsIndex, most_segments: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, labels: typing.Any) -> int:
    """
    Fill `labels`; see kernels/slic/native_cpu.py.
    """
def uncertainty(logits: numpy.ndarray, dtype: typing.SupportsInt | typing.SupportsIndex, size: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex], activation: typing.SupportsInt | typing.SupportsIndex, temperature: typing.SupportsFloat | typing.SupportsIndex, measures: typing.SupportsInt | typing.SupportsIndex, align_corners: bool, box: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex], valid: typing.Any, segments: typing.Any, n_segments: typing.SupportsInt | typing.SupportsIndex, segment_scale: typing.SupportsFloat | typing.SupportsIndex, top_fraction: typing.SupportsFloat | typing.SupportsIndex, sums: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, maps: collections.abc.Sequence[typing.Any], out: typing.Any) -> None:
    """
    Fill the arrays of `out`; see kernels/uncertainty/native_cpu.py.
    """
def value_moments(values: numpy.ndarray, weights: typing.Any, bin_bits: typing.SupportsInt | typing.SupportsIndex, least: typing.SupportsFloat | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> int:
    """
    Fill `out`; see kernels/gaussian_mixture/native_cpu.py.
    """
N_MEASURES: int = 7
