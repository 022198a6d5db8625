// The phases of `slic`, from the image to the labels.
#pragma once
#include <cstdint>

#include "kernels/jobs.h"

namespace alseg {

struct SlicRequest {
  SlicJob job;               // image, tables, mask, sizes, bands, row_step, color_shift, adaptive, blur
  int64_t spatial_weight;    // cost of a distance of one pixel, times 2^16
  int64_t n_iter;
  int64_t min_area, most_segments;
  int32_t* labels;           // [H, W]
};

// Fills request.labels; returns the number of segments.
int64_t run_slic(SlicRequest request, int num_threads);

}  // namespace alseg
