// Label maps [H, W] of region ids.
#pragma once
#include <pybind11/numpy.h>

#include "bindings/arrays.h"
#include "kernels/regions/geometry.h"

namespace bindings {

inline alseg::RegionMap region_map(const py::array& ids, int64_t n_segments) {
  if (ids.ndim() != 2 || ids.shape(0) < 1 || ids.shape(1) < 1 || ids.shape(0) > INT32_MAX - 1 ||
      ids.shape(1) > INT32_MAX - 1) {
    throw py::value_error("ids must be [H, W] with at least one pixel");
  }
  if (n_segments < 0 || n_segments > INT32_MAX) throw py::value_error("n_segments is out of range");
  const int64_t height = ids.shape(0), width = ids.shape(1);
  return {readable<int32_t>(ids, "ids", {height, width}, 'i'), height, width, n_segments};
}

}  // namespace bindings
