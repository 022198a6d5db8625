// NumPy arrays <-> ClassProbsJob and PoolJob: class probabilities of regions.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/logits.h"
#include "bindings/region_map.h"
#include "common/threads.h"
#include "isa/levels.h"
#include "kernels/regions/pool.h"

namespace py = pybind11;

namespace {

// Chunks of rows that have sums of their own: a function of the shape alone, so that the order of additions is too.
int64_t chunks_of(int64_t height, int64_t cells) {
  constexpr int64_t kMost = 8, kLeastRows = 64, kSums = int64_t{1} << 19;
  return std::max<int64_t>(1, std::min({kMost, height / kLeastRows, kSums / std::max<int64_t>(1, cells)}));
}

unsigned activate(const alseg::ClassProbsJob& job, int num_threads) {
  constexpr int64_t kStep = 2048;
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t scratch = table.class_probs_scratch(job);
  std::atomic<unsigned> status{0};
  alseg::parallel_for((job.pixels + kStep - 1) / kStep, num_threads, [&](int64_t chunk) {
    status |= table.class_probs(job, chunk * kStep, std::min((chunk + 1) * kStep, job.pixels),
                                bindings::scratch_floats(scratch));
  });
  return status;
}

// Memory of one call, kept between calls up to a limit: fresh pages cost more than the kernel.
struct Workspace {
  std::vector<float> probs;
  std::vector<double> sums;
  void shrink() {
    constexpr size_t kKeepAtMost = size_t{1} << 22;
    if (probs.capacity() + sums.capacity() > kKeepAtMost) *this = Workspace();
  }
};

// Fills out [S, L] from scores [T, C, h, w] and ids [H, W]; returns status bits.
unsigned region_probs(const py::array& scores, int activation, std::tuple<double, double, double, double> box,
                      const py::array& ids, int64_t n_segments, int num_threads, const py::object& out) {
  if (scores.ndim() != 4) throw py::value_error("scores must have 4 dimensions");
  if (activation < 0 || activation > 2) throw py::value_error("unknown activation code");
  const std::vector<py::ssize_t> shape(scores.shape(), scores.shape() + 4);
  if (*std::min_element(shape.begin(), shape.end()) < 1 || shape[1] > 65535 || shape[2] > INT32_MAX / 2 ||
      shape[3] > INT32_MAX / 2) {
    throw py::value_error("a size is out of range");
  }
  alseg::ClassProbsJob job{};
  job.scores = bindings::readable<float>(scores, "scores", shape, 'f');
  job.n_passes = shape[0];
  job.n_classes = shape[1];
  job.n_labels = job.n_classes == 1 ? 2 : job.n_classes;
  job.pixels = shape[2] * shape[3];
  job.activation = static_cast<alseg::Activation>(activation);
  alseg::PoolJob pool{};
  pool.map = bindings::region_map(ids, n_segments);
  pool.n_labels = job.n_labels;
  pool.in_h = shape[2];
  pool.in_w = shape[3];
  const auto [top, left, height, width] = box;
  const bindings::Axis columns(pool.in_w, pool.map.width, left, width, false);
  const bindings::Axis rows(pool.in_h, pool.map.height, top, height, false);
  pool.x_index = columns.index.data();
  pool.x_frac = columns.frac.data();
  pool.y_index = rows.index.data();
  pool.y_frac = rows.frac.data();
  const int64_t n = pool.n_labels, cells = n_segments * n;
  float* const result = bindings::writable<float>(out, "out", {n_segments, n}, 'f');
  if (!result) throw py::value_error("out must be given");
  py::gil_scoped_release nogil;
  thread_local Workspace own;
  Workspace& memory = own;  // in a worker, the name `own` is that worker's
  memory.probs.resize(static_cast<size_t>(job.pixels * n));
  job.probs = memory.probs.data();
  pool.values = job.probs;
  unsigned status = activate(job, num_threads);
  if (status != 0) return status;
  const int64_t chunks = chunks_of(pool.map.height, cells);
  memory.sums.assign(static_cast<size_t>(chunks * cells), 0.0);
  std::atomic<bool> ok{true};
  alseg::parallel_for(chunks, num_threads, [&](int64_t chunk) {
    const int64_t y0 = chunk * pool.map.height / chunks, y1 = (chunk + 1) * pool.map.height / chunks;
    if (!alseg::pool_rows(pool, y0, y1, memory.sums.data() + chunk * cells)) ok = false;
  });
  if (!ok) return alseg::kBadSegment;
  for (int64_t i = 0; i < n_segments; ++i) {
    double* const sum = memory.sums.data() + i * n;
    double total = 0.0;
    for (int64_t l = 0; l < n; ++l) {
      for (int64_t chunk = 1; chunk < chunks; ++chunk) sum[l] += sum[chunk * cells + l];
      total += sum[l];
    }
    for (int64_t l = 0; l < n; ++l)
      result[i * n + l] = static_cast<float>(total > 0.0 ? sum[l] / total : 1.0 / static_cast<double>(n));
  }
  memory.shrink();
  return 0;
}

}  // namespace

void register_region_probs(py::module_& m) {
  m.def("region_probs", &region_probs, py::arg("scores"), py::arg("activation"), py::arg("box"), py::arg("ids"),
        py::arg("n_segments"), py::arg("num_threads"), py::arg("out"),
        "Fill `out`; see kernels/region_probs/native_cpu.py.");
}
