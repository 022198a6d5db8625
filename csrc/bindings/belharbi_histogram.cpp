// NumPy arrays <-> BelharbiJob: the published colour histogram.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "bindings/arrays.h"
#include "common/buffers.h"
#include "common/threads.h"
#include "isa/levels.h"

namespace py = pybind11;

namespace {

// Weights [out, taps] along one axis, each repeated `repeat` times, taps rounded up to a multiple of `repeat`.
class Taps {
 public:
  Taps(const py::array& first, const py::array& weight, int64_t n_in, int64_t n_out, int64_t repeat) {
    if (weight.ndim() != 2 || weight.shape(1) < 1 || weight.shape(1) > n_in) throw py::value_error("taps are wrong");
    const int64_t taps = weight.shape(1);
    const int32_t* const index = bindings::readable<int32_t>(first, "first", {n_out}, 'i');
    const int32_t* const values = bindings::readable<int32_t>(weight, "weights", {n_out, taps}, 'i');
    first_.assign(index, index + n_out);
    taps_ = (taps + repeat - 1) / repeat * repeat;
    weight_.assign(static_cast<size_t>(n_out * taps_ * repeat), 0);
    for (int64_t i = 0; i < n_out; ++i) {
      if (index[i] < 0 || index[i] >= n_in) throw py::value_error("first is out of range");
      for (int64_t k = 0; k < taps; ++k) {
        int32_t* const to = weight_.data() + (i * taps_ + k) * repeat;
        if (index[i] + k < n_in) std::fill(to, to + repeat, values[i * taps + k]);
      }
    }
  }
  alseg::CubicTaps view() const { return {first_.data(), weight_.data(), taps_}; }

 private:
  std::vector<int32_t> first_, weight_;
  int64_t taps_;
};

// Fills counts [3, 256] with 65536ths of a pixel.
void belharbi_histogram(const py::array& image, int64_t out_width, const py::array& first_x, const py::array& weight_x,
                        const py::array& first_y, const py::array& weight_y, std::array<int32_t, 3> gaussian,
                        const py::array& shares, int num_threads, const py::object& counts) {
  if (image.ndim() != 3 || image.shape(2) != 3 || image.itemsize() != 1 || image.dtype().kind() != 'u')
    throw py::value_error("image must be uint8 [H, W, 3]");
  alseg::BelharbiJob job{};
  job.height = image.shape(0);
  job.width = image.shape(1);
  if (job.height < 1 || job.width < 1 || job.height > INT32_MAX / 16 || job.width > INT32_MAX / 16 || out_width < 1 ||
      out_width > (1 << 16))
    throw py::value_error("a size is out of range");
  job.image = static_cast<const uint8_t*>(image.data());
  job.stride_h = image.strides(0);
  job.stride_w = image.strides(1);
  job.stride_c = image.strides(2);
  job.out_width = out_width;
  const Taps across(first_x, weight_x, job.width, out_width, 4);
  const Taps along(first_y, weight_y, job.height, alseg::kBelharbiHeight, 1);
  job.across = across.view();
  job.along = along.view();
  int64_t sum = 0;
  for (size_t i = 0; i < 3; ++i) {
    job.gaussian[i] = gaussian[i];
    sum += int64_t{gaussian[i]} * (i == 0 ? 1 : 4);
    if (gaussian[i] < 0) throw py::value_error("gaussian must not be negative");
  }
  if (sum != int64_t{1} << alseg::kBelharbiBits) throw py::value_error("gaussian must sum to 2^22");
  job.shares = bindings::readable<int32_t>(
      shares, "shares", {(alseg::kBelharbiEdge >> alseg::kBelharbiEdgeStep) + 1}, 'i');
  uint64_t* const out = bindings::writable<uint64_t>(counts, "counts", {3, alseg::kBelharbiBins}, 'u');
  if (!out) throw py::value_error("counts must be given");
  py::gil_scoped_release nogil;
  job.pitch = (3 * out_width + 127) / 64 * 64;
  alseg::Buffer<uint8_t> rows(job.height * job.pitch), small(alseg::kBelharbiHeight * job.pitch);
  job.rows = rows.data();
  job.small = small.data();
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t scratch = table.belharbi_scratch(job);
  const auto in_chunks = [&](int64_t n, int64_t step, const auto& body) {
    alseg::parallel_for((n + step - 1) / step, num_threads,
                        [&](int64_t i) { body(i * step, std::min((i + 1) * step, n)); });
  };
  constexpr int64_t kRows = 64, kSmallRows = 32;
  in_chunks(job.height, kRows, [&](int64_t y0, int64_t y1) {
    table.belharbi_across(job, y0, y1, bindings::scratch_floats(scratch));
  });
  in_chunks(alseg::kBelharbiHeight, kSmallRows, [&](int64_t y0, int64_t y1) { table.belharbi_along(job, y0, y1); });
  constexpr int64_t kCounts = 3 * alseg::kBelharbiBins;
  std::fill(out, out + kCounts, uint64_t{0});
  std::mutex adding;
  in_chunks(alseg::kBelharbiHeight, kSmallRows, [&](int64_t y0, int64_t y1) {
    uint64_t sums[kCounts] = {};
    table.belharbi_count(job, y0, y1, sums, bindings::scratch_floats(scratch));
    const std::lock_guard<std::mutex> lock(adding);  // whole numbers: the order of additions does not matter
    for (int64_t k = 0; k < kCounts; ++k) out[k] += sums[k];
  });
}

}  // namespace

void register_belharbi_histogram(py::module_& m) {
  m.def("belharbi_histogram", &belharbi_histogram, py::arg("image"), py::arg("out_width"), py::arg("first_x"),
        py::arg("weight_x"), py::arg("first_y"), py::arg("weight_y"), py::arg("gaussian"), py::arg("shares"),
        py::arg("num_threads"), py::arg("counts"), "Fill `counts`; see kernels/belharbi_histogram/native_cpu.py.");
}
