// NumPy arrays <-> UncertaintyJob: shapes are checked by the Python layer and once more here, where memory is read.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/threads.h"
#include "isa/levels.h"
#include "kernels/top_mean.h"

namespace py = pybind11;

namespace {

using alseg::UncertaintyJob;
using FloatArray = py::array_t<float, py::array::c_style>;

// Source position of every output position along one axis (torch's two corner conventions).
struct Axis {
  std::vector<int32_t> index;
  std::vector<float> frac;

  Axis(int64_t in, int64_t out, double start, double extent, bool align_corners)
      : index(static_cast<size_t>(out + alseg::kColumnPad)), frac(index.size()) {
    for (int64_t i = 0; i < out; ++i) {
      double source;
      if (align_corners) {
        source = out > 1 ? static_cast<double>(i) * static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0.0;
      } else {
        source = start + (static_cast<double>(i) + 0.5) * extent / static_cast<double>(out) - 0.5;
      }
      source = std::min(std::max(source, 0.0), static_cast<double>(in - 1));
      const int64_t left = std::min<int64_t>(static_cast<int64_t>(source), in - 1);
      index[static_cast<size_t>(i)] = static_cast<int32_t>(left);
      frac[static_cast<size_t>(i)] = left + 1 < in ? static_cast<float>(source - static_cast<double>(left)) : 0.0f;
    }
    std::fill(index.begin() + out, index.end(), index[static_cast<size_t>(out - 1)]);
    std::fill(frac.begin() + out, frac.end(), 0.0f);
  }
};

// Rows per chunk: a function of the shape alone, so that the order of additions is too.
int64_t rows_per_chunk(int64_t height) { return std::max<int64_t>(16, (height + 63) / 64); }

struct Outputs {
  float* maps[alseg::kMeasures];  // [N, H, W] or null
  char* labels;                   // [N, H, W] or null
  int label_bytes;
  double* mean;                   // [N, kMeasures]
  float* max;                     // [N, kMeasures]
  double* top;                    // [N, kMeasures] or null
  int64_t* class_count;           // [N, n_labels] or null
  double* class_sum;              // [N, kMeasures, n_labels] or null
  uint8_t* status;                // [N]
  int64_t top_count;
};

// One worker's scratch memory, kept between calls up to a limit: fresh pages cost more than the kernel.
float* scratch_floats(int64_t n) {
  thread_local std::vector<float> memory;
  constexpr size_t kKeepAtMost = size_t{1} << 22;
  if (memory.capacity() > kKeepAtMost && static_cast<size_t>(n) <= kKeepAtMost) std::vector<float>().swap(memory);
  if (memory.size() < static_cast<size_t>(n)) memory.resize(static_cast<size_t>(n));
  return memory.data();
}

void run(UncertaintyJob job, const char* logits, int64_t n_images, int64_t image_bytes, const Outputs& out,
         int num_threads) {
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t labels = alseg::n_labels(job), pixels = job.out_h * job.out_w;
  const int64_t step = rows_per_chunk(job.out_h), chunks = (job.out_h + step - 1) / step;
  const int64_t scratch = table.uncertainty_scratch(job);
  const bool stats = out.class_count != nullptr;

  // Images of one group run side by side; the group is bounded so that partial sums stay small.
  const int64_t group = std::max<int64_t>(1, std::min<int64_t>(n_images, 2048 / chunks));
  const size_t cells = static_cast<size_t>(group * chunks);
  std::vector<double> sum(cells * alseg::kMeasures);
  std::vector<float> max(cells * alseg::kMeasures);
  std::vector<int64_t> count(stats ? cells * static_cast<size_t>(labels) : 0);
  std::vector<double> class_sum(stats ? cells * static_cast<size_t>(labels) * alseg::kMeasures : 0);
  std::vector<unsigned> status(cells);
  // The top-share mean needs every value, so a measure without a map gets a scratch one.
  thread_local std::vector<float> hidden;
  int hidden_maps = 0;
  for (int m = 0; m < alseg::kMeasures; ++m)
    hidden_maps += out.top && (job.measures >> m & 1u) && !out.maps[m];
  hidden.resize(static_cast<size_t>(group * hidden_maps * pixels));
  float* const hidden_data = hidden.data();  // in a worker, the name `hidden` is that worker's own vector

  for (int64_t first = 0; first < n_images; first += group) {
    const int64_t images = std::min(group, n_images - first);
    std::fill(sum.begin(), sum.end(), 0.0);
    std::fill(max.begin(), max.end(), 0.0f);
    std::fill(count.begin(), count.end(), 0);
    std::fill(class_sum.begin(), class_sum.end(), 0.0);
    std::fill(status.begin(), status.end(), 0u);

    const auto job_of = [&](int64_t i) {
      UncertaintyJob one = job;
      one.logits = logits + (first + i) * image_bytes;
      int next_hidden = 0;
      for (int m = 0; m < alseg::kMeasures; ++m) {
        one.maps[m] = nullptr;
        if (!(job.measures >> m & 1u)) continue;
        if (out.maps[m]) one.maps[m] = out.maps[m] + (first + i) * pixels;
        else if (out.top) one.maps[m] = hidden_data + (i * hidden_maps + next_hidden++) * pixels;
      }
      one.labels = out.labels ? out.labels + (first + i) * pixels * out.label_bytes : nullptr;
      return one;
    };
    alseg::parallel_for(images * chunks, num_threads, [&](int64_t cell) {
      const int64_t i = cell / chunks, chunk = cell % chunks;
      const size_t at = static_cast<size_t>(cell);
      const alseg::ChunkSums sums{&sum[at * alseg::kMeasures], &max[at * alseg::kMeasures],
                                  stats ? &count[at * static_cast<size_t>(labels)] : nullptr,
                                  stats ? &class_sum[at * static_cast<size_t>(labels) * alseg::kMeasures] : nullptr,
                                  &status[at]};
      table.uncertainty_rows(job_of(i), chunk * step, std::min((chunk + 1) * step, job.out_h), sums,
                             scratch_floats(scratch));
    });
    for (int64_t i = 0; i < images; ++i) {
      const int64_t n = first + i;
      unsigned flags = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const size_t at = static_cast<size_t>(i * chunks + chunk);
        flags |= status[at];
        for (int m = 0; m < alseg::kMeasures; ++m) {
          out.mean[n * alseg::kMeasures + m] += sum[at * alseg::kMeasures + static_cast<size_t>(m)];
          out.max[n * alseg::kMeasures + m] =
              std::max(out.max[n * alseg::kMeasures + m], max[at * alseg::kMeasures + static_cast<size_t>(m)]);
        }
        for (int64_t c = 0; stats && c < labels; ++c)
          out.class_count[n * labels + c] += count[at * static_cast<size_t>(labels) + static_cast<size_t>(c)];
        for (int64_t c = 0; stats && c < labels * alseg::kMeasures; ++c)
          out.class_sum[n * labels * alseg::kMeasures + c] +=
              class_sum[at * static_cast<size_t>(labels) * alseg::kMeasures + static_cast<size_t>(c)];
      }
      for (int m = 0; m < alseg::kMeasures; ++m)
        out.mean[n * alseg::kMeasures + m] /= static_cast<double>(pixels);
      out.status[n] = static_cast<uint8_t>(flags);
    }
    if (!out.top) continue;
    alseg::parallel_for(images * alseg::kMeasures, num_threads, [&](int64_t task) {
      const int64_t i = task / alseg::kMeasures, m = task % alseg::kMeasures, n = first + i;
      if (!(job.measures >> m & 1u)) return;
      // NaN has no order; such an image is reported through its status instead.
      if (out.status[n] & alseg::kNotFinite) return;
      out.top[n * alseg::kMeasures + m] = alseg::mean_of_largest(job_of(i).maps[m], pixels, out.top_count);
    });
  }
  if (hidden.capacity() > (size_t{1} << 25)) std::vector<float>().swap(hidden);
}

template <typename T>
T* writable(const py::object& object, const char* name, const std::vector<py::ssize_t>& shape, char kind,
            py::ssize_t item = sizeof(T)) {
  if (object.is_none()) return nullptr;
  auto array = py::cast<py::array>(object);
  bool ok = array.dtype().kind() == kind && array.itemsize() == item && array.ndim() == static_cast<py::ssize_t>(shape.size()) &&
            (array.flags() & py::array::c_style) != 0 && array.writeable();
  for (size_t i = 0; ok && i < shape.size(); ++i) ok = array.shape(static_cast<py::ssize_t>(i)) == shape[i];
  if (!ok) throw py::value_error(std::string(name) + " must be a writable C-contiguous array of the documented shape");
  return static_cast<T*>(array.mutable_data());
}

void uncertainty(const py::array& logits, int dtype, std::pair<int64_t, int64_t> size, int activation,
                 unsigned measures, bool align_corners, std::tuple<double, double, double, double> box,
                 const std::vector<py::object>& maps, const py::object& labels, const py::object& mean,
                 const py::object& max, const py::object& top, const py::object& class_count,
                 const py::object& class_sum, const py::object& status, int64_t top_count, bool sums, int num_threads) {
  if (logits.ndim() != 4) throw py::value_error("logits must have 4 dimensions");
  if (dtype < 0 || dtype > 2) throw py::value_error("unknown dtype code");
  const py::ssize_t item = dtype == 0 ? 4 : 2;
  if (logits.itemsize() != item) throw py::value_error("logits do not have the stated dtype");
  if (maps.size() != alseg::kMeasures) throw py::value_error("maps must have one entry a measure");
  UncertaintyJob job{};
  job.dtype = static_cast<alseg::Dtype>(dtype);
  const int64_t n = logits.shape(0);
  job.n_classes = logits.shape(1);
  job.in_h = logits.shape(2);
  job.in_w = logits.shape(3);
  for (int i = 1; i < 4; ++i)
    if (logits.strides(i) % item != 0) throw py::value_error("logits strides must be whole elements");
  job.stride_c = logits.strides(1) / item;
  job.stride_h = logits.strides(2) / item;
  job.stride_w = logits.strides(3) / item;
  job.out_h = size.first;
  job.out_w = size.second;
  if (n < 1 || job.n_classes < 1 || job.in_h < 1 || job.in_w < 1 || job.out_h < 1 || job.out_w < 1 ||
      job.n_classes > 65535 || job.in_w > INT32_MAX / 2 || job.in_h > INT32_MAX / 2 || top_count < 1 ||
      top_count > job.out_h * job.out_w) {
    throw py::value_error("a size is out of range");
  }
  job.activation = static_cast<alseg::Activation>(activation);
  job.measures = measures;
  const int64_t n_labels = alseg::n_labels(job);
  job.label_bytes = n_labels <= 256 ? 1 : 2;

  const py::ssize_t k = alseg::kMeasures;
  const std::vector<py::ssize_t> map_shape{n, job.out_h, job.out_w}, row_shape{n, k};
  Outputs out{};
  for (size_t m = 0; m < maps.size(); ++m) out.maps[m] = writable<float>(maps[m], "map", map_shape, 'f');
  out.labels = writable<char>(labels, "labels", map_shape, 'u', job.label_bytes);
  out.label_bytes = job.label_bytes;
  out.mean = writable<double>(mean, "mean", row_shape, 'f');
  out.max = writable<float>(max, "max", row_shape, 'f');
  out.top = writable<double>(top, "top", row_shape, 'f');
  out.class_count = writable<int64_t>(class_count, "class_count", {n, n_labels}, 'i');
  out.class_sum = writable<double>(class_sum, "class_sum", {n, k, n_labels}, 'f');
  out.status = writable<uint8_t>(status, "status", {n}, 'u');
  if (!out.mean || !out.max || !out.status) throw py::value_error("mean, max and status must be given");
  if ((out.class_count == nullptr) != (out.class_sum == nullptr))
    throw py::value_error("class_count and class_sum go together");
  out.top_count = top_count;
  std::fill(out.mean, out.mean + n * k, 0.0);
  std::fill(out.max, out.max + n * k, 0.0f);
  if (out.top) std::fill(out.top, out.top + n * k, std::nan(""));
  if (out.class_count) std::fill(out.class_count, out.class_count + n * n_labels, int64_t{0});
  if (out.class_sum) std::fill(out.class_sum, out.class_sum + n * k * n_labels, 0.0);
  job.labels = out.labels;
  job.class_stats = out.class_count != nullptr;
  job.sums = sums;

  const Axis columns(job.in_w, job.out_w, std::get<1>(box), std::get<3>(box), align_corners);
  const Axis rows(job.in_h, job.out_h, std::get<0>(box), std::get<2>(box), align_corners);
  job.x_index = columns.index.data();
  job.x_frac = columns.frac.data();
  job.y_index = rows.index.data();
  job.y_frac = rows.frac.data();
  const char* data = static_cast<const char*>(logits.data());
  const int64_t image_bytes = logits.strides(0);
  py::gil_scoped_release nogil;
  run(job, data, n, image_bytes, out, num_threads);
}

}  // namespace

void register_uncertainty(py::module_& m) {
  m.attr("N_MEASURES") = alseg::kMeasures;
  m.def("uncertainty", &uncertainty, py::arg("logits"), py::arg("dtype"), py::arg("size"), py::arg("activation"),
        py::arg("measures"), py::arg("align_corners"), py::arg("box"), py::arg("maps"), py::arg("labels"),
        py::arg("mean"), py::arg("max"), py::arg("top"), py::arg("class_count"), py::arg("class_sum"),
        py::arg("status"), py::arg("top_count"), py::arg("sums"), py::arg("num_threads"),
        "Fill the given arrays; see kernels/uncertainty/native_cpu.py.");
}
