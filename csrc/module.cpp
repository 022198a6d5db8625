#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <sched.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "common/threads.h"
#include "isa/levels.h"

namespace py = pybind11;

void register_uncertainty(py::module_& m);
void register_foreground(py::module_& m);
void register_neighbourhoods(py::module_& m);
void register_resize(py::module_& m);
void register_rle(py::module_& m);
void register_region_geometry(py::module_& m);
void register_region_probs(py::module_& m);
void register_region_crf(py::module_& m);
void register_slic(py::module_& m);
void register_dense_crf(py::module_& m);
void register_js_knn(py::module_& m);
void register_histogram_sets(py::module_& m);
void register_histogram(py::module_& m);
void register_belharbi_histogram(py::module_& m);
void register_gaussian_mixture(py::module_& m);

PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
  m.doc() = "Compiled kernels of alseg_fast. Private: call the functions of alseg_fast instead.";
  m.def("available_levels", [] {
    std::vector<std::string> names;
    for (const char* const* n = alseg::available_levels(); *n; ++n) names.emplace_back(*n);
    return names;
  }, "Instruction-set levels this CPU can run, worst first.");
  m.def("simd_level", [] { return std::string(alseg::kernels().name); }, "The level in use.");
  m.def("set_simd_level", [](const std::string& name) {
    if (!alseg::set_level(name.c_str())) throw py::value_error("simd level " + name + " is not available on this CPU");
  }, py::arg("name"), "Pin a level for the whole process.");
  m.def("available_cpus", &alseg::available_cpus, "CPUs this process may use.");
  m.def("current_cpu", &sched_getcpu, "The CPU the calling thread runs on, or -1.");
  register_uncertainty(m);
  register_foreground(m);
  register_neighbourhoods(m);
  register_resize(m);
  register_rle(m);
  register_region_geometry(m);
  register_region_probs(m);
  register_region_crf(m);
  register_slic(m);
  register_dense_crf(m);
  register_js_knn(m);
  register_histogram_sets(m);
  register_histogram(m);
  register_belharbi_histogram(m);
  register_gaussian_mixture(m);
}
