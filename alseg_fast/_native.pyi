"""
Compiled kernels of alseg_fast. Private: call the functions of alseg_fast instead.
"""
from __future__ import annotations
import collections.abc
import numpy
import typing
__all__: list[str] = ['N_MEASURES', 'available_cpus', 'available_levels', 'current_cpu', 'edge_map', 'foreground_moments', 'region_impurity', 'resize_normalize', 'set_simd_level', 'simd_level', 'slic', 'uncertainty']
def available_cpus() -> int:
    """
    CPUs this process may use.
    """
def available_levels() -> list[str]:
    """
    Instruction-set levels this CPU can run, worst first.
    """
def current_cpu() -> int:
    """
    The CPU the calling thread runs on, or -1.
    """
def edge_map(image: typing.Any, labels: typing.Any, threshold: typing.SupportsFloat | typing.SupportsIndex, dilation: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, out: numpy.ndarray) -> None:
    """
    Fill `out`; see kernels/edge_map/native_cpu.py.
    """
def foreground_moments(logits: numpy.ndarray, dtype: typing.SupportsInt | typing.SupportsIndex, size: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex], sigmoid: bool, align_corners: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, sums: typing.Any, status: typing.Any) -> None:
    """
    Fill `sums`; see kernels/foreground/native_cpu.py.
    """
def region_impurity(labels: numpy.ndarray, entropy: typing.Any, valid: typing.Any, n_classes: typing.SupportsInt | typing.SupportsIndex, radius: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, out: typing.Any) -> int:
    """
    Fill `out`; see kernels/region_impurity/native_cpu.py.
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
N_MEASURES: int = 7
