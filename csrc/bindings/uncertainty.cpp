// NumPy arrays <-> UncertaintyJob: shapes are checked by the Python layer and once more here, where memory is read.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/logits.h"
#include "common/threads.h"
#include "isa/levels.h"
#include "kernels/top_mean.h"

namespace py = pybind11;

namespace {

using alseg::UncertaintyJob;
using bindings::Axis;
using bindings::describe_logits;
using bindings::readable;
using bindings::rows_per_chunk;
using bindings::scratch_floats;
using bindings::writable;

struct Outputs {
  float* maps[alseg::kMeasures];  // [N, H, W] or null
  char* labels;                   // [N, H, W] or null
  int label_bytes;
  double* mean;                   // [N, kMeasures]
  float* max;                     // [N, kMeasures]
  double* top;                    // [N, kMeasures] or null
  int64_t* class_count;           // [N, L] or null
  double* class_sum;              // [N, kMeasures, L] or null
  int64_t* segment_area;          // [N, S] or null
  double* segment_sum;            // [N, kMeasures, S] or null
  int64_t* segment_class;         // [N, S, L] or null
  int64_t* n_valid;               // [N]
  uint8_t* status;                // [N]
  double top_fraction;
  double segment_scale;
};

// One call: the images in groups, each cut into chunks of rows.
class Call {
 public:
  Call(const UncertaintyJob& job, const char* logits, int64_t n_images, int64_t image_bytes, const Outputs& out,
       int num_threads)
      : job_(job), logits_(logits), n_images_(n_images), image_bytes_(image_bytes), out_(out), threads_(num_threads),
        labels_(alseg::n_labels(job)), pixels_(job.out_h * job.out_w), step_(rows_per_chunk(job.out_h)),
        chunks_((job.out_h + step_ - 1) / step_), stats_(out.class_count != nullptr) {
    for (int m = 0; m < kK; ++m) hidden_maps_ += wanted(m) && out.top && !out.maps[m];
    // Images of a group run side by side. It is bounded so that partial sums and hidden maps stay small.
    constexpr int64_t kHiddenFloats = int64_t{1} << 20;
    group_ = std::max<int64_t>(1, std::min<int64_t>(n_images, 2048 / chunks_));
    if (hidden_maps_) group_ = std::max<int64_t>(1, std::min(group_, kHiddenFloats / (hidden_maps_ * pixels_)));
  }

  void run() {
    const size_t cells = static_cast<size_t>(group_ * chunks_);
    sum_.resize(cells * kK);
    max_.resize(cells * kK);
    count_.resize(stats_ ? cells * static_cast<size_t>(labels_) : 0);
    class_sum_.resize(stats_ ? cells * static_cast<size_t>(labels_) * kK : 0);
    valid_.resize(cells);
    status_.resize(cells);
    segment_sum_.resize(out_.segment_area ? static_cast<size_t>(group_ * kK * job_.n_segments) : 0);
    // The top-share mean needs every value, so a measure without a map gets a hidden one.
    thread_local std::vector<float> hidden;
    hidden.resize(static_cast<size_t>(group_ * hidden_maps_ * pixels_));
    hidden_ = hidden.data();  // in a worker, the name `hidden` is that worker's own vector
    for (int64_t first = 0; first < n_images_; first += group_) {
      images_ = std::min(group_, n_images_ - first);
      first_ = first;
      run_group();
    }
    if (hidden.capacity() > (size_t{1} << 25)) std::vector<float>().swap(hidden);
  }

 private:
  static constexpr int kK = alseg::kMeasures;

  bool wanted(int64_t m) const { return job_.measures >> m & 1u; }

  UncertaintyJob job_of(int64_t i) const {
    const int64_t n = first_ + i;
    UncertaintyJob one = job_;
    one.logits = logits_ + n * image_bytes_;
    int next_hidden = 0;
    for (int m = 0; m < kK; ++m) {
      one.maps[m] = nullptr;
      if (!wanted(m)) continue;
      if (out_.maps[m]) one.maps[m] = out_.maps[m] + n * pixels_;
      else if (out_.top) one.maps[m] = hidden_ + (i * hidden_maps_ + next_hidden++) * pixels_;
    }
    one.labels = out_.labels ? out_.labels + n * pixels_ * out_.label_bytes : nullptr;
    if (job_.valid) one.valid = job_.valid + n * pixels_;
    if (job_.segments) one.segments = job_.segments + n * pixels_;
    return one;
  }

  alseg::SegmentSums segments_of(int64_t i) {
    if (!out_.segment_area) return {};
    const int64_t n = first_ + i, s = job_.n_segments;
    return {out_.segment_area + n * s, &segment_sum_[static_cast<size_t>(i * kK * s)],
            out_.segment_class ? out_.segment_class + n * s * labels_ : nullptr, out_.segment_scale, threads_ != 1};
  }

  void run_group() {
    std::fill(sum_.begin(), sum_.end(), 0.0);
    std::fill(max_.begin(), max_.end(), 0.0f);
    std::fill(count_.begin(), count_.end(), 0);
    std::fill(class_sum_.begin(), class_sum_.end(), 0.0);
    std::fill(valid_.begin(), valid_.end(), 0);
    std::fill(status_.begin(), status_.end(), 0u);
    std::fill(segment_sum_.begin(), segment_sum_.end(), 0);
    const alseg::KernelTable& table = alseg::kernels();
    const int64_t scratch = table.uncertainty_scratch(job_);
    alseg::parallel_for(images_ * chunks_, threads_, [&](int64_t cell) {
      const int64_t i = cell / chunks_, chunk = cell % chunks_;
      const size_t at = static_cast<size_t>(cell), wide = static_cast<size_t>(labels_);
      const alseg::ChunkSums sums{&sum_[at * kK],
                                  &max_[at * kK],
                                  stats_ ? &count_[at * wide] : nullptr,
                                  stats_ ? &class_sum_[at * wide * kK] : nullptr,
                                  &valid_[at],
                                  &status_[at],
                                  segments_of(i)};
      table.uncertainty_rows(job_of(i), chunk * step_, std::min((chunk + 1) * step_, job_.out_h), sums,
                             scratch_floats(scratch));
    });
    for (int64_t i = 0; i < images_; ++i) add_up(i);
    if (!out_.top) return;
    alseg::parallel_for(images_ * kK, threads_, [&](int64_t task) {
      const int64_t i = task / kK, m = task % kK, n = first_ + i, valid = out_.n_valid[n];
      // NaN has no order; such an image is reported through its status instead.
      if (!wanted(m) || valid == 0 || out_.status[n] & alseg::kNotFinite) return;
      const double share = std::ceil(out_.top_fraction * static_cast<double>(valid) - 1e-9);
      const int64_t k = std::min(valid, std::max<int64_t>(1, static_cast<int64_t>(share)));
      // Pixels that are not valid hold 0, the least a measure can be: they displace nothing.
      out_.top[n * kK + m] = alseg::mean_of_largest(job_of(i).maps[m], pixels_, k);
    });
  }

  // The chunks of one image in order.
  void add_up(int64_t i) {
    const int64_t n = first_ + i;
    unsigned flags = 0;
    int64_t valid = 0;
    double mean[kK] = {};
    float max[kK] = {};
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const size_t at = static_cast<size_t>(i * chunks_ + chunk), wide = static_cast<size_t>(labels_);
      flags |= status_[at];
      valid += valid_[at];
      for (size_t m = 0; m < kK; ++m) {
        mean[m] += sum_[at * kK + m];
        max[m] = std::max(max[m], max_[at * kK + m]);
      }
      for (size_t c = 0; stats_ && c < wide; ++c)
        out_.class_count[static_cast<size_t>(n) * wide + c] += count_[at * wide + c];
      for (size_t c = 0; stats_ && c < wide * kK; ++c)
        out_.class_sum[static_cast<size_t>(n) * wide * kK + c] += class_sum_[at * wide * kK + c];
    }
    for (int64_t m = 0; m < kK; ++m) {
      out_.mean[n * kK + m] = valid ? mean[m] / static_cast<double>(valid) : std::nan("");
      out_.max[n * kK + m] = valid ? max[m] : std::nanf("");
    }
    const int64_t cells = out_.segment_area ? kK * job_.n_segments : 0;
    for (int64_t c = 0; c < cells; ++c)
      out_.segment_sum[n * cells + c] =
          static_cast<double>(segment_sum_[static_cast<size_t>(i * cells + c)]) / out_.segment_scale;
    out_.n_valid[n] = valid;
    out_.status[n] = static_cast<uint8_t>(flags);
  }

  const UncertaintyJob job_;
  const char* const logits_;
  const int64_t n_images_, image_bytes_;
  const Outputs out_;
  const int threads_;
  const int64_t labels_, pixels_, step_, chunks_;
  const bool stats_;
  int64_t hidden_maps_ = 0, group_ = 1, images_ = 0, first_ = 0;
  float* hidden_ = nullptr;
  std::vector<double> sum_, class_sum_;  // [group, chunks, kMeasures (, L)]
  std::vector<float> max_;
  std::vector<int64_t> count_, valid_;
  std::vector<unsigned> status_;
  std::vector<int64_t> segment_sum_;  // [group, kMeasures, S] fixed point
};

// `out` has the attributes of kernels/uncertainty/common.py's Raw, but its maps are a list in the order of measures.
Outputs describe_outputs(const py::object& out, const std::vector<py::object>& maps, const UncertaintyJob& job, int64_t n) {
  const py::ssize_t k = alseg::kMeasures, labels = alseg::n_labels(job), segments = job.n_segments;
  if (maps.size() != static_cast<size_t>(k)) throw py::value_error("maps must have one entry a measure");
  const std::vector<py::ssize_t> map_shape{n, job.out_h, job.out_w}, row_shape{n, k};
  Outputs o{};
  for (size_t m = 0; m < maps.size(); ++m) o.maps[m] = writable<float>(maps[m], "map", map_shape, 'f');
  o.label_bytes = job.label_bytes;
  o.labels = writable<char>(out.attr("labels"), "labels", map_shape, 'u', job.label_bytes);
  o.mean = writable<double>(out.attr("mean"), "mean", row_shape, 'f');
  o.max = writable<float>(out.attr("max"), "max", row_shape, 'f');
  o.top = writable<double>(out.attr("top"), "top", row_shape, 'f');
  o.class_count = writable<int64_t>(out.attr("class_count"), "class_count", {n, labels}, 'i');
  o.class_sum = writable<double>(out.attr("class_sum"), "class_sum", {n, k, labels}, 'f');
  o.segment_area = writable<int64_t>(out.attr("segment_area"), "segment_area", {n, segments}, 'i');
  o.segment_sum = writable<double>(out.attr("segment_sum"), "segment_sum", {n, k, segments}, 'f');
  o.segment_class = writable<int64_t>(out.attr("segment_class"), "segment_class", {n, segments, labels}, 'i');
  o.n_valid = writable<int64_t>(out.attr("n_valid"), "n_valid", {n}, 'i');
  o.status = writable<uint8_t>(out.attr("status"), "status", {n}, 'u');
  if (!o.mean || !o.max || !o.n_valid || !o.status)
    throw py::value_error("mean, max, n_valid and status must be given");
  if (!o.class_count != !o.class_sum) throw py::value_error("class_count and class_sum go together");
  if (!o.segment_area != !o.segment_sum || !o.segment_area != !job.segments || (o.segment_class && !o.segment_area))
    throw py::value_error("segments, segment_area and segment_sum go together");
  if (o.top) std::fill(o.top, o.top + n * k, std::nan(""));
  if (o.class_count) std::fill(o.class_count, o.class_count + n * labels, int64_t{0});
  if (o.class_sum) std::fill(o.class_sum, o.class_sum + n * k * labels, 0.0);
  if (o.segment_area) std::fill(o.segment_area, o.segment_area + n * segments, int64_t{0});
  if (o.segment_class) std::fill(o.segment_class, o.segment_class + n * segments * labels, int64_t{0});
  return o;
}

void uncertainty(const py::array& logits, int dtype, std::pair<int64_t, int64_t> size, int activation,
                 double temperature, unsigned measures, bool align_corners,
                 std::tuple<double, double, double, double> box, const py::object& valid, const py::object& segments,
                 int64_t n_segments, double segment_scale, double top_fraction, bool sums, int num_threads,
                 const std::vector<py::object>& maps, const py::object& out) {
  UncertaintyJob job = describe_logits(logits, dtype, size);
  if (activation < 0 || activation > 2) throw py::value_error("unknown activation code");
  if (!(temperature > 0.0)) throw py::value_error("temperature must be positive");
  const int64_t n = logits.shape(0);
  job.activation = static_cast<alseg::Activation>(activation);
  job.inverse_temperature = static_cast<float>(1.0 / temperature);
  job.measures = measures & ((1u << alseg::kMeasures) - 1u);
  job.label_bytes = alseg::n_labels(job) <= 256 ? 1 : 2;
  const std::vector<py::ssize_t> map_shape{n, job.out_h, job.out_w};
  static_assert(sizeof(bool) == 1, "valid is read as bytes");
  job.valid = reinterpret_cast<const uint8_t*>(readable<bool>(valid, "valid", map_shape, 'b'));
  job.segments = readable<int32_t>(segments, "segments", map_shape, 'i');
  job.n_segments = job.segments ? n_segments : 0;
  if (job.segments && (n_segments < 1 || n_segments > INT32_MAX || !(segment_scale > 0.0)))
    throw py::value_error("n_segments or segment_scale is out of range");
  Outputs o = describe_outputs(out, maps, job, n);
  o.top_fraction = top_fraction;
  o.segment_scale = segment_scale;
  job.labels = o.labels;
  job.class_stats = o.class_count != nullptr;
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
  Call(job, data, n, image_bytes, o, num_threads).run();
}

}  // namespace

void register_uncertainty(py::module_& m) {
  m.attr("N_MEASURES") = alseg::kMeasures;
  m.def("uncertainty", &uncertainty, py::arg("logits"), py::arg("dtype"), py::arg("size"), py::arg("activation"),
        py::arg("temperature"), py::arg("measures"), py::arg("align_corners"), py::arg("box"), py::arg("valid"),
        py::arg("segments"), py::arg("n_segments"), py::arg("segment_scale"), py::arg("top_fraction"),
        py::arg("sums"), py::arg("num_threads"), py::arg("maps"), py::arg("out"),
        "Fill the arrays of `out`; see kernels/uncertainty/native_cpu.py.");
}
