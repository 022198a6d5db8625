// NumPy arrays <-> what is computed of a set of histograms: nearest centroids, sums over all pairs.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "bindings/hist_arrays.h"
#include "common/buffers.h"
#include "common/scratch.h"
#include "common/threads.h"
#include "isa/levels.h"
#include "knn/nearest.h"

namespace py = pybind11;

namespace {

void nearest_centroid(const py::array& hist, const py::array& scale, const py::object& weights,
                      const py::array& centroids, int num_threads, const py::object& cell,
                      const py::object& distance) {
  const alseg::HistRows rows = bindings::hist_rows(hist, scale, false);
  const double* const w = bindings::positive(weights, "weights", rows.channels);
  if (centroids.ndim() != 2 || centroids.shape(0) < 1 || centroids.shape(0) > INT32_MAX / 2)
    throw py::value_error("centroids must have shape [L, D]");
  const py::ssize_t n = hist.shape(0), n_points = centroids.shape(0);
  const float* const points = bindings::readable<float>(centroids, "centroids", {n_points, rows.dim}, 'f');
  int32_t* const nearest = bindings::writable<int32_t>(cell, "cell", {n}, 'i');
  float* const away = bindings::writable<float>(distance, "distance", {n}, 'f');
  if (!nearest || !away) throw py::value_error("cell and distance must be given");
  py::gil_scoped_release nogil;
  const alseg::KernelTable& table = alseg::kernels();
  const alseg::PointPanels panels(table, points, n_points, rows.dim, num_threads);
  alseg::nearest_points(table, panels, points, rows, n, w, num_threads, nearest, away);
}

// Fills sums [channels]: of the divergences of each channel over all ordered pairs of rows.
void js_channel_sums(const py::array& hist, const py::array& scale, int num_threads, const py::object& out) {
  const alseg::HistRows rows = bindings::hist_rows(hist, scale, false);
  const py::ssize_t n = hist.shape(0), channels = rows.channels;
  double* const sums = bindings::writable<double>(out, "sums", {channels}, 'f');
  if (!sums) throw py::value_error("sums must be given");
  py::gil_scoped_release nogil;
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t bins = rows.dim / channels, pitch = table.knn_padded(bins), floats = n * pitch;
  const std::vector<double> ones(static_cast<size_t>(channels), 1.0);
  const alseg::Buffer<float> planes(std::max<int64_t>(1, channels * floats));  // [channels, n, pitch]
  alseg::parallel_for(n, num_threads, [&](int64_t i) {
    thread_local alseg::KeptMemory memory;
    float* const row = memory.room<float>(table.knn_padded(rows.dim));
    table.knn_mass_row(rows, i, ones.data(), row);
    for (int64_t c = 0; c < channels; ++c) {
      float* const to = planes.data() + c * floats + i * pitch;
      std::fill(std::copy_n(row + c * bins, bins, to), to + pitch, 0.0f);
    }
  });
  std::vector<double> row_sums(static_cast<size_t>(channels * n));
  alseg::parallel_for(channels * n, num_threads, [&](int64_t task) {
    const int64_t i = task % n;
    const float* const row = planes.data() + task * pitch;
    row_sums[static_cast<size_t>(task)] = table.js_row_sum(row, row + pitch, pitch, n - 1 - i);
  });
  for (int64_t c = 0; c < channels; ++c) {
    sums[c] = 0.0;
    for (int64_t i = 0; i < n; ++i) sums[c] += 2.0 * row_sums[static_cast<size_t>(c * n + i)];
  }
}

}  // namespace

void register_histogram_sets(py::module_& m) {
  m.def("nearest_centroid", &nearest_centroid, py::arg("hist"), py::arg("scale"), py::arg("weights"),
        py::arg("centroids"), py::arg("num_threads"), py::arg("cell"), py::arg("distance"),
        "Fill `cell` and `distance`; see kernels/nearest_centroid/native_cpu.py.");
  m.def("js_channel_sums", &js_channel_sums, py::arg("hist"), py::arg("scale"), py::arg("num_threads"),
        py::arg("out"), "Fill `out`; see kernels/js_channel_sums/native_cpu.py.");
}
