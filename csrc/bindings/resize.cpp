// NumPy arrays <-> ResizeJob.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "bindings/arrays.h"
#include "common/threads.h"
#include "isa/levels.h"

namespace py = pybind11;

namespace {

// Weights of a triangle filter along one axis. The filter widens with the reduction factor (antialias), as
// Pillow's BILINEAR does; without antialias it is the plain two-tap interpolation of OpenCV and torch.
struct Filter {
  int64_t out = 0;
  int32_t taps = 1;
  std::vector<int32_t> index;  // [out] first source position; first + taps <= in
  std::vector<float> weight;   // [out, taps]

  Filter(int64_t in, int64_t n_out, bool antialias) : out(n_out), index(static_cast<size_t>(n_out)) {
    const double scale = static_cast<double>(in) / static_cast<double>(out);
    const double support = antialias ? std::max(scale, 1.0) : 1.0;
    std::vector<double> centres(static_cast<size_t>(out));
    for (int64_t i = 0; i < out; ++i) {
      double centre = (static_cast<double>(i) + 0.5) * scale;  // in source pixel edges
      if (!antialias) centre = std::min(std::max(centre, 0.5), static_cast<double>(in) - 0.5);
      centres[static_cast<size_t>(i)] = centre;
      // Sources whose centre lies strictly within the support have a weight.
      const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(std::floor(centre - support - 0.5)) + 1);
      const int64_t last = std::min<int64_t>(in - 1, static_cast<int64_t>(std::ceil(centre + support - 0.5)) - 1);
      index[static_cast<size_t>(i)] = static_cast<int32_t>(first);
      taps = static_cast<int32_t>(std::max<int64_t>(taps, last - first + 1));
    }
    weight.resize(static_cast<size_t>(taps * out));
    std::vector<double> w(static_cast<size_t>(taps));
    for (int64_t i = 0; i < out; ++i) {
      int32_t& first = index[static_cast<size_t>(i)];
      first = static_cast<int32_t>(std::min<int64_t>(first, in - taps));
      double total = 0.0;
      for (int32_t k = 0; k < taps; ++k) {
        const double distance = std::abs(static_cast<double>(first + k) + 0.5 - centres[static_cast<size_t>(i)]);
        w[static_cast<size_t>(k)] = std::max(0.0, 1.0 - distance / support);
        total += w[static_cast<size_t>(k)];
      }
      for (int32_t k = 0; k < taps; ++k)
        weight[static_cast<size_t>(i * taps + k)] = static_cast<float>(w[static_cast<size_t>(k)] / total);
    }
  }

  // [taps, out]: what the row loop wants for the vertical direction.
  std::vector<float> transposed() const {
    std::vector<float> t(weight.size());
    for (int64_t i = 0; i < out; ++i)
      for (int32_t k = 0; k < taps; ++k) t[static_cast<size_t>(k * out + i)] = weight[static_cast<size_t>(i * taps + k)];
    return t;
  }
};

void resize_normalize(const py::array& image, py::array out, int64_t channel_axis, std::array<double, 3> gain,
                      std::array<double, 3> bias, bool reverse_channels, bool antialias, int num_threads) {
  if (image.ndim() != 3 || image.shape(2) != 3 || image.itemsize() != 1)
    throw py::value_error("image must be uint8 [h, w, 3]");
  if (image.strides(2) != 1 || image.strides(1) != 3)
    throw py::value_error("image pixels must be three adjacent bytes");
  if (out.ndim() != 3 || (channel_axis != 0 && channel_axis != 2) || out.shape(channel_axis) != 3)
    throw py::value_error("out must be [3, H, W] or [H, W, 3]");
  if (!out.writeable()) throw py::value_error("out must be writable");
  alseg::ResizeJob job{};
  const char kind = out.dtype().kind();
  if (kind == 'f' && out.itemsize() == 4) job.out_dtype = alseg::Dtype::f32;
  else if (kind == 'f' && out.itemsize() == 2) job.out_dtype = alseg::Dtype::f16;
  else if (kind == 'u' && out.itemsize() == 1) job.out_dtype = alseg::Dtype::u8;
  else throw py::value_error("out must be float32, float16 or uint8");
  const int64_t row_axis = channel_axis == 0 ? 1 : 0, column_axis = row_axis + 1;
  const py::ssize_t item = out.itemsize();
  for (int i = 0; i < 3; ++i)
    if (out.strides(i) % item != 0) throw py::value_error("out strides must be whole elements");
  job.out_stride_c = out.strides(channel_axis) / item;
  job.out_stride_h = out.strides(row_axis) / item;
  job.out_stride_w = out.strides(column_axis) / item;
  job.in_h = image.shape(0);
  job.in_w = image.shape(1);
  job.out_h = out.shape(row_axis);
  job.out_w = out.shape(column_axis);
  if (job.in_h < 1 || job.in_w < 1 || job.out_h < 1 || job.out_w < 1 || job.in_w > INT32_MAX / 4)
    throw py::value_error("a size is out of range");
  job.image = static_cast<const uint8_t*>(image.data());
  job.row_stride = image.strides(0);
  job.out = out.mutable_data();
  for (int c = 0; c < 3; ++c) {
    job.gain[c] = static_cast<float>(gain[static_cast<size_t>(c)]);
    job.bias[c] = static_cast<float>(bias[static_cast<size_t>(c)]);
    job.source_channel[c] = reverse_channels ? 2 - c : c;
  }
  py::gil_scoped_release nogil;
  const Filter columns(job.in_w, job.out_w, antialias), rows(job.in_h, job.out_h, antialias);
  const std::vector<float> row_weight = rows.transposed();
  job.x_taps = columns.taps;
  job.y_taps = rows.taps;
  job.x_index = columns.index.data();
  job.x_weight = columns.weight.data();
  job.y_index = rows.index.data();
  job.y_weight = row_weight.data();
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t scratch = table.resize_scratch(job);
  constexpr int64_t kRows = 32;
  alseg::parallel_for((job.out_h + kRows - 1) / kRows, num_threads, [&](int64_t chunk) {
    table.resize_rows(job, chunk * kRows, std::min((chunk + 1) * kRows, job.out_h), bindings::scratch_floats(scratch));
  });
}

}  // namespace

void register_resize(py::module_& m) {
  m.def("resize_normalize", &resize_normalize, py::arg("image"), py::arg("out"), py::arg("channel_axis"),
        py::arg("gain"), py::arg("bias"), py::arg("reverse_channels"), py::arg("antialias"), py::arg("num_threads"),
        "Fill `out`; see kernels/resize_normalize/native_cpu.py.");
}
