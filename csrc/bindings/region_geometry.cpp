// NumPy arrays <-> what the regions of a label map are like.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/region_map.h"
#include "common/threads.h"
#include "kernels/regions/geometry.h"

namespace py = pybind11;

namespace {

using alseg::RegionMap;

// Rows in as many bands as threads that have enough of them; sums of integers do not depend on where they are cut.
struct Bands {
  int64_t height, n;
  Bands(int64_t rows, int num_threads) : height(rows) {
    constexpr int64_t kLeastRows = 64;
    const int64_t threads = num_threads > 0 ? num_threads : alseg::available_cpus();
    n = std::max<int64_t>(1, std::min(threads, rows / kLeastRows));
  }
  int64_t begin(int64_t band) const { return band * height / n; }
};

// Calls rows(y0, y1, sums of the band) -> ok for each band; false: one was not.
template <typename Sum, typename Rows>
bool sum_bands(const RegionMap& map, int num_threads, std::vector<std::vector<Sum>>* sums, const Rows& rows) {
  const Bands bands(map.height, num_threads);
  sums->resize(static_cast<size_t>(bands.n));
  std::atomic<bool> ok{true};
  alseg::parallel_for(bands.n, num_threads, [&](int64_t band) {
    std::vector<Sum>& own = (*sums)[static_cast<size_t>(band)];
    own.resize(static_cast<size_t>(map.n_segments));
    if (!rows(bands.begin(band), bands.begin(band + 1), own.data())) ok = false;
  });
  return ok;
}

// Fills area [S], boxes [S, 4], perimeter [S] and label_edges [S]. False: an id is out of range.
bool region_geometry(const py::array& ids, int64_t n_segments, const py::object& labels, int num_threads,
                     const py::object& area, const py::object& boxes, const py::object& perimeter,
                     const py::object& label_edges) {
  const RegionMap map = bindings::region_map(ids, n_segments);
  const void* label_data = nullptr;
  int label_bytes = 0;
  if (!labels.is_none()) {
    const auto array = py::cast<py::array>(labels);
    label_bytes = static_cast<int>(array.itemsize());
    const char kind = array.dtype().kind();
    if (array.ndim() != 2 || array.shape(0) != map.height || array.shape(1) != map.width ||
        (array.flags() & py::array::c_style) == 0 || (kind != 'i' && kind != 'u' && kind != 'b') ||
        (label_bytes != 1 && label_bytes != 2 && label_bytes != 4 && label_bytes != 8)) {
      throw py::value_error("labels must be a C-contiguous [H, W] array of integers");
    }
    label_data = array.data();
  }
  const py::ssize_t s = n_segments;
  auto* const out_area = bindings::writable<int64_t>(area, "area", {s}, 'i');
  auto* const out_boxes = bindings::writable<int32_t>(boxes, "boxes", {s, 4}, 'i');
  auto* const out_perimeter = bindings::writable<int64_t>(perimeter, "perimeter", {s}, 'i');
  auto* const out_edges = bindings::writable<int64_t>(label_edges, "label_edges", {s}, 'i');
  if (!out_area || !out_boxes || !out_perimeter || !out_edges != !label_data)
    throw py::value_error("area, boxes and perimeter must be given, and label_edges with labels");
  py::gil_scoped_release nogil;
  std::vector<std::vector<alseg::RegionShape>> bands;
  const bool ok = sum_bands(map, num_threads, &bands, [&](int64_t y0, int64_t y1, alseg::RegionShape* shapes) {
    return alseg::shape_rows(map, label_data, label_bytes, y0, y1, shapes);
  });
  for (int64_t i = 0; i < n_segments; ++i) {
    alseg::RegionShape shape;
    for (const auto& band : bands) shape.add(band[static_cast<size_t>(i)]);
    if (shape.area == 0) shape.left = shape.top = 0;
    out_area[i] = shape.area;
    out_perimeter[i] = shape.perimeter;
    if (out_edges) out_edges[i] = shape.label_edges;
    const int32_t box[4] = {shape.left, shape.top, shape.right - shape.left, shape.bottom - shape.top};
    std::copy(box, box + 4, out_boxes + 4 * i);
  }
  return ok;
}

// Fills out [S, 3] with mean colours of image [H, W] or [H, W, 3]. False: an id is out of range.
bool region_colors(const py::array& image, const py::array& ids, int64_t n_segments, int num_threads,
                   const py::object& out) {
  const RegionMap map = bindings::region_map(ids, n_segments);
  const int channels = image.ndim() == 3 ? 3 : 1;
  std::vector<py::ssize_t> shape{map.height, map.width};
  if (channels == 3) shape.push_back(3);
  const uint8_t* const pixels = bindings::readable<uint8_t>(image, "image", shape, 'u');
  float* const means = bindings::writable<float>(out, "out", {n_segments, 3}, 'f');
  if (!means) throw py::value_error("out must be given");
  py::gil_scoped_release nogil;
  std::vector<std::vector<alseg::ColorSums>> bands;
  const bool ok = sum_bands(map, num_threads, &bands, [&](int64_t y0, int64_t y1, alseg::ColorSums* sums) {
    return alseg::color_rows(map, pixels, channels, y0, y1, sums);
  });
  for (int64_t i = 0; i < n_segments; ++i) {
    uint64_t count = 0, sum[3] = {0, 0, 0};
    for (const auto& band : bands) {
      const alseg::ColorSums& part = band[static_cast<size_t>(i)];
      count += part.pixels;
      for (int c = 0; c < 3; ++c) sum[c] += part.sum[c];
    }
    for (int c = 0; c < 3; ++c) {
      const uint64_t value = sum[channels == 3 ? c : 0];
      means[3 * i + c] = count ? static_cast<float>(static_cast<double>(value) / static_cast<double>(count)) : 0.0f;
    }
  }
  return ok;
}

// (pairs [E, 2], lengths [E]), or None: an id is out of range.
py::object region_adjacency(const py::array& ids, int64_t n_segments, int num_threads) {
  const RegionMap map = bindings::region_map(ids, n_segments);
  std::vector<alseg::Border> borders;
  std::atomic<bool> ok{true};
  {
    py::gil_scoped_release nogil;
    const Bands bands(map.height, num_threads);
    std::vector<std::vector<alseg::Border>> parts(static_cast<size_t>(bands.n));
    alseg::parallel_for(bands.n, num_threads, [&](int64_t band) {
      if (!alseg::border_rows(map, bands.begin(band), bands.begin(band + 1), &parts[static_cast<size_t>(band)]))
        ok = false;
    });
    for (const auto& part : parts) borders.insert(borders.end(), part.begin(), part.end());
    alseg::merge_borders(&borders);
  }
  if (!ok) return py::none();
  const auto n = static_cast<py::ssize_t>(borders.size());
  py::array_t<int32_t> pairs(std::vector<py::ssize_t>{n, 2});
  py::array_t<int64_t> lengths(n);
  int32_t* const pair = pairs.mutable_data();
  int64_t* const length = lengths.mutable_data();
  for (size_t e = 0; e < borders.size(); ++e) {
    pair[2 * e] = borders[e].a;
    pair[2 * e + 1] = borders[e].b;
    length[e] = borders[e].length;
  }
  return py::make_tuple(pairs, lengths);
}

}  // namespace

void register_region_geometry(py::module_& m) {
  m.def("region_geometry", &region_geometry, py::arg("ids"), py::arg("n_segments"), py::arg("labels"),
        py::arg("num_threads"), py::arg("area"), py::arg("boxes"), py::arg("perimeter"), py::arg("label_edges"),
        "Fill the outputs; see kernels/region_geometry/native_cpu.py.");
  m.def("region_colors", &region_colors, py::arg("image"), py::arg("ids"), py::arg("n_segments"),
        py::arg("num_threads"), py::arg("out"), "Fill `out`; see kernels/region_geometry/native_cpu.py.");
  m.def("region_adjacency", &region_adjacency, py::arg("ids"), py::arg("n_segments"), py::arg("num_threads"),
        "See kernels/region_geometry/native_cpu.py.");
}
