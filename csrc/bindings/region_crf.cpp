// NumPy arrays <-> RegionCrfJob: the mean field over neighbouring regions.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "common/threads.h"
#include "isa/levels.h"
#include "kernels/regions/graph.h"

namespace py = pybind11;

namespace {

constexpr float kLeastProb = 1e-5f;
constexpr float kNever = 1e30f;  // the energy of what is no class

// Rows [n, pitch] of the rows [n, m] of `from`, the rest `rest`.
std::vector<float> padded(const float* from, int64_t n, int64_t m, int64_t pitch, float rest) {
  std::vector<float> to(static_cast<size_t>(n * pitch), rest);
  for (int64_t i = 0; i < n; ++i) std::copy(from + i * m, from + (i + 1) * m, to.begin() + i * pitch);
  return to;
}

// Probabilities that are not below kLeastProb, each row divided by its sum.
void floor_rows(std::vector<float>& rows, int64_t n_classes, int64_t pitch) {
  for (auto row = rows.begin(); row != rows.end(); row += pitch) {
    double sum = 0.0;
    for (int64_t l = 0; l < n_classes; ++l) sum += static_cast<double>(row[l] = std::max(row[l], kLeastProb));
    for (int64_t l = 0; l < n_classes; ++l) row[l] = static_cast<float>(row[l] / sum);
  }
}

// Fills out [S, C] from probs [S, C], colors [S, 3], pairs [E, 2] and lengths [E]. penalty [C, C] (own label, then the
// neighbour's) or None: Potts. clamp [S]: a class, or -1; or None.
void region_crf(const py::array& probs, const py::object& colors, const py::array& pairs, const py::object& lengths,
                int n_iter, double weight, double sigma, const py::object& penalty, const py::object& clamp,
                int num_threads, const py::object& out) {
  if (probs.ndim() != 2 || pairs.ndim() != 2) throw py::value_error("probs and pairs must have 2 dimensions");
  const py::ssize_t s = probs.shape(0), c = probs.shape(1), e = pairs.shape(0);
  if (s > INT32_MAX || c < 1 || c > 65535 || n_iter < 0 || !(weight >= 0.0) || !(sigma > 0.0))
    throw py::value_error("a size or a parameter is out of range");
  const float* const p = bindings::readable<float>(probs, "probs", {s, c}, 'f');
  const float* const rgb = bindings::readable<float>(colors, "colors", {s, 3}, 'f');
  const int32_t* const ends = bindings::readable<int32_t>(pairs, "pairs", {e, 2}, 'i');
  const int64_t* const shared = bindings::readable<int64_t>(lengths, "lengths", {e}, 'i');
  const float* const cost = bindings::readable<float>(penalty, "penalty", {c, c}, 'f');
  const int32_t* const known = bindings::readable<int32_t>(clamp, "clamp", {s}, 'i');
  float* const result = bindings::writable<float>(out, "out", {s, c}, 'f');
  if (!rgb || !shared || !result) throw py::value_error("colors, lengths and out must be given");
  for (int64_t i = 0; i < e; ++i) {
    const int32_t a = ends[2 * i], b = ends[2 * i + 1];
    if (a < 0 || b < 0 || a >= s || b >= s || a == b || shared[i] < 1)
      throw py::value_error("pairs must be different ids below S, with lengths above 0");
  }
  for (int64_t i = 0; known && i < s; ++i)
    if (known[i] < -1 || known[i] >= c) throw py::value_error("clamp must be -1 or a class");
  py::gil_scoped_release nogil;
  const alseg::RegionGraph graph = alseg::make_graph(ends, shared, e, rgb, s, weight, sigma);
  alseg::RegionCrfJob job{};
  job.n_classes = c;
  job.pitch = (c + alseg::kCrfPad - 1) / alseg::kCrfPad * alseg::kCrfPad;
  std::vector<float> unary = padded(p, s, c, job.pitch, 0.0f);
  floor_rows(unary, c, job.pitch);
  const std::vector<float> none(static_cast<size_t>(c), 0.0f);
  const std::vector<float> padding = padded(none.data(), 1, c, job.pitch, kNever);
  std::vector<float> costs;
  if (cost) {
    costs.assign(static_cast<size_t>(c * job.pitch), 0.0f);
    for (int64_t own = 0; own < c; ++own)
      for (int64_t other = 0; other < c; ++other)
        costs[static_cast<size_t>(other * job.pitch + own)] = cost[own * c + other];
  }
  job.unary = unary.data();
  job.first = graph.first.data();
  job.neighbour = graph.neighbour.data();
  job.weight = graph.weight.data();
  job.penalty = cost ? costs.data() : nullptr;
  job.padding = padding.data();
  job.clamp = known;
  std::vector<float> q = unary, next(unary.size());
  for (int64_t i = 0; known && i < s; ++i) {
    if (known[i] < 0) continue;
    std::fill_n(q.begin() + i * job.pitch, job.pitch, 0.0f);
    q[static_cast<size_t>(i * job.pitch + known[i])] = 1.0f;
  }
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t scratch = table.region_crf_scratch(job);
  const int64_t step = std::max<int64_t>(1, (int64_t{1} << 15) / job.pitch);
  for (int iteration = 0; iteration < n_iter; ++iteration) {
    alseg::parallel_for((s + step - 1) / step, num_threads, [&](int64_t chunk) {
      table.region_crf_step(job, q.data(), next.data(), chunk * step, std::min<int64_t>((chunk + 1) * step, s),
                            bindings::scratch_floats(scratch));
    });
    std::swap(q, next);
  }
  for (int64_t i = 0; i < s; ++i) std::copy_n(q.begin() + i * job.pitch, c, result + i * c);
}

}  // namespace

void register_region_crf(py::module_& m) {
  m.def("region_crf", &region_crf, py::arg("probs"), py::arg("colors"), py::arg("pairs"), py::arg("lengths"),
        py::arg("n_iter"), py::arg("weight"), py::arg("sigma"), py::arg("penalty"), py::arg("clamp"),
        py::arg("num_threads"), py::arg("out"), "Fill `out`; see kernels/region_crf/native_cpu.py.");
}
