"""The C++ implementation: one pass over the rows, compiled once per instruction set."""

from ... import _native

resize_normalize = _native.resize_normalize
