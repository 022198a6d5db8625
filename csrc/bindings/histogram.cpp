// NumPy arrays <-> HistogramJob: colour histograms of images.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "bindings/arrays.h"
#include "common/threads.h"
#include "isa/levels.h"

namespace py = pybind11;

namespace {

struct Band {
  size_t image;
  int64_t y0, y1;
};

// Rows that one thread counts at once: enough pixels for the setting up of the counters not to matter.
void cut_bands(const std::vector<alseg::HistogramJob>& jobs, std::vector<Band>* bands) {
  constexpr int64_t kPixels = int64_t{1} << 18;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const int64_t height = jobs[i].height, count = std::max<int64_t>(1, std::min(height, height * jobs[i].width / kPixels));
    for (int64_t b = 0; b < count; ++b) bands->push_back({i, height * b / count, height * (b + 1) / count});
  }
}

void take_image(const py::array& image, const py::object& mask, alseg::HistogramJob* job) {
  if (image.ndim() != 3 || image.shape(2) != 3 || image.itemsize() != 1 || image.dtype().kind() != 'u')
    throw py::value_error("images must be uint8 [H, W, 3]");
  job->height = image.shape(0);
  job->width = image.shape(1);
  if (job->height < 1 || job->width < 1 || job->height > (int64_t{1} << 40) / job->width)
    throw py::value_error("an image has no pixels or more than 2^40");
  job->image = static_cast<const uint8_t*>(image.data());
  job->stride_h = image.strides(0);
  job->stride_w = image.strides(1);
  job->stride_c = image.strides(2);
  job->mask = reinterpret_cast<const uint8_t*>(bindings::readable<bool>(mask, "masks", {job->height, job->width}, 'b'));
}

// Fills counts [N, dim] with the pixels of each bin.
void color_histogram(const std::vector<py::array>& images, const py::object& masks, int space, int64_t bins, bool joint,
                     const py::object& to_xyz, const py::object& ab, const py::object& lightness, int num_threads,
                     const py::object& counts) {
  alseg::HistogramJob common{};
  if (space < 0 || space > 2 || bins < 1 || bins > (joint ? alseg::kMostJointBins : alseg::kMostHistogramBins))
    throw py::value_error("space or bins is out of range");
  common.space = static_cast<alseg::HistogramSpace>(space);
  common.bins = bins;
  common.joint = joint;
  common.to_xyz = bindings::readable<uint64_t>(to_xyz, "to_xyz", {3, 256}, 'u');
  common.ab = bindings::readable<uint32_t>(ab, "ab", {3, 8192}, 'u');
  common.lightness = bindings::readable<uint8_t>(lightness, "lightness", {8192}, 'u');
  if (common.space == alseg::HistogramSpace::lab && (!common.to_xyz || !common.ab || !common.lightness))
    throw py::value_error("lab needs its tables");
  std::vector<py::object> held;
  if (!masks.is_none()) held = py::cast<std::vector<py::object>>(masks);
  if (!held.empty() && held.size() != images.size()) throw py::value_error("masks must be as many as images");
  std::vector<alseg::HistogramJob> jobs(images.size(), common);
  for (size_t i = 0; i < images.size(); ++i) take_image(images[i], held.empty() ? py::none() : held[i], &jobs[i]);
  const int64_t dim = alseg::histogram_dim(common);
  uint64_t* const out = bindings::writable<uint64_t>(counts, "counts", {static_cast<int64_t>(images.size()), dim}, 'u');
  if (!out) throw py::value_error("counts must be given");
  py::gil_scoped_release nogil;
  std::fill(out, out + static_cast<int64_t>(jobs.size()) * dim, uint64_t{0});
  std::vector<Band> bands;
  cut_bands(jobs, &bands);
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t scratch = table.histogram_scratch(common), own = (2 * dim + 15) / 16 * 16;
  std::mutex adding;
  alseg::parallel_for(static_cast<int64_t>(bands.size()), num_threads, [&](int64_t i) {
    const Band& band = bands[static_cast<size_t>(i)];
    float* const memory = bindings::scratch_floats(own + scratch);
    uint64_t* const sums = reinterpret_cast<uint64_t*>(memory);
    std::fill(sums, sums + dim, uint64_t{0});
    table.histogram_rows(jobs[band.image], band.y0, band.y1, sums, memory + own);
    const std::lock_guard<std::mutex> lock(adding);  // whole numbers: the order of additions does not matter
    uint64_t* const row = out + static_cast<int64_t>(band.image) * dim;
    for (int64_t k = 0; k < dim; ++k) row[k] += sums[k];
  });
}

}  // namespace

void register_histogram(py::module_& m) {
  m.def("color_histogram", &color_histogram, py::arg("images"), py::arg("masks"), py::arg("space"), py::arg("bins"),
        py::arg("joint"), py::arg("to_xyz"), py::arg("ab"), py::arg("lightness"), py::arg("num_threads"), py::arg("counts"),
        "Fill `counts`; see kernels/color_histogram/native_cpu.py.");
}
