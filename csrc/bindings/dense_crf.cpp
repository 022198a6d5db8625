// NumPy arrays <-> CrfLattice and CrfProblem.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "bindings/arrays.h"
#include "kernels/dense_crf/filter.h"
#include "kernels/dense_crf/mean_field.h"

namespace py = pybind11;

namespace {

using Gaussian = std::optional<std::tuple<double, double>>;           // sigma_xy, weight
using Bilateral = std::optional<std::tuple<double, double, double>>;  // sigma_xy, sigma_rgb, weight

void check_term(const alseg::CrfTerm& term) {
  if (!(term.sigma_xy > 0.0 && term.sigma_rgb > 0.0 && term.weight > 0.0 && term.weight < 1e30)) {
    throw py::value_error("a deviation or a weight is out of range");
  }
}

std::unique_ptr<alseg::CrfLattice> build(const py::array& image, const Gaussian& gaussian, const Bilateral& bilateral,
                                         bool symmetric, int num_threads) {
  if (image.ndim() != 3 || image.dtype().kind() != 'u' || image.itemsize() != 1 ||
      (image.flags() & py::array::c_style) == 0 || (image.shape(2) != 1 && image.shape(2) != 3) ||
      image.shape(0) < 1 || image.shape(1) < 1) {
    throw py::value_error("image must be a C-contiguous [H, W, 1 or 3] array of uint8");
  }
  if (image.shape(0) > INT32_MAX / 64 || image.shape(1) > INT32_MAX / 64) {
    throw py::value_error("image is too large");
  }
  alseg::CrfTerm smooth{}, edges{};
  alseg::CrfOptions options{nullptr, nullptr, symmetric, num_threads};
  if (gaussian) {
    smooth = {std::get<0>(*gaussian), 1.0, std::get<1>(*gaussian)};
    check_term(smooth);
    options.gaussian = &smooth;
  }
  if (bilateral) {
    edges = {std::get<0>(*bilateral), std::get<1>(*bilateral), std::get<2>(*bilateral)};
    check_term(edges);
    options.bilateral = &edges;
  }
  const auto* const data = static_cast<const uint8_t*>(image.data());
  const int64_t height = image.shape(0), width = image.shape(1);
  const int channels = static_cast<int>(image.shape(2));
  py::gil_scoped_release nogil;
  return std::make_unique<alseg::CrfLattice>(data, height, width, channels, options);
}

// Fills out [C, H, W]; returns status bits.
unsigned infer(const alseg::CrfLattice& lattice, const py::object& source, const std::string& unary,
               const py::object& confidence, double common_confidence, int unsure, double clip, double tolerance,
               const py::object& clamp, const py::object& penalty, int n_iter, int num_threads, const py::array& out) {
  if (out.ndim() != 3 || out.shape(0) < 1 || out.shape(0) > 65536) throw py::value_error("out must be [C, H, W]");
  alseg::CrfProblem problem{};
  problem.n_classes = out.shape(0);
  const std::vector<py::ssize_t> pixels{lattice.height(), lattice.width()};
  const std::vector<py::ssize_t> planes{out.shape(0), lattice.height(), lattice.width()};
  problem.out = bindings::writable<float>(out, "out", planes, 'f');
  if (unary == "labels") {
    problem.unary = alseg::CrfUnary::labels;
    problem.source = bindings::readable<int32_t>(source, "source", pixels, 'i');
  } else if (unary == "probs" || unary == "logits") {
    problem.unary = unary == "probs" ? alseg::CrfUnary::probs : alseg::CrfUnary::logits;
    problem.source = bindings::readable<float>(source, "source", planes, 'f');
  } else {
    throw py::value_error("unary must be probs, logits or labels");
  }
  if (!problem.source) throw py::value_error("source must be given");
  problem.confidence = bindings::readable<float>(confidence, "confidence", pixels, 'f');
  problem.clamp = bindings::readable<int32_t>(clamp, "clamp", pixels, 'i');
  problem.penalty = bindings::readable<float>(penalty, "penalty", {out.shape(0), out.shape(0)}, 'f');
  if (n_iter < 0 || !(clip > 0.0 && clip <= 1.0)) throw py::value_error("a number is out of range");
  problem.common_confidence = static_cast<float>(common_confidence);
  problem.unsure = unsure;
  problem.clip = static_cast<float>(clip);
  problem.tolerance = static_cast<float>(tolerance);
  problem.n_iter = n_iter;
  problem.num_threads = num_threads;
  py::gil_scoped_release nogil;
  return alseg::infer_mean_field(lattice, problem);
}

// Fills out [C, H, W] with the bilateral kernel (or its transpose) applied to planes [C, H, W].
void filter(const alseg::CrfLattice& lattice, const py::array& planes, bool transpose, int num_threads,
            const py::object& out) {
  if (planes.ndim() != 3 || planes.shape(0) < 1 || planes.shape(0) > 65536) throw py::value_error("planes must be [C, H, W]");
  if (lattice.corners() == 0) throw py::value_error("the lattice has no bilateral term");
  const std::vector<py::ssize_t> shape{planes.shape(0), lattice.height(), lattice.width()};
  const float* const from = bindings::readable<float>(planes, "planes", shape, 'f');
  float* const to = bindings::writable<float>(out, "out", shape, 'f');
  if (!to) throw py::value_error("out must be given");
  py::gil_scoped_release nogil;
  alseg::filter_planes(lattice, from, shape[0], transpose, num_threads, to);
}

}  // namespace

void register_dense_crf(py::module_& m) {
  py::class_<alseg::CrfLattice>(m, "CrfLattice", "What a dense CRF knows of its image; see kernels/dense_crf.")
      .def(py::init(&build), py::arg("image"), py::arg("gaussian"), py::arg("bilateral"), py::arg("symmetric"),
           py::arg("num_threads"))
      .def_property_readonly("n_vertices", [](const alseg::CrfLattice& l) { return l.vertices().n; },
                             "Vertices of the permutohedral lattice.")
      .def_property_readonly("n_slots", [](const alseg::CrfLattice& l) { return l.vertices().n_slots; },
                             "Vertices, counted once for each tile that touches them.")
      .def("infer", &infer, py::arg("source"), py::arg("unary"), py::arg("confidence"), py::arg("common_confidence"),
           py::arg("unsure"), py::arg("clip"), py::arg("tolerance"), py::arg("clamp"), py::arg("penalty"),
           py::arg("n_iter"), py::arg("num_threads"), py::arg("out"), "Fill `out`; see kernels/dense_crf/native_cpu.py.")
      .def("filter", &filter, py::arg("planes"), py::arg("transpose"), py::arg("num_threads"), py::arg("out"),
           "Fill `out`; see kernels/dense_crf/native_cpu.py.");
}
