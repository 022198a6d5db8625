// From runs of equal clusters to connected segments of a least size.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/jobs.h"

namespace alseg {

struct SlicMerge {
  const SlicJob* job;
  int64_t min_area;    // smaller segments are merged into a neighbour,
  int64_t most;        // and then all but the largest ones, as long as there are more than this many
  int32_t* component;  // [H * W] of each run, at the run's place; -1 outside the mask
  std::vector<int32_t> final_id;  // [components] segment, numbered by first pixel
  int64_t n_segments;
};

// Numbers the connected components of the runs by their first pixel, merges the small ones, numbers the segments.
void merge_segments(SlicMerge* merge, int num_threads);

}  // namespace alseg
