// Runs of equal ids along a row.
#pragma once
#include <cstdint>

#include "kernels/regions/differences.h"
#include "kernels/regions/geometry.h"

namespace alseg {

// Calls run(id, first, end) for every run of a region in row y. False: an id is out of range.
template <typename Run>
inline bool for_each_run(const RegionMap& map, int64_t y, const Run& run) {
  const int32_t* const row = map.ids + y * map.width;
  bool ok = true;
  int64_t first = 0;
  const auto close = [&](int64_t end) {
    const int32_t id = row[first];
    if (map.has(id)) run(id, first, end);
    else ok &= id == -1;
    first = end;
  };
  for_each_difference(row + 1, row, map.width - 1, [&](int64_t x) { close(x + 1); });
  close(map.width);
  return ok;
}

}  // namespace alseg
