// NumPy arrays <-> ImpurityJob and EdgeJob: measures of a pixel's surroundings.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "bindings/arrays.h"
#include "common/threads.h"
#include "isa/levels.h"

namespace py = pybind11;

namespace {

// Fills out [N, H, W]; returns the status bits of all images together.
unsigned region_impurity(const py::array& labels, const py::object& entropy, const py::object& valid,
                         int64_t n_classes, int64_t radius, int num_threads, const py::object& out) {
  if (labels.ndim() != 3 || labels.dtype().kind() != 'u' || labels.itemsize() > 2 ||
      (labels.flags() & py::array::c_style) == 0) {
    throw py::value_error("labels must be a C-contiguous [N, H, W] array of uint8 or uint16");
  }
  alseg::ImpurityJob job{};
  const int64_t n = labels.shape(0);
  job.height = labels.shape(1);
  job.width = labels.shape(2);
  job.label_bytes = static_cast<int>(labels.itemsize());
  if (n < 1 || job.height < 1 || job.width < 1 || n_classes < 1 || n_classes > 65536 || radius < 0 ||
      job.width > INT32_MAX / 4) {
    throw py::value_error("a size is out of range");
  }
  const std::vector<py::ssize_t> shape{n, job.height, job.width};
  const float* const values = bindings::readable<float>(entropy, "entropy", shape, 'f');
  const auto* const mask = reinterpret_cast<const uint8_t*>(bindings::readable<bool>(valid, "valid", shape, 'b'));
  float* const scores = bindings::writable<float>(out, "out", shape, 'f');
  if (!scores) throw py::value_error("out must be given");
  job.n_classes = n_classes;
  job.radius_y = std::min(radius, job.height - 1);
  job.radius_x = std::min(radius, job.width - 1);
  // A window holds no more pixels than 32-bit counts do.
  if ((2 * job.radius_y + 1) > INT32_MAX / (2 * job.radius_x + 1)) throw py::value_error("radius is too large");
  const char* const data = static_cast<const char*>(labels.data());
  const int64_t pixels = job.height * job.width;
  py::gil_scoped_release nogil;
  const alseg::KernelTable& table = alseg::kernels();
  // A chunk begins by reading a whole window: chunks are no smaller, so that this at most doubles the work.
  const int64_t step = std::max(bindings::rows_per_chunk(job.height), 2 * job.radius_y + 1);
  const int64_t chunks = (job.height + step - 1) / step, scratch = table.impurity_scratch(job);
  std::atomic<unsigned> status{0};
  alseg::parallel_for(n * chunks, num_threads, [&](int64_t cell) {
    alseg::ImpurityJob one = job;
    const int64_t i = cell / chunks, first = cell % chunks * step;
    one.labels = data + i * pixels * job.label_bytes;
    one.entropy = values ? values + i * pixels : nullptr;
    one.valid = mask ? mask + i * pixels : nullptr;
    one.out = scores + i * pixels;
    status |= table.impurity_rows(one, first, std::min(first + step, job.height), bindings::scratch_floats(scratch));
  });
  return status.load();
}

// Fills out [H, W] with 0 and 1 from an image [H, W] or [H, W, 3], or from labels [H, W].
void edge_map(const py::object& image, const py::object& labels, double threshold, int64_t dilation, int num_threads,
              const py::array& out) {
  if (out.ndim() != 2 || out.shape(0) < 1 || out.shape(1) < 1) throw py::value_error("out must be [H, W]");
  if (image.is_none() == labels.is_none()) throw py::value_error("image or labels must be given, not both");
  alseg::EdgeJob job{};
  job.height = out.shape(0);
  job.width = out.shape(1);
  job.threshold = static_cast<float>(threshold);
  job.channels = 1;
  std::vector<py::ssize_t> shape{job.height, job.width};
  job.out = reinterpret_cast<uint8_t*>(bindings::writable<bool>(out, "out", shape, 'b'));
  job.labels = bindings::readable<int32_t>(labels, "labels", shape, 'i');
  if (!image.is_none() && py::cast<py::array>(image).ndim() == 3) {
    job.channels = 3;
    shape.push_back(3);
  }
  job.image = bindings::readable<uint8_t>(image, "image", shape, 'u');
  if (dilation < 0) throw py::value_error("dilation must not be negative");
  dilation = std::min(dilation, std::max(job.height, job.width));
  uint8_t* const result = job.out;
  py::gil_scoped_release nogil;
  std::vector<uint8_t> thin;
  if (dilation > 0) {
    thin.resize(static_cast<size_t>(job.height * job.width));
    job.out = thin.data();
  }
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t step = bindings::rows_per_chunk(job.height), chunks = (job.height + step - 1) / step;
  alseg::parallel_for(chunks, num_threads, [&](int64_t chunk) {
    table.edge_rows(job, chunk * step, std::min((chunk + 1) * step, job.height),
                    bindings::scratch_floats(3 * (job.width + 2)));
  });
  if (dilation == 0) return;
  job.out = result;
  alseg::parallel_for(chunks, num_threads, [&](int64_t chunk) {
    table.dilate_rows(job, thin.data(), dilation, chunk * step, std::min((chunk + 1) * step, job.height),
                      bindings::scratch_floats(2 * job.width + 2 * dilation + 2));
  });
}

}  // namespace

void register_neighbourhoods(py::module_& m) {
  m.def("region_impurity", &region_impurity, py::arg("labels"), py::arg("entropy"), py::arg("valid"),
        py::arg("n_classes"), py::arg("radius"), py::arg("num_threads"), py::arg("out"),
        "Fill `out`; see kernels/region_impurity/native_cpu.py.");
  m.def("edge_map", &edge_map, py::arg("image"), py::arg("labels"), py::arg("threshold"), py::arg("dilation"),
        py::arg("num_threads"), py::arg("out"), "Fill `out`; see kernels/edge_map/native_cpu.py.");
}
