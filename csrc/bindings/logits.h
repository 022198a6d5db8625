// Class scores [N, T, C, h, w] and the positions at which they are sampled.
#pragma once
#include <pybind11/numpy.h>

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels/jobs.h"

namespace bindings {

namespace py = pybind11;

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

// Shapes and strides of logits [N, T, C, h, w].
inline alseg::UncertaintyJob describe_logits(const py::array& logits, int dtype, std::pair<int64_t, int64_t> size) {
  if (logits.ndim() != 5) throw py::value_error("logits must have 5 dimensions");
  if (dtype < 0 || dtype > 2) throw py::value_error("unknown dtype code");
  const py::ssize_t item = dtype == 0 ? 4 : 2;
  if (logits.itemsize() != item) throw py::value_error("logits do not have the stated dtype");
  for (int i = 1; i < 5; ++i)
    if (logits.strides(i) % item != 0) throw py::value_error("logits strides must be whole elements");
  alseg::UncertaintyJob job{};
  job.dtype = static_cast<alseg::Dtype>(dtype);
  job.n_passes = logits.shape(1);
  job.n_classes = logits.shape(2);
  job.in_h = logits.shape(3);
  job.in_w = logits.shape(4);
  job.stride_t = logits.strides(1) / item;
  job.stride_c = logits.strides(2) / item;
  job.stride_h = logits.strides(3) / item;
  job.stride_w = logits.strides(4) / item;
  job.out_h = size.first;
  job.out_w = size.second;
  if (logits.shape(0) < 1 || job.n_passes < 1 || job.n_classes < 1 || job.in_h < 1 || job.in_w < 1 || job.out_h < 1 ||
      job.out_w < 1 || job.n_classes > 65535 || job.n_passes > 65535 || job.in_w > INT32_MAX / 2 ||
      job.in_h > INT32_MAX / 2) {
    throw py::value_error("a size is out of range");
  }
  return job;
}

}  // namespace bindings
