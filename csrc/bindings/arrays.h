// What the bindings share: NumPy arrays as checked pointers, chunks of rows, scratch memory.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace bindings {

namespace py = pybind11;

// Rows per chunk: a function of the shape alone, so that the order of additions is too.
inline int64_t rows_per_chunk(int64_t height) { return std::max<int64_t>(16, (height + 63) / 64); }

// One worker's scratch memory, kept between calls up to a limit: fresh pages cost more than the kernel. It begins at
// a cache line, so that no vector of it lies across two.
inline float* scratch_floats(int64_t n) {
  thread_local std::vector<float> memory;
  constexpr size_t kKeepAtMost = size_t{1} << 22, kLine = 64 / sizeof(float);
  const size_t wanted = static_cast<size_t>(n) + kLine;
  if (memory.capacity() > kKeepAtMost && wanted <= kKeepAtMost) std::vector<float>().swap(memory);
  if (memory.size() < wanted) memory.resize(wanted);
  const size_t past = reinterpret_cast<uintptr_t>(memory.data()) / sizeof(float) % kLine;
  return memory.data() + (past ? kLine - past : 0);
}

template <typename T>
T* writable(const py::object& object, const char* name, const std::vector<py::ssize_t>& shape, char kind,
            py::ssize_t item = sizeof(T)) {
  if (object.is_none()) return nullptr;
  auto array = py::cast<py::array>(object);
  bool ok = array.dtype().kind() == kind && array.itemsize() == item &&
            array.ndim() == static_cast<py::ssize_t>(shape.size()) && (array.flags() & py::array::c_style) != 0 &&
            array.writeable();
  for (size_t i = 0; ok && i < shape.size(); ++i) ok = array.shape(static_cast<py::ssize_t>(i)) == shape[i];
  if (!ok) throw py::value_error(std::string(name) + " must be a writable C-contiguous array of the documented shape");
  return static_cast<T*>(array.mutable_data());
}

template <typename T>
const T* readable(const py::object& object, const char* name, const std::vector<py::ssize_t>& shape, char kind) {
  if (object.is_none()) return nullptr;
  const auto array = py::cast<py::array>(object);
  bool ok = array.dtype().kind() == kind && array.itemsize() == sizeof(T) &&
            array.ndim() == static_cast<py::ssize_t>(shape.size()) && (array.flags() & py::array::c_style) != 0;
  for (size_t i = 0; ok && i < shape.size(); ++i) ok = array.shape(static_cast<py::ssize_t>(i)) == shape[i];
  if (!ok) throw py::value_error(std::string(name) + " must be a C-contiguous array of the documented shape");
  return static_cast<const T*>(array.data());
}

}  // namespace bindings
