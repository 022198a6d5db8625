#include <algorithm>

#include "kernels/regions/runs.h"

namespace alseg {
namespace {

// Edges between different labels of one region: along row y, and to the row above it.
template <typename Label>
void count_label_edges(const RegionMap& map, const Label* labels, int64_t y, RegionShape* shapes) {
  const int64_t w = map.width;
  const int32_t* const ids = map.ids + y * w;
  const Label* const row = labels + y * w;
  for_each_difference(row + 1, row, w - 1, [&](int64_t x) {
    if (ids[x] == ids[x + 1] && map.has(ids[x])) ++shapes[ids[x]].label_edges;
  });
  if (y == 0) return;
  for_each_difference(row, row - w, w, [&](int64_t x) {
    if (ids[x] == ids[x - w] && map.has(ids[x])) ++shapes[ids[x]].label_edges;
  });
}

void count_label_edges(const RegionMap& map, const void* labels, int bytes, int64_t y, RegionShape* shapes) {
  // Labels are only compared, so their sign does not matter.
  if (bytes == 1) count_label_edges(map, static_cast<const uint8_t*>(labels), y, shapes);
  else if (bytes == 2) count_label_edges(map, static_cast<const uint16_t*>(labels), y, shapes);
  else if (bytes == 4) count_label_edges(map, static_cast<const uint32_t*>(labels), y, shapes);
  else count_label_edges(map, static_cast<const uint64_t*>(labels), y, shapes);
}

}  // namespace

void RegionShape::add(const RegionShape& other) {
  area += other.area;
  perimeter += other.perimeter;
  label_edges += other.label_edges;
  left = std::min(left, other.left);
  top = std::min(top, other.top);
  right = std::max(right, other.right);
  bottom = std::max(bottom, other.bottom);
}

bool shape_rows(const RegionMap& map, const void* labels, int label_bytes, int64_t y0, int64_t y1,
                RegionShape* shapes) {
  bool ok = true;
  for (int64_t y = y0; y < y1; ++y) {
    const int64_t at_border = (y == 0) + (y == map.height - 1);
    ok &= for_each_run(map, y, [&](int32_t id, int64_t first, int64_t end) {
      RegionShape& shape = shapes[id];
      shape.area += end - first;
      shape.perimeter += 2 + at_border * (end - first);
      shape.left = std::min(shape.left, static_cast<int32_t>(first));
      shape.right = std::max(shape.right, static_cast<int32_t>(end));
      shape.top = std::min(shape.top, static_cast<int32_t>(y));
      shape.bottom = static_cast<int32_t>(y + 1);
    });
    if (y > 0) {
      const int32_t* const row = map.ids + y * map.width;
      const int32_t* const above = row - map.width;
      for_each_difference(row, above, map.width, [&](int64_t x) {
        if (map.has(row[x])) ++shapes[row[x]].perimeter;
        if (map.has(above[x])) ++shapes[above[x]].perimeter;
      });
    }
    if (labels) count_label_edges(map, labels, label_bytes, y, shapes);
  }
  return ok;
}

}  // namespace alseg
