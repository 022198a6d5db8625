// NumPy arrays <-> SlicRequest.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "slic/driver.h"

namespace py = pybind11;

namespace {

// Whether `edges` rises from 0 to `end` by at least 1 and at most `room[i]` (any, where room is null) a step.
bool rises(const int32_t* edges, int64_t n, int64_t end) {
  if (edges[0] != 0 || edges[n] != end) return false;
  for (int64_t i = 0; i < n; ++i)
    if (edges[i + 1] <= edges[i]) return false;
  return true;
}

// Fills labels [H, W]; returns the number of segments.
int64_t slic(const py::array& image, const py::object& mask, const py::object& to_xyz, const py::array& roots,
             const py::array& band_rows, const py::array& band_clusters, int64_t row_step, int color_shift,
             int64_t spatial_weight, bool adaptive, bool blur, int64_t n_iter, int64_t min_area, int64_t most_segments, int num_threads,
             const py::object& labels) {
  alseg::SlicRequest request{};
  alseg::SlicJob& job = request.job;
  if (image.ndim() != 3 || (image.shape(2) != 1 && image.shape(2) != 3)) {
    throw py::value_error("image must be [H, W, 1] or [H, W, 3]");
  }
  job.height = image.shape(0);
  job.width = image.shape(1);
  job.channels = image.shape(2);
  if (job.height < 1 || job.width < 1 || job.height > INT32_MAX / job.width || job.width > INT32_MAX / 64) {
    throw py::value_error("the image has no pixels or more than 2^31");
  }
  if (band_rows.ndim() != 1 || band_rows.shape(0) < 2) throw py::value_error("band_rows must have two values or more");
  job.n_bands = band_rows.shape(0) - 1;
  job.image = bindings::readable<uint8_t>(image, "image", {job.height, job.width, job.channels}, 'u');
  job.mask = reinterpret_cast<const uint8_t*>(bindings::readable<bool>(mask, "mask", {job.height, job.width}, 'b'));
  job.to_xyz = bindings::readable<uint64_t>(to_xyz, "to_xyz", {3, 256}, 'u');
  job.roots = reinterpret_cast<const alseg::SlicRoot*>(bindings::readable<int16_t>(roots, "roots", {8192, 4}, 'i'));
  job.band_rows = bindings::readable<int32_t>(band_rows, "band_rows", {job.n_bands + 1}, 'i');
  job.band_clusters = bindings::readable<int32_t>(band_clusters, "band_clusters", {job.n_bands + 1}, 'i');
  request.labels = bindings::writable<int32_t>(labels, "labels", {job.height, job.width}, 'i');
  if (!request.labels) throw py::value_error("labels must be given");
  job.n_clusters = job.band_clusters[job.n_bands];
  if (!rises(job.band_rows, job.n_bands, job.height) || !rises(job.band_clusters, job.n_bands, job.n_clusters)) {
    throw py::value_error("band_rows and band_clusters must rise from 0");
  }
  int64_t lowest = job.height;
  for (int64_t b = 0; b < job.n_bands; ++b) {
    if (job.band_clusters[b + 1] - job.band_clusters[b] > job.width) throw py::value_error("a band has empty cells");
    lowest = std::min<int64_t>(lowest, job.band_rows[b + 1] - job.band_rows[b]);
  }
  if (row_step < 1 || row_step > lowest || color_shift < 0 || color_shift > 4 || spatial_weight < 0 ||
      spatial_weight > (int64_t{1} << 31) || n_iter < 0 || min_area < 0 || most_segments < 1) {
    throw py::value_error("a number is out of range");
  }
  job.row_step = row_step;
  job.color_shift = color_shift;
  job.adaptive = adaptive;
  job.blur = blur;
  request.spatial_weight = spatial_weight;
  request.n_iter = n_iter;
  request.min_area = min_area;
  request.most_segments = most_segments;
  py::gil_scoped_release nogil;
  return alseg::run_slic(request, num_threads);
}

}  // namespace

void register_slic(py::module_& m) {
  m.def("slic", &slic, py::arg("image"), py::arg("mask"), py::arg("to_xyz"), py::arg("roots"),
        py::arg("band_rows"), py::arg("band_clusters"), py::arg("row_step"), py::arg("color_shift"),
        py::arg("spatial_weight"), py::arg("adaptive"), py::arg("blur"), py::arg("n_iter"), py::arg("min_area"), py::arg("most_segments"),
        py::arg("num_threads"), py::arg("labels"), "Fill `labels`; see kernels/slic/native_cpu.py.");
}
