// NumPy arrays of histograms as checked rows.
#pragma once
#include <cmath>
#include <stdexcept>
#include <string>

#include "bindings/arrays.h"
#include "kernels/knn/jobs.h"

namespace bindings {

// hist [n, dim] float32 or float16 (or float64, if `doubles`) and scale [n, channels] float64.
inline alseg::HistRows hist_rows(const py::array& hist, const py::array& scale, bool doubles) {
  if (hist.ndim() != 2 || scale.ndim() != 2) throw py::value_error("hist and scale must have 2 dimensions");
  const py::ssize_t n = hist.shape(0), dim = hist.shape(1), channels = scale.shape(1);
  if (dim < 1 || channels < 1 || dim % channels != 0 || dim > (1 << 24) || n >= py::ssize_t{1} << 40)
    throw py::value_error("a size is out of range");
  alseg::HistRows rows{};
  rows.dim = dim;
  rows.channels = channels;
  rows.scale = readable<double>(scale, "scale", {n, channels}, 'f');
  if (hist.itemsize() == 2) {
    rows.type = alseg::HistType::f16;
    if (hist.dtype().kind() != 'f' || (hist.flags() & py::array::c_style) == 0)
      throw py::value_error("hist must be a C-contiguous array of floats");
    rows.hist = hist.data();
  } else if (doubles && hist.itemsize() == 8) {
    rows.type = alseg::HistType::f64;
    rows.hist = readable<double>(hist, "hist", {n, dim}, 'f');
  } else {
    rows.type = alseg::HistType::f32;
    rows.hist = readable<float>(hist, "hist", {n, dim}, 'f');
  }
  return rows;
}

// [n] float64, positive.
inline const double* positive(const py::object& object, const char* name, py::ssize_t n) {
  const double* const w = readable<double>(object, name, {n}, 'f');
  if (!w) throw py::value_error(std::string(name) + " must be given");
  for (py::ssize_t i = 0; i < n; ++i)
    if (!(w[i] > 0.0) || !std::isfinite(w[i])) throw py::value_error(std::string(name) + " must be positive");
  return w;
}

}  // namespace bindings
