// Sums over regions of a picture that is interpolated bilinearly from a smaller one with many channels.
#pragma once
#include <cstdint>

#include "kernels/regions/geometry.h"

namespace alseg {

struct PoolJob {
  RegionMap map;         // [H, W]
  const float* values;   // [h, w, L]
  int64_t n_labels, in_h, in_w;
  // Neighbour before, and weight of the one after it, which is 0 where there is none; ascending.
  const int32_t *x_index, *y_index;  // [W], [H]
  const float *x_frac, *y_frac;
};

// Adds rows y0..y1 - 1 to sums [S, L]. False: an id is out of range. What it costs a class depends on the number of
// small pixels that each region touches, not on the number of its own pixels.
bool pool_rows(const PoolJob& job, int64_t y0, int64_t y1, double* sums);

}  // namespace alseg
