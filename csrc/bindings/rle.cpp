// NumPy arrays <-> COCO's compressed run-length strings.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "kernels/regions/rle.h"

namespace py = pybind11;

namespace {

std::vector<py::ssize_t> map_shape(const py::array& map) {
  if (map.ndim() != 2 || map.shape(0) < 1 || map.shape(1) < 1 ||
      map.shape(0) > alseg::kMaxRlePixels / map.shape(1)) {
    throw py::value_error("a map must be [H, W] with 1 to 2^32 - 1 pixels");
  }
  return {map.shape(0), map.shape(1)};
}

py::list strings_of(const alseg::RleStrings& strings) {
  const size_t n = strings.begin.size() - 1;
  py::list out(n);
  for (size_t i = 0; i < n; ++i) {
    const int64_t begin = strings.begin[i];
    out[i] = py::str(strings.text.data() + begin, static_cast<size_t>(strings.begin[i + 1] - begin));
  }
  return out;
}

// The strings of ids 0..n_segments - 1, or None: an id is out of range.
py::object encode_rle(const py::array& ids, int64_t n_segments) {
  const std::vector<py::ssize_t> shape = map_shape(ids);
  if (n_segments < 0 || n_segments > INT32_MAX) throw py::value_error("n_segments is out of range");
  const int32_t* const data = bindings::readable<int32_t>(ids, "ids", shape, 'i');
  alseg::RleStrings strings;
  bool ok;
  {
    py::gil_scoped_release nogil;
    ok = alseg::encode_rle(data, shape[0], shape[1], n_segments, &strings);
  }
  if (!ok) return py::none();
  return strings_of(strings);
}

py::str encode_mask(const py::array& mask) {
  const std::vector<py::ssize_t> shape = map_shape(mask);
  const auto* const data = reinterpret_cast<const uint8_t*>(bindings::readable<bool>(mask, "mask", shape, 'b'));
  alseg::RleStrings strings;
  {
    py::gil_scoped_release nogil;
    alseg::encode_rle(data, shape[0], shape[1], &strings);
  }
  return py::str(strings.text.data(), static_cast<size_t>(strings.begin[1]));
}

// Fills out [H, W] with 0 and 1; returns the fault as a number.
int decode_rle(const std::string& text, const py::array& out) {
  const std::vector<py::ssize_t> shape = map_shape(out);
  auto* const mask = reinterpret_cast<uint8_t*>(bindings::writable<bool>(out, "out", shape, 'b'));
  py::gil_scoped_release nogil;
  std::fill_n(mask, shape[0] * shape[1], uint8_t{0});
  return static_cast<int>(alseg::decode_rle(text, shape[0], shape[1], uint8_t{1}, shape[1], mask));
}

// Fills out [H, W] with the index of the string that each pixel belongs to, or -1. Returns the fault and the string
// that has it; no fault and a string: it covers a pixel of an earlier one.
std::pair<int, int64_t> decode_regions(const std::vector<std::string>& texts, const py::array& out) {
  const std::vector<py::ssize_t> shape = map_shape(out);
  if (texts.size() > INT32_MAX) throw py::value_error("too many strings");
  int32_t* const ids = bindings::writable<int32_t>(out, "out", shape, 'i');
  py::gil_scoped_release nogil;
  // Columns are written: at a distance of whole pages, their pixels would fight for the same few places of the cache.
  const int64_t height = shape[0], width = shape[1], pitch = width % 256 == 0 ? width + 16 : width;
  thread_local std::vector<int32_t> apart;
  int32_t* map = ids;
  if (pitch != width) {
    apart.resize(static_cast<size_t>(height * pitch));
    map = apart.data();
  }
  std::fill_n(map, height * pitch, int32_t{-1});
  for (size_t i = 0; i < texts.size(); ++i) {
    bool overlap = false;
    const alseg::RleFault fault =
        alseg::decode_rle(texts[i], height, width, static_cast<int32_t>(i), int32_t{-1}, pitch, map, &overlap);
    if (fault != alseg::RleFault::none || overlap) return {static_cast<int>(fault), static_cast<int64_t>(i)};
  }
  if (map != ids)
    for (int64_t y = 0; y < height; ++y) std::copy_n(map + y * pitch, width, ids + y * width);
  if (apart.capacity() > (size_t{1} << 22)) std::vector<int32_t>().swap(apart);
  return {0, -1};
}

}  // namespace

void register_rle(py::module_& m) {
  m.def("encode_rle", &encode_rle, py::arg("ids"), py::arg("n_segments"), "See kernels/rle/native_cpu.py.");
  m.def("encode_mask", &encode_mask, py::arg("mask"), "See kernels/rle/native_cpu.py.");
  m.def("decode_rle", &decode_rle, py::arg("text"), py::arg("out"), "Fill `out`; see kernels/rle/native_cpu.py.");
  m.def("decode_regions", &decode_regions, py::arg("texts"), py::arg("out"),
        "Fill `out`; see kernels/rle/native_cpu.py.");
}
