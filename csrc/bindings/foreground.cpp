// NumPy arrays <-> the foreground moments of UncertaintyJob.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/logits.h"
#include "common/threads.h"
#include "isa/levels.h"

namespace py = pybind11;

namespace {

// Fills sums [N, 3]: over passes and pixels of p - 1/2, of its square, and of p ln p; and status [N].
void foreground_moments(const py::array& logits, int dtype, std::pair<int64_t, int64_t> size, bool sigmoid,
                        bool align_corners, int num_threads, const py::object& sums, const py::object& status) {
  alseg::UncertaintyJob job = bindings::describe_logits(logits, dtype, size);
  if (job.n_classes != 1) throw py::value_error("logits must have one class");
  job.activation = sigmoid ? alseg::Activation::sigmoid : alseg::Activation::probabilities;
  job.inverse_temperature = 1.0f;
  const int64_t n = logits.shape(0), image_bytes = logits.strides(0);
  double* const total = bindings::writable<double>(sums, "sums", {n, 3}, 'f');
  uint8_t* const flags = bindings::writable<uint8_t>(status, "status", {n}, 'u');
  if (!total || !flags) throw py::value_error("sums and status must be given");
  const double in_h = static_cast<double>(job.in_h), in_w = static_cast<double>(job.in_w);
  const bindings::Axis columns(job.in_w, job.out_w, 0.0, in_w, align_corners);
  const bindings::Axis rows(job.in_h, job.out_h, 0.0, in_h, align_corners);
  job.x_index = columns.index.data();
  job.x_frac = columns.frac.data();
  job.y_index = rows.index.data();
  job.y_frac = rows.frac.data();
  const char* const data = static_cast<const char*>(logits.data());
  py::gil_scoped_release nogil;
  const alseg::KernelTable& table = alseg::kernels();
  const int64_t step = bindings::rows_per_chunk(job.out_h), chunks = (job.out_h + step - 1) / step;
  const int64_t scratch = table.uncertainty_scratch(job);
  std::vector<alseg::ForegroundSums> parts(static_cast<size_t>(n * chunks));
  alseg::parallel_for(n * chunks, num_threads, [&](int64_t cell) {
    alseg::UncertaintyJob one = job;
    one.logits = data + cell / chunks * image_bytes;
    const int64_t first = cell % chunks * step;
    table.foreground_rows(one, first, std::min(first + step, job.out_h), &parts[static_cast<size_t>(cell)],
                          bindings::scratch_floats(scratch));
  });
  for (int64_t i = 0; i < n; ++i) {
    alseg::ForegroundSums sum{};
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const alseg::ForegroundSums& part = parts[static_cast<size_t>(i * chunks + chunk)];
      sum.p += part.p;
      sum.p_squared += part.p_squared;
      sum.p_log_p += part.p_log_p;
      sum.status |= part.status;
    }
    total[3 * i] = sum.p;
    total[3 * i + 1] = sum.p_squared;
    total[3 * i + 2] = sum.p_log_p;
    flags[i] = static_cast<uint8_t>(sum.status);
  }
}

}  // namespace

void register_foreground(py::module_& m) {
  m.def("foreground_moments", &foreground_moments, py::arg("logits"), py::arg("dtype"), py::arg("size"),
        py::arg("sigmoid"), py::arg("align_corners"), py::arg("num_threads"), py::arg("sums"), py::arg("status"),
        "Fill `sums`; see kernels/foreground/native_cpu.py.");
}
