// NumPy arrays <-> MomentsJob and MixturePoints.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "bindings/arrays.h"
#include "common/threads.h"
#include "isa/levels.h"
#include "mixture/fit.h"

namespace py = pybind11;

namespace {

// Fills out [G, bins, 3] from values [G, I, K, P] and weights [G, I, P] or None. Returns status bits.
unsigned value_moments(const py::array& values, const py::object& weights, int bin_bits, double least, int num_threads,
                       const py::object& out) {
  if (values.ndim() != 4 || bin_bits < alseg::kLeastBinBits || bin_bits > alseg::kMostBinBits)
    throw py::value_error("values must have 4 dimensions, and bin_bits be in range");
  const int64_t groups = values.shape(0);
  alseg::MomentsJob job{};
  job.images = values.shape(1);
  job.planes = values.shape(2);
  job.pixels = values.shape(3);
  if (groups < 1 || job.images < 1 || job.planes < 1 || job.pixels < 1) throw py::value_error("values is empty");
  job.values = bindings::readable<float>(values, "values", {groups, job.images, job.planes, job.pixels}, 'f');
  job.weights = bindings::readable<float>(weights, "weights", {groups, job.images, job.pixels}, 'f');
  job.bin_bits = bin_bits;
  job.least = static_cast<float>(least);
  const int64_t dim = 3 * (int64_t{1} << bin_bits);
  double* const sums = bindings::writable<double>(out, "out", {groups, dim / 3, 3}, 'f');
  if (!sums) throw py::value_error("out must be given");
  py::gil_scoped_release nogil;
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t positions = job.images * job.pixels, scratch = table.moments_scratch(job);
  const int64_t chunks = (positions + alseg::kMomentChunk - 1) / alseg::kMomentChunk;
  std::vector<uint64_t> counts(job.weights ? 0 : static_cast<size_t>(groups * dim), 0);
  std::vector<double> parts(job.weights ? static_cast<size_t>(groups * chunks * dim) : 0);
  std::atomic<unsigned> status{0};
  std::mutex adding;
  alseg::parallel_for(groups * chunks, num_threads, [&](int64_t i) {
    const int64_t group = i / chunks, begin = i % chunks * alseg::kMomentChunk;
    const int64_t end = std::min(begin + alseg::kMomentChunk, positions);
    alseg::MomentsJob own = job;
    own.values += group * positions * job.planes;
    const int64_t room = job.weights ? 0 : 2 * dim;
    float* const memory = bindings::scratch_floats(room + scratch);
    if (job.weights) {
      own.weights += group * positions;
      status |= table.weigh_moments(own, begin, end, parts.data() + i * dim, memory);
      return;
    }
    uint64_t* const found = reinterpret_cast<uint64_t*>(memory);
    std::fill(found, found + dim, uint64_t{0});
    status |= table.count_moments(own, begin, end, found, memory + room);
    const std::lock_guard<std::mutex> lock(adding);  // whole numbers: the order of additions does not matter
    for (int64_t k = 0; k < dim; ++k) counts[static_cast<size_t>(group * dim + k)] += found[k];
  });
  for (int64_t g = 0; g < groups; ++g) {
    double* const to = sums + g * dim;
    if (!job.weights) {
      std::copy_n(counts.begin() + g * dim, dim, to);
      continue;
    }
    std::fill(to, to + dim, 0.0);
    for (int64_t c = 0; c < chunks; ++c) {
      const double* const from = parts.data() + (g * chunks + c) * dim;
      for (int64_t k = 0; k < dim; ++k) to[k] += from[k];
    }
  }
  return status;
}

// Improves components [S, K, 3] (share, mean, variance; S starts) in place; fills facts [S, 3]: log-likelihood,
// iterations, whether it converged.
void gaussian_mixture(const py::object& x, const py::object& weight, const py::array& components, double tolerance,
                      int64_t max_iter, double variance_floor, bool plain, int num_threads, const py::object& facts) {
  if (components.ndim() != 3) throw py::value_error("components must be [S, K, 3]");
  const py::ssize_t starts = components.shape(0), k = components.shape(1);
  const py::ssize_t n = py::cast<py::array>(x).size();
  if (starts < 1 || k < 2 || k > alseg::kMostComponents || n < 1 || max_iter < 1 || !(tolerance >= 0.0) ||
      !(variance_floor >= 0.0))
    throw py::value_error("a size or a parameter is out of range");
  const double* const at = bindings::readable<double>(x, "x", {n}, 'f');
  const double* const mass = bindings::readable<double>(weight, "weight", {n}, 'f');
  double* const found = bindings::writable<double>(components, "components", {starts, k, 3}, 'f');
  double* const told = bindings::writable<double>(facts, "facts", {starts, 3}, 'f');
  if (!at || !mass || !told) throw py::value_error("x, weight and facts must be given");
  for (py::ssize_t i = 0; i < starts * k; ++i)
    if (!(found[3 * i + 2] > 0.0)) throw py::value_error("variances must be positive");
  py::gil_scoped_release nogil;
  const int64_t padded = (n + alseg::kMixturePad - 1) / alseg::kMixturePad * alseg::kMixturePad;
  std::vector<double> xs(static_cast<size_t>(padded), at[0]), ws(static_cast<size_t>(padded), 0.0);
  std::copy_n(at, n, xs.begin());
  std::copy_n(mass, n, ws.begin());
  const alseg::MixturePoints points{xs.data(), ws.data(), padded};
  const alseg::MixtureOptions options{tolerance, max_iter, variance_floor, plain};
  alseg::parallel_for(starts, num_threads, [&](int64_t s) {
    std::vector<alseg::Gaussian> own(static_cast<size_t>(k));
    double* const numbers = found + s * k * 3;
    for (py::ssize_t c = 0; c < k; ++c) own[c] = {numbers[3 * c], numbers[3 * c + 1], numbers[3 * c + 2]};
    const alseg::MixtureFit fit = alseg::fit_mixture(points, options, &own);
    for (py::ssize_t c = 0; c < k; ++c) {
      numbers[3 * c] = own[c].share;
      numbers[3 * c + 1] = own[c].mean;
      numbers[3 * c + 2] = own[c].variance;
    }
    told[3 * s] = fit.log_likelihood;
    told[3 * s + 1] = static_cast<double>(fit.n_iter);
    told[3 * s + 2] = fit.converged;
  });
}

// Fills out [N, P] with perplexities (form 0), reciprocal (1) or printed (2) weights of maps [N, P]; valid [N, P] or
// None. Returns status bits.
unsigned reliability(const py::array& maps, const py::object& valid, double threshold, double alpha, double beta,
                     double least_ratio, int form, int num_threads, const py::object& out) {
  if (maps.ndim() != 2 || form < 0 || form > 2 || !(threshold > 0.0 && threshold < 1.0) ||
      !(alpha > 0.0 && alpha < 1.0) || !(beta > 0.0) || !(least_ratio > 0.0 && least_ratio <= 1.0))
    throw py::value_error("a size or a parameter is out of range");
  const py::ssize_t n = maps.shape(0), pixels = maps.shape(1);
  const float* const from = bindings::readable<float>(maps, "maps", {n, pixels}, 'f');
  const uint8_t* const inside = reinterpret_cast<const uint8_t*>(bindings::readable<bool>(valid, "valid", {n, pixels}, 'b'));
  float* const to = bindings::writable<float>(out, "out", {n, pixels}, 'f');
  if (!to) throw py::value_error("out must be given");
  py::gil_scoped_release nogil;
  alseg::ReliabilityJob job{};
  job.threshold = static_cast<float>(threshold);
  job.threshold_rest = static_cast<float>(threshold - static_cast<double>(job.threshold));
  job.below = static_cast<float>(1.0 / threshold);
  job.above = static_cast<float>(1.0 / (1.0 - threshold));
  job.least_ratio = static_cast<float>(least_ratio);
  job.offset = static_cast<float>(-std::log(alpha));
  job.beta = static_cast<float>(beta);
  const alseg::KernelTable& table = alseg::kernels();
  std::atomic<unsigned> status{0};
  alseg::parallel_for(n, num_threads, [&](int64_t i) {
    const uint8_t* const counts = inside ? inside + i * pixels : nullptr;
    double sums[2];
    status |= table.reliability_terms(job, from + i * pixels, counts, pixels, form == 1, to + i * pixels, sums);
    if (form == 0) return;
    const double scale = sums[1] > 0.0 ? sums[0] / sums[1] : 0.0;
    table.scale_valid(to + i * pixels, counts, pixels, static_cast<float>(scale));
  });
  return status;
}

}  // namespace

void register_gaussian_mixture(py::module_& m) {
  m.def("value_moments", &value_moments, py::arg("values"), py::arg("weights"), py::arg("bin_bits"), py::arg("least"),
        py::arg("num_threads"), py::arg("out"), "Fill `out`; see kernels/gaussian_mixture/native_cpu.py.");
  m.def("gaussian_mixture", &gaussian_mixture, py::arg("x"), py::arg("weight"), py::arg("components"),
        py::arg("tolerance"), py::arg("max_iter"), py::arg("variance_floor"), py::arg("plain"), py::arg("num_threads"),
        py::arg("facts"), "Improve `components`; see kernels/gaussian_mixture/native_cpu.py.");
  m.def("reliability", &reliability, py::arg("maps"), py::arg("valid"), py::arg("threshold"), py::arg("alpha"),
        py::arg("beta"), py::arg("least_ratio"), py::arg("form"), py::arg("num_threads"), py::arg("out"),
        "Fill `out`; see kernels/reliability/native_cpu.py.");
}
